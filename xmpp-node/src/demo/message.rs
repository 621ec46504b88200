//! The messages that the demo's bridges send one another, and what else may arrive.
//!
//! ```xml
//! <message from='cb1.example.test' to='cb2.example.test' id='17' type='chat'><body>17 2350017</body></message>
//! ```
//! The body holds the number of the message in its pair and the time of its submission, in microseconds of the clock that
//! all bridges share. An error bears no body of ours, but the `id`, and comes from the recipient's address.

use std::time::Duration;

use bytes::Bytes;
use callbridge::Incoming;
use xmpp_core::stanza::Kind;
use xmpp_core::text::escape;

/// What arrived at a bridge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// A numbered message.
    Message {
        /// Address of the sender.
        from: String,
        /// Its number.
        number: u64,
        /// When it was submitted, since the start of the clock.
        submitted: Duration,
    },
    /// An error that answers a numbered message.
    Error {
        /// Address of the recipient.
        from: String,
        /// The message's number.
        number: u64,
    },
    /// A question from someone else, which has to be answered (RFC 6120, 8.2.3).
    Question {
        /// The answer.
        answer: Bytes,
    },
    /// Anything else, from someone else.
    Foreign,
}

/// Writes a numbered message.
#[must_use]
pub fn write(from: &str, to: &str, number: u64, submitted: Duration) -> Bytes {
    let micros = submitted.as_micros();
    format!(
        "<message from='{from}' to='{to}' id='{number}' type='chat'><body>{number} {micros}</body></message>"
    )
    .into()
}

/// Reads what arrived.
#[must_use]
pub fn read(incoming: &Incoming) -> Arrival {
    let from = incoming.from().unwrap_or_default().into_owned();
    let stanza_type = incoming.stanza_type();
    let stanza_type = stanza_type.as_deref().unwrap_or_default();
    let found = match (incoming.kind, stanza_type) {
        (Kind::Message, "error") => {
            number_of(incoming).map(|number| Arrival::Error { from, number })
        }
        (Kind::Message, _) => body(incoming.bytes()).map(|(number, submitted)| Arrival::Message {
            from,
            number,
            submitted,
        }),
        (Kind::Iq, "get" | "set") => Some(Arrival::Question {
            answer: answer(incoming, &from),
        }),
        _ => None,
    };
    found.unwrap_or(Arrival::Foreign)
}

fn number_of(incoming: &Incoming) -> Option<u64> {
    incoming.id()?.parse().ok()
}

fn body(stanza: &[u8]) -> Option<(u64, Duration)> {
    let text = std::str::from_utf8(stanza).ok()?;
    let (_, rest) = text.split_once("<body>")?;
    let (body, _) = rest.split_once("</body>")?;
    let (number, micros) = body.split_once(' ')?;
    Some((
        number.parse().ok()?,
        Duration::from_micros(micros.parse().ok()?),
    ))
}

/// A result for a ping (XEP-0199), for everything else the error that says so.
fn answer(incoming: &Incoming, from: &str) -> Bytes {
    let to = incoming.to().unwrap_or_default();
    let id = incoming.id().unwrap_or_default();
    let (from, to, id) = (escape(from), escape(&to), escape(&id));
    let ping = incoming
        .element()
        .children()
        .any(|(name, ns)| name == "ping" && ns == xmpp_core::ns::PING);
    if ping {
        return format!("<iq type='result' from='{to}' to='{from}' id='{id}'/>").into();
    }
    format!(
        "<iq type='error' from='{to}' to='{from}' id='{id}'><error type='cancel'><service-unavailable xmlns='{}'/></error></iq>",
        xmpp_core::ns::STANZA_ERRORS
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_tells_its_number_and_time_whatever_the_server_put_before() {
        let at = Duration::from_micros(2_350_017);
        let sent = write("cb1.example.test", "cb2.example.test", 17, at);
        let text = std::str::from_utf8(&sent).expect("text");
        assert_eq!(
            text,
            "<message from='cb1.example.test' to='cb2.example.test' id='17' type='chat'>\
             <body>17 2350017</body></message>"
        );
        callbridge::bridge::check_stanza(&sent).expect("one well-formed message");
        let delivered = text.replacen(
            "<body>",
            "<stanza-id xmlns='urn:xmpp:sid:0' id='c-1-0' by='example.test'/><body>",
            1,
        );
        assert_eq!(body(delivered.as_bytes()), Some((17, at)));
    }

    #[test]
    fn a_body_of_another_kind_is_none_of_ours() {
        for text in [
            "<message/>",
            "<message><body>hello there</body></message>",
            "<message><body>17</body></message>",
            "<message><body>-1 5</body></message>",
            "<message><body>1 5",
        ] {
            assert_eq!(body(text.as_bytes()), None, "{text}");
        }
    }
}

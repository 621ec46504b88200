//! A client's stream before TLS: header, features, `<starttls/>`, and nothing else (RFC 6120, 5).
//!
//! | state | input | next state |
//! |---|---|---|
//! | `AwaitHeader` | header | `AwaitStartTls`: header and features are written |
//! | `AwaitStartTls` | `<starttls/>` | `Proceed`: `<proceed/>` is written |
//! | any | anything else | `Closed`: error and close are written |
//!
//! TLS is required, so nothing but it is offered and stanzas are refused with `not-authorized`. After [`Step::Proceed`] no byte
//! that was received before may be taken as protected: the caller closes if there is one (5.4.3.3).

use super::client::header;
use crate::error::{StreamCondition, StreamError};
use crate::framer::Frame;
use crate::ns;

/// What is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Another frame.
    Continue,
    /// The TLS handshake, once what was written is sent.
    Proceed,
    /// The end, once what was written is sent.
    Close,
}

/// The stream machine. See the module documentation.
#[derive(Debug)]
pub struct StartTls {
    domain: String,
    id: String,
    header_sent: bool,
}

impl StartTls {
    /// A stream whose header has not come. `id` must be unpredictable (RFC 6120, 4.7.3).
    #[must_use]
    pub fn new(domain: String, id: String) -> Self {
        Self {
            domain,
            id,
            header_sent: false,
        }
    }

    /// Takes a frame; what must be written is appended to `out`.
    pub fn handle(&mut self, frame: &Frame, out: &mut String) -> Step {
        match self.step(frame, out) {
            Ok(step) => step,
            Err(error) => {
                self.close(&error, out);
                Step::Close
            }
        }
    }

    /// Ends the stream by an error of ours.
    pub fn close(&mut self, error: &StreamError, out: &mut String) {
        if !self.header_sent {
            self.write_header(None, out);
        }
        out.push_str(&error.to_xml());
        out.push_str("</stream:stream>");
    }

    fn step(&mut self, frame: &Frame, out: &mut String) -> Result<Step, StreamError> {
        match frame {
            Frame::Open(_) if self.header_sent => Err(StreamCondition::BadFormat.into()),
            Frame::Open(opened) => {
                let from = header::judge(opened, &self.domain)?;
                self.write_header(from.as_ref(), out);
                out.push_str("<stream:features><starttls xmlns='");
                out.push_str(ns::TLS);
                out.push_str("'><required/></starttls></stream:features>");
                Ok(Step::Continue)
            }
            Frame::Element(element) if element.is("starttls", ns::TLS) => {
                out.push_str("<proceed xmlns='");
                out.push_str(ns::TLS);
                out.push_str("'/>");
                Ok(Step::Proceed)
            }
            Frame::Element(element) if element.is("error", ns::STREAMS) => {
                out.push_str("</stream:stream>");
                Ok(Step::Close)
            }
            Frame::Element(_) => Err(StreamCondition::NotAuthorized.into()),
            Frame::Close => {
                out.push_str("</stream:stream>");
                Ok(Step::Close)
            }
        }
    }

    fn write_header(&mut self, to: Option<&crate::jid::Jid>, out: &mut String) {
        self.header_sent = true;
        out.push_str(&header::ours(&self.domain, &self.id, to));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::framer::{Framer, Limits};

    const HEADER: &str = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='example.test' version='1.0'>";

    /// What comes of a client's bytes: the last step, and what was written.
    fn answer(text: &str) -> (Step, String) {
        let mut machine = StartTls::new("example.test".to_owned(), "id".to_owned());
        let mut framer = Framer::new(Limits::default());
        framer.buffer().extend_from_slice(text.as_bytes());
        let (mut out, mut step) = (String::new(), Step::Continue);
        while step == Step::Continue
            && let Some(frame) = framer.next_frame().expect("well-formed")
        {
            step = machine.handle(&frame, &mut out);
        }
        (step, out)
    }

    #[test]
    fn rfc_6120_5_3_1_only_starttls_is_offered_and_it_is_required() {
        let (step, out) = answer(HEADER);
        assert_eq!(step, Step::Continue);
        let features = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>";
        assert!(out.ends_with(features), "{out}");
        assert!(
            out.contains(" from='example.test' id='id' version='1.0' xml:lang='en'>"),
            "{out}"
        );
    }

    #[test]
    fn rfc_6120_5_4_2_starttls_is_granted() {
        let (step, out) = answer(&format!(
            "{HEADER}<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
        ));
        assert_eq!(step, Step::Proceed);
        assert!(
            out.ends_with("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"),
            "{out}"
        );
    }

    #[test]
    fn whatever_else_comes_ends_the_stream_with_its_condition() {
        let header = |from: &str, to: &str| HEADER.replace(from, to);
        for (text, condition) in [
            (
                header("jabber:client", "jabber:server"),
                "invalid-namespace",
            ),
            (header("example.test", "elsewhere.test"), "host-unknown"),
            (header(" to='example.test'", ""), "host-unknown"),
            (header(" version='1.0'", ""), "unsupported-version"),
            (header("1.0", "0.9"), "unsupported-version"),
            (header(" to=", " from='@' to="), "invalid-from"),
            (format!("{HEADER}<message/>"), "not-authorized"),
            (
                format!(
                    "{HEADER}<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>"
                ),
                "not-authorized",
            ),
        ] {
            let (step, out) = answer(&text);
            assert_eq!(step, Step::Close, "{text}");
            assert!(
                out.contains(&format!("<stream:error><{condition} ")),
                "{text}: {out}"
            );
            assert_eq!(out.matches("<stream:stream ").count(), 1, "{out}");
            assert!(out.ends_with("</stream:error></stream:stream>"), "{out}");
        }
        let (step, out) = answer(&format!("{HEADER}</stream:stream>"));
        assert_eq!(step, Step::Close);
        assert!(out.ends_with("</stream:features></stream:stream>"), "{out}");
    }
}

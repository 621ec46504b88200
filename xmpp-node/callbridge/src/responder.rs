//! What a bridge without an application answers: pings (XEP-0199) and service discovery (XEP-0030); every other request gets
//! `service-unavailable`. For try-outs.

use bytes::Bytes;
use xmpp_core::error::StanzaCondition;
use xmpp_core::ns;
use xmpp_core::stanza::{Kind, Stanza};

use crate::bridge::Incoming;

/// The answer to a received stanza; `None` when there is none to give: messages, presences, results, errors.
pub fn answer(incoming: &Incoming) -> Option<Bytes> {
    if incoming.kind != Kind::Iq {
        return None;
    }
    let stanza = Stanza::parse(incoming.element(), None, ns::COMPONENT_ACCEPT, "").ok()??;
    let is_get = stanza.stanza_type().as_deref() == Some("get");
    let request = stanza.to_routed();
    let payload = request.payload();
    let asked = payload
        .as_ref()
        .and_then(|(name, namespace)| Some((*name, namespace.as_deref()?)));
    let reply = match asked {
        Some(("ping", ns::PING)) if is_get => request.result_reply(""),
        Some(("query", ns::DISCO_INFO)) if is_get => request.result_reply(&disco_info()),
        _ => request.error_reply(StanzaCondition::ServiceUnavailable, None),
    };
    reply.map(|reply| reply.bytes)
}

fn disco_info() -> String {
    format!(
        "<query xmlns='{info}'><identity category='component' type='generic' name='callbridge'/>\
         <feature var='{info}'/><feature var='{ping}'/></query>",
        info = ns::DISCO_INFO,
        ping = ns::PING,
    )
}

#[cfg(test)]
mod tests {
    use xmpp_core::framer::{Frame, Framer, Limits};

    use super::*;
    use crate::config::Timing;
    use crate::session::Session;

    fn answered(kind: Kind, xml: &str) -> Option<String> {
        let mut framer = Framer::new(Limits::default());
        let header = format!(
            "<stream:stream xmlns='{}' xmlns:stream='{}'>",
            ns::COMPONENT_ACCEPT,
            ns::STREAMS
        );
        framer
            .buffer()
            .extend_from_slice(format!("{header}{xml}").as_bytes());
        framer.next_frame().expect("a header");
        let Ok(Some(Frame::Element(element))) = framer.next_frame() else {
            panic!("no element: {xml}")
        };
        let receipt = Session::new(Timing::default()).received().expect("new");
        let reply = answer(&Incoming {
            kind,
            receipt,
            element,
        })?;
        Some(String::from_utf8(reply.to_vec()).expect("text"))
    }

    fn iq(stanza_type: &str, payload: &str) -> Option<String> {
        let tag =
            format!("<iq type='{stanza_type}' id='7' from='example.test' to='cb1.example.test'>");
        answered(Kind::Iq, &format!("{tag}{payload}</iq>"))
    }

    #[test]
    fn pings_and_discovery_are_answered_with_addresses_swapped() {
        let pong = iq("get", "<ping xmlns='urn:xmpp:ping'/>").expect("an answer");
        for part in [
            "type='result'",
            "id='7'",
            "from='cb1.example.test'",
            "to='example.test'",
        ] {
            assert!(pong.contains(part), "{pong}");
        }
        let info = iq(
            "get",
            "<query xmlns='http://jabber.org/protocol/disco#info'/>",
        )
        .expect("an answer");
        assert!(info.contains("category='component'"), "{info}");
    }

    #[test]
    fn other_requests_are_refused_and_nothing_else_is_answered() {
        let refused = iq("set", "<x xmlns='y'/>").expect("an answer");
        assert!(refused.contains("<service-unavailable "), "{refused}");
        assert_eq!(iq("result", ""), None);
        assert_eq!(iq("error", ""), None);
        assert_eq!(
            answered(Kind::Message, "<message from='a.test' to='b.test'/>"),
            None
        );
    }
}

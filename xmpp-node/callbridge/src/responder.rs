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

//! What the cluster itself answers: pings and discovery sent to its domain (XEP-0199, XEP-0030).

use crate::ns;
use crate::stanza::{Kind, Routed};
use crate::text::escape;

/// Components that an answer lists at most: a request of 100 bytes must not cost an answer of any length.
const LISTED: usize = 256;

/// The reply to an IQ request to the domain itself; `None` if it is nothing that the domain serves.
pub(super) fn reply<'a>(
    stanza: &Routed,
    domain: &str,
    components: impl Iterator<Item = &'a str>,
) -> Option<Routed> {
    let serves = stanza.kind == Kind::Iq
        && stanza.stanza_type().as_deref() == Some("get")
        && stanza.to().as_deref() == Some(domain);
    if !serves {
        return None;
    }
    let (name, namespace) = stanza.payload()?;
    let payload = match (name, namespace.as_deref()?) {
        ("ping", ns::PING) => String::new(),
        ("query", ns::DISCO_INFO) => format!(
            "<query xmlns='{}'><identity category='server' type='im' name='xmpp-node'/>\
             <feature var='{}'/><feature var='{}'/><feature var='{}'/></query>",
            ns::DISCO_INFO,
            ns::DISCO_INFO,
            ns::DISCO_ITEMS,
            ns::PING
        ),
        ("query", ns::DISCO_ITEMS) => {
            let items: String = components
                .take(LISTED)
                .map(|jid| format!("<item jid='{}'/>", escape(jid)))
                .collect();
            format!("<query xmlns='{}'>{items}</query>", ns::DISCO_ITEMS)
        }
        _ => return None,
    };
    stanza.result_reply(&payload)
}

//! What the cluster itself answers: pings and discovery sent to its domain (P53, P54).

use bytes::BytesMut;

use crate::ns;
use crate::stanza::{Kind, Routed};
use crate::text::escape;

/// The reply to an IQ request to the domain itself; `None` if it is nothing that the domain serves.
pub(super) fn reply<'a>(
    stanza: &Routed,
    domain: &str,
    components: impl Iterator<Item = &'a str>,
) -> Option<Routed> {
    if stanza.kind != Kind::Iq || stanza.stanza_type().as_deref() != Some("get") {
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
                .map(|jid| format!("<item jid='{jid}'/>"))
                .collect();
            format!("<query xmlns='{}'>{items}</query>", ns::DISCO_ITEMS)
        }
        _ => return None,
    };
    let (to, id) = (stanza.from()?, stanza.id()?);
    let tag = format!(
        "<iq type='result' from='{domain}' to='{}' id='{}'>",
        escape(&to),
        escape(&id)
    );
    let mut bytes = BytesMut::with_capacity(tag.len() + payload.len() + 5);
    bytes.extend_from_slice(tag.as_bytes());
    bytes.extend_from_slice(payload.as_bytes());
    bytes.extend_from_slice(b"</iq>");
    let tag_len = u32::try_from(tag.len()).ok()?;
    Some(Routed {
        kind: Kind::Iq,
        answerable: false,
        tag_len,
        bytes: bytes.freeze(),
    })
}

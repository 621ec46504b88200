//! What the cluster itself answers: pings, discovery and its version at its domain (XEP-0199, XEP-0030, XEP-0092), and for users.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};

use crate::error::StanzaCondition;
use crate::ns;
use crate::stanza::{Kind, Routed};
use crate::text::escape;

/// Components that an answer lists at most: a request of 100 bytes must not cost an answer of any length.
const LISTED: usize = 256;
/// What answers are given as the version (XEP-0092). All nodes must answer alike, so it does not follow the program's version.
const VERSION: &str = "0.1";
/// Name of the software, and of the identity of the domain.
const NAME: &str = "xmpp-node";
/// What the domain offers (XEP-0030), in the order of their bytes (XEP-0115, 5.1).
const FEATURES: [&str; 5] = [
    ns::DISCO_INFO,
    ns::DISCO_ITEMS,
    ns::VERSION,
    ns::PING,
    ns::STANZA_ID,
];

/// What stands for the domain's identity and features (XEP-0115, 5.1): a digest, in Base64.
pub(crate) fn capabilities() -> String {
    let mut text = format!("server/im//{NAME}<");
    for feature in FEATURES {
        text.push_str(feature);
        text.push('<');
    }
    let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    BASE64_STANDARD.encode(digest.as_ref())
}

/// Identity and features as XML.
fn description() -> String {
    let features: String = FEATURES
        .iter()
        .map(|feature| format!("<feature var='{feature}'/>"))
        .collect();
    format!("<identity category='server' type='im' name='{NAME}'/>{features}")
}

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
        ("query", ns::DISCO_INFO) => match stanza.payload_attribute("node") {
            // The one node that clients know, as it stands in the features of their streams (XEP-0115, 6.2).
            Some(node) if node == capabilities_node() => format!(
                "<query xmlns='{}' node='{}'>{}</query>",
                ns::DISCO_INFO,
                escape(&node),
                description()
            ),
            Some(_) => return stanza.error_reply(StanzaCondition::ItemNotFound, None),
            None => format!(
                "<query xmlns='{}'>{}</query>",
                ns::DISCO_INFO,
                description()
            ),
        },
        ("query", ns::VERSION) => format!(
            "<query xmlns='{}'><name>{NAME}</name><version>{VERSION}</version></query>",
            ns::VERSION
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

/// The node of the domain's discovery that the features of streams name (XEP-0115).
fn capabilities_node() -> String {
    format!("{}#{}", ns::SOFTWARE, capabilities())
}

/// The reply to an IQ request of a user's own client to the user; `None` if it is nothing that is served.
pub(super) fn reply_for_user(stanza: &Routed) -> Option<Routed> {
    let (name, namespace) = stanza.payload()?;
    let payload = match (
        stanza.stanza_type().as_deref()?,
        name,
        namespace.as_deref()?,
    ) {
        ("get", "ping", ns::PING) | ("set", "session", ns::SESSION) => String::new(),
        ("get", "query", ns::DISCO_INFO) => format!(
            "<query xmlns='{}'><identity category='account' type='registered'/><feature var='{}'/></query>",
            ns::DISCO_INFO,
            ns::DISCO_INFO
        ),
        ("get", "query", ns::DISCO_ITEMS) => format!("<query xmlns='{}'/>", ns::DISCO_ITEMS),
        _ => return None,
    };
    stanza.result_reply(&payload)
}

//! What is on offer (RFC 6120, 4.3.2).

use super::sasl::Offer;
use crate::ns;
use crate::router::capabilities;
use crate::scram::CHANNEL_BINDING;
use crate::stream::Server;

/// Before authentication: the mechanisms, and how a channel may be bound (XEP-0440).
pub(super) fn mechanisms(offers: &[Offer]) -> String {
    let mechanisms: String = offers
        .iter()
        .map(|offer| format!("<mechanism>{}</mechanism>", offer.name()))
        .collect();
    let binding = match offers.iter().any(Offer::binds) {
        true => format!(
            "<sasl-channel-binding xmlns='{}'><channel-binding type='{CHANNEL_BINDING}'/></sasl-channel-binding>",
            ns::CHANNEL_BINDING
        ),
        false => String::new(),
    };
    format!(
        "<stream:features><mechanisms xmlns='{}'>{mechanisms}</mechanisms>{binding}</stream:features>",
        ns::SASL
    )
}

/// After it: a resource, a session for who believes to need one (RFC 3921), XEP-0198, limits (XEP-0478), and what the domain is
/// (XEP-0115).
pub(super) fn after_authentication(server: &Server) -> String {
    format!(
        "<stream:features><bind xmlns='{}'/><session xmlns='{}'><optional/></session><sm xmlns='{}'/>\
         <limits xmlns='{}'><max-bytes>{}</max-bytes></limits>\
         <c xmlns='{}' hash='sha-1' node='{}' ver='{}'/></stream:features>",
        ns::BIND,
        ns::SESSION,
        ns::SM,
        ns::STREAM_LIMITS,
        server.max_stanza_bytes,
        ns::CAPABILITIES,
        ns::SOFTWARE,
        capabilities()
    )
}

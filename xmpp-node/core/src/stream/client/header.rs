//! Headers of client streams: the peer's judged, ours written (RFC 6120, 4.7).

use crate::error::{StreamCondition, StreamError};
use crate::framer::StreamHeader;
use crate::jid::Jid;
use crate::ns;
use crate::text::escape;

/// Judges a client's header; returns the `from` of it, if it gives one.
///
/// # Errors
/// One that ends the stream.
pub(crate) fn judge(header: &StreamHeader, domain: &str) -> Result<Option<Jid>, StreamError> {
    let fault = |condition| Err(StreamError::new(condition));
    if header.content_ns != ns::CLIENT {
        return fault(StreamCondition::InvalidNamespace);
    }
    if header.foreign_prefixes {
        return Err(StreamError::new(StreamCondition::BadNamespacePrefix)
            .with_text("prefixes of stanzas must be declared by the stanzas"));
    }
    let to = header.to.as_deref().and_then(|to| Jid::parse(to).ok());
    if to.is_none_or(|to| to.as_str() != domain) {
        return fault(StreamCondition::HostUnknown);
    }
    let major = header
        .version
        .as_deref()
        .and_then(|version| version.split_once('.'));
    let major = major.and_then(|(major, _)| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < 1) {
        return fault(StreamCondition::UnsupportedVersion);
    }
    match header.from.as_deref().map(Jid::parse) {
        None => Ok(None),
        Some(Ok(from)) => Ok(Some(from)),
        Some(Err(_)) => fault(StreamCondition::InvalidFrom),
    }
}

/// Our header; `to` is the client's `from`.
pub(crate) fn ours(domain: &str, id: &str, to: Option<&Jid>) -> String {
    let to = to.map_or(String::new(), |to| format!(" to='{}'", escape(to.as_str())));
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='{}' xmlns:stream='{}' from='{domain}'{to} id='{id}' version='1.0' xml:lang='en'>",
        ns::CLIENT,
        ns::STREAMS,
    )
}

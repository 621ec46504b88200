//! The stream header and the XML declaration before it (RFC 6120, 4.7, 4.8, 11.5, 11.6).

use std::sync::Arc;

use super::FrameError;
use crate::check::{Checker, Header, Span};
use crate::ns;
use crate::tag::{Name, TagReader, checked};
use crate::text::is_space;

/// The attributes of a stream header, unescaped (RFC 6120, 4.7).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StreamHeader {
    /// Default namespace; empty when there is none. Not judged by the framer.
    pub content_ns: String,
    /// To whom the peer talks.
    pub to: Option<String>,
    /// Who the peer says it is.
    pub from: Option<String>,
    /// Stream id; only headers of servers have one.
    pub id: Option<String>,
    /// Protocol version, e.g. `1.0`.
    pub version: Option<String>,
    /// `xml:lang`.
    pub lang: Option<String>,
    /// Whether XEP-0198 is asked for or granted for a component:
    /// `{urn:xmppcluster:management:0}management` is `1` or `true`.
    pub management: bool,
    /// Whether prefixes other than `stream`, `xml`, `db` and those for our management namespace are
    /// declared. An element that uses any prefix of the header but `stream` is refused in any case.
    pub foreign_prefixes: bool,
}

/// Reads the header `bytes[span]`, which the checker has checked as a start tag.
///
/// # Errors
/// `InvalidNamespace`, `BadNamespacePrefix`, or `BadFormat` when it is no `<stream:stream>`.
pub(super) fn read(
    checker: &Checker,
    root_ns: &str,
    bytes: &[u8],
    span: Span,
) -> Result<(StreamHeader, Header), FrameError> {
    let mut reader = TagReader::new(checked(span.of(bytes)))?;
    let Name { prefix, local } = reader.name();
    if root_ns != ns::STREAMS {
        return Err(FrameError::InvalidNamespace);
    }
    if prefix != "stream" {
        return Err(FrameError::BadNamespacePrefix);
    }
    if local != "stream" {
        return Err(FrameError::BadFormat);
    }
    let mut header = StreamHeader::default();
    let mut others = Vec::new();
    while let Some(attribute) = reader.next_attribute()? {
        let value = attribute.value().into_owned();
        let name = attribute.name;
        match (name.prefix, name.local) {
            ("", "xmlns") => header.content_ns = value,
            ("", "to") => header.to = Some(value),
            ("", "from") => header.from = Some(value),
            ("", "id") => header.id = Some(value),
            ("", "version") => header.version = Some(value),
            ("xml", "lang") => header.lang = Some(value),
            ("xmlns", "stream" | "xml") => {}
            ("xmlns", prefix) => {
                let known = value == ns::MANAGEMENT || prefix == "db" && value == ns::DIALBACK;
                header.foreign_prefixes |= !known;
                others.push(prefix.into());
            }
            (_, "management") if checker.attribute_ns(name, bytes) == ns::MANAGEMENT => {
                header.management = value == "1" || value == "true";
            }
            _ => {}
        }
    }
    let default = Arc::from(header.content_ns.as_str());
    Ok((
        header,
        Header {
            default,
            stream: true,
            others,
        },
    ))
}

/// Checks an XML declaration: version 1.0, and UTF-8 if an encoding is named (RFC 6120, 11.5,
/// 11.6).
///
/// # Errors
/// `UnsupportedEncoding` for another encoding, else `NotWellFormed`.
pub(super) fn check_declaration(bytes: &[u8]) -> Result<(), FrameError> {
    const MALFORMED: FrameError = FrameError::NotWellFormed("XML declaration");
    let text = str::from_utf8(bytes).map_err(|_| FrameError::UnsupportedEncoding)?;
    let mut rest = text
        .strip_prefix("<?xml")
        .and_then(|rest| rest.strip_suffix("?>"))
        .ok_or(MALFORMED)?;
    let mut seen = 0;
    while let Some((name, value, after)) = pseudo_attribute(rest) {
        // Version is there, and the order is fixed (XML 1.0, 2.8).
        let position = match name {
            "version" if value == "1.0" => 1,
            "encoding" if value.eq_ignore_ascii_case("utf-8") => 2,
            "encoding" if is_encoding_name(value) => return Err(FrameError::UnsupportedEncoding),
            "standalone" if value == "yes" || value == "no" => 3,
            _ => return Err(MALFORMED),
        };
        if position <= seen || seen == 0 && position != 1 {
            return Err(MALFORMED);
        }
        seen = position;
        rest = after;
    }
    if seen == 0 || !rest.bytes().all(is_space) {
        return Err(MALFORMED);
    }
    Ok(())
}

/// Space, name, equals sign and quoted value at the start of `text`, and what follows them.
fn pseudo_attribute(text: &str) -> Option<(&str, &str, &str)> {
    let space = |c: char| c.is_ascii() && is_space(c as u8);
    let trimmed = text.trim_start_matches(space);
    if trimmed.len() == text.len() {
        return None;
    }
    let (name, rest) = trimmed.split_once('=')?;
    let rest = rest.trim_start_matches(space);
    let quote = rest.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    let (value, rest) = rest[1..].split_once(quote)?;
    Some((name.trim_end_matches(space), value, rest))
}

/// `EncName` (XML 1.0, 4.3.3).
fn is_encoding_name(value: &str) -> bool {
    value.starts_with(|c: char| c.is_ascii_alphabetic())
        && value
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

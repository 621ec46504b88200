//! Stanzas: read from a stream, rewritten for the log, answered by an error (RFC 6120, 8).
//!
//! Only the start tag is read and rewritten; the content goes on as it was sent. Knows neither who
//! may send what nor where a stanza goes.

mod routed;

use std::borrow::Cow;
use std::fmt;

use bytes::{BufMut, Bytes, BytesMut};

pub use self::routed::Routed;
use crate::check::Span;
use crate::error::{StanzaCondition, StreamCondition, StreamError};
use crate::framer::Element;
use crate::jid::{Jid, JidError};
use crate::tag::{Attribute, TagReader, checked};
use crate::text::{escape, unescape_attribute};

/// The three stanzas; the numbers stand in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// `<message/>`
    Message = 0,
    /// `<presence/>`
    Presence = 1,
    /// `<iq/>`
    Iq = 2,
}

impl Kind {
    /// Name of the element.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Presence => "presence",
            Self::Iq => "iq",
        }
    }

    /// The kind of a number that was written as `kind as u8`.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Message),
            1 => Some(Self::Presence),
            2 => Some(Self::Iq),
            _ => None,
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Message, Self::Presence, Self::Iq]
            .into_iter()
            .find(|kind| kind.as_str() == name)
    }

    const fn end_tag(self) -> &'static [u8] {
        match self {
            Self::Message => b"</message>",
            Self::Presence => b"</presence>",
            Self::Iq => b"</iq>",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A stanza read from a stream, its start tag ready to be rewritten.
#[derive(Debug, Clone)]
pub struct Stanza {
    /// Which of the three.
    pub kind: Kind,
    /// Whether it may be answered by an error: its type is neither `error` nor `result`.
    pub answerable: bool,
    /// Sender, normalised. The stream of a client sets it before writing (RFC 6120, 8.1.2.1).
    pub from: Option<Jid>,
    /// Recipient, normalised.
    pub to: Option<Jid>,
    /// Why `from` is no address; then `from` is `None`.
    pub from_fault: Option<JidError>,
    /// Why `to` is no address; then `to` is `None`.
    pub to_fault: Option<JidError>,
    /// The start tag as sent.
    tag: Bytes,
    /// Attributes that are kept as sent: all but `xmlns`, `from` and `to`.
    kept: Vec<Span>,
    /// The value of `id` as sent.
    id: Option<Span>,
    /// The value of `type` as sent.
    stanza_type: Option<Span>,
    /// `xml:lang` of the stream, when the stanza has none of its own.
    inherited_lang: Option<Box<str>>,
    children: usize,
    content: Bytes,
}

impl Stanza {
    /// Reads an element of a stream whose content namespace is `content_ns` and whose header had
    /// the `xml:lang` `stream_lang`. `None`: it is no stanza, but belongs to a negotiation or the
    /// like.
    ///
    /// Of messages and presences, children `<stanza-id/>` (XEP-0359, 4) that claim to be by
    /// `drop_stanza_id_by`, our own domain, are dropped: only we may write those. No other content
    /// is ever changed.
    ///
    /// # Errors
    /// `invalid-namespace` for a stanza of another namespace, `bad-namespace-prefix` for a stanza
    /// with a prefix, `unsupported-stanza-type` for another element of the content namespace
    /// (RFC 6120, 4.9.3).
    pub fn parse(
        element: &Element,
        stream_lang: Option<&str>,
        content_ns: &str,
        drop_stanza_id_by: &str,
    ) -> Result<Option<Self>, StreamError> {
        let kind = match (Kind::from_name(element.name()), element.ns() == content_ns) {
            (None, false) => return Ok(None),
            (None, true) => return Err(StreamCondition::UnsupportedStanzaType.into()),
            (Some(_), false) => return Err(StreamCondition::InvalidNamespace.into()),
            (Some(_), true) if element.has_prefix() => {
                return Err(StreamCondition::BadNamespacePrefix.into());
            }
            (Some(kind), true) => kind,
        };
        let tag = element.bytes().slice(..element.start_tag().len());
        let mut stanza = Self {
            kind,
            answerable: true,
            from: None,
            to: None,
            from_fault: None,
            to_fault: None,
            tag,
            kept: Vec::new(),
            id: None,
            stanza_type: None,
            inherited_lang: stream_lang.map(Into::into),
            children: element.child_count(),
            content: element.content(),
        };
        stanza.read_attributes(element.start_tag())?;
        if stanza.content.is_empty() {
            stanza.content = Bytes::from_static(kind.end_tag());
        } else if kind != Kind::Iq && !element.stanza_ids().is_empty() {
            stanza.drop_stanza_ids(element, drop_stanza_id_by);
        }
        Ok(Some(stanza))
    }

    /// The fault of the stanza itself that is answered by one error, if it has one: `bad-request`
    /// for an IQ without `id`, without a known `type` or with the wrong number of children and for
    /// a presence of unknown type, `jid-malformed` for a `to` that is no address (RFC 6120, 8.2.3,
    /// 8.3.3.1, 8.3.3.8). A stanza with a fault that is not [`answerable`](Self::answerable) is
    /// dropped.
    pub fn reject(&self) -> Option<StanzaCondition> {
        let stanza_type = self.stanza_type();
        let well_formed = match (self.kind, stanza_type.as_deref()) {
            // An unknown type of message is taken as `normal` (RFC 6121, 5.2.2).
            (Kind::Message, _) => true,
            (Kind::Presence, None) => true,
            (Kind::Presence, Some(value)) => PRESENCE_TYPES.contains(&value),
            (Kind::Iq, Some("get" | "set")) => self.id.is_some() && self.children == 1,
            (Kind::Iq, Some("result")) => self.id.is_some() && self.children <= 1,
            (Kind::Iq, Some("error")) => self.id.is_some(),
            (Kind::Iq, _) => false,
        };
        if !well_formed {
            return Some(StanzaCondition::BadRequest);
        }
        self.to_fault.map(|_| StanzaCondition::JidMalformed)
    }

    /// The `id`, unescaped.
    pub fn id(&self) -> Option<Cow<'_, str>> {
        self.id
            .map(|span| unescape_attribute(checked(span.of(&self.tag))))
    }

    /// The `type`, unescaped; `None` when it was left out.
    pub fn stanza_type(&self) -> Option<Cow<'_, str>> {
        self.stanza_type
            .map(|span| unescape_attribute(checked(span.of(&self.tag))))
    }

    /// Everything after the start tag, end tag included.
    pub fn content(&self) -> &Bytes {
        &self.content
    }

    /// Appends the rewritten start tag and returns its length in bytes; [`content`](Self::content)
    /// belongs behind it.
    ///
    /// `from` and `to` come first, normalised, and only if they are addresses. The declaration of
    /// the content namespace is left out, so that the stanza takes that of the stream it is written
    /// to. The other attributes follow as sent, and the `xml:lang` that was inherited.
    pub fn write_to(&self, out: &mut BytesMut) -> u32 {
        let before = out.len();
        out.reserve(self.tag.len() + 128);
        out.put_u8(b'<');
        out.put_slice(self.kind.as_str().as_bytes());
        for (name, jid) in [(&b" from='"[..], &self.from), (&b" to='"[..], &self.to)] {
            if let Some(jid) = jid {
                put_attribute(out, name, jid.as_str());
            }
        }
        for span in &self.kept {
            out.put_u8(b' ');
            out.put_slice(span.of(&self.tag));
        }
        if let Some(lang) = &self.inherited_lang {
            put_attribute(out, b" xml:lang='", lang);
        }
        out.put_u8(b'>');
        Span::new(before, out.len()).len()
    }

    /// The stanza as the log carries it, in one piece.
    pub fn to_routed(&self) -> Routed {
        let mut bytes = BytesMut::with_capacity(self.tag.len() + 128 + self.content.len());
        let tag_len = self.write_to(&mut bytes);
        bytes.put_slice(&self.content);
        Routed {
            kind: self.kind,
            answerable: self.answerable,
            tag_len,
            bytes: bytes.freeze(),
        }
    }

    fn read_attributes(&mut self, tag: &str) -> Result<(), StreamError> {
        let mut reader = TagReader::new(tag)?;
        while let Some(attribute) = reader.next_attribute()? {
            match (attribute.name.prefix, attribute.name.local) {
                ("", "xmlns") => continue,
                ("", "from") => {
                    (self.from, self.from_fault) = address(&attribute);
                    continue;
                }
                ("", "to") => {
                    (self.to, self.to_fault) = address(&attribute);
                    continue;
                }
                ("", "id") => self.id = Some(value_span(&attribute)),
                ("", "type") => {
                    self.stanza_type = Some(value_span(&attribute));
                    self.answerable = !matches!(&*attribute.value(), "error" | "result");
                }
                ("xml", "lang") => self.inherited_lang = None,
                _ => {}
            }
            self.kept.push(Span::new(attribute.start, attribute.end));
        }
        Ok(())
    }

    /// Copies the content without the children `<stanza-id/>` that claim to be ours.
    fn drop_stanza_ids(&mut self, element: &Element, by: &str) {
        let claims = |span: &&Span| {
            let child = checked(span.of(element.bytes()));
            let tag = TagReader::new(crate::tag::first_tag(child)).ok();
            let claimed = tag.and_then(|tag| tag.find(|name| name.is("by")));
            claimed.is_some_and(|claimed| {
                let claimed = claimed.value();
                claimed == by || Jid::parse(&claimed).is_ok_and(|claimed| claimed.as_str() == by)
            })
        };
        let mut content = BytesMut::with_capacity(self.content.len());
        let mut kept_from = Span::new(self.tag.len(), element.bytes().len());
        for span in element.stanza_ids().iter().filter(claims) {
            content.put_slice(
                Span {
                    end: span.start,
                    ..kept_from
                }
                .of(element.bytes()),
            );
            kept_from.start = span.end;
            self.children = self.children.saturating_sub(1);
        }
        content.put_slice(kept_from.of(element.bytes()));
        self.content = content.freeze();
    }
}

fn address(attribute: &Attribute<'_>) -> (Option<Jid>, Option<JidError>) {
    match Jid::parse(&attribute.value()) {
        Ok(jid) => (Some(jid), None),
        Err(error) => (None, Some(error)),
    }
}

/// Where the value stands in the tag, without its quotes.
fn value_span(attribute: &Attribute<'_>) -> Span {
    Span::new(
        attribute.end - attribute.quoted.len() + 1,
        attribute.end - 1,
    )
}

/// Appends an attribute; `start` is space, name, equals sign and the quote `'`.
fn put_attribute(out: &mut BytesMut, start: &[u8], value: &str) {
    out.put_slice(start);
    out.put_slice(escape(value).as_bytes());
    out.put_u8(b'\'');
}

/// RFC 6121, 4.7.1.
const PRESENCE_TYPES: [&str; 7] = [
    "error",
    "probe",
    "subscribe",
    "subscribed",
    "unavailable",
    "unsubscribe",
    "unsubscribed",
];

#[cfg(test)]
mod tests;

//! Stanzas: read, rewritten for the log, answered by an error (RFC 6120, 8).

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};

use crate::error::{StanzaCondition, StreamError};
use crate::framer::Element;
use crate::jid::{Jid, JidError};

/// The three stanzas.
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

/// A stanza read from a stream, checked, its start tag ready to be rewritten.
#[derive(Debug, Clone)]
pub struct Stanza {
    /// Which of the three.
    pub kind: Kind,
    /// Whether it may be answered by an error: its type is neither `error` nor `result`.
    pub answerable: bool,
    /// Sender; a stream of a client sets it before writing.
    pub from: Option<Jid>,
    /// Recipient.
    pub to: Option<Jid>,
    /// Why `to` is no address.
    pub to_fault: Option<JidError>,
    /// Why `from` is no address.
    pub from_fault: Option<JidError>,
    content: Bytes,
}

impl Stanza {
    /// Reads an element. `None`: it is no stanza.
    ///
    /// # Errors
    /// Stream errors `bad-namespace-prefix`, `invalid-namespace`, `unsupported-stanza-type`.
    pub fn parse(
        element: &Element,
        stream_lang: Option<&str>,
        content_ns: &str,
        drop_stanza_id_by: &str,
    ) -> Result<Option<Self>, StreamError> {
        let _ = (element, stream_lang, content_ns, drop_stanza_id_by);
        Ok(None)
    }

    /// The fault of the stanza itself that is answered by one error (RFC 6120, 8.2.3, 8.3.3.1, 8.3.3.8).
    pub fn reject(&self) -> Option<StanzaCondition> {
        None
    }

    /// The `id`, unescaped.
    pub fn id(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// The `type` as sent.
    pub fn stanza_type(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// Everything after the start tag, end tag included.
    pub fn content(&self) -> &Bytes {
        &self.content
    }

    /// Appends the rewritten start tag and returns its length in bytes; the content follows it.
    pub fn write_to(&self, out: &mut BytesMut) -> u32 {
        let _ = out;
        0
    }

    /// The stanza as the log carries it, in one piece.
    pub fn to_routed(&self) -> Routed {
        let mut bytes = BytesMut::new();
        let tag_len = self.write_to(&mut bytes);
        bytes.put_slice(&self.content);
        Routed {
            kind: self.kind,
            answerable: self.answerable,
            tag_len,
            bytes: bytes.freeze(),
        }
    }
}

/// A stanza as it stands in the log and in queues: `bytes[..tag_len]` is the start tag, the rest content and end tag.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// Which of the three.
    pub kind: Kind,
    /// Whether it may be answered by an error.
    pub answerable: bool,
    /// Bytes of the start tag.
    pub tag_len: u32,
    /// The whole stanza.
    pub bytes: Bytes,
}

impl Routed {
    /// Sender, unescaped.
    pub fn from(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// Recipient, unescaped.
    pub fn to(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// The `id`, unescaped.
    pub fn id(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// The `type`, unescaped.
    pub fn stanza_type(&self) -> Option<Cow<'_, str>> {
        None
    }

    /// Local name and namespace of the first child element; `None` for the namespace means that of the stream.
    pub fn payload(&self) -> Option<(Cow<'_, str>, Option<Cow<'_, str>>)> {
        None
    }

    /// The one error that answers this stanza, addresses swapped; `None` when it may not be answered.
    pub fn error_reply(&self, condition: StanzaCondition, text: Option<&str>) -> Option<Self> {
        let _ = (condition, text);
        None
    }

    /// The same, sent by `from` instead of the recipient.
    pub fn error_reply_from(
        &self,
        from: &str,
        condition: StanzaCondition,
        text: Option<&str>,
    ) -> Option<Self> {
        let _ = (from, condition, text);
        None
    }

    /// Appends start tag, `insert`, and the rest.
    pub fn write_delivery(&self, out: &mut BytesMut, insert: &[u8]) {
        let (tag, rest) = self
            .bytes
            .split_at(self.bytes.len().min(self.tag_len as usize));
        out.put_slice(tag);
        out.put_slice(insert);
        out.put_slice(rest);
    }
}

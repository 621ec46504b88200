//! A stanza as the log, queues and links carry it.

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};

use super::{Kind, put_attribute};
use crate::error::StanzaCondition;
use crate::ns;
use crate::tag::{Name, Piece, Pieces, TagReader, checked, is_empty_tag, namespace_of};
use crate::text::{escape, unescape_text};

/// A stanza as it stands in the log and in queues: `bytes[..tag_len]` is the start tag, the rest is
/// content and end tag.
///
/// It has no declaration of the content namespace, so it can be written to any stream. Made by
/// [`Stanza::write_to`](super::Stanza::write_to) or by [`error_reply`](Self::error_reply); of other
/// bytes the methods give nothing wrong, only nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Routed {
    /// Which of the three.
    pub kind: Kind,
    /// Whether it may be answered by an error: its type is neither `error` nor `result`.
    pub answerable: bool,
    /// Bytes of the start tag; `tag_len <= bytes.len()`.
    pub tag_len: u32,
    /// The whole stanza.
    pub bytes: Bytes,
}

impl Routed {
    /// Sender, unescaped; normalised when [`Stanza`](super::Stanza) wrote it.
    pub fn from(&self) -> Option<Cow<'_, str>> {
        self.attribute("from")
    }

    /// Recipient, unescaped; normalised when [`Stanza`](super::Stanza) wrote it.
    pub fn to(&self) -> Option<Cow<'_, str>> {
        self.attribute("to")
    }

    /// The `id`, unescaped.
    pub fn id(&self) -> Option<Cow<'_, str>> {
        self.attribute("id")
    }

    /// The `type`, unescaped.
    pub fn stanza_type(&self) -> Option<Cow<'_, str>> {
        self.attribute("type")
    }

    /// Local name and namespace of the first child element. The namespace is `None` when it is that
    /// of the stream.
    pub fn payload(&self) -> Option<(&str, Option<Cow<'_, str>>)> {
        let child = self.pieces().find_map(|piece| match piece {
            Piece::Start(tag) => Some(Some(tag)),
            // The first end tag belongs to the stanza itself.
            Piece::End => Some(None),
            Piece::Text(_) | Piece::CData(_) => None,
        })??;
        let name = TagReader::new(child).ok()?.name();
        Some((
            name.local,
            namespace_of(child, self.start_tag(), name.prefix),
        ))
    }

    /// The value of an attribute of the first child element, unescaped.
    pub fn payload_attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        let child = self.pieces().find_map(|piece| match piece {
            Piece::Start(tag) => Some(Some(tag)),
            Piece::End => Some(None),
            Piece::Text(_) | Piece::CData(_) => None,
        })??;
        let attribute = TagReader::new(child).ok()?.find(|found| found.is(name))?;
        Some(attribute.value())
    }

    /// The first piece of character data in the first child of this name that has the stream's namespace; `None` if there is
    /// no such child, or it begins with anything else.
    pub fn child_text(&self, name: &str) -> Option<Cow<'_, str>> {
        let mut pieces = self.pieces();
        let mut depth = 0_usize;
        while let Some(piece) = pieces.next() {
            match piece {
                Piece::Start(tag) => {
                    let found = TagReader::new(tag).ok()?.name();
                    let inherited = namespace_of(tag, self.start_tag(), found.prefix).is_none();
                    if depth == 0 && found.local == name && inherited {
                        return match pieces.next()? {
                            Piece::Text(raw) => Some(unescape_text(raw)),
                            Piece::Start(_) | Piece::End | Piece::CData(_) => None,
                        };
                    }
                    depth += usize::from(!is_empty_tag(tag.as_bytes()));
                }
                Piece::End => depth = depth.checked_sub(1)?,
                Piece::Text(_) | Piece::CData(_) => {}
            }
        }
        None
    }

    /// The one error that answers this stanza: addresses swapped, `id` kept, children not copied
    /// (RFC 6120, 8.3.1). `text` is for people, in English. `None` when it may not be answered.
    pub fn error_reply(&self, condition: StanzaCondition, text: Option<&str>) -> Option<Self> {
        self.answer_by_error(self.quoted("to"), condition, text)
    }

    /// The same, sent by `from` instead of the recipient: for a stanza without `to`, or with one
    /// that is no address.
    pub fn error_reply_from(
        &self,
        from: &str,
        condition: StanzaCondition,
        text: Option<&str>,
    ) -> Option<Self> {
        let quoted = format!("'{}'", escape(from));
        self.answer_by_error(Some(&quoted), condition, text)
    }

    /// The result that answers an IQ of type `get` or `set`; `payload` is XML, empty or one
    /// element. `None` for anything else.
    pub fn result_reply(&self, payload: &str) -> Option<Self> {
        if self.kind != Kind::Iq || !matches!(self.stanza_type().as_deref(), Some("get" | "set")) {
            return None;
        }
        Some(self.answer(self.quoted("to"), "result", |out| {
            out.put_slice(payload.as_bytes())
        }))
    }

    /// A stanza of the cluster's own; `payload` is XML of child elements.
    pub(crate) fn made(kind: Kind, attributes: &[(&str, &str)], payload: &str) -> Self {
        let mut out = BytesMut::with_capacity(128 + payload.len());
        out.put_u8(b'<');
        out.put_slice(kind.as_str().as_bytes());
        for (name, value) in attributes {
            put_attribute(&mut out, format!(" {name}='").as_bytes(), value);
        }
        out.put_u8(b'>');
        let tag_len = u32::try_from(out.len()).unwrap_or(u32::MAX);
        out.put_slice(payload.as_bytes());
        out.put_slice(kind.end_tag());
        Self {
            kind,
            answerable: true,
            tag_len,
            bytes: out.freeze(),
        }
    }

    /// The same from and to somebody else, with its own memory.
    pub(crate) fn readdressed(&self, from: &str, to: &str) -> Self {
        let mut out = BytesMut::with_capacity(self.bytes.len() + from.len() + to.len() + 32);
        out.put_u8(b'<');
        out.put_slice(self.kind.as_str().as_bytes());
        put_attribute(&mut out, b" from='", from);
        put_attribute(&mut out, b" to='", to);
        if let Ok(mut reader) = TagReader::new(self.start_tag()) {
            while let Ok(Some(attribute)) = reader.next_attribute() {
                if attribute.name.is("from") || attribute.name.is("to") {
                    continue;
                }
                out.put_u8(b' ');
                if !attribute.name.prefix.is_empty() {
                    out.put_slice(attribute.name.prefix.as_bytes());
                    out.put_u8(b':');
                }
                out.put_slice(attribute.name.local.as_bytes());
                out.put_u8(b'=');
                out.put_slice(attribute.quoted.as_bytes());
            }
        }
        out.put_u8(b'>');
        let tag_len = u32::try_from(out.len()).unwrap_or(u32::MAX);
        out.put_slice(self.parts().1);
        Self {
            kind: self.kind,
            answerable: self.answerable,
            tag_len,
            bytes: out.freeze(),
        }
    }

    /// What is in it, piece by piece, its own end tag last.
    pub(crate) fn pieces(&self) -> Pieces<'_> {
        Pieces::new(checked(self.parts().1))
    }

    /// Appends start tag, `insert`, and the rest. `insert` is XML of child elements.
    pub fn write_delivery(&self, out: &mut BytesMut, insert: &[u8]) {
        let (tag, rest) = self.parts();
        out.reserve(tag.len() + insert.len() + rest.len());
        out.put_slice(tag);
        out.put_slice(insert);
        out.put_slice(rest);
    }

    fn answer_by_error(
        &self,
        from: Option<&str>,
        condition: StanzaCondition,
        text: Option<&str>,
    ) -> Option<Self> {
        if !self.answerable {
            return None;
        }
        Some(self.answer(from, "error", |out| {
            put_attribute(out, b"<error type='", condition.error_type().as_str());
            out.put_slice(b"><");
            out.put_slice(condition.as_str().as_bytes());
            put_attribute(out, b" xmlns='", ns::STANZA_ERRORS);
            out.put_slice(b"/>");
            if let Some(text) = text {
                put_attribute(out, b"<text xmlns='", ns::STANZA_ERRORS);
                out.put_slice(b" xml:lang='en'>");
                out.put_slice(escape(text).as_bytes());
                out.put_slice(b"</text>");
            }
            out.put_slice(b"</error>");
        }))
    }

    /// A stanza back to the sender; `from` is with its quotes.
    fn answer(
        &self,
        from: Option<&str>,
        stanza_type: &str,
        payload: impl FnOnce(&mut BytesMut),
    ) -> Self {
        let mut out = BytesMut::with_capacity(self.tag_len as usize + 256);
        out.put_u8(b'<');
        out.put_slice(self.kind.as_str().as_bytes());
        let addresses = [(&b" from="[..], from), (&b" to="[..], self.quoted("from"))];
        for (name, quoted) in addresses
            .into_iter()
            .chain([(&b" id="[..], self.quoted("id"))])
        {
            if let Some(quoted) = quoted {
                out.put_slice(name);
                out.put_slice(quoted.as_bytes());
            }
        }
        put_attribute(&mut out, b" type='", stanza_type);
        out.put_u8(b'>');
        let tag_len = u32::try_from(out.len()).unwrap_or(u32::MAX);
        payload(&mut out);
        out.put_slice(self.kind.end_tag());
        Self {
            kind: self.kind,
            answerable: false,
            tag_len,
            bytes: out.freeze(),
        }
    }

    fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        let attribute = TagReader::new(self.start_tag())
            .ok()?
            .find(|found: Name<'_>| found.is(name))?;
        Some(attribute.value())
    }

    /// The attribute's value as written, with its quotes.
    fn quoted(&self, name: &str) -> Option<&str> {
        Some(
            TagReader::new(self.start_tag())
                .ok()?
                .find(|found| found.is(name))?
                .quoted,
        )
    }

    fn start_tag(&self) -> &str {
        checked(self.parts().0)
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        self.bytes
            .split_at((self.tag_len as usize).min(self.bytes.len()))
    }
}

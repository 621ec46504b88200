//! One complete child of the stream.

use std::borrow::Cow;

use bytes::Bytes;

use crate::check::{Outline, Span};
use crate::tag::{Piece, Pieces, TagReader, checked, is_empty_tag, namespace_of};
use crate::text::unescape_text;

/// A complete element, checked: namespace-well-formed XML 1.0 in UTF-8, without what RFC 6120, 11.1
/// forbids, and without prefixes that only the stream header declares, except `stream`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    bytes: Bytes,
    outline: Outline,
}

impl Element {
    pub(super) fn new(bytes: Bytes, outline: Outline) -> Self {
        Self { bytes, outline }
    }

    /// The element as sent; a slice of what the framer received.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Name without prefix.
    pub fn name(&self) -> &str {
        let start = match self.outline.prefix_len {
            0 => 1,
            prefix => prefix + 2,
        };
        checked(
            Span {
                start,
                end: self.outline.name_len + 1,
            }
            .of(&self.bytes),
        )
    }

    /// Whether the name was sent with a prefix.
    pub fn has_prefix(&self) -> bool {
        self.outline.prefix_len != 0
    }

    /// Namespace of the element; empty when it has none.
    pub fn ns(&self) -> &str {
        &self.outline.ns
    }

    /// Whether name and namespace are these.
    pub fn is(&self, name: &str, ns: &str) -> bool {
        self.name() == name && self.ns() == ns
    }

    /// Value of the attribute of this name without prefix, unescaped.
    pub fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        let attribute = TagReader::new(self.start_tag())
            .ok()?
            .find(|found| found.is(name))?;
        Some(attribute.value())
    }

    /// The character data directly inside, unescaped and joined; that of children is left out.
    pub fn text(&self) -> Cow<'_, str> {
        let mut joined: Option<Cow<'_, str>> = None;
        for piece in self.top_level() {
            let part = match piece {
                Piece::Text(raw) => unescape_text(raw),
                // No reference in it is one, but its line ends are.
                Piece::CData(raw) if raw.contains('\r') => {
                    Cow::Owned(raw.replace("\r\n", "\n").replace('\r', "\n"))
                }
                Piece::CData(raw) => Cow::Borrowed(raw),
                Piece::Start(_) | Piece::End => continue,
            };
            match &mut joined {
                None => joined = Some(part),
                Some(text) => text.to_mut().push_str(&part),
            }
        }
        joined.unwrap_or_default()
    }

    /// The first piece of character data, unescaped, in the first element at the end of a path of names: a child, a child of
    /// that, and so on, each the first of its name. Namespaces are not looked at.
    pub fn text_at(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        let content = self.bytes.get(self.outline.tag_len as usize..)?;
        let mut pieces = Pieces::new(checked(content));
        // Names of the path that are found, and elements that are open below the last of them.
        let (mut found, mut depth) = (0_usize, 0_usize);
        while let Some(piece) = pieces.next() {
            match piece {
                Piece::Start(tag) => {
                    let name = TagReader::new(tag).ok()?.name();
                    let empty = is_empty_tag(tag.as_bytes());
                    if depth == 0 && path.get(found) == Some(&name.local) && !empty {
                        found += 1;
                    } else {
                        depth += usize::from(!empty);
                    }
                    if found == path.len() {
                        return match pieces.next()? {
                            Piece::Text(raw) => Some(unescape_text(raw)),
                            Piece::Start(_) | Piece::End | Piece::CData(_) => None,
                        };
                    }
                }
                // The end of what the path led to: nothing more can be found.
                Piece::End => depth = depth.checked_sub(1)?,
                Piece::Text(_) | Piece::CData(_) => {}
            }
        }
        None
    }

    /// Number of child elements.
    pub fn child_count(&self) -> usize {
        self.outline.children as usize
    }

    /// Local name and namespace of each child element, in order.
    pub fn children(&self) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
        self.top_level().filter_map(|piece| match piece {
            Piece::Start(tag) => {
                let name = TagReader::new(tag).ok()?.name();
                // From further outside only the header's default namespace comes in.
                let ns = namespace_of(tag, self.start_tag(), name.prefix);
                Some((
                    name.local,
                    ns.unwrap_or(Cow::Borrowed(&self.outline.stream_ns)),
                ))
            }
            Piece::End | Piece::Text(_) | Piece::CData(_) => None,
        })
    }

    /// The start tag as sent.
    pub(crate) fn start_tag(&self) -> &str {
        checked(
            Span {
                start: 0,
                end: self.outline.tag_len,
            }
            .of(&self.bytes),
        )
    }

    /// Everything after the start tag, end tag included; empty for an empty element.
    pub(crate) fn content(&self) -> Bytes {
        self.bytes
            .slice((self.outline.tag_len as usize).min(self.bytes.len())..)
    }

    /// Where children `<stanza-id xmlns='urn:xmpp:sid:0'/>` stand in the bytes.
    pub(crate) fn stanza_ids(&self) -> &[Span] {
        &self.outline.stanza_ids
    }

    /// The pieces of the content that are not inside of a child; a child is its start tag alone.
    fn top_level(&self) -> impl Iterator<Item = Piece<'_>> {
        let content = self
            .bytes
            .get(self.outline.tag_len as usize..)
            .unwrap_or_default();
        let mut depth = 0_usize;
        Pieces::new(checked(content)).filter(move |piece| {
            let outer = depth;
            match piece {
                Piece::Start(tag) if !is_empty_tag(tag.as_bytes()) => depth += 1,
                Piece::End => depth = depth.saturating_sub(1),
                Piece::Start(_) | Piece::Text(_) | Piece::CData(_) => {}
            }
            outer == 0
        })
    }
}

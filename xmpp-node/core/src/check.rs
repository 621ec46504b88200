//! The strict check of one element, tag by tag: well-formed by XML 1.0 and by Namespaces in XML
//! 1.0, within the limits.
//!
//! Builds no tree: it remembers names of open elements and declarations in scope as positions in
//! the bytes it is shown, which must all begin at the same place.

mod scope;

use std::sync::Arc;

pub(crate) use self::scope::Header;
use self::scope::{Identity, Resolved, Scope};
use crate::framer::{FrameError, Limits};
use crate::ns;
use crate::tag::{Attribute, Name, TagReader, checked, is_empty_tag};
use crate::text::is_space;

/// A part of the bytes of an element: `start <= end`, both in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    /// An element has less than 4 GiB, as [`Limits`] ensure.
    pub(crate) fn new(start: usize, end: usize) -> Self {
        let narrow = |position| u32::try_from(position).unwrap_or(u32::MAX);
        Self {
            start: narrow(start),
            end: narrow(end),
        }
    }

    pub(crate) fn len(self) -> u32 {
        self.end - self.start
    }

    pub(crate) fn is_empty(self) -> bool {
        self.start == self.end
    }

    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        bytes
            .get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }
}

/// What the check found out about a complete element.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Outline {
    /// Bytes of the start tag.
    pub(crate) tag_len: u32,
    /// Bytes of the name with its prefix.
    pub(crate) name_len: u32,
    /// Bytes of the prefix, 0 if there is none.
    pub(crate) prefix_len: u32,
    /// Namespace of the element, empty if it has none.
    pub(crate) ns: Arc<str>,
    /// Default namespace of the stream.
    pub(crate) stream_ns: Arc<str>,
    /// Number of child elements.
    pub(crate) children: u32,
    /// Child elements `<stanza-id xmlns='urn:xmpp:sid:0'/>`.
    pub(crate) stanza_ids: Vec<Span>,
}

/// The state of the check between two tags.
#[derive(Debug)]
pub(crate) struct Checker {
    limits: Limits,
    scope: Scope,
    open: Vec<Open>,
    outline: Outline,
    /// Where a child `stanza-id` that is still open begins.
    stanza_id: Option<u32>,
    /// The attributes of the present tag; kept only to save allocations.
    attributes: Vec<Seen>,
}

/// An element whose end tag is still to come.
#[derive(Debug)]
struct Open {
    name: Span,
    /// Number of declarations in scope outside of the element.
    outer_scope: usize,
}

/// An attribute of the present tag.
#[derive(Debug)]
struct Seen {
    name: Span,
    local: Span,
    /// Of attributes with a prefix that is not `xmlns`.
    namespace: Option<Identity>,
}

impl Checker {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            scope: Scope::default(),
            open: Vec::new(),
            outline: Outline::default(),
            stanza_id: None,
            attributes: Vec::new(),
        }
    }

    /// Number of open elements.
    pub(crate) fn depth(&self) -> usize {
        self.open.len()
    }

    /// Begins anew, for elements inside a stream with this header.
    pub(crate) fn enter(&mut self, header: Header) {
        self.scope = Scope::new(header);
        self.open.clear();
        self.take_outline();
    }

    /// The outline of the element that was just completed.
    pub(crate) fn take_outline(&mut self) -> Outline {
        self.stanza_id = None;
        std::mem::take(&mut self.outline)
    }

    /// Checks the start tag `bytes[span]`. True: it completed the outermost element.
    pub(crate) fn start_tag(&mut self, bytes: &[u8], span: Span) -> Result<bool, FrameError> {
        self.open_tag(bytes, span)?;
        Ok(is_empty_tag(span.of(bytes)) && self.close(span.end))
    }

    /// Checks the start tag `bytes[span]` and leaves its element open, also if the tag is empty.
    pub(crate) fn open_tag(&mut self, bytes: &[u8], span: Span) -> Result<(), FrameError> {
        if self.open.len() >= self.limits.max_depth {
            return Err(FrameError::LimitExceeded("elements are nested too deeply"));
        }
        let tag = str::from_utf8(span.of(bytes)).map_err(|_| FrameError::UnsupportedEncoding)?;
        let base = span.start as usize;
        let outer_scope = self.scope.len();
        let mut reader = TagReader::new(tag)?;
        let name = reader.name();
        self.check_name(name)?;
        self.read_attributes(&mut reader, base, bytes)?;
        let resolved = self.scope.resolve(name.prefix, bytes)?;
        let element = Span::new(base + 1, base + 1 + name.len());
        match self.open.len() {
            0 => self.begin_outline(span, name, resolved, bytes),
            1 => {
                self.outline.children += 1;
                if name.local == "stanza-id" && self.scope.uri(resolved, bytes) == ns::STANZA_ID {
                    self.stanza_id = Some(span.start);
                }
            }
            _ => {}
        }
        self.open.push(Open {
            name: element,
            outer_scope,
        });
        Ok(())
    }

    /// Checks the end tag `bytes[span]`. True: it completed the outermost element.
    pub(crate) fn end_tag(&mut self, bytes: &[u8], span: Span) -> Result<bool, FrameError> {
        let expected = self
            .open
            .last()
            .map(|open| open.name.of(bytes))
            .unwrap_or_default();
        if end_tag_name(span.of(bytes)) != expected {
            return Err(FrameError::NotWellFormed("end tag without its start tag"));
        }
        Ok(self.close(span.end))
    }

    /// Namespace of an attribute of the outermost start tag, for the stream header.
    pub(crate) fn attribute_ns<'a>(&'a self, name: Name<'_>, bytes: &'a [u8]) -> &'a str {
        match self.scope.resolve(name.prefix, bytes) {
            Ok(resolved) if !name.prefix.is_empty() => self.scope.uri(resolved, bytes),
            _ => "",
        }
    }

    fn begin_outline(&mut self, tag: Span, name: Name<'_>, resolved: Resolved, bytes: &[u8]) {
        self.outline.tag_len = tag.len();
        self.outline.name_len = Span::new(0, name.len()).end;
        self.outline.prefix_len = Span::new(0, name.prefix.len()).end;
        self.outline.stream_ns = Arc::clone(self.scope.header_default());
        self.outline.ns = match resolved {
            Resolved::HeaderDefault => Arc::clone(self.scope.header_default()),
            other => Arc::from(self.scope.uri(other, bytes)),
        };
    }

    /// Forgets the innermost element, which ends at `end`. True: it was the outermost.
    fn close(&mut self, end: u32) -> bool {
        if let Some(open) = self.open.pop() {
            self.scope.truncate(open.outer_scope);
        }
        if self.open.len() == 1
            && let Some(start) = self.stanza_id.take()
        {
            self.outline.stanza_ids.push(Span { start, end });
        }
        self.open.is_empty()
    }

    fn check_name(&self, name: Name<'_>) -> Result<(), FrameError> {
        if name.len() > self.limits.max_name_bytes {
            return Err(FrameError::LimitExceeded("name is too long"));
        }
        Ok(())
    }

    /// Checks the attributes and declares the namespaces of a tag that begins at `base`.
    fn read_attributes(
        &mut self,
        reader: &mut TagReader<'_>,
        base: usize,
        bytes: &[u8],
    ) -> Result<(), FrameError> {
        self.attributes.clear();
        let mut prefixed = false;
        while let Some(attribute) = reader.next_attribute()? {
            if self.attributes.len() >= self.limits.max_attributes {
                return Err(FrameError::LimitExceeded("too many attributes"));
            }
            self.check_name(attribute.name)?;
            let start = base + attribute.start;
            let end = start + attribute.name.len();
            let name = Span::new(start, end);
            let local = Span::new(end - attribute.name.local.len(), end);
            if self
                .attributes
                .iter()
                .any(|other| other.name.of(bytes) == name.of(bytes))
            {
                return Err(FrameError::NotWellFormed("attribute occurs twice"));
            }
            match attribute.name.prefix {
                "xmlns" => self.declare(&attribute, local, base, bytes)?,
                "" if attribute.name.local == "xmlns" => {
                    self.declare(&attribute, Span::default(), base, bytes)?;
                }
                "" => {}
                _ => prefixed = true,
            }
            self.attributes.push(Seen {
                name,
                local,
                namespace: None,
            });
        }
        // Only now all declarations of the tag are known.
        if prefixed {
            self.resolve_attributes(bytes)
        } else {
            Ok(())
        }
    }

    fn declare(
        &mut self,
        attribute: &Attribute<'_>,
        prefix: Span,
        base: usize,
        bytes: &[u8],
    ) -> Result<(), FrameError> {
        let raw = attribute.raw();
        let end = base + attribute.end - 1;
        self.scope
            .declare(bytes, prefix, Span::new(end - raw.len(), end), raw)
    }

    /// Finds the namespaces of attributes with a prefix and refuses two of the same expanded name
    /// (Namespaces in XML 1.0, 6.3).
    fn resolve_attributes(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        for index in 0..self.attributes.len() {
            let (earlier, rest) = self.attributes.split_at_mut(index);
            let attribute = &mut rest[0];
            if attribute.local.start == attribute.name.start {
                continue;
            }
            let before_colon = Span {
                end: attribute.local.start - 1,
                ..attribute.name
            };
            let prefix = checked(before_colon.of(bytes));
            if prefix == "xmlns" {
                continue;
            }
            let namespace = Some(self.scope.identity(self.scope.resolve(prefix, bytes)?));
            let local = attribute.local.of(bytes);
            if earlier
                .iter()
                .any(|other| other.namespace == namespace && other.local.of(bytes) == local)
            {
                return Err(FrameError::NotWellFormed(
                    "attribute occurs twice in one namespace",
                ));
            }
            attribute.namespace = namespace;
        }
        Ok(())
    }
}

/// The name in a start tag `<name a='b'>`.
pub(crate) fn start_tag_name(tag: &[u8]) -> &[u8] {
    let name = tag.get(1..).unwrap_or_default();
    let end = name
        .iter()
        .position(|byte| is_space(*byte) || matches!(byte, b'/' | b'>'));
    &name[..end.unwrap_or(name.len())]
}

/// The name in an end tag `</name >`.
pub(crate) fn end_tag_name(tag: &[u8]) -> &[u8] {
    let name = tag.get(2..tag.len().saturating_sub(1)).unwrap_or_default();
    let end = name
        .iter()
        .rposition(|byte| !is_space(*byte))
        .map_or(0, |last| last + 1);
    &name[..end]
}

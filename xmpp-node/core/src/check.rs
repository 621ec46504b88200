//! The strict check of one element, tag by tag: well-formed by XML 1.0 and by Namespaces in XML 1.0,
//! within the limits.
//!
//! Builds no tree: it remembers names of open elements and declarations in scope as positions in the
//! bytes it is shown, which must all begin at the same place.

use std::sync::Arc;

use crate::framer::{FrameError, Limits};
use crate::ns;
use crate::tag::{Name, TagReader, checked, is_empty_tag};
use crate::text::unescape_attribute;

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
    header: Header,
    open: Vec<Open>,
    bindings: Vec<Binding>,
    outline: Outline,
    /// Where a child `stanza-id` that is still open begins.
    stanza_id: Option<u32>,
    /// Names of the attributes of the present tag: kept only to save allocations.
    attributes: Vec<Attribute>,
}

/// What the stream header declared.
#[derive(Debug, Default)]
pub(crate) struct Header {
    /// Default namespace.
    pub(crate) default: Arc<str>,
    /// Whether `stream` is bound, which is so once the header was read.
    pub(crate) stream: bool,
    /// Other prefixes. No element may use them: it could not be passed on to another stream.
    pub(crate) others: Vec<Box<str>>,
}

/// An element whose end tag is still to come.
#[derive(Debug)]
struct Open {
    name: Span,
    /// Number of declarations in scope outside of the element.
    outer_bindings: usize,
}

/// A namespace declaration; the prefix is empty for the default namespace.
#[derive(Debug)]
struct Binding {
    prefix: Span,
    uri: Uri,
    /// Equal for declarations with a prefix whose namespaces are equal.
    identity: usize,
}

/// A namespace name: where it stands, or its text if it was written with references.
#[derive(Debug)]
enum Uri {
    At(Span),
    Text(Box<str>),
}

#[derive(Debug)]
struct Attribute {
    name: Span,
    prefix_len: u32,
    identity: usize,
}

impl Checker {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            header: Header::default(),
            open: Vec::new(),
            bindings: Vec::new(),
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
        self.header = header;
        self.open.clear();
        self.bindings.clear();
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
        let outer_bindings = self.bindings.len();
        let mut reader = TagReader::new(tag)?;
        let name = reader.name();
        self.check_name(name)?;
        let prefixed = self.read_attributes(&mut reader, base, bytes)?;
        if prefixed {
            self.resolve_attributes(bytes)?;
        }
        let element = Span::new(base + 1, base + 1 + whole_len(name));
        let resolved = self.resolve(name.prefix, bytes)?;
        let is_stanza_id = self.open.len() == 1
            && name.local == "stanza-id"
            && self.uri(resolved, bytes) == ns::STANZA_ID;
        match self.open.len() {
            0 => {
                self.outline.tag_len = span.end - span.start;
                self.outline.name_len = element.end - element.start;
                self.outline.prefix_len = Span::new(0, name.prefix.len()).end;
                self.outline.stream_ns = Arc::clone(&self.header.default);
                self.outline.ns = match resolved {
                    Resolved::HeaderDefault => Arc::clone(&self.header.default),
                    other => Arc::from(self.uri(other, bytes)),
                };
            }
            1 => self.outline.children += 1,
            _ => {}
        }
        if is_stanza_id {
            self.stanza_id = Some(span.start);
        }
        self.open.push(Open {
            name: element,
            outer_bindings,
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
        match name.prefix {
            "" => "",
            prefix => self
                .resolve(prefix, bytes)
                .map(|found| self.uri(found, bytes))
                .unwrap_or_default(),
        }
    }

    /// Forgets the innermost element, which ends at `end`.
    fn close(&mut self, end: u32) -> bool {
        if let Some(open) = self.open.pop() {
            self.bindings.truncate(open.outer_bindings);
        }
        if self.open.len() == 1
            && let Some(start) = self.stanza_id.take()
        {
            self.outline.stanza_ids.push(Span { start, end });
        }
        self.open.is_empty()
    }

    fn check_name(&self, name: Name<'_>) -> Result<(), FrameError> {
        if whole_len(name) > self.limits.max_name_bytes {
            return Err(FrameError::LimitExceeded("name is too long"));
        }
        Ok(())
    }

    /// Collects the attributes and declares the namespaces of a tag that begins at `base`. True: an
    /// attribute has a prefix.
    fn read_attributes(
        &mut self,
        reader: &mut TagReader<'_>,
        base: usize,
        bytes: &[u8],
    ) -> Result<bool, FrameError> {
        self.attributes.clear();
        let mut prefixed = false;
        while let Some(attribute) = reader.next_attribute()? {
            if self.attributes.len() >= self.limits.max_attributes {
                return Err(FrameError::LimitExceeded("too many attributes"));
            }
            let name = attribute.name;
            self.check_name(name)?;
            let start = base + attribute.start;
            let span = Span::new(start, start + whole_len(name));
            if self
                .attributes
                .iter()
                .any(|other| other.name.of(bytes) == span.of(bytes))
            {
                return Err(FrameError::NotWellFormed("attribute occurs twice"));
            }
            let mut prefix_len = 0;
            if name.prefix == "xmlns" || name.is("xmlns") {
                let prefix = if name.is("xmlns") {
                    Span::default()
                } else {
                    local_of(span, name)
                };
                let end = base + attribute.end - 1;
                let raw = attribute.raw();
                self.declare(bytes, prefix, Span::new(end - raw.len(), end), raw)?;
            } else if !name.prefix.is_empty() {
                prefix_len = Span::new(0, name.prefix.len()).end;
                prefixed = true;
            }
            self.attributes.push(Attribute {
                name: span,
                prefix_len,
                identity: 0,
            });
        }
        Ok(prefixed)
    }

    /// Brings a declaration into scope (Namespaces in XML 1.0, 3).
    fn declare(
        &mut self,
        bytes: &[u8],
        prefix: Span,
        at: Span,
        raw: &str,
    ) -> Result<(), FrameError> {
        if self.bindings.len() >= MAX_BINDINGS {
            return Err(FrameError::LimitExceeded("too many namespace declarations"));
        }
        let uri = match unescape_attribute(raw) {
            std::borrow::Cow::Borrowed(_) => Uri::At(at),
            std::borrow::Cow::Owned(text) => Uri::Text(text.into()),
        };
        let name = uri.text(bytes);
        let allowed = match prefix.of(bytes) {
            b"xml" => name == ns::XML,
            b"xmlns" => false,
            [] => name != ns::XML && name != ns::XMLNS,
            _ => !name.is_empty() && name != ns::XML && name != ns::XMLNS,
        };
        if !allowed {
            return Err(FrameError::NotWellFormed(
                "namespace declaration that is not allowed",
            ));
        }
        let identity = if prefix == Span::default() {
            DEFAULT_IDENTITY
        } else if name == ns::XML {
            XML_IDENTITY
        } else if name == ns::STREAMS {
            STREAMS_IDENTITY
        } else {
            let own = FIRST_IDENTITY + self.bindings.len();
            self.bindings
                .iter()
                .find(|other| other.identity >= FIRST_IDENTITY && other.uri.text(bytes) == name)
                .map_or(own, |other| other.identity)
        };
        self.bindings.push(Binding {
            prefix,
            uri,
            identity,
        });
        Ok(())
    }

    /// Finds the namespaces of attributes with a prefix and refuses two of the same expanded name
    /// (Namespaces in XML 1.0, 6.3).
    fn resolve_attributes(&mut self, bytes: &[u8]) -> Result<(), FrameError> {
        for index in 0..self.attributes.len() {
            let Attribute {
                name, prefix_len, ..
            } = self.attributes[index];
            if prefix_len == 0 {
                continue;
            }
            let prefix = checked(
                Span {
                    end: name.start + prefix_len,
                    ..name
                }
                .of(bytes),
            );
            let identity = match self.resolve(prefix, bytes)? {
                Resolved::Xml => XML_IDENTITY,
                Resolved::Streams => STREAMS_IDENTITY,
                Resolved::Binding(binding) => self.bindings[binding].identity,
                // Only the empty prefix gives it.
                Resolved::HeaderDefault => DEFAULT_IDENTITY,
            };
            let local = Span {
                start: name.start + prefix_len + 1,
                ..name
            }
            .of(bytes);
            let same = |other: &Attribute| {
                other.identity == identity
                    && other.prefix_len != 0
                    && Span {
                        start: other.name.start + other.prefix_len + 1,
                        ..other.name
                    }
                    .of(bytes)
                        == local
            };
            if self.attributes[..index].iter().any(same) {
                return Err(FrameError::NotWellFormed(
                    "attribute occurs twice in one namespace",
                ));
            }
            self.attributes[index].identity = identity;
        }
        Ok(())
    }

    /// What a prefix stands for, innermost declaration first.
    fn resolve(&self, prefix: &str, bytes: &[u8]) -> Result<Resolved, FrameError> {
        let declared = |binding: &Binding| binding.prefix.of(bytes) == prefix.as_bytes();
        if let Some(index) = self.bindings.iter().rposition(declared) {
            return Ok(Resolved::Binding(index));
        }
        match prefix {
            "" => Ok(Resolved::HeaderDefault),
            "xml" => Ok(Resolved::Xml),
            "stream" if self.header.stream => Ok(Resolved::Streams),
            _ if self.header.others.iter().any(|other| **other == *prefix) => {
                Err(FrameError::BadNamespacePrefix)
            }
            _ => Err(FrameError::NotWellFormed("prefix without a declaration")),
        }
    }

    fn uri<'a>(&'a self, resolved: Resolved, bytes: &'a [u8]) -> &'a str {
        match resolved {
            Resolved::HeaderDefault => &self.header.default,
            Resolved::Xml => ns::XML,
            Resolved::Streams => ns::STREAMS,
            Resolved::Binding(index) => self.bindings[index].uri.text(bytes),
        }
    }
}

/// What a prefix was found to stand for.
#[derive(Debug, Clone, Copy)]
enum Resolved {
    HeaderDefault,
    Xml,
    Streams,
    /// Index into the declarations in scope.
    Binding(usize),
}

impl Uri {
    fn text<'a>(&'a self, bytes: &'a [u8]) -> &'a str {
        match self {
            Self::At(span) => checked(span.of(bytes)),
            Self::Text(text) => text,
        }
    }
}

/// The name in an end tag `</name >`.
pub(crate) fn end_tag_name(tag: &[u8]) -> &[u8] {
    let name = tag.get(2..tag.len().saturating_sub(1)).unwrap_or_default();
    let end = name
        .iter()
        .rposition(|byte| !crate::text::is_space(*byte))
        .map_or(0, |last| last + 1);
    &name[..end]
}

fn whole_len(name: Name<'_>) -> usize {
    match name.prefix.len() {
        0 => name.local.len(),
        prefix => prefix + 1 + name.local.len(),
    }
}

/// Where the local part of `name`, which stands at `whole`, stands.
fn local_of(whole: Span, name: Name<'_>) -> Span {
    Span::new(whole.end as usize - name.local.len(), whole.end as usize)
}

/// Declarations in scope at one place: each prefix used costs a search among them.
const MAX_BINDINGS: usize = 128;

const DEFAULT_IDENTITY: usize = 0;
const XML_IDENTITY: usize = 1;
const STREAMS_IDENTITY: usize = 2;
const FIRST_IDENTITY: usize = 3;

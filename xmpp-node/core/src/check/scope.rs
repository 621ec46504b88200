//! Namespace declarations in scope (Namespaces in XML 1.0, 3 to 6).

use std::borrow::Cow;
use std::sync::Arc;

use super::Span;
use crate::framer::FrameError;
use crate::ns;
use crate::tag::checked;
use crate::text::unescape_attribute;

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

/// The declarations of the header and of the open elements.
#[derive(Debug, Default)]
pub(super) struct Scope {
    header: Header,
    bindings: Vec<Binding>,
}

/// A declaration by an element; the prefix is empty for the default namespace.
#[derive(Debug)]
struct Binding {
    prefix: Span,
    uri: Uri,
    identity: Identity,
}

/// A namespace name: where it stands, or its text if it was written with references.
#[derive(Debug)]
enum Uri {
    At(Span),
    Text(Box<str>),
}

/// What a prefix was found to stand for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Resolved {
    HeaderDefault,
    Xml,
    Streams,
    /// Index into the declarations of elements.
    Binding(usize),
}

/// The namespace of a prefix as a number: equal for two prefixes in scope exactly if their
/// namespaces are equal. Names are compared once, at the declaration; at each use, a few bytes of
/// the peer would cost us comparisons of long names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    Default,
    Xml,
    Streams,
    /// Index of the first declaration in scope with this namespace.
    Declared(usize),
}

impl Scope {
    pub(super) fn new(header: Header) -> Self {
        Self {
            header,
            bindings: Vec::new(),
        }
    }

    /// Number of declarations by elements.
    pub(super) fn len(&self) -> usize {
        self.bindings.len()
    }

    /// Leaves elements: only the first `len` declarations stay.
    pub(super) fn truncate(&mut self, len: usize) {
        self.bindings.truncate(len);
    }

    /// Default namespace of the stream.
    pub(super) fn header_default(&self) -> &Arc<str> {
        &self.header.default
    }

    /// Brings a declaration into scope. `at` is where its value `raw` stands; `prefix` is empty for
    /// the default namespace.
    pub(super) fn declare(
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
            Cow::Borrowed(_) => Uri::At(at),
            Cow::Owned(text) => Uri::Text(text.into()),
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
        let identity = match name {
            _ if prefix.is_empty() => Identity::Default,
            ns::XML => Identity::Xml,
            ns::STREAMS => Identity::Streams,
            _ => {
                let same = |other: &&Binding| {
                    matches!(other.identity, Identity::Declared(_)) && other.uri.text(bytes) == name
                };
                let first = self.bindings.iter().find(same);
                first.map_or(Identity::Declared(self.bindings.len()), |first| {
                    first.identity
                })
            }
        };
        self.bindings.push(Binding {
            prefix,
            uri,
            identity,
        });
        Ok(())
    }

    /// What a prefix stands for, innermost declaration first.
    pub(super) fn resolve(&self, prefix: &str, bytes: &[u8]) -> Result<Resolved, FrameError> {
        let declares = |binding: &Binding| binding.prefix.of(bytes) == prefix.as_bytes();
        if let Some(index) = self.bindings.iter().rposition(declares) {
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

    /// The namespace name of what was resolved.
    pub(super) fn uri<'a>(&'a self, resolved: Resolved, bytes: &'a [u8]) -> &'a str {
        match resolved {
            Resolved::HeaderDefault => &self.header.default,
            Resolved::Xml => ns::XML,
            Resolved::Streams => ns::STREAMS,
            Resolved::Binding(index) => self.bindings[index].uri.text(bytes),
        }
    }

    /// See [`Identity`].
    pub(super) fn identity(&self, resolved: Resolved) -> Identity {
        match resolved {
            Resolved::HeaderDefault => Identity::Default,
            Resolved::Xml => Identity::Xml,
            Resolved::Streams => Identity::Streams,
            Resolved::Binding(index) => self.bindings[index].identity,
        }
    }
}

impl Uri {
    fn text<'a>(&'a self, bytes: &'a [u8]) -> &'a str {
        match self {
            Self::At(span) => checked(span.of(bytes)),
            Self::Text(text) => text,
        }
    }
}

/// Declarations in scope at one place: each prefix used costs a search among them.
const MAX_BINDINGS: usize = 128;

//! Bytes of a stream to frames: header, elements, end (RFC 6120, 4 and 11).

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};

/// Bounds on what a peer may send, checked before anything is built from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one child of the stream; at least 10 000 (RFC 6120, 13.12), by default 262 144.
    pub max_stanza_bytes: usize,
    /// Levels of elements inside the stream, the stanza itself being level 1; by default 64.
    pub max_depth: usize,
    /// Attributes and namespace declarations of one start tag; by default 64.
    pub max_attributes: usize,
    /// Bytes of one name with its prefix; by default 256.
    pub max_name_bytes: usize,
    /// Bytes of the stream header, and of the XML declaration; by default 4096.
    pub max_header_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_stanza_bytes: 262_144,
            max_depth: 64,
            max_attributes: 64,
            max_name_bytes: 256,
            max_header_bytes: 4096,
        }
    }
}

/// What a stream consists of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// The stream header.
    Open(StreamHeader),
    /// A complete child of the stream: a stanza or what a negotiation needs.
    Element(Element),
    /// The end of the stream; nothing may follow.
    Close,
}

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
    /// Whether XEP-0198 is asked for or granted for a component: `{urn:xmppcluster:management:0}management='1'`.
    pub management: bool,
    /// Whether prefixes other than `stream`, `xml`, `db` and one for our management namespace are declared.
    pub foreign_prefixes: bool,
}

/// A complete element, checked: namespace-well-formed XML 1.0 in UTF-8 without what RFC 6120, 11.1 forbids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    bytes: Bytes,
    tag_len: u32,
}

impl Element {
    /// The element as sent.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Name without prefix.
    pub fn name(&self) -> &str {
        ""
    }

    /// Whether the name was sent with a prefix.
    pub fn has_prefix(&self) -> bool {
        false
    }

    /// Namespace of the element; empty when it has none.
    pub fn ns(&self) -> &str {
        ""
    }

    /// Whether name and namespace are these.
    pub fn is(&self, name: &str, ns: &str) -> bool {
        self.name() == name && self.ns() == ns
    }

    /// Value of the attribute without prefix of this name, unescaped.
    pub fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        let _ = name;
        None
    }

    /// The character data directly inside, unescaped and joined; that of children is left out.
    pub fn text(&self) -> Cow<'_, str> {
        Cow::Borrowed("")
    }

    /// Number of child elements.
    pub fn child_count(&self) -> usize {
        0
    }
}

/// Cuts a byte stream into frames.
#[derive(Debug)]
pub struct Framer {
    limits: Limits,
    buffer: BytesMut,
}

impl Framer {
    /// A framer at the start of a stream.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            buffer: BytesMut::new(),
        }
    }

    /// Where received bytes are appended; nothing else may be done to it.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next frame, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`]; from then on every call returns the same error.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let _ = self.limits;
        Ok(None)
    }

    /// Whether no byte waits for others to come: must hold when TLS starts (RFC 6120, 5.4.3.3).
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Expects a new stream header: the stream restarts (RFC 6120, 4.3.3). Bytes already received stay.
    pub fn reset(&mut self) {}
}

/// What is wrong with received bytes; always the peer's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum FrameError {
    /// Not well-formed XML, or not by Namespaces in XML.
    #[error("XML is not well-formed: {0}")]
    NotWellFormed(&'static str),
    /// Well-formed, but no part of a stream.
    #[error("text or element where a stream has none")]
    BadFormat,
    /// Comment, processing instruction, DTD or a reference to an entity that is not predefined.
    #[error("comments, processing instructions, DTDs and entities are not allowed")]
    RestrictedXml,
    /// A bound of [`Limits`].
    #[error("{0}")]
    LimitExceeded(&'static str),
    /// The header's prefix is not `stream`, or an element uses a prefix that the header declared.
    #[error("namespace prefix is not supported here")]
    BadNamespacePrefix,
    /// The header's namespace is not that of streams.
    #[error("namespace of the stream is not supported")]
    InvalidNamespace,
    /// Not UTF-8.
    #[error("encoding is not UTF-8")]
    UnsupportedEncoding,
}

//! Bytes of a stream to frames: header, elements, end (RFC 6120, 4 and 11).
//!
//! One incremental machine over one buffer. The scanner finds the end of each token without looking
//! at a byte twice; a complete token is checked at once against XML 1.0, Namespaces in XML 1.0, the
//! restrictions of RFC 6120, 11.1 and the limits; a complete element is cut out of the buffer
//! without copying. So whoever gets an [`Element`] may trust it, and a peer cannot make us keep
//! more than the limits say.
//!
//! | Where | Allowed | Gives |
//! |---|---|---|
//! | beginning | XML declaration, white space, header | [`Frame::Open`] |
//! | between elements | white space (dropped at once), element, end of stream | [`Frame::Element`], [`Frame::Close`] |
//! | inside an element | elements, text, CDATA | |
//! | after the end | white space | |
//!
//! Deliberately unknown here: sockets, which content namespace is right, what an element means.

mod element;
mod header;
mod scan;

use bytes::{Buf, BytesMut};

pub use self::element::Element;
pub use self::header::StreamHeader;
use self::scan::{Place, Scanner, Token, TokenKind};
use crate::check::{Checker, Header, Span, end_tag_name, start_tag_name};
use crate::tag::is_empty_tag;
use crate::text::{check_characters, check_text, is_space};

/// Bounds on what a peer may send, checked before anything is built from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one child of the stream, 10 000 (RFC 6120, 13.12) to 1 GiB, by default 262 144. A
    /// value outside is taken as the nearer bound.
    pub max_stanza_bytes: usize,
    /// Levels of elements inside the stream, the stanza itself being level 1; by default 64.
    pub max_depth: usize,
    /// Attributes and namespace declarations of one start tag; by default 64.
    pub max_attributes: usize,
    /// Bytes of one name with its prefix; by default 256.
    pub max_name_bytes: usize,
    /// Bytes of the stream header, and of the XML declaration; at most 1 GiB, by default 4096.
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
    /// The end of the stream; nothing but white space may follow.
    Close,
}

/// Cuts a byte stream into frames.
#[derive(Debug)]
pub struct Framer {
    limits: Limits,
    buffer: BytesMut,
    scanner: Scanner,
    checker: Checker,
    stage: Stage,
    failed: Option<FrameError>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Before the first byte.
    Beginning,
    /// As that, of a stream that restarts: white space still belongs to the one before.
    Again,
    /// Before the header.
    Prolog,
    /// After the header.
    Open,
    /// After a header that was an empty tag: the end is to be reported.
    Ending,
    /// After the end.
    Ended,
}

impl Framer {
    /// A framer at the beginning of a stream.
    pub fn new(limits: Limits) -> Self {
        let limits = Limits {
            max_stanza_bytes: limits.max_stanza_bytes.clamp(MIN_STANZA_BYTES, MAX_BYTES),
            max_header_bytes: limits.max_header_bytes.min(MAX_BYTES),
            ..limits
        };
        Self {
            limits,
            buffer: BytesMut::new(),
            scanner: Scanner::default(),
            checker: Checker::new(limits),
            stage: Stage::Beginning,
            failed: None,
        }
    }

    /// Where received bytes are appended. The caller reserves room as it likes and must not take
    /// away or change what is there.
    pub fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// The next frame, or `None` when more bytes are needed.
    ///
    /// # Errors
    /// [`FrameError`]; from then on every call returns the same error.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let result = self.advance();
        self.failed = result.as_ref().err().copied();
        result
    }

    /// Whether no byte waits for others to come. When a stream changes to TLS this must hold after
    /// `<starttls/>`, or bytes sent in plain would be taken as protected (RFC 6120, 5.4.3.3).
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Expects a new header: the stream restarts (RFC 6120, 4.3.3). Bytes already received stay; white space before the
    /// header ends what came before, as some clients end every line.
    pub fn reset(&mut self) {
        self.scanner = Scanner::default();
        self.checker.enter(Header::default());
        self.stage = Stage::Again;
    }

    fn advance(&mut self) -> Result<Option<Frame>, FrameError> {
        if self.stage == Stage::Ending {
            self.stage = Stage::Ended;
            return Ok(Some(Frame::Close));
        }
        loop {
            if self.checker.depth() == 0 && self.scanner.at() == 0 {
                self.skip_between()?;
            }
            let place = match self.checker.depth() {
                0 if matches!(self.stage, Stage::Beginning | Stage::Again) => Place::Beginning,
                0 => Place::Between,
                _ => Place::Inside,
            };
            let limit = self.limit();
            let token = match self.scanner.next(&self.buffer, place) {
                Ok(Some(token)) if token.end <= limit => token,
                Ok(None) if self.buffer.len() <= limit => return Ok(None),
                Err(error) if self.scanner.at() <= limit => return Err(error),
                _ => return Err(self.too_long()),
            };
            if let Some(frame) = self.take(token)? {
                return Ok(Some(frame));
            }
        }
    }

    /// Drops white space, and refuses everything else that begins no tag.
    fn skip_between(&mut self) -> Result<(), FrameError> {
        let spaces = self
            .buffer
            .iter()
            .take_while(|byte| is_space(**byte))
            .count();
        if spaces > 0 {
            self.buffer.advance(spaces);
            if self.stage == Stage::Beginning {
                self.stage = Stage::Prolog;
            }
        }
        match (self.buffer.first(), self.stage) {
            (None, _) => Ok(()),
            (Some(b'<'), Stage::Beginning | Stage::Again | Stage::Prolog | Stage::Open) => Ok(()),
            (Some(b'<'), _) => Err(FrameError::NotWellFormed(
                "something follows the end of the stream",
            )),
            // How UTF-16 and UTF-32 begin, with a byte order mark or without.
            (Some(0xfe | 0xff | 0), Stage::Beginning | Stage::Again) => {
                Err(FrameError::UnsupportedEncoding)
            }
            (Some(_), Stage::Open) => Err(FrameError::BadFormat),
            (Some(_), _) => Err(FrameError::NotWellFormed("text outside of the stream")),
        }
    }

    /// Checks a token; gives the frame that it completes.
    fn take(&mut self, token: Token) -> Result<Option<Frame>, FrameError> {
        let span = Span::new(token.start, token.end);
        let bytes = span.of(&self.buffer);
        let completed = match token.kind {
            TokenKind::Text => {
                check_text(utf8(bytes)?)?;
                false
            }
            TokenKind::CData => {
                check_characters(utf8(bytes)?)?;
                false
            }
            TokenKind::Declaration => {
                header::check_declaration(bytes)?;
                self.cut(token.end);
                self.stage = Stage::Prolog;
                false
            }
            TokenKind::StartTag if self.stage == Stage::Open => {
                if self.checker.depth() == 0 && start_tag_name(bytes) == HEADER_NAME {
                    // A second header. As an element it would swallow everything up to its end, silently.
                    return Err(FrameError::BadFormat);
                }
                self.checker.start_tag(&self.buffer, span)?
            }
            TokenKind::StartTag => return self.open(span).map(Some),
            TokenKind::EndTag if self.checker.depth() > 0 => {
                self.checker.end_tag(&self.buffer, span)?
            }
            TokenKind::EndTag
                if self.stage == Stage::Open && end_tag_name(bytes) == HEADER_NAME =>
            {
                self.cut(token.end);
                self.stage = Stage::Ended;
                return Ok(Some(Frame::Close));
            }
            TokenKind::EndTag => {
                return Err(FrameError::NotWellFormed("end tag without its start tag"));
            }
        };
        if !completed {
            return Ok(None);
        }
        let outline = self.checker.take_outline();
        let bytes = self.cut(token.end).freeze();
        Ok(Some(Frame::Element(Element::new(bytes, outline))))
    }

    /// Reads the stream header.
    fn open(&mut self, span: Span) -> Result<Frame, FrameError> {
        let mut checker = Checker::new(self.limits);
        checker.open_tag(&self.buffer, span)?;
        let ends = is_empty_tag(span.of(&self.buffer));
        let root_ns = checker.take_outline().ns;
        let (header, scope) = header::read(&checker, &root_ns, &self.buffer, span)?;
        self.checker.enter(scope);
        self.cut(span.end as usize);
        self.stage = if ends { Stage::Ending } else { Stage::Open };
        Ok(Frame::Open(header))
    }

    /// Takes the first `length` bytes out of the buffer; the scanner begins anew behind them.
    fn cut(&mut self, length: usize) -> BytesMut {
        self.scanner = Scanner::default();
        self.buffer.split_to(length.min(self.buffer.len()))
    }

    fn limit(&self) -> usize {
        match self.stage {
            Stage::Beginning | Stage::Again | Stage::Prolog => self.limits.max_header_bytes,
            Stage::Open | Stage::Ending | Stage::Ended => self.limits.max_stanza_bytes,
        }
    }

    fn too_long(&self) -> FrameError {
        FrameError::LimitExceeded(match self.stage {
            Stage::Beginning | Stage::Again | Stage::Prolog => "stream header is too long",
            Stage::Open | Stage::Ending | Stage::Ended => "stanza is too long",
        })
    }
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
    /// A bound of [`Limits`], or more than 128 namespace declarations in scope at one place.
    #[error("{0}")]
    LimitExceeded(&'static str),
    /// The header's prefix is not `stream`, or an element uses a prefix that only the header
    /// declares.
    #[error("namespace prefix is not supported here")]
    BadNamespacePrefix,
    /// The header's namespace is not that of streams.
    #[error("namespace of the stream is not supported")]
    InvalidNamespace,
    /// Not UTF-8.
    #[error("encoding is not UTF-8")]
    UnsupportedEncoding,
}

fn utf8(bytes: &[u8]) -> Result<&str, FrameError> {
    str::from_utf8(bytes).map_err(|_| FrameError::UnsupportedEncoding)
}

/// The only name a header can have, and so its end tag.
const HEADER_NAME: &[u8] = b"stream:stream";

/// RFC 6120, 13.12: no server may refuse stanzas that are not longer.
const MIN_STANZA_BYTES: usize = 10_000;

/// Positions are kept in 32 bits.
const MAX_BYTES: usize = 1 << 30;

#[cfg(test)]
mod header_tests;
#[cfg(test)]
mod limit_tests;
#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;

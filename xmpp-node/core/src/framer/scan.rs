//! Finds where tokens end, each byte looked at once however the bytes arrive.
//!
//! Decides only what ends a token and what may begin one (RFC 6120, 11.1); what is inside is
//! checked when the token is complete.

use memchr::{memchr, memchr3};

use super::FrameError;
use crate::tag::CDATA;
use crate::text::is_space;

/// What a token is; where it lies is in [`Token`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TokenKind {
    /// Character data up to the next `<`.
    Text,
    /// `<name ...>` or `<name .../>`.
    StartTag,
    /// `</name>`.
    EndTag,
    /// `<![CDATA[...]]>`.
    CData,
    /// `<?xml ...?>`.
    Declaration,
}

/// A complete token: `bytes[start..end]` of the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// Where in a stream the next token stands, which decides what it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// At the first byte of the stream: an XML declaration may stand here.
    Beginning,
    /// Before the header, or between the children of the stream.
    Between,
    /// Inside a child of the stream: text and CDATA sections may stand here.
    Inside,
}

/// The scanner's place in the buffer: `start <= at <= buffer.len()`.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    state: State,
    start: usize,
    at: usize,
}

/// What the byte at `at` belongs to.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Text,
    /// After `<`.
    Markup,
    StartTag,
    /// Inside an attribute value with this quote.
    Value(u8),
    EndTag,
    /// After `<!`, inside of what must become `<![CDATA[`.
    Bang,
    CData,
    /// After `<?`, inside of what must become `<?xml ` at the beginning of a stream.
    Question,
    Declaration,
}

impl Scanner {
    /// The next complete token, or `None` when all of `bytes` was looked at.
    ///
    /// # Errors
    /// `RestrictedXml` or `NotWellFormed` at the first byte that nothing allowed can have there;
    /// [`at`](Self::at) is its position.
    pub(super) fn next(&mut self, bytes: &[u8], place: Place) -> Result<Option<Token>, FrameError> {
        while self.at < bytes.len() {
            let rest = &bytes[self.at..];
            let byte = rest[0];
            match self.state {
                State::Text => match memchr(b'<', rest) {
                    None => self.at = bytes.len(),
                    Some(length) if self.at + length > self.start => {
                        self.at += length;
                        return Ok(Some(self.token(TokenKind::Text)));
                    }
                    Some(_) => self.go(State::Markup),
                },
                State::Markup => match byte {
                    b'/' => self.go(State::EndTag),
                    b'!' => self.go(State::Bang),
                    b'?' if place == Place::Beginning => self.go(State::Question),
                    b'?' => return Err(FrameError::RestrictedXml),
                    // The byte is looked at again as part of the tag, as it may end it.
                    _ => self.state = State::StartTag,
                },
                State::StartTag => match memchr3(b'>', b'\'', b'"', rest) {
                    None => self.at = bytes.len(),
                    Some(length) => {
                        self.at += length + 1;
                        match rest[length] {
                            b'>' => return Ok(Some(self.token(TokenKind::StartTag))),
                            quote => self.state = State::Value(quote),
                        }
                    }
                },
                State::Value(quote) => match memchr(quote, rest) {
                    None => self.at = bytes.len(),
                    Some(length) => {
                        self.at += length + 1;
                        self.state = State::StartTag;
                    }
                },
                State::EndTag => {
                    if self.skip_past_greater(rest) {
                        return Ok(Some(self.token(TokenKind::EndTag)));
                    }
                }
                State::Bang => self.bang(byte, place)?,
                State::CData => {
                    let found = self.skip_past_greater(rest);
                    let section = &bytes[self.start + CDATA.len()..self.at];
                    if found && section.ends_with(b"]]>") {
                        return Ok(Some(self.token(TokenKind::CData)));
                    }
                }
                State::Question => self.question(byte)?,
                State::Declaration => {
                    if self.skip_past_greater(rest) {
                        // Without `?` the check of the declaration refuses it.
                        return Ok(Some(self.token(TokenKind::Declaration)));
                    }
                }
            }
        }
        Ok(None)
    }

    /// The position of the next byte to look at.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    fn go(&mut self, state: State) {
        self.state = state;
        self.at += 1;
    }

    /// Moves behind the next `>`; false when there is none yet.
    fn skip_past_greater(&mut self, rest: &[u8]) -> bool {
        match memchr(b'>', rest) {
            Some(length) => {
                self.at += length + 1;
                true
            }
            None => {
                self.at += rest.len();
                false
            }
        }
    }

    /// One byte of `<![CDATA[`.
    fn bang(&mut self, byte: u8, place: Place) -> Result<(), FrameError> {
        let index = self.at - self.start;
        if index == 2 && (byte == b'-' || byte.is_ascii_alphabetic()) {
            // A comment or a part of a DTD.
            return Err(FrameError::RestrictedXml);
        }
        if CDATA.get(index) != Some(&byte) {
            return Err(FrameError::NotWellFormed("`<!` that begins nothing"));
        }
        if place != Place::Inside {
            return Err(FrameError::BadFormat);
        }
        self.go(if index + 1 == CDATA.len() {
            State::CData
        } else {
            State::Bang
        });
        Ok(())
    }

    /// One byte of `<?xml` and the space after it; anything else is a processing instruction.
    fn question(&mut self, byte: u8) -> Result<(), FrameError> {
        const DECLARATION: &[u8] = b"<?xml";
        match DECLARATION.get(self.at - self.start) {
            Some(expected) if *expected == byte => self.go(State::Question),
            None if is_space(byte) => self.go(State::Declaration),
            _ => return Err(FrameError::RestrictedXml),
        }
        Ok(())
    }

    /// Ends the token at `at`; the next one begins there.
    fn token(&mut self, kind: TokenKind) -> Token {
        let token = Token {
            kind,
            start: self.start,
            end: self.at,
        };
        self.start = self.at;
        self.state = State::Text;
        token
    }
}

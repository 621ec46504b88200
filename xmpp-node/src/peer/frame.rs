//! Frames on the wire between two nodes: the fixed header, and the decoder that cuts bodies out of
//! the read buffer.
//!
//! ```text
//! 0        4     5      6            14
//! | length | tag | kind | id         | body ...
//! | u32    | u8  | u8   | u64        |            integers big-endian; length counts everything after itself
//! ```
//! The length is checked before anything is allocated for it. Knows nothing of sockets, and of
//! bodies only their size.

use bytes::{Buf, Bytes, BytesMut};

/// Largest value of the length field in bytes (1.5 MiB): header after the length, and body.
pub const MAX_FRAME_BYTES: usize = 1_572_864;

/// Largest body of one frame in bytes.
pub const MAX_BODY_BYTES: usize = MAX_FRAME_BYTES - AFTER_LENGTH;

/// Largest body of the first frame of either side in bytes: nobody is known yet, so nobody is
/// trusted with more.
pub const MAX_HELLO_BYTES: usize = 1024;

/// Bytes in front of a body.
pub(super) const HEADER_BYTES: usize = LENGTH + AFTER_LENGTH;

/// What a frame is for. `C` frames come from the side that dialled, `S` frames from the side that
/// accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Tag {
    /// C and S, first frame: who I am (`hello.rs`).
    Hello = 1,
    /// C and S, last frame: why I do not talk to you (UTF-8 text).
    Refused = 2,
    /// C and S: nothing was written for a while.
    Ping = 3,
    /// C and S, last frame: I close on purpose.
    Bye = 4,
    /// C: a request; `id` is chosen by the sender.
    Request = 5,
    /// S: answer to the request `id`.
    Answer = 6,
    /// S: the request `id` got no answer; the body is one byte, see [`Failure`].
    Failed = 7,
    /// C: one-way message; `id` is 0.
    Message = 8,
    /// C: next item of the ordered stream `id`; the first one opens it. S: next answer of it.
    Item = 9,
    /// C: no more items on stream `id`. S: no more answers on it.
    ItemEnd = 10,
}

impl Tag {
    fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::Refused,
            3 => Self::Ping,
            4 => Self::Bye,
            5 => Self::Request,
            6 => Self::Answer,
            7 => Self::Failed,
            8 => Self::Message,
            9 => Self::Item,
            10 => Self::ItemEnd,
            _ => return None,
        })
    }
}

/// Why a request got no answer, as the body of a [`Tag::Failed`] frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Failure {
    /// Too many requests of this link are being answered.
    Busy = 1,
    /// The answer was larger than [`MAX_BODY_BYTES`].
    TooLarge = 2,
    /// The service panicked.
    Panicked = 3,
}

/// Everything in front of a body except its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) tag: Tag,
    /// The application's kind of request, message or stream; 0 where there is none.
    pub(super) kind: u8,
    /// Request or stream id; 0 where there is none.
    pub(super) id: u64,
}

impl Header {
    pub(super) fn new(tag: Tag, kind: u8, id: u64) -> Self {
        Self { tag, kind, id }
    }

    /// A header without kind and id.
    pub(super) fn bare(tag: Tag) -> Self {
        Self {
            tag,
            kind: 0,
            id: 0,
        }
    }

    /// The header in front of a body of `body` bytes, at most [`MAX_BODY_BYTES`].
    pub(super) fn encode(self, body: usize) -> [u8; HEADER_BYTES] {
        debug_assert!(
            body <= MAX_BODY_BYTES,
            "callers check the size of a body first"
        );
        let length = u32::try_from(AFTER_LENGTH + body).unwrap_or(u32::MAX);
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&length.to_be_bytes());
        bytes[4] = self.tag as u8;
        bytes[5] = self.kind;
        bytes[6..].copy_from_slice(&self.id.to_be_bytes());
        bytes
    }
}

/// One frame; `body` is a slice of the read buffer and keeps all of that alive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) header: Header,
    pub(super) body: Bytes,
}

/// Bytes that are not frames. The peer is at fault; only its connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is above what is allowed at this point.
    #[error("a frame of {length} bytes, at most {limit} are allowed")]
    TooLong {
        /// The length field, bytes.
        length: usize,
        /// What was allowed, bytes.
        limit: usize,
    },
    /// The length does not even cover the header.
    #[error("a frame of {0} bytes is shorter than its header")]
    TooShort(usize),
    /// No frame has this tag in our protocol version.
    #[error("unknown frame tag {0}")]
    UnknownTag(u8),
}

/// Cuts frames out of bytes as they arrive; any splitting of the bytes gives the same frames.
#[derive(Debug)]
pub(super) struct Decoder {
    buffer: BytesMut,
    /// Largest length accepted, `AFTER_LENGTH <= limit <= MAX_FRAME_BYTES`.
    limit: usize,
    /// Bytes that the frame at the front still lacks; 0 when unknown.
    missing: usize,
}

impl Decoder {
    /// A decoder for bodies of at most `max_body` bytes.
    pub(super) fn new(max_body: usize) -> Self {
        let mut decoder = Self {
            buffer: BytesMut::new(),
            limit: 0,
            missing: 0,
        };
        decoder.allow(max_body);
        decoder
    }

    /// Accepts bodies of at most `max_body` bytes from now on.
    pub(super) fn allow(&mut self, max_body: usize) {
        self.limit = AFTER_LENGTH + max_body.min(MAX_BODY_BYTES);
    }

    /// Where to read into. There is room for what the frame at the front lacks, or for one read.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        let spare = self.buffer.capacity() - self.buffer.len();
        if spare < self.missing || spare < READ_ROOM_LOW {
            self.buffer.reserve(self.missing.max(READ_ROOM));
        }
        &mut self.buffer
    }

    /// The next frame, or `None` until more bytes were read.
    ///
    /// # Errors
    /// All variants of [`FrameError`]; the decoder is of no use afterwards.
    pub(super) fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<LENGTH>() else {
            self.missing = 0;
            return Ok(None);
        };
        let length = usize::try_from(u32::from_be_bytes(*prefix)).unwrap_or(usize::MAX);
        if length > self.limit {
            return Err(FrameError::TooLong {
                length,
                limit: self.limit,
            });
        }
        if length < AFTER_LENGTH {
            return Err(FrameError::TooShort(length));
        }
        let whole = LENGTH + length;
        if self.buffer.len() < whole {
            self.missing = whole - self.buffer.len();
            return Ok(None);
        }
        self.missing = 0;
        let mut body = self.buffer.split_to(whole).freeze();
        body.advance(LENGTH);
        let byte = body.get_u8();
        let tag = Tag::from_byte(byte).ok_or(FrameError::UnknownTag(byte))?;
        let header = Header {
            tag,
            kind: body.get_u8(),
            id: body.get_u64(),
        };
        Ok(Some(Frame { header, body }))
    }
}

/// How many whole frames these bytes begin with, as from a peer that is known.
///
/// # Errors
/// All variants of [`FrameError`].
pub fn count_frames(bytes: &[u8]) -> Result<usize, FrameError> {
    let mut decoder = Decoder::new(MAX_BODY_BYTES);
    decoder.buffer().extend_from_slice(bytes);
    let mut frames = 0;
    while decoder.next_frame()?.is_some() {
        frames += 1;
    }
    Ok(frames)
}

/// The length field.
const LENGTH: usize = 4;

/// The header after the length field.
const AFTER_LENGTH: usize = 10;

/// Room made for one read: four TLS records, or a batch of usual size.
const READ_ROOM: usize = 64 * 1024;

/// New room is made below this: a TLS record holds 16 KiB and is handed out whole only if it fits.
const READ_ROOM_LOW: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encode(header: Header, body: &[u8]) -> Vec<u8> {
        let mut bytes = header.encode(body.len()).to_vec();
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn a_length_above_the_limit_is_refused_before_any_room_is_made() {
        let mut decoder = Decoder::new(MAX_BODY_BYTES);
        decoder.buffer().extend_from_slice(&u32::MAX.to_be_bytes());
        let room = decoder.buffer.capacity();
        let limit = MAX_FRAME_BYTES;
        assert_eq!(
            decoder.next_frame(),
            Err(FrameError::TooLong {
                length: u32::MAX as usize,
                limit
            })
        );
        assert_eq!(decoder.buffer.capacity(), room);
    }

    #[test]
    fn a_body_of_the_allowed_size_passes_and_one_byte_more_does_not() {
        let header = Header {
            tag: Tag::Message,
            kind: 3,
            id: 0,
        };
        for (size, ok) in [(MAX_HELLO_BYTES, true), (MAX_HELLO_BYTES + 1, false)] {
            let mut decoder = Decoder::new(MAX_HELLO_BYTES);
            decoder
                .buffer()
                .extend_from_slice(&encode(header, &vec![7; size]));
            assert_eq!(decoder.next_frame().is_ok(), ok, "{size}");
        }
    }

    #[test]
    fn a_body_is_a_slice_of_the_read_buffer() {
        let mut decoder = Decoder::new(MAX_BODY_BYTES);
        decoder
            .buffer()
            .extend_from_slice(&encode(Header::bare(Tag::Message), b"body"));
        let start = decoder.buffer.as_ptr();
        let frame = decoder
            .next_frame()
            .expect("a valid frame")
            .expect("a whole frame");
        assert_eq!(frame.body.as_ptr(), start.wrapping_add(HEADER_BYTES));
    }

    fn frames() -> impl Strategy<Value = Vec<(u8, u8, u64, Vec<u8>)>> {
        let body = prop::collection::vec(any::<u8>(), 0..300);
        prop::collection::vec((1..=10u8, any::<u8>(), any::<u64>(), body), 0..12)
    }

    proptest! {
        #[test]
        fn any_splitting_of_the_bytes_gives_the_same_frames(
            list in frames(),
            cuts in prop::collection::vec(1..400usize, 1..20),
        ) {
            let mut wire = Vec::new();
            let mut sent = Vec::new();
            for (tag, kind, id, body) in list {
                let tag = Tag::from_byte(tag).expect("tags 1 to 10 exist");
                let header = Header { tag, kind, id };
                wire.extend(encode(header, &body));
                sent.push(Frame { header, body: body.into() });
            }
            let mut decoder = Decoder::new(MAX_BODY_BYTES);
            let mut seen = Vec::new();
            let mut rest = &wire[..];
            for cut in cuts.iter().cycle() {
                let (now, later) = rest.split_at(rest.len().min(*cut));
                decoder.buffer().extend_from_slice(now);
                while let Some(frame) = decoder.next_frame().expect("only valid frames") {
                    seen.push(frame);
                }
                rest = later;
                if rest.is_empty() {
                    break;
                }
            }
            prop_assert_eq!(seen, sent);
        }

        #[test]
        fn no_bytes_make_the_decoder_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..2000),
            small in any::<bool>(),
        ) {
            let mut decoder = Decoder::new(if small { 64 } else { MAX_BODY_BYTES });
            decoder.buffer().extend_from_slice(&bytes);
            while let Ok(Some(frame)) = decoder.next_frame() {
                prop_assert!(frame.body.len() <= MAX_BODY_BYTES);
            }
        }
    }
}

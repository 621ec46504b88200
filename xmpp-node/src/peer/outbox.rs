//! What waits to be written on one connection: many frames gathered, so that one write carries all
//! of them.
//!
//! Small parts are copied together, large ones are kept as they are and handed to a vectored write,
//! which encrypts them straight out of their own memory. Knows nothing of what frames mean.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::frame::Header;

/// Bytes gathered before a connection stops asking its queue for more: the size of one write.
pub const WRITE_BYTES: usize = 256 * 1024;

/// The body of a frame as a list of slices, so that nobody has to join them first.
#[derive(Clone, Debug)]
pub struct Parts(List);

#[derive(Clone, Debug)]
enum List {
    One(Bytes),
    Many(Vec<Bytes>),
}

impl Parts {
    /// Total size in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.as_slice().iter().map(Bytes::len).sum()
    }

    fn as_slice(&self) -> &[Bytes] {
        match &self.0 {
            List::One(part) => std::slice::from_ref(part),
            List::Many(parts) => parts,
        }
    }
}

impl From<Bytes> for Parts {
    fn from(part: Bytes) -> Self {
        Self(List::One(part))
    }
}

impl From<Vec<Bytes>> for Parts {
    fn from(parts: Vec<Bytes>) -> Self {
        Self(List::Many(parts))
    }
}

impl<const N: usize> From<[Bytes; N]> for Parts {
    fn from(parts: [Bytes; N]) -> Self {
        Self(List::Many(parts.into()))
    }
}

/// One frame on its way out.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) header: Header,
    pub(super) parts: Parts,
}

impl Outgoing {
    /// A frame with a body.
    pub(super) fn new(header: Header, parts: impl Into<Parts>) -> Self {
        let parts = parts.into();
        Self { header, parts }
    }

    /// A frame without a body.
    pub(super) fn empty(header: Header) -> Self {
        Self {
            header,
            parts: Bytes::new().into(),
        }
    }
}

/// Frames waiting for the socket, in order: first `segments`, then `tail`.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    segments: VecDeque<Bytes>,
    tail: BytesMut,
    /// Sum of the sizes of `segments` and `tail`.
    size: usize,
    /// Whether TLS may still hold back some of what was written.
    unflushed: bool,
}

impl Outbox {
    /// Bytes that wait.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// Whether nothing waits, here or in the TLS session.
    pub(super) fn is_done(&self) -> bool {
        self.size == 0 && !self.unflushed
    }

    /// Whether another frame should be gathered before writing.
    pub(super) fn has_room(&self) -> bool {
        self.size < WRITE_BYTES
    }

    /// Appends a frame; its body is at most [`super::MAX_BODY_BYTES`].
    pub(super) fn push(&mut self, frame: Outgoing) {
        let body = frame.parts.size();
        let header = frame.header.encode(body);
        self.tail.extend_from_slice(&header);
        self.size += header.len() + body;
        match frame.parts.0 {
            List::One(part) => self.push_part(part),
            List::Many(parts) => parts.into_iter().for_each(|part| self.push_part(part)),
        }
    }

    fn push_part(&mut self, part: Bytes) {
        if part.len() < COPY_BELOW {
            self.tail.extend_from_slice(&part);
            return;
        }
        if !self.tail.is_empty() {
            self.segments.push_back(self.tail.split().freeze());
        }
        self.segments.push_back(part);
    }

    /// Writes once, as much as the socket takes; flushes when nothing waits. Cancel-safe: what was
    /// not written is still here.
    ///
    /// # Errors
    /// The socket's; `WriteZero` when it takes nothing.
    pub(super) async fn write_once<W: AsyncWrite + Unpin>(
        &mut self,
        writer: &mut W,
    ) -> io::Result<()> {
        if self.is_empty() {
            writer.flush().await?;
            self.unflushed = false;
            return Ok(());
        }
        let mut slices = [IoSlice::new(&[]); MAX_SLICES];
        let mut used = 0;
        for (slot, segment) in slices.iter_mut().zip(&self.segments) {
            *slot = IoSlice::new(segment);
            used += 1;
        }
        if used < MAX_SLICES && !self.tail.is_empty() {
            slices[used] = IoSlice::new(&self.tail);
            used += 1;
        }
        let written = writer.write_vectored(&slices[..used]).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.unflushed = true;
        self.advance(written);
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        self.size -= written;
        while let Some(front) = self.segments.front_mut() {
            if written < front.len() {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.segments.pop_front();
        }
        self.tail.advance(written);
    }
}

/// Parts smaller than this are copied: one copy costs less than one more slice in the write.
const COPY_BELOW: usize = 1024;

/// Slices in one vectored write; the kernel takes up to 1024, TLS gathers them into records of 16
/// KiB anyway.
const MAX_SLICES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::frame::{Decoder, MAX_BODY_BYTES, Tag};

    #[tokio::test]
    async fn frames_of_small_and_large_parts_come_out_in_order_through_short_writes() {
        let mut outbox = Outbox::default();
        let mut bodies = Vec::new();
        for n in 0..200u8 {
            let parts: Vec<Bytes> = [0, 5, 1023, 1024, 3000][..usize::from(n % 6)]
                .iter()
                .map(|size| Bytes::from(vec![n; *size]))
                .collect();
            bodies.push(parts.concat());
            outbox.push(Outgoing::new(Header::bare(Tag::Message), parts));
        }
        let expected: usize = bodies.iter().map(|body| 14 + body.len()).sum();
        assert_eq!(outbox.size(), expected);

        let (mut near, mut far) = tokio::io::duplex(777);
        let mut decoder = Decoder::new(MAX_BODY_BYTES);
        let mut seen: Vec<Vec<u8>> = Vec::new();
        while seen.len() < bodies.len() {
            if !outbox.is_empty() {
                outbox
                    .write_once(&mut near)
                    .await
                    .expect("the pipe is open");
            }
            tokio::io::AsyncReadExt::read_buf(&mut far, decoder.buffer())
                .await
                .expect("the pipe is open");
            while let Some(frame) = decoder.next_frame().expect("only valid frames") {
                seen.push(frame.body.to_vec());
            }
        }
        assert_eq!(seen, bodies);
        assert!(outbox.is_empty() && outbox.segments.is_empty() && outbox.tail.is_empty());
    }
}

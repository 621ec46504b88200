//! What waits to be written to a stream, and how much of the stream the socket took so far.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// The way out of a stream. Bounded by whoever fills it.
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    /// What waits.
    pub(super) bytes: BytesMut,
    taken: u64,
}

impl Outgoing {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Bytes of the stream that the socket took.
    pub(super) fn position(&self) -> u64 {
        self.taken
    }

    /// Bytes of the stream once all that waits is written.
    pub(super) fn end(&self) -> u64 {
        self.taken + self.bytes.len() as u64
    }

    /// Writes some, or, when nothing waits, flushes what TLS still holds; returns whether everything is out. Cancel-safe.
    ///
    /// # Errors
    /// Those of the writer.
    pub(super) async fn put(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<bool> {
        if self.bytes.is_empty() {
            writer.flush().await?;
            return Ok(true);
        }
        let written = writer.write_buf(&mut self.bytes).await?;
        self.taken += written as u64;
        match written {
            0 => Err(io::ErrorKind::WriteZero.into()),
            _ => Ok(false),
        }
    }
}

//! The caller's ends of an ordered stream: bodies go out in order, answers come back in the same
//! order.
//!
//! A stream belongs to one connection. It ends when that is lost, when the peer's service ends it,
//! or when another stream of the same kind is opened on the link.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};

use super::outbox::Parts;
use super::pipe::{Command, LinkError, Pipe, Share};

/// Items of one stream that are sent and whose answers the caller has not taken yet.
pub const STREAM_WINDOW: usize = 256;

/// Kinds from here on are streams, those below are requests and messages.
pub const FIRST_STREAM_KIND: u8 = 0x80;

/// Sends the items of a stream. Dropping it tells the peer that no more come; outstanding answers
/// still arrive.
#[derive(Debug)]
pub struct StreamSender {
    pipe: Arc<Pipe>,
    kind: u8,
    id: u64,
    window: Arc<Semaphore>,
    /// Pays for the end that `drop` sends.
    share: Option<Share>,
}

/// Receives the answers of a stream. Dropping it ends the stream.
#[derive(Debug)]
pub struct StreamReceiver {
    answers: mpsc::Receiver<Bytes>,
    window: Arc<Semaphore>,
}

/// Opens a stream of `kind` on the connection behind `pipe`.
pub(super) fn open(pipe: Arc<Pipe>, kind: u8) -> Result<(StreamSender, StreamReceiver), LinkError> {
    let share = Some(pipe.try_share(0)?);
    let id = pipe.next_stream_id();
    let (sender, answers) = mpsc::channel(STREAM_WINDOW);
    let window = Arc::new(Semaphore::new(STREAM_WINDOW));
    pipe.push(
        Command::Open {
            kind,
            id,
            answers: sender,
            window: window.clone(),
        },
        None,
    )?;
    let sender = StreamSender {
        pipe,
        kind,
        id,
        window: window.clone(),
        share,
    };
    Ok((sender, StreamReceiver { answers, window }))
}

impl StreamSender {
    /// Sends the next item, when [`STREAM_WINDOW`] and the link's queue have room. An item counts
    /// as sent when this returns; dropped before, nothing was sent.
    ///
    /// # Errors
    /// `TooLarge`; `Closed` when the stream or its connection has ended.
    pub async fn send(&mut self, parts: impl Into<Parts>) -> Result<(), LinkError> {
        let parts = parts.into();
        let place = self.window.acquire().await.map_err(|_| LinkError::Closed)?;
        let share = match self.pipe.share(parts.size()).await {
            Err(LinkError::TooLarge) => return Err(LinkError::TooLarge),
            share => share.map_err(|_| LinkError::Closed)?,
        };
        let (kind, id) = (self.kind, self.id);
        let queued = self
            .pipe
            .push(Command::Item { kind, id, parts }, Some(share));
        queued.map_err(|_| LinkError::Closed)?;
        place.forget();
        Ok(())
    }
}

impl Drop for StreamSender {
    fn drop(&mut self) {
        let (kind, id) = (self.kind, self.id);
        // An error only says that the connection has ended, and the stream with it.
        let _ = self
            .pipe
            .push(Command::EndItems { kind, id }, self.share.take());
    }
}

impl StreamReceiver {
    /// The answer to the next item; `None` when the stream has ended. Cancel-safe.
    pub async fn recv(&mut self) -> Option<Bytes> {
        let answer = self.answers.recv().await?;
        self.window.add_permits(1);
        Some(answer)
    }
}

impl Drop for StreamReceiver {
    fn drop(&mut self) {
        self.window.close();
    }
}

//! The queue in front of one dialled connection: what callers of a [`super::Link`] hand over to its
//! task.
//!
//! A pipe belongs to one connection and dies with it, so nothing queued is ever sent on a later
//! one. It is bounded by one count of bytes in which every frame has a fixed share, so that many
//! small frames are bounded too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, mpsc, oneshot};

use super::frame::MAX_BODY_BYTES;
use super::hello::Hello;
use super::outbox::Parts;

/// Bytes that wait in front of one connection before [`LinkError::Full`]; bodies plus
/// [`FRAME_COST_BYTES`] a frame.
pub const QUEUE_BYTES: usize = 8 * 1024 * 1024;

/// What a queued frame counts beside its body. It bounds the number of frames: 32 768 in
/// [`QUEUE_BYTES`].
pub const FRAME_COST_BYTES: usize = 256;

/// Why something could not be sent, or got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The link is not connected; nothing was sent.
    #[error("the link is down")]
    Down,
    /// The queue or the number of requests in flight is at its bound; nothing was sent.
    #[error("the link's queue is full")]
    Full,
    /// The body is above [`MAX_BODY_BYTES`]: the request's (nothing was
    /// sent), or the answer's.
    #[error("the body is too large for a frame")]
    TooLarge,
    /// The connection or the stream ended first. Whether the peer received anything is unknown.
    #[error("the connection ended before an answer came")]
    Closed,
    /// The caller's time is over. Whether the peer received anything is unknown.
    #[error("no answer in time")]
    Timeout,
    /// The peer answers too many requests of this link already; it did not look at this one.
    #[error("the peer is busy")]
    Busy,
    /// The peer's service panicked on the request.
    #[error("the peer failed to answer")]
    Failed,
}

/// One thing for the connection's task to do.
#[derive(Debug)]
pub(super) enum Command {
    Request {
        kind: u8,
        parts: Parts,
        answer: oneshot::Sender<Result<Bytes, LinkError>>,
    },
    Message {
        kind: u8,
        parts: Parts,
    },
    Open {
        kind: u8,
        id: u64,
        answers: mpsc::Sender<Bytes>,
        window: Arc<Semaphore>,
    },
    Item {
        kind: u8,
        id: u64,
        parts: Parts,
    },
    EndItems {
        kind: u8,
        id: u64,
    },
}

/// A command in the queue.
#[derive(Debug)]
pub(super) struct Queued {
    command: Command,
    share: Option<Share>,
}

impl Queued {
    /// Takes the command out of the queue: its share is given back.
    pub(super) fn take(self) -> Command {
        drop(self.share);
        self.command
    }
}

/// A share of the queue's bytes, given back when dropped.
pub(super) type Share = OwnedSemaphorePermit;

/// The callers' end.
#[derive(Debug)]
pub(super) struct Pipe {
    queue: mpsc::UnboundedSender<Queued>,
    budget: Arc<Semaphore>,
    hello: Arc<Hello>,
    stream_ids: AtomicU64,
}

impl Pipe {
    /// A pipe of `queue_bytes` to the node that said `hello`, and the end for its task.
    pub(super) fn new(
        queue_bytes: usize,
        hello: Arc<Hello>,
    ) -> (Self, mpsc::UnboundedReceiver<Queued>) {
        let (queue, commands) = mpsc::unbounded_channel();
        let budget = Arc::new(Semaphore::new(queue_bytes));
        (
            Self {
                queue,
                budget,
                hello,
                stream_ids: AtomicU64::new(1),
            },
            commands,
        )
    }

    pub(super) fn hello(&self) -> &Arc<Hello> {
        &self.hello
    }

    /// An id for a new stream, higher than all before it.
    pub(super) fn next_stream_id(&self) -> u64 {
        self.stream_ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Room for a body of `size` bytes, at once.
    ///
    /// # Errors
    /// `TooLarge`, `Full`, `Down`.
    pub(super) fn try_share(&self, size: usize) -> Result<Share, LinkError> {
        self.budget
            .clone()
            .try_acquire_many_owned(cost(size)?)
            .map_err(|refused| match refused {
                TryAcquireError::NoPermits => LinkError::Full,
                TryAcquireError::Closed => LinkError::Down,
            })
    }

    /// Room for a body of `size` bytes, when there is some; callers are served in order.
    ///
    /// # Errors
    /// `TooLarge`, `Down`.
    pub(super) async fn share(&self, size: usize) -> Result<Share, LinkError> {
        self.budget
            .clone()
            .acquire_many_owned(cost(size)?)
            .await
            .map_err(|_| LinkError::Down)
    }

    /// Queues a command. Only opening a stream goes without a share: the stream's sender holds one
    /// until its end.
    ///
    /// # Errors
    /// `Down` when the connection's task is gone.
    pub(super) fn push(&self, command: Command, share: Option<Share>) -> Result<(), LinkError> {
        self.queue
            .send(Queued { command, share })
            .map_err(|_| LinkError::Down)
    }

    /// The connection has ended: callers that wait for room learn it.
    pub(super) fn close(&self) {
        self.budget.close();
    }
}

fn cost(size: usize) -> Result<u32, LinkError> {
    if size > MAX_BODY_BYTES {
        return Err(LinkError::TooLarge);
    }
    u32::try_from(size + FRAME_COST_BYTES).map_err(|_| LinkError::TooLarge)
}

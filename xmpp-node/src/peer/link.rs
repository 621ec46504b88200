//! The handle of a link to one peer: requests, one-way messages and streams over whatever
//! connection it has now.
//!
//! Bounds: [`QUEUE_BYTES`](super::QUEUE_BYTES) wait in front of the connection, [`MAX_IN_FLIGHT`]
//! requests wait for answers. While the link is down nothing is queued: callers fail at once and
//! decide for themselves.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Notify, Semaphore, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::DropGuard;

use super::heard::Heard;
use super::hello::Hello;
use super::outbox::Parts;
use super::pipe::{Command, LinkError, Pipe};
use super::stream::{self, FIRST_STREAM_KIND, StreamReceiver, StreamSender};

/// Requests of one link that wait for an answer; above this [`LinkError::Full`].
pub const MAX_IN_FLIGHT: usize = 1024;

/// A link to one peer. Clones share it.
#[derive(Clone, Debug)]
pub struct Link {
    core: Arc<LinkCore>,
    /// Closes a link that belongs to its handles alone (`dial_once`).
    _owner: Option<Arc<DropGuard>>,
}

/// What the handles share with the link's task.
#[derive(Debug)]
pub(super) struct LinkCore {
    pipe: watch::Sender<Option<Arc<Pipe>>>,
    in_flight: Semaphore,
    wake: Arc<Notify>,
    heard: Arc<Heard>,
}

impl LinkCore {
    pub(super) fn new(heard: Arc<Heard>, wake: Arc<Notify>) -> Self {
        let (pipe, _) = watch::channel(None);
        Self {
            pipe,
            in_flight: Semaphore::new(MAX_IN_FLIGHT),
            wake,
            heard,
        }
    }

    /// The link is connected from now on.
    pub(super) fn connect(&self, pipe: Pipe) {
        self.pipe.send_replace(Some(Arc::new(pipe)));
    }

    /// The link's connection has ended.
    pub(super) fn disconnect(&self) {
        if let Some(pipe) = self.pipe.send_replace(None) {
            pipe.close();
        }
    }

    pub(super) fn heard(&self) -> &Heard {
        &self.heard
    }

    /// Returns when somebody asks for an attempt at once.
    pub(super) async fn woken(&self) {
        self.wake.notified().await;
    }
}

impl Link {
    pub(super) fn new(core: Arc<LinkCore>, owner: Option<DropGuard>) -> Self {
        Self {
            core,
            _owner: owner.map(Arc::new),
        }
    }

    /// Sends a request and waits at most `within` for its answer. Requests are answered in any
    /// order. A request that is dropped while it waits may still reach the peer. The answer is a
    /// slice of the read buffer (64 KiB and more): copy what is kept long.
    ///
    /// # Errors
    /// `Down`, `Full` and `TooLarge` at once; `Timeout`, `Closed`, `Busy`, `Failed`, and `TooLarge`
    /// for an answer.
    pub async fn request(
        &self,
        kind: u8,
        parts: impl Into<Parts>,
        within: Duration,
    ) -> Result<Bytes, LinkError> {
        debug_assert!(kind < FIRST_STREAM_KIND, "kinds from 0x80 on are streams");
        let parts = parts.into();
        let pipe = self.pipe()?;
        let share = pipe.try_share(parts.size())?;
        let _place = self
            .core
            .in_flight
            .try_acquire()
            .map_err(|_| LinkError::Full)?;
        let (answer, answered) = oneshot::channel();
        pipe.push(
            Command::Request {
                kind,
                parts,
                answer,
            },
            Some(share),
        )?;
        drop(pipe);
        match timeout(within, answered).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(LinkError::Closed),
            Err(_) => Err(LinkError::Timeout),
        }
    }

    /// Sends a one-way message when the queue has room. Messages of one caller arrive in order, or
    /// are lost together with the connection: nothing tells which ones arrived.
    ///
    /// # Errors
    /// `Down`, `TooLarge`.
    pub async fn send(&self, kind: u8, parts: impl Into<Parts>) -> Result<(), LinkError> {
        let parts = parts.into();
        let pipe = self.pipe()?;
        let share = pipe.share(parts.size()).await?;
        pipe.push(Command::Message { kind, parts }, Some(share))
    }

    /// Like [`Link::send`], without waiting.
    ///
    /// # Errors
    /// `Down`, `Full`, `TooLarge`.
    pub fn try_send(&self, kind: u8, parts: impl Into<Parts>) -> Result<(), LinkError> {
        let parts = parts.into();
        let pipe = self.pipe()?;
        let share = pipe.try_share(parts.size())?;
        pipe.push(Command::Message { kind, parts }, Some(share))
    }

    /// Opens an ordered stream of `kind` (from [`FIRST_STREAM_KIND`] on)
    /// on the present connection. An earlier stream of this kind ends.
    ///
    /// # Errors
    /// `Down`, `Full`.
    pub fn stream(&self, kind: u8) -> Result<(StreamSender, StreamReceiver), LinkError> {
        debug_assert!(
            kind >= FIRST_STREAM_KIND,
            "kinds below 0x80 are requests and messages"
        );
        stream::open(self.pipe()?, kind)
    }

    /// Dials at once if the link is down, and starts the back-off anew.
    pub fn wake(&self) {
        self.core.wake.notify_one();
    }

    /// Whether the link is connected.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.core.pipe.borrow().is_some()
    }

    /// Returns the peer's hello once the link is connected; waits for ever on a link that was
    /// removed.
    pub async fn connected(&self) -> Arc<Hello> {
        let mut pipe = self.core.pipe.subscribe();
        loop {
            if let Some(pipe) = pipe.borrow_and_update().as_ref() {
                return pipe.hello().clone();
            }
            // The sender lives in `self.core`, so this fails never.
            let _ = pipe.changed().await;
        }
    }

    /// What the peer said at the beginning of the present connection.
    #[must_use]
    pub fn hello(&self) -> Option<Arc<Hello>> {
        self.core
            .pipe
            .borrow()
            .as_ref()
            .map(|pipe| pipe.hello().clone())
    }

    /// Time since the last byte from this peer on any connection; `None`: never heard. Costs one
    /// atomic load.
    #[must_use]
    pub fn last_heard(&self) -> Option<Duration> {
        self.core.heard.age(Instant::now())
    }

    fn pipe(&self) -> Result<Arc<Pipe>, LinkError> {
        self.core.pipe.borrow().clone().ok_or(LinkError::Down)
    }
}

//! Where stanzas wait between the application and the connection's task, under one bound with those not yet accepted.
//!
//! One short lock a call, none a stanza on the taking side; knows neither XML nor sockets.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, watch};

use crate::config::Window;
use crate::error::{Stopped, TrySendError};

/// Number of a submitted stanza: the first is 1. Stanzas are accepted in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SendId(pub u64);

#[derive(Debug)]
pub(crate) struct Outbox {
    window: Window,
    queue: Mutex<Queue>,
    /// Something was accepted, or the outbox was closed.
    room: Notify,
    /// Something waits to be taken.
    work: Notify,
    accepted: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Bytes>,
    submitted: u64,
    accepted: u64,
    /// Of what was submitted and not accepted.
    bytes: usize,
    closed: bool,
    dead: bool,
}

impl Outbox {
    pub(crate) fn new(window: Window) -> Self {
        Self {
            window,
            queue: Mutex::default(),
            room: Notify::new(),
            work: Notify::new(),
            accepted: watch::Sender::new(0),
        }
    }

    /// Takes a stanza if the window has room for it.
    pub(crate) fn try_send(&self, stanza: Bytes) -> Result<SendId, TrySendError> {
        if !looks_like_stanza(&stanza) {
            return Err(TrySendError::NotAStanza(stanza));
        }
        let mut queue = self.lock();
        if queue.closed {
            return Err(TrySendError::Stopped);
        }
        if !self.has_room(&queue, stanza.len()) {
            return Err(TrySendError::Full(stanza));
        }
        queue.submitted += 1;
        queue.bytes += stanza.len();
        let first = queue.waiting.is_empty();
        queue.waiting.push_back(stanza);
        let id = SendId(queue.submitted);
        drop(queue);
        if first {
            self.work.notify_one();
        }
        Ok(id)
    }

    /// Takes a stanza, waiting for room.
    pub(crate) async fn send(&self, mut stanza: Bytes) -> Result<SendId, TrySendError> {
        loop {
            match self.try_send(stanza) {
                Err(TrySendError::Full(back)) => stanza = back,
                done => return done,
            }
            self.has_room_for(stanza.len()).await;
        }
    }

    /// Waits until a stanza of this size would be taken, or the outbox is closed. Cancel safe.
    pub(crate) async fn has_room_for(&self, bytes: usize) {
        loop {
            let mut room = pin!(self.room.notified());
            // Registered before the look, so that room made in between is not missed.
            room.as_mut().enable();
            if self.would_take(bytes) {
                return;
            }
            room.await;
        }
    }

    /// Waits until the stanza is accepted; an error when the bridge stopped before.
    pub(crate) async fn accepted(&self, id: SendId) -> Result<(), Stopped> {
        let mut accepted = self.accepted.subscribe();
        loop {
            if *accepted.borrow_and_update() >= id.0 {
                return Ok(());
            }
            if self.lock().dead {
                return Err(Stopped);
            }
            // The sender lives as long as `self`; a stop is told by a change that changes nothing.
            accepted.changed().await.map_err(|_| Stopped)?;
        }
    }

    /// Stanzas submitted, and of these accepted.
    pub(crate) fn figures(&self) -> (u64, u64) {
        let queue = self.lock();
        (queue.submitted, queue.accepted)
    }

    /// Waits until there is something to take. Cancel safe.
    pub(crate) async fn work(&self) {
        self.work.notified().await;
    }

    /// Hands everything that waits to `push`, in order.
    pub(crate) fn take(&self, push: impl FnMut(Bytes)) {
        let waiting = std::mem::take(&mut self.lock().waiting);
        waiting.into_iter().for_each(push);
    }

    /// `count` stanzas with `bytes` bytes in all were accepted.
    pub(crate) fn accept(&self, count: usize, bytes: usize) {
        if count == 0 {
            return;
        }
        let mut queue = self.lock();
        queue.accepted += count as u64;
        queue.bytes = queue.bytes.saturating_sub(bytes);
        let accepted = queue.accepted;
        drop(queue);
        self.accepted.send_replace(accepted);
        self.room.notify_waiters();
    }

    /// Takes nothing more from the application.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.room.notify_waiters();
        self.work.notify_one();
    }

    /// Nothing will be accepted any more: whoever waits is told.
    pub(crate) fn bury(&self) {
        self.lock().dead = true;
        self.close();
        self.accepted.send_modify(|_| ());
    }

    fn would_take(&self, bytes: usize) -> bool {
        let queue = self.lock();
        queue.closed || self.has_room(&queue, bytes)
    }

    fn has_room(&self, queue: &Queue, bytes: usize) -> bool {
        let unaccepted = queue.submitted - queue.accepted;
        unaccepted == 0
            || (unaccepted < self.window.stanzas as u64
                && queue.bytes.saturating_add(bytes) <= self.window.bytes)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the bytes begin and end like a stanza. Everything between is the caller's word: checking it here would cost more
/// than sending it.
fn looks_like_stanza(bytes: &[u8]) -> bool {
    let names: [&[u8]; 3] = [b"<message", b"<presence", b"<iq"];
    let named = names.iter().any(|name| {
        let next = bytes.strip_prefix(*name).and_then(<[u8]>::first);
        matches!(next, Some(b' ' | b'\t' | b'\r' | b'\n' | b'>' | b'/'))
    });
    named && bytes.ends_with(b">")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outbox(stanzas: usize, bytes: usize) -> Outbox {
        Outbox::new(Window { stanzas, bytes })
    }

    const STANZA: Bytes = Bytes::from_static(b"<message/>");

    #[test]
    fn a_full_window_gives_the_stanza_back() {
        let outbox = outbox(2, 1000);
        assert_eq!(outbox.try_send(STANZA), Ok(SendId(1)));
        assert_eq!(outbox.try_send(STANZA), Ok(SendId(2)));
        assert_eq!(outbox.try_send(STANZA), Err(TrySendError::Full(STANZA)));
        outbox.take(|_| ());
        assert_eq!(
            outbox.try_send(STANZA),
            Err(TrySendError::Full(STANZA)),
            "taken is not accepted"
        );
        outbox.accept(1, 10);
        assert_eq!(outbox.try_send(STANZA), Ok(SendId(3)));
    }

    #[test]
    fn bytes_are_bounded_but_a_large_stanza_passes_alone() {
        let outbox = outbox(10, 15);
        let large = Bytes::from(format!("<message>{}</message>", "x".repeat(100)));
        assert_eq!(outbox.try_send(large.clone()), Ok(SendId(1)));
        assert_eq!(outbox.try_send(STANZA), Err(TrySendError::Full(STANZA)));
        outbox.accept(1, large.len());
        assert_eq!(outbox.try_send(STANZA), Ok(SendId(2)));
        assert_eq!(outbox.try_send(STANZA), Err(TrySendError::Full(STANZA)));
    }

    #[tokio::test]
    async fn sending_waits_for_room_and_ends_with_a_stop() {
        let outbox = outbox(1, 1000);
        assert_eq!(outbox.send(STANZA).await, Ok(SendId(1)));
        let (second, ()) = tokio::join!(outbox.send(STANZA), async { outbox.accept(1, 10) });
        assert_eq!(second, Ok(SendId(2)));
        let (third, ()) = tokio::join!(outbox.send(STANZA), async { outbox.close() });
        assert_eq!(third, Err(TrySendError::Stopped));
    }

    #[tokio::test]
    async fn acceptance_is_awaited_by_number() {
        let outbox = outbox(9, 1000);
        let id = outbox.send(STANZA).await.expect("room");
        let (accepted, ()) = tokio::join!(outbox.accepted(id), async { outbox.accept(1, 10) });
        assert_eq!(accepted, Ok(()));
        let id = outbox.send(STANZA).await.expect("room");
        let (accepted, ()) = tokio::join!(outbox.accepted(id), async { outbox.bury() });
        assert_eq!(accepted, Err(Stopped));
    }

    #[test]
    fn only_stanzas_are_taken() {
        let outbox = outbox(9, 1000);
        for bytes in [
            "",
            "<r/>",
            "<messages/>",
            "<message",
            "message>",
            "<iq/> ",
            "</stream:stream>",
        ] {
            let bytes = Bytes::from_static(bytes.as_bytes());
            assert_eq!(
                outbox.try_send(bytes.clone()),
                Err(TrySendError::NotAStanza(bytes))
            );
        }
    }
}

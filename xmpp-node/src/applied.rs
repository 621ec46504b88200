//! The applied state: the router as this node has it, and whom to tell when it changes.
//!
//! Consensus applies entries under one short lock; streams read under the same lock and copy out what they write. No lock is
//! held across an await. Bounded by the router's own limits; one entry for each local stream and each waiting request.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::metrics::Metrics;
use bytes::Bytes;
use tokio::sync::{Notify, oneshot, watch};
use xmpp_core::router::{Attachment, ConfigureError, Malformed, News, Refusal, Router, SessionId};

/// What a stream is told of its session. Deliveries and progress are read from the router; these two are events.
#[derive(Debug, Default)]
pub struct Signal {
    notify: Notify,
    probe: AtomicBool,
    refusal: Mutex<Option<(u64, Refusal)>>,
}

impl Signal {
    /// Waits until something changed for the session. Cancel-safe.
    pub async fn changed(&self) {
        self.notify.notified().await;
    }

    /// Whether the peer must show that it lives, since somebody wants its name. Asked once.
    pub fn take_probe(&self) -> bool {
        self.probe.swap(false, Ordering::AcqRel)
    }

    /// Why this node's request for the session was refused, if it was.
    pub fn take_refusal(&self, request: u64) -> Option<Refusal> {
        let refused = lock(&self.refusal).take_if(|(of, _)| *of == request);
        refused.map(|(_, refusal)| refusal)
    }

    /// Wakes the stream.
    pub fn wake(&self) {
        self.notify.notify_one();
    }
}

/// Why a request got no decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the decision was not seen by this node; look at the state")]
pub struct Unseen;

/// The applied state. See the module documentation.
#[derive(Debug)]
pub struct Applied {
    at: Attachment,
    metrics: Arc<Metrics>,
    router: Mutex<Router>,
    index: watch::Sender<u64>,
    streams: Mutex<HashMap<SessionId, Arc<Signal>>>,
    requests: Mutex<HashMap<u64, oneshot::Sender<Result<(), ConfigureError>>>>,
    seen: AtomicU64,
}

impl Applied {
    /// The state before any entry.
    #[must_use]
    pub fn new(at: Attachment, metrics: Arc<Metrics>) -> Self {
        Self {
            at,
            metrics,
            router: Mutex::new(Router::new()),
            index: watch::Sender::new(0),
            streams: Mutex::default(),
            requests: Mutex::default(),
            seen: AtomicU64::new(0),
        }
    }

    /// This start of this node.
    #[must_use]
    pub fn at(&self) -> Attachment {
        self.at
    }

    /// The router, for reading. Hold it briefly and never across an await.
    pub fn router(&self) -> MutexGuard<'_, Router> {
        lock(&self.router)
    }

    /// Index of the last entry applied, and changes of it.
    #[must_use]
    pub fn index(&self) -> watch::Receiver<u64> {
        self.index.subscribe()
    }

    /// The last of this node's requests that was applied.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen.load(Ordering::Acquire)
    }

    /// Waits until one of this node's requests is applied. Cancel-safe.
    pub async fn saw(&self, request: u64) {
        let mut index = self.index();
        // The sender lives as long as this does.
        let _ = index.wait_for(|_| self.seen() >= request).await;
    }

    /// Registers the stream of a session that is about to be bound or resumed.
    pub fn watch_session(&self, session: SessionId) -> Arc<Signal> {
        let signal = Arc::new(Signal::default());
        if let Some(old) = lock(&self.streams).insert(session, Arc::clone(&signal)) {
            // A session resumed on the node that it was on: the older stream looks and finds itself outdated.
            old.wake();
        }
        signal
    }

    /// Forgets a stream, unless another one of the session took its place.
    pub fn unwatch_session(&self, session: SessionId, signal: &Arc<Signal>) {
        let mut streams = lock(&self.streams);
        if streams
            .get(&session)
            .is_some_and(|now| Arc::ptr_eq(now, signal))
        {
            streams.remove(&session);
        }
    }

    /// Streams registered.
    #[must_use]
    pub fn streams(&self) -> usize {
        lock(&self.streams).len()
    }

    /// Wakes every local stream.
    pub fn wake_all(&self) {
        lock(&self.streams)
            .values()
            .for_each(|signal| signal.wake());
    }

    /// Registers for the decision on one of this node's configuration requests, before it is proposed.
    pub fn expect_decision(&self, request: u64) -> oneshot::Receiver<Result<(), ConfigureError>> {
        let (sender, receiver) = oneshot::channel();
        lock(&self.requests).insert(request, sender);
        receiver
    }

    /// Applies entries in order, then tells streams and waiting requests. Returns this node's last applied request.
    ///
    /// # Errors
    /// [`Malformed`] if an entry cannot be read: fatal, see [`Router::apply`].
    pub fn apply<'a>(
        &self,
        entries: impl IntoIterator<Item = (u64, Option<&'a Bytes>)>,
    ) -> Result<u64, Malformed> {
        let mut news = Vec::new();
        let mut last = None;
        let seen = {
            let mut router = self.router();
            for (index, batch) in entries {
                if let Some(batch) = batch {
                    let before = router.ledger().accepted;
                    router.apply(index, batch, &mut news)?;
                    let stanzas = router.ledger().accepted - before;
                    if stanzas > 0 {
                        self.metrics.observe_batch(stanzas, batch.len());
                    }
                }
                last = Some(index);
            }
            self.own_seen(&router)
        };
        self.seen.store(seen, Ordering::Release);
        self.tell(&news);
        if let Some(last) = last {
            self.index.send_replace(last);
        }
        Ok(seen)
    }

    /// Replaces the state by a snapshot's. Streams look at their sessions anew, waiting requests end undecided.
    pub fn install(&self, router: Router, index: u64) -> u64 {
        let seen = self.own_seen(&router);
        *self.router() = router;
        self.seen.store(seen, Ordering::Release);
        lock(&self.requests).retain(|request, _| *request > seen);
        self.wake_all();
        self.index.send_replace(index);
        seen
    }

    fn own_seen(&self, router: &Router) -> u64 {
        router
            .node(self.at.node)
            .filter(|node| node.incarnation == self.at.incarnation)
            .map_or(0, |node| node.seen)
    }

    fn tell(&self, news: &[News]) {
        if news.is_empty() {
            return;
        }
        let streams = lock(&self.streams);
        for item in news {
            match *item {
                News::Session(session) => {
                    if let Some(signal) = streams.get(&session) {
                        signal.wake();
                    }
                }
                News::Refused {
                    session,
                    at,
                    request,
                    refusal,
                } if at == self.at => {
                    if let Some(signal) = streams.get(&session) {
                        *lock(&signal.refusal) = Some((request, refusal));
                        signal.wake();
                    }
                }
                News::Probe(session) => {
                    if let Some(signal) = streams.get(&session) {
                        signal.probe.store(true, Ordering::Release);
                        signal.wake();
                    }
                }
                News::Configured {
                    at,
                    request,
                    result,
                } if at == self.at => {
                    if let Some(waiting) = lock(&self.requests).remove(&request) {
                        let _ = waiting.send(result);
                    }
                }
                News::Refused { .. } | News::Configured { .. } => {}
            }
        }
    }
}

/// A panic while the lock was held would be a bug elsewhere; the data behind it is still whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

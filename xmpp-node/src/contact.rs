//! Whether this node may speak for the cluster now.
//!
//! A node that had no contact with a leader for `timing.silence`, or wakes from a pause that long, may have been declared down
//! and its sessions resumed elsewhere. It then writes nothing to streams until it has *confirmed*: asked the leader for a fresh
//! read index and applied everything up to it. Both streams and incoming heartbeats judge the age of the last contact before
//! they do anything, so whichever runs first after a pause closes the gate.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// See the module documentation.
#[derive(Debug)]
pub struct Contact {
    silence: Duration,
    start: Instant,
    /// Milliseconds after `start`.
    last: AtomicU64,
    confirmed: AtomicBool,
    gate: watch::Sender<bool>,
}

impl Contact {
    /// No contact yet: unconfirmed. Contact older than `silence` must be confirmed anew.
    #[must_use]
    pub fn new(silence: Duration) -> Self {
        Self {
            silence,
            start: Instant::now(),
            last: AtomicU64::new(0),
            confirmed: AtomicBool::new(false),
            gate: watch::Sender::new(false),
        }
    }

    /// A leader was heard, or this leader heard a quorum.
    pub fn heard(&self) {
        self.judge();
        self.last.store(self.now(), Ordering::Release);
    }

    /// Whether streams may be written to.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.judge()
    }

    /// The age at which a contact must be confirmed anew.
    #[must_use]
    pub fn silence(&self) -> Duration {
        self.silence
    }

    /// Time since the last contact.
    #[must_use]
    pub fn age(&self) -> Duration {
        Duration::from_millis(self.now().saturating_sub(self.last.load(Ordering::Acquire)))
    }

    /// The applied state was confirmed by a read index of the leader, asked for at `asked`, after the gate closed.
    pub fn confirm(&self, asked: Instant) {
        if asked.elapsed() < self.silence {
            self.last.store(self.now(), Ordering::Release);
            self.confirmed.store(true, Ordering::Release);
            self.gate.send_replace(true);
        }
    }

    /// Changes of the gate.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.gate.subscribe()
    }

    fn judge(&self) -> bool {
        if self.age() > self.silence && self.confirmed.swap(false, Ordering::AcqRel) {
            self.gate.send_replace(false);
        }
        self.confirmed.load(Ordering::Acquire)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

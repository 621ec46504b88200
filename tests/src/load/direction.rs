//! One direction of a pair: numbered messages with the time they were due, and what became of them.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use bytes::Bytes;
use callbridge::{Bridge, Config, Receiver};
use tokio::sync::Semaphore;
use xmpp_node::demo::histogram::Histogram;

use super::lock;

/// From one bridge to its partner.
pub(super) struct Direction {
    pub(super) bridge: Bridge,
    /// Gets a permit for each message received; only window mode takes them.
    pub(super) room: Semaphore,
    /// `<message from='…' to='…' id='`
    head: String,
    bytes: usize,
    clock: Instant,
    sent: AtomicU64,
    received: AtomicU64,
    disorder: AtomicU64,
}

impl Direction {
    pub(super) fn new(
        bridge: Bridge,
        from: &Config,
        to: &Config,
        bytes: usize,
        clock: Instant,
    ) -> Self {
        Self {
            bridge,
            room: Semaphore::new(0),
            head: format!("<message from='{}' to='{}' id='", from.jid(), to.jid()),
            bytes,
            clock,
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            disorder: AtomicU64::new(0),
        }
    }

    /// The next message, `<message …><body>number due padding</body></message>`. Only one task of a direction sends.
    pub(super) fn next(&self, due: Instant) -> Bytes {
        const TAIL: &str = "</body></message>";
        let number = self.sent.fetch_add(1, Ordering::Relaxed);
        let nanos = due.saturating_duration_since(self.clock).as_nanos();
        let mut text = String::with_capacity(self.bytes.max(256));
        text.push_str(&self.head);
        let _ = write!(text, "{number}'><body>{number} {nanos} ");
        let padding = self.bytes.saturating_sub(text.len() + TAIL.len());
        text.extend(std::iter::repeat_n('x', padding));
        text.push_str(TAIL);
        text.into()
    }

    /// The bridge did not take the message after all.
    pub(super) fn withdraw(&self) {
        self.sent.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn received(&self) -> u64 {
        self.received.load(Ordering::Relaxed)
    }

    pub(super) fn disorder(&self) -> u64 {
        self.disorder.load(Ordering::Relaxed)
    }

    /// Messages sent that have not come.
    pub(super) fn lost(&self) -> u64 {
        let sent = self.sent.load(Ordering::Relaxed);
        sent.saturating_sub(self.received())
    }

    /// Counts what arrives; latencies too, while there is a histogram for them.
    pub(super) async fn receive(
        self: Arc<Self>,
        mut receiver: Receiver,
        latency: Arc<Mutex<Option<Histogram>>>,
    ) {
        let (mut batch, mut expected) = (Vec::new(), 0);
        while receiver.recv_many(&mut batch, BATCH).await > 0 {
            let now = self.clock.elapsed().as_nanos();
            let mut latency = lock(&latency);
            for incoming in batch.drain(..) {
                let Some((number, due)) = read(incoming.bytes()) else {
                    continue;
                };
                if number != expected {
                    self.disorder.fetch_add(1, Ordering::Relaxed);
                }
                expected = number + 1;
                self.received.fetch_add(1, Ordering::Relaxed);
                self.room.add_permits(1);
                if let Some(histogram) = &mut *latency {
                    let micros = now.saturating_sub(due) / 1000;
                    histogram.add(u64::try_from(micros).unwrap_or(u64::MAX));
                }
            }
        }
    }
}

/// Number and due time of a message.
fn read(stanza: &[u8]) -> Option<(u64, u128)> {
    const BODY: &[u8] = b"<body>";
    let mut windows = stanza.windows(BODY.len());
    let body = windows.position(|window| window == BODY)? + BODY.len();
    let text = std::str::from_utf8(stanza.get(body..)?).ok()?;
    let mut words = text.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// Stanzas counted with one look at the clock.
const BATCH: usize = 256;

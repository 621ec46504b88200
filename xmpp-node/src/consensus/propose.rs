//! The leader's side of a proposal: chunks of all nodes are gathered to batches, one log entry each.
//!
//! While an entry is in flight more chunks gather, until they are worth an entry ([`WORTH_BYTES`]) or it is applied: idle
//! traffic pays no linger, busy traffic gets large entries by itself, as an entry costs three fsyncs whatever it holds. A
//! new leader, and one whose lease ran out, refuses writes for a moment; refused entries are proposed again in order, since
//! apply skips what it saw and skips what comes too early. A node that leads no more forgets its chunks: their origins keep
//! them and send them to the next leader.
//!
//! Bounds: [`ENTRIES_IN_FLIGHT`] entries of about [`ENTRY_BYTES`]; the queue holds what [`crate::ingress`] of each node has
//! in flight, at most 4 chunks of 64 KiB or of one stanza.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesOrdered;
use openraft::impls::ProgressResponder;
use tokio::sync::Notify;
use tracing::warn;
use xmpp_core::router::BatchBuilder;

use super::StateMachine;
use super::types::{Batch, Raft};

/// Bytes that an entry is filled up to.
pub(super) const ENTRY_BYTES: usize = 64 * 1024;
/// Entries proposed and not applied.
pub(super) const ENTRIES_IN_FLIGHT: usize = 4;
/// More than one entry is in flight when this waits.
pub(super) const WORTH_BYTES: usize = 16 * 1024;
/// Between two attempts at an entry that was refused.
const RETRY: Duration = Duration::from_micros(500);
/// Attempts before the chunks are left to their origins.
const ATTEMPTS: u32 = 400;

/// Chunks that wait for this leader. See the module documentation.
#[derive(Debug, Default)]
pub(super) struct Proposer {
    queue: Mutex<VecDeque<Vec<Bytes>>>,
    wake: Notify,
}

impl Proposer {
    /// Queues a chunk, given in pieces: its header first.
    pub(super) fn push(&self, chunk: Vec<Bytes>) {
        self.lock().push_back(chunk);
        self.wake.notify_one();
    }

    /// Forgets all chunks.
    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// Proposes until the Raft core ends.
    pub(super) async fn run(&self, raft: &Raft<StateMachine>) {
        let mut in_flight = FuturesOrdered::new();
        let mut batches: VecDeque<Batch> = VecDeque::new();
        let mut attempts = 0;
        loop {
            while in_flight.len() < ENTRIES_IN_FLIGHT
                && let Some(batch) = self.gather(in_flight.is_empty())
            {
                let (responder, answer) = ProgressResponder::complete_only();
                batches.push_back(batch.clone());
                if raft.write(batch).responder(responder).await.is_err() {
                    return;
                }
                in_flight.push_back(answer);
            }
            let refused = tokio::select! {
                () = self.wake.notified(), if in_flight.len() < ENTRIES_IN_FLIGHT => continue,
                Some(answer) = in_flight.next() => !matches!(answer, Ok(Ok(_))),
            };
            if !refused {
                batches.pop_front();
                attempts = 0;
                continue;
            }
            // Those behind it may have been accepted, and skipped as too early.
            while in_flight.next().await.is_some() {}
            attempts += 1;
            if attempts >= ATTEMPTS || !raft.is_leader() {
                if !batches.is_empty() && attempts >= ATTEMPTS {
                    warn!(
                        batches = batches.len(),
                        "no quorum takes what is proposed; it stays with its origins"
                    );
                }
                batches.clear();
                self.clear();
                attempts = 0;
                continue;
            }
            tokio::time::sleep(RETRY).await;
            for batch in &batches {
                let (responder, answer) = ProgressResponder::complete_only();
                if raft
                    .write(batch.clone())
                    .responder(responder)
                    .await
                    .is_err()
                {
                    return;
                }
                in_flight.push_back(answer);
            }
        }
    }

    fn gather(&self, idle: bool) -> Option<Batch> {
        let mut queue = self.lock();
        let size = |chunk: &Vec<Bytes>| chunk.iter().map(Bytes::len).sum::<usize>();
        let (mut chunks, mut bytes) = (0, 0);
        for chunk in queue.iter() {
            let more = size(chunk);
            if chunks > 0 && bytes + more > ENTRY_BYTES {
                break;
            }
            chunks += 1;
            bytes += more;
        }
        if chunks == 0 || (!idle && bytes < WORTH_BYTES && chunks == queue.len()) {
            return None;
        }
        let mut batch = BatchBuilder::new(now(), bytes);
        for chunk in queue.drain(..chunks) {
            chunk.iter().for_each(|piece| batch.encoded(piece));
        }
        Some(Batch(batch.finish()))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Vec<Bytes>>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

//! The replicated state machine: who is bound where, what waits for whom, and what became of every stanza.
//!
//! [`Router::apply`] is a pure function of the state and one log entry. It knows no clock, no socket and no randomness: ids
//! are chosen by whoever proposes, time enters only as commands (`Expire`, `Evict`) and as the stamp of a batch. All nodes
//! that applied index i therefore hold the same state at i, which [`Router::digest`] lets anybody check.
//!
//! Reading order: `batch`, `command` and `packing` (what an entry holds), `session` and `queue` (the state), `apply` (the decisions), `names`
//! (who serves which), `routing` (where a stanza goes), `configure`, `bridge` (names and secrets), `accounts`, `clients` and `delivery`
//! (users, their sessions, what is sent to them), `roster`, `contacts` and `presence` (who is told of whom), `ledger` (the sums), `snapshot`.
//!
//! # Invariants
//! 1. A command has an effect once: a node's commands carry consecutive request numbers, and only the next one is taken.
//! 2. A session takes stanzas only from the stream that serves it now; whatever an older stream still had under way
//!    is skipped, and its sender sends again what `h` does not cover.
//! 3. Every stanza taken is counted once in the [`Ledger`]: delivered, bounced, expired, discarded, or still queued.
//! 4. A name is served by at most one session, a session by at most one stream.
//! 5. Nothing here grows without bound: see [`Limits`].

mod accounts;
mod apply;
mod batch;
mod bridge;
mod clients;
mod command;
mod configure;
mod contacts;
mod delivery;
mod digest;
mod ledger;
mod local;
mod names;
mod packing;
mod presence;
mod queue;
mod roster;
mod routing;
mod session;
mod snapshot;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use accounts::Account;
pub use apply::{News, Refusal};
pub use batch::{BatchBuilder, ChunkHeader, check_chunk};
pub use bridge::{Bridge, BridgeLimits, SealedSecret};
pub use command::{Command, Malformed, OnConflict};
pub use configure::ConfigureError;
pub use ledger::Ledger;
pub(crate) use local::capabilities;
pub use packing::StanzaPacker;
pub use queue::{Item, Queue};
pub use roster::{Contact, Roster};
pub use session::{Attachment, Availability, Counted, Newcomer, Session, SessionId};

/// Bounds of the replicated state. They are part of the state, since every node must decide alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Stanzas that may wait for one session, at least 1. A full queue is answered with `resource-constraint`.
    pub queue_stanzas: u32,
    /// Bytes that may wait for one session.
    pub queue_bytes: u64,
    /// Bytes that may wait for all sessions together.
    pub state_bytes: u64,
    /// Bridges that may be configured.
    pub bridges: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            queue_stanzas: 10_000,
            queue_bytes: 16 << 20,
            state_bytes: 256 << 20,
            bridges: 4096,
        }
    }
}

/// A node as the log knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// The newest start of the node that the log has seen.
    pub incarnation: u64,
    /// The last request number taken from that incarnation.
    pub seen: u64,
}

/// The replicated state. See the module documentation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Router {
    cluster: String,
    domain: String,
    limits: Limits,
    configuration_generation: u64,
    nodes: BTreeMap<u64, NodeRecord>,
    forgotten: Vec<Attachment>,
    bridges: BTreeMap<String, Bridge>,
    accounts: BTreeMap<String, Account>,
    sessions: BTreeMap<SessionId, Session>,
    detached: BTreeSet<SessionId>,
    held: BTreeSet<SessionId>,
    ledger: Ledger,
    queued_bytes: u64,
    kept_bytes: u64,
}

impl Router {
    /// An empty state, before `Configure`.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The cluster id, empty before `Configure`.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The XMPP domain, empty before `Configure`.
    #[must_use]
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The bounds in force.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// What the log knows of a node.
    #[must_use]
    pub fn node(&self, node: u64) -> Option<NodeRecord> {
        self.nodes.get(&node).copied()
    }

    /// A session by its id.
    #[must_use]
    pub fn session(&self, id: SessionId) -> Option<&Session> {
        self.sessions.get(&id)
    }

    /// All sessions, in the order of their ids.
    pub fn sessions(&self) -> impl Iterator<Item = (SessionId, &Session)> {
        self.sessions.iter().map(|(id, session)| (*id, session))
    }

    /// A bridge by its domain (`cb1.example.test`).
    #[must_use]
    pub fn bridge(&self, domain: &str) -> Option<&Bridge> {
        self.bridges.get(domain)
    }

    /// All bridges by their domains, in order.
    pub fn bridges(&self) -> impl Iterator<Item = (&str, &Bridge)> {
        self.bridges
            .iter()
            .map(|(domain, bridge)| (domain.as_str(), bridge))
    }

    /// Sessions that wait for a stream, with their epoch: the leader expires them after `detachTimeout`.
    pub fn detached(&self) -> impl Iterator<Item = (SessionId, u32)> {
        self.detached
            .iter()
            .filter_map(|id| self.sessions.get(id).map(|session| (*id, session.epoch)))
    }

    /// Sessions for whose name a newcomer waits, with their epoch and the newcomer: the leader evicts a holder that does not
    /// answer.
    pub fn held(&self) -> impl Iterator<Item = (SessionId, u32, SessionId)> {
        self.held.iter().filter_map(|id| {
            let session = self.sessions.get(id)?;
            Some((*id, session.epoch, session.newcomer?.session))
        })
    }

    /// What became of every stanza taken.
    #[must_use]
    pub fn ledger(&self) -> Ledger {
        self.ledger
    }

    /// Stanzas taken that still wait in a queue, counted in the queues themselves.
    #[must_use]
    pub fn queued(&self) -> u64 {
        let sessions = self.sessions.values().map(|session| &session.queue);
        let offline = self.accounts.values().map(|account| &account.offline);
        sessions.chain(offline).map(Queue::originals).sum()
    }

    /// Bytes that wait in all queues together, as [`Limits::state_bytes`] counts them.
    #[must_use]
    pub fn queued_bytes(&self) -> u64 {
        self.queued_bytes
    }

    /// Bytes of contacts and presences: at most a quarter of [`Limits::state_bytes`].
    #[must_use]
    pub fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    /// Stanzas taken without a recorded outcome: always 0, unless this code is wrong.
    #[must_use]
    pub fn unaccounted(&self) -> i64 {
        self.ledger.unaccounted(self.queued())
    }

    /// Copies out of their batch what entries up to `index` left in the queue of a session, so that the memory of those
    /// batches is freed when the log drops them. One session at a time, as a full queue takes milliseconds.
    pub fn unpin(&mut self, session: SessionId, index: u64) {
        if let Some(session) = self.sessions.get_mut(&session) {
            session.queue.unpin(index);
        }
    }
}

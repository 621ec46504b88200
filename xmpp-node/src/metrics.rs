//! Every metric of a node, declared in one place, in OpenMetrics text under the prefix `xmpp_`.
//!
//! Labels are few and closed: conditions, roles, names of limits and of members. No JID, address or bridge name
//! becomes one. Figures that the status has too are set from it by [`Metrics::observe`], so the two cannot disagree;
//! the others are counted where they happen.

mod labels;
mod register;

use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use xmpp_core::error::StanzaCondition;
use xmpp_node_api::config::Limits;
use xmpp_node_api::status::{BridgeState, Ledger, MemberRole, NodeRole, NodeStatus};

use labels::{Condition, OutcomeLabel};
pub use labels::{Outcome, StreamEnd};

/// Content type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Every metric of a node. Cheap to share by reference; each field may be set from any thread.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,

    /// Connections that have not authenticated yet.
    pub unauthenticated: Gauge,
    /// Streams that are bound to a session.
    pub streams: Gauge,
    /// Connections that a limit refused at once, or closed for want of a place, by the limit's name.
    pub refused: Family<Named, Counter>,
    /// Handshakes of components.
    handshakes: Family<OutcomeLabel, Counter>,
    streams_closed: Family<Condition, Counter>,
    rejects: Family<Condition, Counter>,

    accept_seconds: Histogram,
    batches: Counter,
    batch_stanzas: Histogram,
    batch_bytes: Histogram,
    fsync_seconds: Histogram,

    /// Bytes of the log's entries that are not purged; they are in memory as well as on disk.
    pub log_bytes: Gauge,
    /// Log index of the last snapshot.
    pub snapshot_index: Gauge,
    /// Bytes that wait in all queues, as `limits.state_bytes` counts them.
    pub state_bytes: Gauge,
    /// Bytes of contacts and presences of all users.
    pub kept_bytes: Gauge,
    /// Users that there are.
    pub users: Gauge,
    /// Sessions of clients, those without a stream included.
    pub clients: Gauge,
    /// Stanzas that wait for users who are away.
    pub offline_stanzas: Gauge,
    /// Times that another node, or this one, began to lead as seen here.
    pub leader_changes: Counter,

    ledger: LedgerMetrics,
    raft: RaftMetrics,
    sessions: SessionMetrics,
    reload_failures: Counter,
    certificate_expiry: Family<Certificate, Gauge>,
}

/// Label `name`: a limit of the configuration.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Named {
    /// Its key.
    pub name: &'static str,
}

#[derive(Debug, Default)]
struct LedgerMetrics {
    accepted: Counter,
    delivered: Counter,
    bounced: Counter,
    expired: Counter,
    discarded: Counter,
    queued: Gauge,
    unaccounted: Gauge,
}

#[derive(Debug, Default)]
struct RaftMetrics {
    ready: Gauge,
    role: Family<RoleLabel, Gauge>,
    term: Gauge,
    applied: Gauge,
    committed: Gauge,
    votes_needed: Gauge,
    votes_seen: Gauge,
    voters: Gauge,
    peer_reachable: Family<Peer, Gauge>,
}

#[derive(Debug, Default)]
struct SessionMetrics {
    bridges: Family<StateLabel, Gauge>,
    unconfirmed: Gauge,
    queue_stanzas: Gauge,
    queue_bytes: Gauge,
    longest_queue: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RoleLabel {
    role: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Certificate {
    certificate: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Peer {
    peer: String,
}

impl Metrics {
    /// Declares every metric, and sets `xmpp_limit` from the configuration.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("xmpp"),
            unauthenticated: Gauge::default(),
            streams: Gauge::default(),
            refused: Family::default(),
            handshakes: Family::default(),
            streams_closed: Family::default(),
            rejects: Family::default(),
            // 0.25 ms to 4 s: a commit takes about 1 ms, an election some hundred.
            accept_seconds: Histogram::new(exponential_buckets(0.000_25, 2.0, 15)),
            batches: Counter::default(),
            batch_stanzas: Histogram::new(exponential_buckets(1.0, 2.0, 12)),
            batch_bytes: Histogram::new(exponential_buckets(256.0, 4.0, 9)),
            // 50 us (a good SSD) to 1.6 s (a disk that endangers elections).
            fsync_seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 16)),
            log_bytes: Gauge::default(),
            snapshot_index: Gauge::default(),
            state_bytes: Gauge::default(),
            kept_bytes: Gauge::default(),
            users: Gauge::default(),
            clients: Gauge::default(),
            offline_stanzas: Gauge::default(),
            leader_changes: Counter::default(),
            ledger: LedgerMetrics::default(),
            raft: RaftMetrics::default(),
            sessions: SessionMetrics::default(),
            reload_failures: Counter::default(),
            certificate_expiry: Family::default(),
        };
        metrics.register(limits);
        metrics.begin();
        metrics
    }

    /// Counters with a closed set of labels begin at 0, or their first event would be no increase to whoever scrapes.
    fn begin(&self) {
        for name in LIMITS {
            drop(self.refused.get_or_create(&Named { name }));
        }
        for outcome in [Outcome::Proved, Outcome::Failed, Outcome::Throttled] {
            drop(self.handshakes.get_or_create(&outcome.label()));
        }
    }

    /// Sets everything that the status knows.
    pub fn observe(&self, status: &NodeStatus) {
        self.observe_ledger(&status.ledger);
        self.observe_group(status);
        self.observe_sessions(status);
        for (certificate, known) in [
            ("component", &status.certificate),
            ("peer", &status.peer_certificate),
        ] {
            let seconds = signed(known.not_after.unix_ms() / 1_000);
            self.certificate_expiry
                .get_or_create(&Certificate { certificate })
                .set(seconds);
        }
    }

    /// Sets the ledger.
    pub fn observe_ledger(&self, ledger: &Ledger) {
        let set = |counter: &Counter, value| counter.inner().store(value, Ordering::Relaxed);
        set(&self.ledger.accepted, ledger.accepted);
        set(&self.ledger.delivered, ledger.delivered);
        set(&self.ledger.bounced, ledger.bounced);
        set(&self.ledger.expired, ledger.expired);
        set(&self.ledger.discarded, ledger.discarded);
        self.ledger.queued.set(signed(ledger.queued));
        self.ledger.unaccounted.set(ledger.unaccounted);
    }

    /// Sets how often a reload of certificates failed since the start.
    pub fn observe_reload_failures(&self, failures: u64) {
        self.reload_failures
            .inner()
            .store(failures, Ordering::Relaxed);
    }

    /// Notes a handshake.
    pub fn handshake(&self, outcome: Outcome) {
        self.handshakes.get_or_create(&outcome.label()).inc();
    }

    /// Notes that a connection lost its place among the unauthenticated to another address.
    pub fn displaced(&self) {
        let name = "unauthenticated";
        self.refused.get_or_create(&Named { name }).inc();
    }

    /// Notes one fsync of the log.
    pub fn observe_fsync(&self, took: Duration) {
        self.fsync_seconds.observe(took.as_secs_f64());
    }

    /// Notes the end of a stream.
    pub fn stream_closed(&self, end: StreamEnd) {
        self.streams_closed.get_or_create(&end.label()).inc();
    }

    /// Notes a stanza that is answered with an error as soon as it is read.
    pub fn rejected(&self, condition: StanzaCondition) {
        let condition = condition.as_str();
        self.rejects.get_or_create(&Condition { condition }).inc();
    }

    /// Notes how long stanzas that were read together took to be applied.
    pub fn accepted(&self, took: Duration) {
        self.accept_seconds.observe(took.as_secs_f64());
    }

    /// Notes one log entry with stanzas that was applied.
    pub fn observe_batch(&self, stanzas: u64, bytes: usize) {
        self.batches.inc();
        self.batch_stanzas.observe(stanzas as f64);
        self.batch_bytes.observe(bytes as f64);
    }

    /// All metrics as text, of the type [`CONTENT_TYPE`].
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string fails only if a metric refuses to encode itself, and these do not.
        match encode(&mut text, &self.registry) {
            Ok(()) => text,
            Err(_) => "# EOF\n".to_owned(),
        }
    }

    fn observe_group(&self, status: &NodeStatus) {
        let raft = &self.raft;
        raft.ready.set(i64::from(status.ready.ok));
        for (role, name) in ROLES {
            let is = i64::from(role == status.role);
            raft.role.get_or_create(&RoleLabel { role: name }).set(is);
        }
        raft.term.set(signed(status.term));
        raft.applied.set(signed(status.applied));
        raft.committed.set(signed(status.committed));
        raft.votes_needed.set(i64::from(status.votes_needed));
        raft.votes_seen.set(i64::from(status.votes_seen));
        let own = usize::from(matches!(
            status.role,
            NodeRole::Leader | NodeRole::Follower | NodeRole::Candidate
        ));
        let voters = status
            .peers
            .iter()
            .filter(|peer| peer.role == MemberRole::Voter)
            .count();
        raft.voters.set(signed((voters + own) as u64));
        // A member that is gone must not stay as a series.
        raft.peer_reachable.clear();
        for peer in &status.peers {
            let label = Peer {
                peer: peer.name.clone(),
            };
            raft.peer_reachable
                .get_or_create(&label)
                .set(i64::from(peer.reachable));
        }
    }

    fn observe_sessions(&self, status: &NodeStatus) {
        let sessions = &self.sessions;
        let count = |state| {
            status
                .bridges
                .iter()
                .filter(|bridge| bridge.state == state)
                .count()
        };
        for (state, name) in BRIDGE_STATES {
            let label = StateLabel { state: name };
            sessions
                .bridges
                .get_or_create(&label)
                .set(signed(count(state) as u64));
        }
        let unconfirmed = status
            .bridges
            .iter()
            .filter(|bridge| bridge.unconfirmed)
            .count();
        sessions.unconfirmed.set(signed(unconfirmed as u64));
        let queues = || status.bridges.iter().map(|bridge| bridge.queue);
        sessions
            .queue_stanzas
            .set(signed(queues().map(|queue| queue.stanzas).sum()));
        sessions
            .queue_bytes
            .set(signed(queues().map(|queue| queue.bytes).sum()));
        sessions.longest_queue.set(signed(
            queues().map(|queue| queue.stanzas).max().unwrap_or(0),
        ));
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Limits by which a connection may be refused, see [`crate::admission`].
const LIMITS: [&str; 4] = [
    "connections",
    "connections_per_address",
    "unauthenticated",
    "unauthenticated_per_address",
];

const ROLES: [(NodeRole, &str); 5] = [
    (NodeRole::Leader, "leader"),
    (NodeRole::Follower, "follower"),
    (NodeRole::Candidate, "candidate"),
    (NodeRole::Learner, "learner"),
    (NodeRole::Uninitialized, "uninitialized"),
];

const BRIDGE_STATES: [(BridgeState, &str); 3] = [
    (BridgeState::Absent, "absent"),
    (BridgeState::Attached, "attached"),
    (BridgeState::Detached, "detached"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::test_control::status;

    #[test]
    fn bounds_and_unaccounted_are_there_before_anything_happened() {
        let text = Metrics::new(&Limits::default()).encode();
        for line in [
            "xmpp_limit{name=\"max_stanza_bytes\"} 262144",
            "xmpp_limit{name=\"handshake_timeout\"} 10000",
            "xmpp_unaccounted 0",
            "xmpp_accepted_total 0",
            "xmpp_fsync_seconds_count 0",
            "xmpp_refused_total{name=\"connections\"} 0",
            "xmpp_handshakes_total{outcome=\"throttled\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    #[test]
    fn the_status_is_mirrored_and_a_removed_member_leaves_no_series() {
        let metrics = Metrics::new(&Limits::default());
        let mut status = status();
        status.ledger.accepted = 7;
        status.ledger.unaccounted = -1;
        metrics.observe(&status);
        let text = metrics.encode();
        for line in [
            "xmpp_accepted_total 7",
            "xmpp_unaccounted -1",
            "xmpp_raft_role{role=\"follower\"} 1",
            "xmpp_raft_role{role=\"leader\"} 0",
            "xmpp_raft_voters 3",
            "xmpp_peer_reachable{peer=\"xmpp1\"} 1",
            "xmpp_bridges{state=\"attached\"} 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in\n{text}");
        }
        status.peers.clear();
        metrics.observe(&status);
        assert!(!metrics.encode().contains("peer=\"xmpp1\""));
    }
}

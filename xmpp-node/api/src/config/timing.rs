//! `[timing]`: timeouts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::Range;
use crate::time::duration_text;

/// Timeouts. Each field's range is enforced at start, and so are the rules between them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Timing {
    /// How long a session without a stream keeps its queue before its stanzas become errors. Default 30s; 1s to 1h,
    /// and at least `quorum_grace`. XEP-0198 announces it as `max`.
    #[serde(with = "duration_text")]
    pub detach_timeout: Duration,
    /// How long a node without a quorum keeps its streams before it closes them with `system-shutdown`. Default 5s;
    /// 500ms to 10m, and at least four times `election_max`, so that no ordinary election closes a stream.
    #[serde(with = "duration_text")]
    pub quorum_grace: Duration,
    /// How often a leader tells the others that it lives. Default 50ms; 10ms to 5s. Writing to disk must stay well
    /// below it.
    #[serde(with = "duration_text")]
    pub heartbeat: Duration,
    /// Shortest time without a heartbeat after which a follower stands for election. Default 150ms; 50ms to 30s,
    /// and at least twice `heartbeat`.
    #[serde(with = "duration_text")]
    pub election_min: Duration,
    /// Longest time without a heartbeat after which a follower stands for election. Default 300ms; 100ms to 1m, and
    /// above `election_min`. Failover from a silent leader takes up to twice as long.
    #[serde(with = "duration_text")]
    pub election_max: Duration,
    /// Silence after which a node counts as down, and a node without contact writes nothing more. Default 300ms;
    /// 100ms to 1m, and at least three times `heartbeat`.
    #[serde(with = "duration_text")]
    pub silence: Duration,
    /// How long a component may leave a ping of ours unanswered before it is marked `unconfirmed`. Default 10s;
    /// 1s to 10m.
    #[serde(with = "duration_text")]
    pub barrier_timeout: Duration,
    /// How long a bridge whose handshakes failed too often must wait at first; see `limits.failed_handshakes`. Default
    /// 1s; 100ms to 1m.
    #[serde(with = "duration_text")]
    pub handshake_backoff: Duration,
    /// How long it must wait at most. Default 30s; 100ms to 1h, and at least `handshake_backoff`.
    #[serde(with = "duration_text")]
    pub handshake_backoff_max: Duration,
    /// How long a planned stop may take from the signal to the exit of the process. Default 10s; 1s to 10m.
    #[serde(with = "duration_text")]
    pub stop_timeout: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            detach_timeout: Duration::from_secs(30),
            quorum_grace: Duration::from_secs(5),
            heartbeat: Duration::from_millis(50),
            election_min: Duration::from_millis(150),
            election_max: Duration::from_millis(300),
            silence: Duration::from_millis(300),
            barrier_timeout: Duration::from_secs(10),
            handshake_backoff: Duration::from_secs(1),
            handshake_backoff_max: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(10),
        }
    }
}

impl Timing {
    pub(super) fn ranges(&self) -> [Range; 10] {
        [
            Range::time("detach_timeout", self.detach_timeout, 1_000, 3_600_000),
            Range::time("quorum_grace", self.quorum_grace, 500, 600_000),
            Range::time("heartbeat", self.heartbeat, 10, 5_000),
            Range::time("election_min", self.election_min, 50, 30_000),
            Range::time("election_max", self.election_max, 100, 60_000),
            Range::time("silence", self.silence, 100, 60_000),
            Range::time("barrier_timeout", self.barrier_timeout, 1_000, 600_000),
            Range::time("handshake_backoff", self.handshake_backoff, 100, 60_000),
            Range::time(
                "handshake_backoff_max",
                self.handshake_backoff_max,
                100,
                3_600_000,
            ),
            Range::time("stop_timeout", self.stop_timeout, 1_000, 600_000),
        ]
    }

    /// The rules that join two fields: key, whether it holds, and the rule.
    pub(super) fn rules(&self) -> [(&'static str, bool, &'static str); 6] {
        [
            (
                "election_min",
                self.election_min / 2 >= self.heartbeat,
                "must be at least twice timing.heartbeat, or one late heartbeat starts an election",
            ),
            (
                "election_max",
                self.election_max > self.election_min,
                "must be above timing.election_min, or candidates would stand at the same time for ever",
            ),
            (
                "silence",
                self.silence / 3 >= self.heartbeat,
                "must be at least three times timing.heartbeat",
            ),
            (
                "quorum_grace",
                self.quorum_grace / 4 >= self.election_max,
                "must be at least four times timing.election_max, or an election would close streams",
            ),
            (
                "handshake_backoff_max",
                self.handshake_backoff_max >= self.handshake_backoff,
                "must be at least timing.handshake_backoff",
            ),
            (
                "detach_timeout",
                self.detach_timeout >= self.quorum_grace,
                "must be at least timing.quorum_grace, or stanzas expire before their peers may move on",
            ),
        ]
    }
}

//! `[limits]`: the bounds of everything that grows.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::Range;
use crate::time::duration_text;

/// Bounds of everything that grows. Sizes are bytes; each field's range is enforced at start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest stanza, in bytes as sent. Default 262 144; 10 000 (RFC 6120, 13.12) to 4 194 304.
    /// A larger one ends its stream with `policy-violation`.
    pub max_stanza_bytes: usize,
    /// Deepest nesting of elements. Default 64; 8 to 256.
    pub max_depth: usize,
    /// Streams of all kinds at once. Default 10 000; 1 to 1 000 000.
    pub connections: usize,
    /// Streams from one IP address at once; an IPv6 network of 64 bits counts as one address, here and below. Default
    /// 1 000; 1 to `connections`.
    pub connections_per_address: usize,
    /// Connections at once that have not authenticated yet. Past it, the address that has the most of them loses its
    /// oldest to a newcomer of another. Default 512; 1 to `connections`.
    pub unauthenticated: usize,
    /// Connections at once from one IP address that have not authenticated yet; the next ones are closed. Default 256;
    /// 1 to 1 000 000.
    pub unauthenticated_per_address: usize,
    /// Failed handshakes for one bridge from one IP address, after which it must wait for `timing.handshake_backoff`,
    /// and twice as long after each further one. An attempt that comes too early is answered `policy-violation`.
    /// Default 5; 1 to 1 000.
    pub failed_handshakes: usize,
    /// Failed handshakes from one IP address for whatever bridges; past it, bridges that were never authenticated from
    /// there share one attempt each `timing.handshake_backoff`. Many bridges may sit behind one address: a bridge that
    /// goes on failing is counted `failed_handshakes` times. Default 100; 1 to 1 000 000.
    pub failed_handshakes_per_address: usize,
    /// Failed handshakes for one bridge from everywhere; past it, every address must wait after its first failure. An
    /// address that did not fail is never refused for others. Default 20; 1 to 1 000 000.
    pub failed_handshakes_per_bridge: usize,
    /// Time in which a new connection must have authenticated, TLS included. Default 10s; 100ms to 1m.
    #[serde(with = "duration_text")]
    pub handshake_timeout: Duration,
    /// Stanzas that wait for one session; fixed for the cluster when it is initialised. Default 10 000; 1 to 1 000 000. A
    /// full queue is answered `resource-constraint`.
    pub session_queue_stanzas: usize,
    /// Bytes that wait for one session; fixed for the cluster when it is initialised. Default 16 777 216; 65 536 to 1 073 741 824, and at least twice
    /// `max_stanza_bytes`.
    pub session_queue_bytes: usize,
    /// Bytes that wait for all sessions together; fixed for the cluster when it is initialised. Default 268 435 456; 1 048 576 to 68 719 476 736, and at least
    /// `session_queue_bytes`.
    pub state_bytes: usize,
    /// Stanzas of one session that were read but are not accepted yet; then its socket is not read. Default 256;
    /// 1 to 65 536.
    pub session_window_stanzas: usize,
    /// Bytes of one session that were read but are not accepted yet. Default 1 048 576; 10 000 to 67 108 864, and
    /// at least `max_stanza_bytes`.
    pub session_window_bytes: usize,
    /// Bytes of log after which a snapshot is taken. Default 8 388 608; 1 048 576 to 17 179 869 184.
    pub snapshot_log_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_stanza_bytes: 262_144,
            max_depth: 64,
            connections: 10_000,
            connections_per_address: 1_000,
            unauthenticated: 512,
            unauthenticated_per_address: 256,
            failed_handshakes: 5,
            failed_handshakes_per_address: 100,
            failed_handshakes_per_bridge: 20,
            handshake_timeout: Duration::from_secs(10),
            session_queue_stanzas: 10_000,
            session_queue_bytes: 16 << 20,
            state_bytes: 256 << 20,
            session_window_stanzas: 256,
            session_window_bytes: 1 << 20,
            snapshot_log_bytes: 8 << 20,
        }
    }
}

impl Limits {
    /// Every numeric bound under its key, for `xmpp_limit{name=".."}`. `handshake_timeout` is in milliseconds.
    pub fn entries(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.ranges()
            .into_iter()
            .map(|range| (range.name, range.value))
    }

    pub(super) fn ranges(&self) -> [Range; 16] {
        let bytes =
            |name, value: usize, least, most| Range::number(name, value as u64, least, most);
        [
            bytes("max_stanza_bytes", self.max_stanza_bytes, 10_000, 4 << 20),
            bytes("max_depth", self.max_depth, 8, 256),
            bytes("connections", self.connections, 1, 1_000_000),
            bytes(
                "connections_per_address",
                self.connections_per_address,
                1,
                1_000_000,
            ),
            bytes("unauthenticated", self.unauthenticated, 1, 1_000_000),
            bytes(
                "unauthenticated_per_address",
                self.unauthenticated_per_address,
                1,
                1_000_000,
            ),
            bytes("failed_handshakes", self.failed_handshakes, 1, 1_000),
            bytes(
                "failed_handshakes_per_address",
                self.failed_handshakes_per_address,
                1,
                1_000_000,
            ),
            bytes(
                "failed_handshakes_per_bridge",
                self.failed_handshakes_per_bridge,
                1,
                1_000_000,
            ),
            Range::time("handshake_timeout", self.handshake_timeout, 100, 60_000),
            bytes(
                "session_queue_stanzas",
                self.session_queue_stanzas,
                1,
                1_000_000,
            ),
            bytes(
                "session_queue_bytes",
                self.session_queue_bytes,
                65_536,
                1 << 30,
            ),
            bytes("state_bytes", self.state_bytes, 1 << 20, 64 << 30),
            bytes(
                "session_window_stanzas",
                self.session_window_stanzas,
                1,
                65_536,
            ),
            bytes(
                "session_window_bytes",
                self.session_window_bytes,
                10_000,
                64 << 20,
            ),
            bytes(
                "snapshot_log_bytes",
                self.snapshot_log_bytes,
                1 << 20,
                16 << 30,
            ),
        ]
    }

    /// The rules that join two fields: key, whether it holds, and the rule.
    pub(super) fn rules(&self) -> [(&'static str, bool, &'static str); 5] {
        [
            (
                "connections_per_address",
                self.connections_per_address <= self.connections,
                "must be at most limits.connections",
            ),
            (
                "unauthenticated",
                self.unauthenticated <= self.connections,
                "must be at most limits.connections",
            ),
            (
                "session_queue_bytes",
                self.session_queue_bytes / 2 >= self.max_stanza_bytes,
                "must be at least twice limits.max_stanza_bytes, or a queue could not take one stanza",
            ),
            (
                "state_bytes",
                self.state_bytes >= self.session_queue_bytes,
                "must be at least limits.session_queue_bytes",
            ),
            (
                "session_window_bytes",
                self.session_window_bytes >= self.max_stanza_bytes,
                "must be at least limits.max_stanza_bytes, or a large stanza could not be read",
            ),
        ]
    }
}

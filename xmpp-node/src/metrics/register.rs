//! The name and the help text of every metric. Counters get `_total`, and those with a unit its name, appended.

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Unit;
use xmpp_node_api::config::Limits;

use super::{Metrics, Named, signed};

impl Metrics {
    /// Gives every metric its name and its help text.
    pub(super) fn register(&mut self, limits: &Limits) {
        let r = &mut self.registry;
        r.register(
            "build",
            "Version of the program",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        let limit = Family::<Named, Gauge>::default();
        for (name, value) in limits.entries() {
            limit.get_or_create(&Named { name }).set(signed(value));
        }
        r.register(
            "limit",
            "Bounds of the configuration (handshake_timeout in ms)",
            limit,
        );

        r.register(
            "accepted",
            "Stanzas committed and applied",
            self.ledger.accepted.clone(),
        );
        r.register(
            "delivered",
            "Stanzas delivered",
            self.ledger.delivered.clone(),
        );
        r.register(
            "bounced",
            "Stanzas answered by an error at once",
            self.ledger.bounced.clone(),
        );
        r.register(
            "expired",
            "Stanzas answered by an error after a detach",
            self.ledger.expired.clone(),
        );
        r.register(
            "discarded",
            "Errors and results dropped by rule",
            self.ledger.discarded.clone(),
        );
        r.register(
            "queued",
            "Accepted stanzas that wait",
            self.ledger.queued.clone(),
        );
        r.register(
            "unaccounted",
            "Accepted stanzas without a recorded outcome; anything but 0 is a defect",
            self.ledger.unaccounted.clone(),
        );

        r.register(
            "unauthenticated",
            "Connections not authenticated yet",
            self.unauthenticated.clone(),
        );
        r.register(
            "streams",
            "Streams bound to a session",
            self.streams.clone(),
        );
        r.register(
            "refused",
            "Connections refused by a limit",
            self.refused.clone(),
        );
        r.register(
            "handshakes",
            "Handshakes of components, by outcome",
            self.handshakes.clone(),
        );
        r.register(
            "streams_closed",
            "Streams ended, by condition; none: in order, lost: broken",
            self.streams_closed.clone(),
        );
        r.register(
            "rejects",
            "Stanzas refused as they were read, by condition",
            self.rejects.clone(),
        );
        r.register("bridges", "Bridges by state", self.sessions.bridges.clone());
        r.register(
            "bridges_unconfirmed",
            "Bridges that answer no ping",
            self.sessions.unconfirmed.clone(),
        );
        r.register(
            "queue_stanzas",
            "Stanzas in all bridges' queues",
            self.sessions.queue_stanzas.clone(),
        );
        r.register(
            "queue_bytes",
            "Bytes in all bridges' queues",
            self.sessions.queue_bytes.clone(),
        );
        r.register(
            "longest_queue",
            "Stanzas in the longest queue",
            self.sessions.longest_queue.clone(),
        );
        r.register(
            "state_bytes",
            "Bytes that wait in all queues, as limits.state_bytes counts them",
            self.state_bytes.clone(),
        );
        r.register(
            "kept_bytes",
            "Bytes of contacts and presences of all users; at most a quarter of limits.state_bytes",
            self.kept_bytes.clone(),
        );
        r.register("users", "Users that there are", self.users.clone());
        r.register(
            "client_sessions",
            "Sessions of clients, those without a stream included",
            self.clients.clone(),
        );
        r.register(
            "offline_stanzas",
            "Stanzas that wait for users who are away",
            self.offline_stanzas.clone(),
        );

        let seconds = || Unit::Seconds;
        r.register_with_unit(
            "accept",
            "From reading stanzas to their being applied",
            seconds(),
            self.accept_seconds.clone(),
        );
        r.register(
            "batches",
            "Log entries with stanzas applied",
            self.batches.clone(),
        );
        r.register(
            "batch_stanzas",
            "Stanzas in a log entry",
            self.batch_stanzas.clone(),
        );
        r.register(
            "batch_bytes",
            "Bytes of a log entry",
            self.batch_bytes.clone(),
        );
        r.register_with_unit(
            "fsync",
            "One fsync of the log",
            seconds(),
            self.fsync_seconds.clone(),
        );

        r.register(
            "ready",
            "1 if stanzas are accepted now",
            self.raft.ready.clone(),
        );
        r.register(
            "raft_role",
            "1 for the role this node has",
            self.raft.role.clone(),
        );
        r.register("raft_term", "Raft term", self.raft.term.clone());
        r.register(
            "raft_applied_index",
            "Last log index applied",
            self.raft.applied.clone(),
        );
        r.register(
            "raft_committed_index",
            "Last log index committed",
            self.raft.committed.clone(),
        );
        r.register(
            "raft_votes_needed",
            "Votes that a quorum needs",
            self.raft.votes_needed.clone(),
        );
        r.register(
            "raft_votes_seen",
            "Voters seen now",
            self.raft.votes_seen.clone(),
        );
        r.register(
            "raft_voters",
            "Voters of the group",
            self.raft.voters.clone(),
        );
        r.register(
            "raft_leader_changes",
            "Changes of leader seen",
            self.leader_changes.clone(),
        );
        r.register(
            "raft_log_bytes",
            "Bytes of log entries not purged, in memory and on disk",
            self.log_bytes.clone(),
        );
        r.register(
            "raft_snapshot_index",
            "Log index of the last snapshot",
            self.snapshot_index.clone(),
        );
        r.register(
            "peer_reachable",
            "1 if the member is heard of",
            self.raft.peer_reachable.clone(),
        );

        r.register(
            "reload_failures",
            "Failed reloads of certificates",
            self.reload_failures.clone(),
        );
        r.register_with_unit(
            "certificate_expiry",
            "End of the certificate's validity, Unix time",
            seconds(),
            self.certificate_expiry.clone(),
        );
    }
}

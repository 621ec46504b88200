//! openraft's core: how it is set up, and what it says of leadership and members.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use openraft::{Config, SnapshotPolicy};

use super::{Consensus, Leadership, Timing};

/// Publishes who leads, keeps the links in step with the members.
pub(super) async fn follow(consensus: Arc<Consensus>) {
    let mut metrics = consensus.raft.server_metrics();
    loop {
        let (now, members) = {
            let metrics = metrics.borrow_watched();
            let now = Leadership {
                leader: metrics.current_leader,
                term: metrics.vote.leader_id().term,
                state: metrics.state,
            };
            let members = metrics.membership_config.nodes();
            let members =
                members.map(|(id, member)| (*id, (member.name.clone(), member.peer.clone())));
            (
                now,
                members
                    .filter(|(id, _)| *id != consensus.local.id)
                    .collect(),
            )
        };
        consensus.peers.set_members(members);
        consensus.leadership.send_if_modified(|known| {
            let before = std::mem::replace(known, now);
            if now.leader.is_some() && (before.leader, before.term) != (now.leader, now.term) {
                consensus.metrics.leader_changes.inc();
            }
            before != now
        });
        if metrics.changed().await.is_err() {
            return;
        }
    }
}

/// openraft's settings; why each is what it is stands beside it.
pub(super) fn config(timing: &Timing) -> anyhow::Result<Config> {
    let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        heartbeat_interval: millis(timing.heartbeat),
        election_timeout_min: millis(timing.election_min),
        election_timeout_max: millis(timing.election_max),
        // A restarted leader has no right to lead on without an election.
        enable_leader_restore: Some(false),
        enable_pre_vote: Some(true),
        // Switched on once a quorum confirms that this node's id is a member.
        enable_elect: false,
        // By bytes of log instead, see `compaction`.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: 256,
        purge_batch_size: 256,
        replication_lag_threshold: 5000,
        max_payload_entries: 300,
        install_snapshot_timeout: 60_000,
        ..Config::default()
    };
    Ok(config.validate()?)
}

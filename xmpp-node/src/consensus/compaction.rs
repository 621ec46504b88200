//! Takes a snapshot when the log has grown by so many bytes, so that log and memory stay bounded.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use tokio::time::{MissedTickBehavior, interval};

use super::Consensus;

const PERIOD: Duration = Duration::from_millis(100);

/// Compacts, for ever.
pub(super) async fn run(consensus: Arc<Consensus>) {
    let mut tick = interval(PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let snapshot = consensus
            .raft
            .data_metrics()
            .borrow_watched()
            .snapshot
            .map(|log_id| log_id.index);
        if consensus.log.bytes_since(snapshot) > consensus.timing.snapshot_log_bytes
            && consensus.raft.trigger().snapshot().await.is_err()
        {
            return;
        }
    }
}

//! Opens the gate of [`crate::contact`]: asks the leader for a read index and waits until it is applied here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use openraft::async_runtime::WatchReceiver as _;
use openraft::{Instant as _, ReadPolicy};
use tokio::time::{sleep, timeout};

use super::{Consensus, rpc};

/// How often the age of the contact is looked at. A leader's heartbeat comes every 50 ms.
const PERIOD: Duration = Duration::from_millis(20);
/// How long a leader may take to answer, and this node to apply.
const PATIENCE: Duration = Duration::from_millis(250);

/// Keeps the gate in step with the contact, for ever.
pub(super) async fn run(consensus: Arc<Consensus>) {
    loop {
        sleep(PERIOD).await;
        if consensus.raft.is_leader() && quorum_is_fresh(&consensus) {
            consensus.contact.heard();
        }
        if !consensus.contact.is_open() {
            let asked = Instant::now();
            if let Ok(Some(())) = timeout(PATIENCE, read_index_applied(&consensus)).await {
                consensus.contact.confirm(asked);
                consensus.applied.wake_all();
            }
        }
    }
}

/// A leader hears a quorum when its followers acknowledge. The only voter is a quorum by itself, and sends no heartbeats.
fn quorum_is_fresh(consensus: &Consensus) -> bool {
    if consensus.voters().len() == 1 {
        return true;
    }
    let metrics = consensus.raft.data_metrics();
    let acked = metrics.borrow_watched().last_quorum_acked;
    acked.is_some_and(|acked| acked.elapsed() < consensus.contact.silence() / 2)
}

async fn read_index_applied(consensus: &Consensus) -> Option<()> {
    let leader = consensus.leader()?;
    let index = if leader == consensus.local.id {
        read_index(consensus).await?
    } else {
        let answer = consensus
            .peers
            .link(leader)?
            .request(rpc::CONFIRM, Vec::new(), PATIENCE)
            .await
            .ok()?;
        rpc::decode::<u64>("read index", &answer).ok()?
    };
    consensus
        .applied
        .index()
        .wait_for(|applied| *applied >= index)
        .await
        .ok()?;
    Some(())
}

async fn read_index(consensus: &Consensus) -> Option<u64> {
    let (read, _) = consensus
        .raft
        .get_read_log_id(ReadPolicy::ReadIndex)
        .await
        .ok()?;
    Some(read.index())
}

/// A read index for a follower; nothing if this node does not lead.
pub(super) async fn answer(consensus: &Consensus) -> Option<Bytes> {
    read_index(consensus).await.map(|index| rpc::encode(&index))
}

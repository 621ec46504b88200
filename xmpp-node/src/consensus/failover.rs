//! Election without waiting.
//!
//! When the leader's process dies its sockets close. A follower that sees both its connections with the leader gone asks the
//! other voters whether theirs are gone too. When a majority agrees they drop the leader's lease, and the one with the
//! longest log elects at once; the others wait their turn. One cut link to a live leader changes nothing. A link closed on
//! purpose sends `bye` and starts nothing.
//!
//! Safety is Raft's own: an election still needs a majority and the longest log. Only the lease assumption goes, so reads use
//! the read index, never the lease.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use openraft::async_runtime::WatchReceiver as _;
use openraft::raft::TransferLeaderRequest;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, sleep, timeout};
use tracing::info;
use xmpp_node_api::status::NodeId;

use super::types::LogId;
use super::{Consensus, rpc};
use crate::peer::{DownReason, LinkState};

/// How long an asked follower waits for its own link to close.
const CONFIRM: Duration = Duration::from_millis(50);
/// Attempts at an election, and the time between them.
const ATTEMPTS: u32 = 4;
const PAUSE: Duration = Duration::from_millis(10);
/// How long each place behind the longest log waits for the ones before it.
const TURN: Duration = Duration::from_millis(40);

#[derive(Debug, Serialize, Deserialize)]
struct Question {
    leader: u64,
    term: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Agreed {
    last: Option<LogId>,
}

/// Watches the links, for ever.
pub(super) async fn run(consensus: Arc<Consensus>) {
    let mut events = consensus.peers.events();
    loop {
        let Ok(event) = events.recv().await else {
            sleep(PAUSE).await;
            continue;
        };
        let closed = matches!(
            event.state,
            LinkState::Down {
                reason: DownReason::Closed | DownReason::Silent
            }
        );
        if closed && consensus.leader() == Some(event.peer) && is_lost(&consensus, event.peer) {
            elect(&consensus, event.peer).await;
        }
    }
}

/// Whether both connections with a node are gone.
fn is_lost(consensus: &Consensus, node: u64) -> bool {
    consensus
        .peers
        .status(node)
        .is_none_or(|status| status.outgoing.is_none() && status.incoming.is_none())
}

async fn elect(consensus: &Arc<Consensus>, leader: u64) {
    let start = Instant::now();
    let term = consensus.term();
    let voters = consensus.voters();
    if !voters.contains(&consensus.local.id) || !consensus.is_confirmed_member() {
        return;
    }
    let question = rpc::encode(&Question { leader, term });
    let others = voters
        .iter()
        .filter(|id| **id != leader && **id != consensus.local.id);
    let mut answers: FuturesUnordered<_> = others
        .filter_map(|id| consensus.peers.link(*id).map(|link| (*id, link)))
        .map(|(id, link)| {
            let question = question.clone();
            async move {
                let answer = link
                    .request(rpc::LOST, vec![question], CONFIRM * 2)
                    .await
                    .ok()?;
                let agreed: Agreed = rpc::decode("agreement", &answer).ok()?;
                Some((agreed.last, id))
            }
        })
        .collect();
    let own = last_log(consensus);
    // Together with this node a majority must have lost the leader.
    let needed = voters.len() / 2;
    let mut agreed = Vec::new();
    while let Some(answer) = answers.next().await {
        agreed.extend(answer);
        if agreed.len() >= needed && agreed.len() + 1 >= voters.len() - 1 {
            break;
        }
    }
    if agreed.len() < needed || consensus.leader() != Some(leader) || consensus.term() != term {
        return;
    }
    drop_lease(consensus, leader).await;
    // The longest log first, the lower id first among equals.
    let before = agreed
        .iter()
        .filter(|(last, id)| *last > own || (*last == own && *id < consensus.local.id))
        .count();
    if before > 0 {
        sleep(TURN * u32::try_from(before).unwrap_or(u32::MAX)).await;
    }
    for _ in 0..ATTEMPTS {
        if consensus.term() != term {
            break;
        }
        if consensus.raft.trigger().elect(true).await.is_err() {
            return;
        }
        let mut leadership = consensus.leadership.subscribe();
        let _ = timeout(PAUSE, leadership.wait_for(|now| now.term != term)).await;
    }
    info!(leader = %NodeId(leader), term, before, elapsed = ?start.elapsed(), "the leader is gone");
}

/// Another follower lost the leader: whether this one did too, after waiting a little for its own link to close.
pub(super) async fn answer(consensus: &Arc<Consensus>, body: &[u8]) -> Option<Bytes> {
    let question: Question = rpc::decode("question", body).ok()?;
    let mut events = consensus.peers.events();
    let lost = async {
        while !is_lost(consensus, question.leader) {
            let _ = events.recv().await;
        }
    };
    timeout(CONFIRM, lost).await.ok()?;
    if consensus.leader() != Some(question.leader) || consensus.term() != question.term {
        return None;
    }
    drop_lease(consensus, question.leader).await;
    Some(rpc::encode(&Agreed {
        last: last_log(consensus),
    }))
}

/// Only drops the local lease: the target of the transfer is the dead leader, so no election starts by it.
async fn drop_lease(consensus: &Consensus, leader: u64) {
    let vote = consensus.raft.server_metrics().borrow_watched().vote;
    let _ = consensus
        .raft
        .handle_transfer_leader(TransferLeaderRequest::new(vote, leader, None))
        .await;
}

fn last_log(consensus: &Consensus) -> Option<LogId> {
    consensus.raft.data_metrics().borrow_watched().last_log
}

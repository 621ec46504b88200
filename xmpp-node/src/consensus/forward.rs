//! Carries this node's commands to the leader, here or over a link, and sends them again when it cannot know that they
//! arrived: after a change of leader, on a new connection to it, and when nothing was applied for [`STALL`].

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tracing::debug;

use super::{Consensus, rpc};
use crate::peer::{Direction, LinkState};

/// Something is on its way, and nothing was applied for so long.
const STALL: Duration = Duration::from_millis(250);
const PERIOD: Duration = Duration::from_millis(50);
/// How long what nobody waits for waits for something that it may travel with: a chunk costs three syncs, whatever it holds.
const LINGER: Duration = Duration::from_millis(5);

/// Forwards, for ever.
pub(super) async fn run(consensus: Arc<Consensus>) {
    let mut leadership = consensus.leadership.subscribe();
    let mut events = consensus.peers.events();
    let mut tick = interval(PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut seen, mut moved) = (0, Instant::now());
    let mut linger = None;
    loop {
        let leader = leadership.borrow_and_update().leader;
        let over = linger.is_some_and(|until| until <= Instant::now());
        if let Some(leader) = leader {
            send(&consensus, leader, over).await;
        }
        linger = match consensus.ingress.only_mentions() {
            true if over || linger.is_none() => Some(Instant::now() + LINGER),
            true => linger,
            false => None,
        };
        tokio::select! {
            () = consensus.ingress.changed() => {}
            () = sleep_until(linger.unwrap_or(moved)), if linger.is_some() => {}
            changed = leadership.changed() => {
                if changed.is_err() {
                    return;
                }
                consensus.ingress.rewind();
            }
            event = events.recv() => {
                let reconnected = event.as_ref().is_ok_and(|event| {
                    Some(event.peer) == leader
                        && event.direction == Direction::Outgoing
                        && matches!(event.state, LinkState::Up { .. })
                });
                if reconnected || event.is_err() {
                    consensus.ingress.rewind();
                }
            }
            _ = tick.tick() => {
                let now_seen = consensus.applied.seen();
                if now_seen != seen || !consensus.ingress.is_in_flight() {
                    (seen, moved) = (now_seen, Instant::now());
                } else if moved.elapsed() >= STALL {
                    debug!("nothing was applied for a while: sending again");
                    consensus.ingress.rewind();
                    moved = Instant::now();
                }
            }
        }
    }
}

async fn send(consensus: &Consensus, leader: u64, mentions: bool) {
    if leader == consensus.local.id {
        while let Some(chunk) = consensus.ingress.next_chunk(mentions) {
            consensus.proposer.push(chunk.pieces);
        }
        return;
    }
    let Some(link) = consensus.peers.link(leader) else {
        return;
    };
    while link.is_connected()
        && let Some(chunk) = consensus.ingress.next_chunk(mentions)
    {
        if link.send(rpc::CHUNK, chunk.pieces).await.is_err() {
            // The connection's end and its next beginning are events: the chunk is sent again then.
            return;
        }
    }
}

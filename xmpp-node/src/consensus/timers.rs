//! What the leader decides by its clock, and proposes: sessions that expire, holders that do not answer, nodes that are gone.
//!
//! Every timer starts anew with each leadership, so an outage never expires what it interrupted. Bounded by the sessions and
//! members that the state has.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::info;
use xmpp_core::router::{Command, SessionId};
use xmpp_node_api::status::NodeId;

use super::Consensus;

/// How often the leader looks.
const PERIOD: Duration = Duration::from_millis(10);
/// How long the holder of a name may take to show that it lives.
const PROBE: Duration = Duration::from_secs(1);
/// A link closed and not opened again for so long means that its node is gone; so does silence for `timing.silence`.
const CLOSED: Duration = Duration::from_millis(20);
/// A proposal that had no effect is made again.
const AGAIN: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Timers {
    detached: HashMap<(SessionId, u32), Instant>,
    held: HashMap<(SessionId, u32, SessionId), Instant>,
    /// When a node was first found gone, and when that was last proposed.
    gone: HashMap<u64, (Instant, Option<Instant>)>,
}

/// Runs the timers while this node leads, for ever.
pub(super) async fn run(consensus: Arc<Consensus>) {
    let mut tick = interval(PERIOD);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut timers = Timers::default();
    let mut last = Instant::now();
    loop {
        tick.tick().await;
        let paused = last.elapsed() > consensus.timing.silence;
        last = Instant::now();
        // A leader that was stopped itself has heard nobody for as long as it slept.
        if !consensus.raft.is_leader() || paused || !consensus.contact.is_open() {
            timers = Timers::default();
            continue;
        }
        timers.sessions(&consensus);
        timers.nodes(&consensus);
    }
}

impl Timers {
    fn sessions(&mut self, consensus: &Consensus) {
        let now = Instant::now();
        let (detached, held): (Vec<_>, Vec<_>) = {
            let router = consensus.applied.router();
            (router.detached().collect(), router.held().collect())
        };
        for (session, epoch) in due(
            &mut self.detached,
            &detached,
            now,
            consensus.timing.detach_timeout,
        ) {
            info!(?session, "expires");
            consensus
                .ingress
                .propose(&Command::Expire { session, epoch });
        }
        for (session, epoch, newcomer) in due(&mut self.held, &held, now, PROBE) {
            info!(?session, "did not answer: its name goes to the newcomer");
            consensus.ingress.propose(&Command::Evict {
                session,
                epoch,
                newcomer,
            });
        }
    }

    fn nodes(&mut self, consensus: &Consensus) {
        let now = Instant::now();
        for (id, _) in consensus.members() {
            if id == consensus.local.id {
                continue;
            }
            let silent = consensus
                .peers
                .last_heard(id)
                .is_none_or(|age| age > consensus.timing.silence);
            if consensus.peers.connected(id) && !silent {
                self.gone.remove(&id);
                continue;
            }
            let (since, proposed) = self.gone.entry(id).or_insert((now, None));
            let over = silent || now - *since >= CLOSED;
            if !over || proposed.is_some_and(|proposed| now - proposed < AGAIN) {
                continue;
            }
            let router = consensus.applied.router();
            let Some(node) = router.node(id) else {
                continue;
            };
            let at = xmpp_core::router::Attachment {
                node: id,
                incarnation: node.incarnation,
            };
            if router
                .sessions()
                .any(|(_, session)| session.attached == Some(at))
            {
                *proposed = Some(now);
                drop(router);
                info!(
                    node = %NodeId(id),
                    "is gone: its sessions wait for their next stream"
                );
                consensus.ingress.propose(&Command::NodeDown {
                    node: id,
                    incarnation: at.incarnation,
                });
            }
        }
    }
}

/// Those of `present` that have been so for `after`; each is due again only after another [`AGAIN`].
fn due<K: Copy + Eq + Hash>(
    since: &mut HashMap<K, Instant>,
    present: &[K],
    now: Instant,
    after: Duration,
) -> Vec<K> {
    since.retain(|key, _| present.contains(key));
    let mut due = Vec::new();
    for key in present {
        let first = since.entry(*key).or_insert(now);
        if now.saturating_duration_since(*first) >= after {
            due.push(*key);
            *first = now + AGAIN.saturating_sub(after);
        }
    }
    due
}

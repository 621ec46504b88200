//! What is known of each peer: which directions are up, when it was last heard; and the events of
//! every change.
//!
//! One short lock guards the table; it is never held across an await. The age of the last byte is
//! an atomic beside it, so that the hot path takes no lock. Events are sent under the lock, so
//! their order is that of the table.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::event::{Direction, DownReason, LinkEvent, LinkState, PeerStatus};
use super::heard::Heard;
use super::hello::{Hello, Refusal};

/// Events kept for a slow receiver; after a `Lagged` error it asks [`super::Peers::status`]
/// instead.
pub const EVENT_CAPACITY: usize = 512;

/// Established incoming connections, all peers together.
pub const MAX_CONNECTIONS: usize = 64;

/// Established incoming connections of one peer: its link, one more while an old one is not yet
/// known to be dead, and dials of `join`.
pub const MAX_CONNECTIONS_PER_PEER: usize = 4;

/// Every peer with a link or a connection.
#[derive(Debug)]
pub(super) struct Registry {
    peers: Mutex<HashMap<u64, Peer>>,
    events: broadcast::Sender<LinkEvent>,
    serials: AtomicU64,
}

#[derive(Debug)]
struct Peer {
    name: Arc<str>,
    heard: Arc<Heard>,
    /// Wakes our link when the peer dials us: it is back.
    wake: Arc<Notify>,
    /// Links that exist: one, or two while a removed one still closes. An entry without link and
    /// connection is dropped.
    links: usize,
    outgoing: Option<Outgoing>,
    incoming: Vec<Incoming>,
}

#[derive(Debug)]
struct Outgoing {
    serial: u64,
    incarnation: u64,
}

#[derive(Debug)]
struct Incoming {
    serial: u64,
    incarnation: u64,
    stop: CancellationToken,
}

/// An incoming connection's place in the table.
#[derive(Debug)]
pub(super) struct Admission {
    pub(super) peer: u64,
    pub(super) serial: u64,
    pub(super) heard: Arc<Heard>,
}

impl Registry {
    pub(super) fn new() -> Self {
        let (events, _) = broadcast::channel(EVENT_CAPACITY);
        Self {
            peers: Mutex::default(),
            events,
            serials: AtomicU64::new(1),
        }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<LinkEvent> {
        self.events.subscribe()
    }

    /// A link to `id` exists from now on; returns what it shares with the peer's other connections.
    pub(super) fn add_link(&self, id: u64, name: &str) -> (Arc<Heard>, Arc<Notify>) {
        let mut peers = self.lock();
        let peer = peers.entry(id).or_insert_with(|| Peer::new(name));
        peer.name = name.into();
        peer.links += 1;
        (peer.heard.clone(), peer.wake.clone())
    }

    /// The link to `id` has ended for good.
    pub(super) fn remove_link(&self, id: u64) {
        let mut peers = self.lock();
        if let Some(peer) = peers.get_mut(&id) {
            peer.links = peer.links.saturating_sub(1);
        }
        drop_unused(&mut peers, id);
    }

    /// The link to the node that said `hello` is up; returns a number for its end.
    pub(super) fn outgoing_up(&self, hello: &Hello) -> u64 {
        let serial = self.serials.fetch_add(1, Ordering::Relaxed);
        let (id, incarnation) = (hello.node_id, hello.incarnation);
        if let Some(peer) = self.lock().get_mut(&id) {
            if peer
                .outgoing
                .replace(Outgoing {
                    serial,
                    incarnation,
                })
                .is_some()
            {
                // A link removed and added again: the old one is still closing.
                self.emit(
                    id,
                    &peer.name,
                    Direction::Outgoing,
                    LinkState::Down {
                        reason: DownReason::Bye,
                    },
                );
            }
            self.emit(
                id,
                &peer.name,
                Direction::Outgoing,
                LinkState::Up { incarnation },
            );
        }
        serial
    }

    /// The link to `id` that was up as `serial` went down.
    pub(super) fn outgoing_down(&self, id: u64, serial: u64, reason: DownReason) {
        if let Some(peer) = self.lock().get_mut(&id)
            && peer.outgoing.take_if(|one| one.serial == serial).is_some()
        {
            self.emit(
                id,
                &peer.name,
                Direction::Outgoing,
                LinkState::Down { reason },
            );
        }
    }

    /// The link to `id` was refused, by either side, before it was up.
    pub(super) fn refused(&self, id: u64, reason: String) {
        if let Some(peer) = self.lock().get(&id) {
            let reason = DownReason::Refused(reason);
            self.emit(
                id,
                &peer.name,
                Direction::Outgoing,
                LinkState::Down { reason },
            );
        }
    }

    /// Admits an incoming connection. One of a later incarnation ends those of earlier ones: `stop`
    /// is theirs.
    ///
    /// # Errors
    /// [`Refusal::Outdated`] and [`Refusal::TooMany`].
    pub(super) fn incoming_up(
        &self,
        hello: &Hello,
        stop: CancellationToken,
    ) -> Result<Admission, Refusal> {
        let mut peers = self.lock();
        let total: usize = peers.values().map(|peer| peer.incoming.len()).sum();
        let id = hello.node_id;
        let incarnation = hello.incarnation;
        let known = peers.get(&id);
        if let Some(newest) = known.and_then(|peer| peer.incoming.last())
            && newest.incarnation > incarnation
        {
            return Err(Refusal::Outdated {
                theirs: incarnation,
                known: newest.incarnation,
            });
        }
        let superseded = known.map_or(0, |peer| {
            peer.incoming
                .iter()
                .filter(|old| old.incarnation < incarnation)
                .count()
        });
        let same = known.map_or(0, |peer| peer.incoming.len() - superseded);
        if total - superseded >= MAX_CONNECTIONS || same >= MAX_CONNECTIONS_PER_PEER {
            return Err(Refusal::TooMany);
        }

        let peer = peers.entry(id).or_insert_with(|| Peer::new(&hello.name));
        peer.incoming.retain(|old| {
            let stays = old.incarnation == incarnation;
            if !stays {
                old.stop.cancel();
            }
            stays
        });
        if superseded > 0 {
            self.emit(
                id,
                &peer.name,
                Direction::Incoming,
                LinkState::Down {
                    reason: DownReason::Closed,
                },
            );
        }
        if peer.incoming.is_empty() {
            self.emit(
                id,
                &peer.name,
                Direction::Incoming,
                LinkState::Up { incarnation },
            );
        }
        let serial = self.serials.fetch_add(1, Ordering::Relaxed);
        peer.incoming.push(Incoming {
            serial,
            incarnation,
            stop,
        });
        peer.wake.notify_one();
        Ok(Admission {
            peer: id,
            serial,
            heard: peer.heard.clone(),
        })
    }

    /// An admitted connection has ended. Only the last one of a peer makes an event, a superseded
    /// one never does.
    pub(super) fn incoming_down(&self, admission: &Admission, reason: DownReason) {
        let id = admission.peer;
        let mut peers = self.lock();
        if let Some(peer) = peers.get_mut(&id)
            && let Some(place) = peer
                .incoming
                .iter()
                .position(|one| one.serial == admission.serial)
        {
            peer.incoming.remove(place);
            if peer.incoming.is_empty() {
                self.emit(
                    id,
                    &peer.name,
                    Direction::Incoming,
                    LinkState::Down { reason },
                );
            }
        }
        drop_unused(&mut peers, id);
    }

    pub(super) fn connected(&self, id: u64) -> bool {
        self.lock()
            .get(&id)
            .is_some_and(|peer| peer.outgoing.is_some())
    }

    pub(super) fn status(&self, id: u64) -> Option<PeerStatus> {
        self.lock().get(&id).map(|peer| PeerStatus {
            name: peer.name.clone(),
            outgoing: peer.outgoing.as_ref().map(|one| one.incarnation),
            incoming: peer.incoming.last().map(|one| one.incarnation),
            last_heard: peer.heard.age(Instant::now()),
        })
    }

    pub(super) fn last_heard(&self, id: u64) -> Option<Duration> {
        self.lock().get(&id)?.heard.age(Instant::now())
    }

    fn emit(&self, peer: u64, name: &Arc<str>, direction: Direction, state: LinkState) {
        // An error only says that nobody listens.
        let _ = self.events.send(LinkEvent {
            peer,
            name: name.clone(),
            direction,
            state,
        });
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Peer>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            heard: Arc::new(Heard::new()),
            wake: Arc::default(),
            links: 0,
            outgoing: None,
            incoming: Vec::new(),
        }
    }
}

fn drop_unused(peers: &mut HashMap<u64, Peer>, id: u64) {
    if peers
        .get(&id)
        .is_some_and(|peer| peer.links == 0 && peer.incoming.is_empty())
    {
        peers.remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(incarnation: u64) -> Hello {
        Hello {
            cluster_id: None,
            node_id: 7,
            name: "b".into(),
            incarnation,
        }
    }

    fn states(events: &mut broadcast::Receiver<LinkEvent>) -> Vec<LinkState> {
        std::iter::from_fn(|| events.try_recv().ok())
            .map(|event| event.state)
            .collect()
    }

    #[test]
    fn a_later_incarnation_ends_the_connections_of_an_earlier_one() {
        let registry = Registry::new();
        let mut events = registry.subscribe();
        let stop = CancellationToken::new();
        let old = registry
            .incoming_up(&hello(1), stop.clone())
            .expect("admitted");
        registry
            .incoming_up(&hello(2), CancellationToken::new())
            .expect("admitted");
        assert!(stop.is_cancelled());
        registry.incoming_down(&old, DownReason::Bye);
        let down = LinkState::Down {
            reason: DownReason::Closed,
        };
        let up = |incarnation| LinkState::Up { incarnation };
        assert_eq!(states(&mut events), [up(1), down, up(2)]);
        let refused = registry
            .incoming_up(&hello(1), CancellationToken::new())
            .expect_err("older");
        assert_eq!(
            refused,
            Refusal::Outdated {
                theirs: 1,
                known: 2
            }
        );
    }

    #[test]
    fn only_the_last_of_several_connections_makes_a_down_event() {
        let registry = Registry::new();
        let mut events = registry.subscribe();
        let all: Vec<_> = (0..MAX_CONNECTIONS_PER_PEER)
            .map(|_| {
                registry
                    .incoming_up(&hello(1), CancellationToken::new())
                    .expect("admitted")
            })
            .collect();
        let refused = registry
            .incoming_up(&hello(1), CancellationToken::new())
            .expect_err("full");
        assert_eq!(refused, Refusal::TooMany);
        all.iter()
            .for_each(|one| registry.incoming_down(one, DownReason::Bye));
        let down = LinkState::Down {
            reason: DownReason::Bye,
        };
        assert_eq!(
            states(&mut events),
            [LinkState::Up { incarnation: 1 }, down]
        );
        assert_eq!(registry.status(7), None, "an entry nobody uses is dropped");
    }
}

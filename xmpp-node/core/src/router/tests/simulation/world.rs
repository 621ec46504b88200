//! What may happen, and how often.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::*;
use super::Rng;
use super::connections::Connection;
use super::nodes::{Chunk, Node};
use super::oracle::{Oracle, Sums};
use super::peers::Peer;

const STEPS: u64 = 500;
const NAMES: [&str; 4] = ["a", "b", "c", "d"];
/// The first uses XEP-0198.
const USERS: [&str; 2] = ["u", "v"];
/// Steps that the end may take.
const REST: u64 = 5000;

fn put_bridges(node: &mut Node) {
    for name in NAMES {
        let domain = format!("{name}.{DOMAIN}");
        node.propose(&Command::PutBridge {
            domain: &domain,
            sealed: b"s",
        });
    }
    for name in USERS {
        node.propose(&put_account(name));
    }
}

/// A user of the world.
pub(super) fn put_account(name: &str) -> Command<'_> {
    Command::PutAccount {
        name,
        expected: 0,
        sealed: b"s",
        most: 8,
    }
}

pub(super) struct World {
    pub(super) rng: Rng,
    step: u64,
    /// Faults happen.
    rough: bool,
    pub(super) nodes: Vec<Node>,
    pub(super) peers: Vec<Peer>,
    pub(super) streams: BTreeMap<u64, Connection>,
    streams_ever: u64,
    stanzas_ever: u64,
    pub(super) wire: Vec<Chunk>,
    log: Vec<Bytes>,
    oracle: Oracle,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut rng = Rng(seed);
        let limits = Limits {
            queue_stanzas: if rng.chance(300) { 6 } else { 1000 },
            queue_bytes: if rng.chance(200) { 1500 } else { 1 << 20 },
            state_bytes: if rng.chance(200) { 4000 } else { 1 << 20 },
            bridges: 8,
        };
        let configure = Command::Configure {
            cluster: "cluster",
            domain: DOMAIN,
            limits,
            expected: 0,
        };
        let bridges = NAMES.map(|name| Peer::new(name, name < "c", false));
        let clients = USERS.map(|name| Peer::new(name, name < "v", true));
        let mut world = Self {
            rng,
            step: 0,
            rough: true,
            nodes: (1..=3).map(Node::new).collect(),
            peers: bridges.into_iter().chain(clients).collect(),
            streams: BTreeMap::new(),
            streams_ever: 0,
            stanzas_ever: 0,
            wire: Vec::new(),
            log: Vec::new(),
            oracle: Oracle::default(),
        };
        let mut founder = Node::new(9);
        founder.propose(&configure);
        put_bridges(&mut founder);
        while let Some(chunk) = founder.next_chunk(&mut world.rng) {
            world.wire.push(chunk);
        }
        world.rough = false;
        while !world.wire.is_empty() {
            world.log_does();
        }
        world.rough = true;
        world
    }

    pub(super) fn run(mut self) -> Sums {
        while self.step < STEPS {
            self.all();
            if self.rng.chance(60) {
                self.fault();
            }
        }
        self.rough = false;
        self.nodes
            .iter_mut()
            .filter(|node| !node.up)
            .for_each(Node::start);
        while !self.rests() {
            self.all();
            // Whoever removed a bridge may have gone before it put it back.
            let (bridges, users) = (
                self.oracle.router.bridges().count(),
                self.oracle.router.accounts().count(),
            );
            if self.step.is_multiple_of(100) && (bridges, users) < (NAMES.len(), USERS.len()) {
                put_bridges(&mut self.nodes[0]);
            }
            assert!(
                self.step < STEPS + REST,
                "it does not come to rest: {}",
                self.shown()
            );
        }
        self.oracle.end()
    }

    fn all(&mut self) {
        self.step += 1;
        self.peers_do();
        self.nodes_do();
        self.leader_does();
        self.log_does();
    }

    fn peers_do(&mut self) {
        for at in 0..self.peers.len() {
            let Some(stream) = self.peers[at].stream else {
                if self.rng.chance(200) {
                    self.connect(at);
                }
                continue;
            };
            if self.rough && self.rng.chance(250) {
                self.send(at, stream);
            }
            if self.peers[at].silent && self.rng.chance(300) {
                self.appear(at, stream);
            }
            let peer = &mut self.peers[at];
            // The node closed it.
            let Some(connection) = self.streams.get_mut(&stream) else {
                peer.lose(false);
                continue;
            };
            if !peer.read(stream, connection, &mut self.oracle, &mut self.rng) {
                peer.lose(false);
                self.streams.remove(&stream);
            }
        }
    }

    fn connect(&mut self, at: usize) {
        // Mostly to the node where it was.
        if self.rng.chance(500) {
            self.peers[at].node = self.rng.below(self.nodes.len());
        }
        let number = self.peers[at].node;
        let (peer, node) = (&mut self.peers[at], &mut self.nodes[number]);
        if !node.up {
            return;
        }
        self.streams_ever += 1;
        let fresh = id(u128::from(self.streams_ever));
        let resume = peer.session.map(|session| (session, peer.received));
        let connection = Connection::new((number, node), peer, fresh, resume);
        peer.stream = Some(self.streams_ever);
        self.streams.insert(self.streams_ever, connection);
    }

    fn send(&mut self, at: usize, stream: u64) {
        let to = match self.rng.below(14) {
            0 => "elsewhere.test".to_owned(),
            1 => DOMAIN.to_owned(),
            other => self.peers[other % 6].address(),
        };
        let kind = if self.rng.chance(100) {
            "error"
        } else {
            "chat"
        };
        let peer = &mut self.peers[at];
        let (number, from) = (self.stanzas_ever + 1, peer.full_address());
        let text = format!(
            "<message from='{from}' to='{to}' id='{number}' type='{kind}'><body>text</body></message>"
        );
        if let Some(connection) = self.streams.get_mut(&stream)
            && peer.send(connection, number, text)
        {
            self.stanzas_ever = number;
        }
    }

    fn appear(&mut self, at: usize, stream: u64) {
        let number = self.stanzas_ever + 1;
        if let Some(connection) = self.streams.get_mut(&stream)
            && self.peers[at].appear(connection, number)
        {
            self.stanzas_ever = number;
        }
    }

    fn nodes_do(&mut self) {
        let now = Duration::from_millis(self.step * 30);
        let (nodes, rng) = (&mut self.nodes, &mut self.rng);
        self.streams.retain(|_, connection| {
            let node = &mut nodes[connection.node];
            // What a node that is gone had written may still arrive; then the component sees the end.
            if !node.up || node.at != connection.at {
                return !connection.to_peer.is_empty() && connection.open && rng.chance(800);
            }
            connection.step(node, now, rng) || {
                // What was written before the end arrives first, or never.
                let peer_reads = connection.open && !connection.to_peer.is_empty();
                if peer_reads {
                    connection.at.incarnation = 0;
                }
                peer_reads
            }
        });
        for at in 0..self.nodes.len() {
            let most = self.rng.below(4);
            let node = &mut self.nodes[at];
            if !node.up {
                continue;
            }
            node.apply(&self.log, &self.oracle.digests, most);
            if let Some(chunk) = node.next_chunk(&mut self.rng) {
                self.wire.push(chunk);
            }
            if self.rng.chance(30) {
                self.nodes[at].rewind();
            }
            if self.rng.chance(20) {
                self.nodes[at].save();
            }
        }
    }

    /// Whoever leads proposes what its clock says, by the state that it has.
    fn leader_does(&mut self) {
        let leader = self.rng.below(self.nodes.len());
        if !self.nodes[leader].up {
            return;
        }
        let gone: Vec<(Attachment, bool)> =
            self.nodes.iter().map(|node| (node.at, node.up)).collect();
        let node = &mut self.nodes[leader];
        let (detached, held): (Vec<_>, Vec<_>) = (
            node.replica.detached().collect(),
            node.replica.held().collect(),
        );
        for (session, epoch) in detached {
            if self.rng.chance(15) {
                node.propose(&Command::Expire { session, epoch });
            }
        }
        for (session, epoch, newcomer) in held {
            if self.rng.chance(30) {
                node.propose(&Command::Evict {
                    session,
                    epoch,
                    newcomer,
                });
            }
        }
        for (
            Attachment {
                node: id,
                incarnation,
            },
            up,
        ) in gone
        {
            if self
                .rng
                .chance(if up { 2 * u64::from(self.rough) } else { 100 })
            {
                node.propose(&Command::NodeDown {
                    node: id,
                    incarnation,
                });
            }
        }
    }

    /// Some of what is on its way becomes an entry, mostly in order; some is lost.
    fn log_does(&mut self) {
        if self.wire.is_empty() || self.rng.chance(300) {
            return;
        }
        let mut batch = BatchBuilder::new(self.step, 256);
        for _ in 0..=self.rng.below(3) {
            if self.wire.is_empty() {
                break;
            }
            let any = self.rough && self.rng.chance(100);
            let at = if any {
                self.rng.below(self.wire.len())
            } else {
                0
            };
            let chunk = self.wire.remove(at);
            if self.rough && self.rng.chance(50) {
                continue;
            }
            batch.chunk(chunk.header, &chunk.pieces);
            // A leader that lost its office may commit what the next one takes too.
            if self.rng.chance(50) {
                self.wire.push(chunk);
            }
        }
        if !batch.is_empty() {
            let batch = batch.finish();
            self.oracle.entry(&batch);
            self.log.push(batch);
        }
    }

    fn rests(&self) -> bool {
        let ends = self.log.len();
        self.wire.is_empty()
            && self
                .nodes
                .iter()
                .all(|node| node.applied == ends && node.pending() == 0)
            && self.peers.iter().all(Peer::rests)
            && self
                .streams
                .values()
                .all(|stream| stream.to_peer.is_empty() && stream.to_node.is_empty())
            && self.oracle.router.queued() == 0
            && self
                .oracle
                .router
                .sessions()
                .all(|(_, session)| session.queue.is_empty())
    }

    fn shown(&self) -> String {
        let mut text = format!(
            "{} on the wire, {} entries\n",
            self.wire.len(),
            self.log.len()
        );
        for node in &self.nodes {
            text += &format!(
                "node {:?} applied {} pending {}\n",
                node.at,
                node.applied,
                node.pending()
            );
        }
        for peer in &self.peers {
            text += &format!(
                "peer {} stream {:?} rests {}\n",
                peer.name,
                peer.stream,
                peer.rests()
            );
        }
        for (number, stream) in &self.streams {
            let waits = (stream.to_peer.len(), stream.to_node.len());
            text += &format!(
                "stream {number} at {:?} open {} waits {waits:?}\n",
                stream.at, stream.open
            );
        }
        for (id, session) in self.oracle.router.sessions() {
            text += &format!(
                "{id:?} {} {:?} {:?}\n",
                session.name, session.attached, session.queue
            );
        }
        text
    }
}

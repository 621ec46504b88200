//! A component or a client: sends numbered stanzas, reads, answers questions, loses its connection, crashes, comes back.
//!
//! A client says that it is available, and enables XEP-0198 if it uses it, on a stream that is bound already.

use std::collections::VecDeque;

use super::super::*;
use super::Rng;
use super::connections::{Connection, ToNode, ToPeer};
use super::oracle::Oracle;

pub(super) struct Peer {
    pub(super) name: String,
    pub(super) managed: bool,
    pub(super) client: bool,
    /// The node that it connects to next.
    pub(super) node: usize,
    /// Its stream, by number.
    pub(super) stream: Option<u64>,
    bound: bool,
    /// A client has yet to say that it is available.
    pub(super) silent: bool,
    /// Its stanzas are counted from here on.
    counts: bool,
    /// What it can resume, and how much of that session it has read.
    pub(super) session: Option<SessionId>,
    pub(super) received: u32,
    /// Sent and not yet acknowledged, oldest first; with XEP-0198 only.
    unacknowledged: VecDeque<(u64, String)>,
    acknowledged: u32,
}

impl Peer {
    pub(super) fn new(name: &str, managed: bool, client: bool) -> Self {
        Self {
            name: name.to_owned(),
            managed,
            client,
            node: 0,
            stream: None,
            bound: false,
            silent: false,
            counts: false,
            session: None,
            received: 0,
            unacknowledged: VecDeque::new(),
            acknowledged: 0,
        }
    }

    /// Its domain, or its bare address.
    pub(super) fn address(&self) -> String {
        let sign = if self.client { '@' } else { '.' };
        format!("{}{sign}{DOMAIN}", self.name)
    }

    /// What stands as `from` in its stanzas.
    pub(super) fn full_address(&self) -> String {
        match self.client {
            true => self.address() + "/r",
            false => self.address(),
        }
    }

    /// Loses its stream, and by a crash all that it knew.
    pub(super) fn lose(&mut self, crash: bool) {
        self.stream = None;
        self.bound = false;
        self.counts = false;
        if crash {
            self.session = None;
        }
    }

    /// Sends a stanza if it may; returns whether it did.
    pub(super) fn send(&mut self, connection: &mut Connection, number: u64, text: String) -> bool {
        if !self.bound || self.unacknowledged.len() > 20 {
            return false;
        }
        if self.counts {
            self.unacknowledged.push_back((number, text.clone()));
        }
        connection.to_node.push_back(ToNode::Stanza(text));
        true
    }

    /// Reads some of what came; false when the stream failed.
    pub(super) fn read(
        &mut self,
        stream: u64,
        connection: &mut Connection,
        oracle: &mut Oracle,
        rng: &mut Rng,
    ) -> bool {
        for _ in 0..rng.below(5) {
            let Some(message) = connection.to_peer.pop_front() else {
                break;
            };
            match message {
                ToPeer::Bound(session) => {
                    self.bound = true;
                    self.silent = self.client;
                    self.counts = self.managed && !self.client;
                    self.session = self.counts.then_some(session);
                    (self.received, self.acknowledged) = (0, 0);
                    if self.client && self.managed {
                        self.enable(connection, rng);
                    }
                    // Nobody knows what became of them; a component that repeats them might double them.
                    self.unacknowledged.clear();
                }
                ToPeer::Enabled(session) => {
                    self.session = Some(session);
                    self.received = 0;
                }
                ToPeer::Resumed(h) => {
                    self.bound = true;
                    self.counts = true;
                    self.handled(h, oracle);
                    for (_, text) in &self.unacknowledged {
                        connection.to_node.push_back(ToNode::Stanza(text.clone()));
                    }
                }
                ToPeer::Failed => {
                    self.session = None;
                    return false;
                }
                ToPeer::Stanza(item) => {
                    self.received = self.received.wrapping_add(1);
                    oracle.read(&self.address(), self.session, stream, &item);
                }
                ToPeer::Ask(None) => {
                    connection
                        .to_node
                        .push_back(ToNode::Acknowledge(self.received));
                }
                ToPeer::Ask(Some(number)) => connection.to_node.push_back(ToNode::Pong(number)),
                ToPeer::Answer(h) => self.handled(h, oracle),
            }
        }
        true
    }

    /// Asks for XEP-0198: at once, or when it sends its first stanza has to tell the two counters apart.
    fn enable(&mut self, connection: &mut Connection, rng: &mut Rng) {
        if !rng.chance(300) {
            connection.to_node.push_back(ToNode::Enable);
            self.counts = true;
        }
    }

    /// Says that it is available; returns whether it did.
    pub(super) fn appear(&mut self, connection: &mut Connection, number: u64) -> bool {
        let text = format!("<presence from='{}' id='{number}'/>", self.full_address());
        let sent = self.send(connection, number, text);
        if sent {
            self.silent = false;
            if self.managed && !self.counts {
                connection.to_node.push_back(ToNode::Enable);
                self.counts = true;
            }
        }
        sent
    }

    fn handled(&mut self, h: u32, oracle: &Oracle) {
        while self.acknowledged != h {
            let (number, _) = self
                .unacknowledged
                .pop_front()
                .expect("no more than it sent");
            oracle.acknowledged(number);
            self.acknowledged = self.acknowledged.wrapping_add(1);
        }
    }

    /// Whether nothing is left to do.
    pub(super) fn rests(&self) -> bool {
        self.bound && !self.silent && self.unacknowledged.is_empty()
    }
}

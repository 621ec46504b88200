//! A component: sends numbered stanzas, reads, answers questions, loses its connection, crashes, comes back.

use std::collections::VecDeque;

use super::super::*;
use super::Rng;
use super::connections::{Connection, ToNode, ToPeer};
use super::oracle::Oracle;

pub(super) struct Peer {
    pub(super) name: String,
    pub(super) managed: bool,
    /// The node that it connects to next.
    pub(super) node: usize,
    /// Its stream, by number.
    pub(super) stream: Option<u64>,
    bound: bool,
    /// What it can resume, and how much of that session it has read.
    pub(super) session: Option<SessionId>,
    pub(super) received: u32,
    /// Sent and not yet acknowledged, oldest first; with XEP-0198 only.
    unacknowledged: VecDeque<(u64, String)>,
    acknowledged: u32,
}

impl Peer {
    pub(super) fn new(name: &str, managed: bool) -> Self {
        Self {
            name: name.to_owned(),
            managed,
            node: 0,
            stream: None,
            bound: false,
            session: None,
            received: 0,
            unacknowledged: VecDeque::new(),
            acknowledged: 0,
        }
    }

    pub(super) fn domain(&self) -> String {
        format!("{}.{DOMAIN}", self.name)
    }

    /// Loses its stream, and by a crash all that it knew.
    pub(super) fn lose(&mut self, crash: bool) {
        self.stream = None;
        self.bound = false;
        if crash {
            self.session = None;
        }
    }

    /// Sends a stanza if it may; returns whether it did.
    pub(super) fn send(&mut self, connection: &mut Connection, number: u64, text: String) -> bool {
        if !self.bound || self.unacknowledged.len() > 20 {
            return false;
        }
        if self.managed {
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
                    self.session = self.managed.then_some(session);
                    (self.received, self.acknowledged) = (0, 0);
                    // Nobody knows what became of them; a component that repeats them might double them.
                    self.unacknowledged.clear();
                }
                ToPeer::Resumed(h) => {
                    self.bound = true;
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
                    oracle.read(&self.domain(), self.session, stream, &item);
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
        self.bound && self.unacknowledged.is_empty()
    }
}

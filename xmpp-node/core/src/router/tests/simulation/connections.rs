//! A stream between a component or a client and a node, and what the node does with it.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::*;
use super::Rng;
use super::nodes::Node;
use super::peers::Peer;
use crate::stream::confirmation::{Confirmation, Mode};

/// What is on its way to the component.
pub(super) enum ToPeer {
    /// The session is bound.
    Bound(SessionId),
    /// It is resumed; so many stanzas were handled before.
    Resumed(u32),
    Failed,
    /// What follows is counted, for this session.
    Enabled(SessionId),
    Stanza(Item),
    /// `<r/>`, or a ping of this number.
    Ask(Option<u64>),
    /// `<a/>`
    Answer(u32),
}

/// What is on its way to the node.
pub(super) enum ToNode {
    Stanza(String),
    Acknowledge(u32),
    Pong(u64),
    /// `<enable/>`
    Enable,
    /// `</stream:stream>`
    Close,
}

enum State {
    Asked {
        request: u64,
        resuming: bool,
    },
    Bound {
        stream: u64,
        confirmation: Box<Confirmation>,
        told: u64,
        /// The request that asks for XEP-0198 is under way: nothing is written until it is applied.
        enabling: bool,
    },
}

pub(super) struct Connection {
    pub(super) node: usize,
    pub(super) at: Attachment,
    pub(super) to_peer: VecDeque<ToPeer>,
    pub(super) to_node: VecDeque<ToNode>,
    /// The component's end is there; when it is not, the node finds out some time.
    pub(super) open: bool,
    /// Steps for which the node does not get to reading.
    pub(super) stalled: usize,
    name: String,
    managed: bool,
    session: SessionId,
    state: State,
    probed: bool,
}

impl Connection {
    /// A component proved its secret and asks for a session, or for its old one.
    pub(super) fn new(
        node: (usize, &mut Node),
        peer: &Peer,
        fresh: SessionId,
        resume: Option<(SessionId, u32)>,
    ) -> Self {
        let (number, node) = node;
        let (name, managed) = (peer.address(), peer.managed);
        let request = node.propose(&match resume {
            Some((session, h)) => Command::Resume {
                session,
                name: &name,
                generation: 1,
                h,
            },
            None if peer.client => Command::BindResource {
                session: fresh,
                account: &peer.name,
                generation: 1,
                resource: "r",
                on_conflict: OnConflict::Replace,
                most: 1,
            },
            None => Command::Bind {
                session: fresh,
                domain: &name,
                generation: 1,
                managed,
            },
        });
        let session = resume.map_or(fresh, |(session, _)| session);
        Self {
            node: number,
            at: node.at,
            to_peer: VecDeque::new(),
            to_node: VecDeque::new(),
            open: true,
            stalled: 0,
            name,
            managed: managed && (!peer.client || resume.is_some()),
            session,
            state: State::Asked {
                request,
                resuming: resume.is_some(),
            },
            probed: false,
        }
    }

    /// The node does what it can; false when the stream is over for it.
    pub(super) fn step(&mut self, node: &mut Node, now: Duration, rng: &mut Rng) -> bool {
        match self.state {
            State::Asked { request, resuming } => {
                if !self.open {
                    return self.detach(node, false);
                }
                self.decide(node, request, resuming)
            }
            State::Bound { .. } => self.read(node, rng) && self.serve(node, now, rng),
        }
    }

    fn decide(&mut self, node: &mut Node, request: u64, resuming: bool) -> bool {
        if node.refusals.remove(&(self.session, request)).is_some() {
            self.to_peer.push_back(ToPeer::Failed);
            return false;
        }
        if node.seen() < request {
            return true;
        }
        let found = node.replica.session(self.session);
        let served = found.filter(|session| session.is_served_by(self.at, request));
        let Some(session) = served else {
            let holder = node
                .replica
                .bridge(&self.name)
                .and_then(|bridge| bridge.session);
            let newcomer = holder
                .and_then(|holder| node.replica.session(holder))
                .and_then(|holder| holder.newcomer);
            if newcomer.is_some_and(|newcomer| newcomer.session == self.session) {
                return true;
            }
            // Of a session that is there the peer is not told that it cannot be resumed.
            if found.is_none() {
                self.to_peer.push_back(ToPeer::Failed);
            }
            return false;
        };
        let mode = if self.managed {
            Mode::Managed
        } else {
            Mode::Plain
        };
        self.to_peer.push_back(match resuming {
            true => ToPeer::Resumed(session.handled()),
            false => ToPeer::Bound(self.session),
        });
        let confirmation = Confirmation::new(mode, session.queue.confirmed());
        let confirmation = Box::new(confirmation.with_base(session.counted.written));
        let told = session.taken;
        self.state = State::Bound {
            stream: request,
            confirmation,
            told,
            enabling: false,
        };
        true
    }

    /// Takes some of what the component sent.
    fn read(&mut self, node: &mut Node, rng: &mut Rng) -> bool {
        let State::Bound {
            stream,
            ref mut confirmation,
            ref mut enabling,
            ..
        } = self.state
        else {
            return true;
        };
        if self.stalled > 0 {
            self.stalled -= 1;
            return true;
        }
        let session = self.session;
        let mut stanzas = Vec::new();
        let (mut upto, mut closed) = (None, false);
        for _ in 0..rng.below(5) {
            let Some(message) = self.to_node.pop_front() else {
                break;
            };
            if std::mem::take(&mut self.probed) {
                node.propose(&Command::Keep { session, stream });
            }
            match message {
                ToNode::Stanza(text) => stanzas.push(text),
                ToNode::Acknowledge(h) => {
                    upto = confirmation
                        .acknowledged(h)
                        .expect("no more than was sent")
                        .or(upto);
                }
                ToNode::Enable => {
                    submit(node, session, stream, &mut stanzas);
                    let written = confirmation.written();
                    node.propose(&Command::Enable {
                        session,
                        stream,
                        written,
                    });
                    *enabling = true;
                }
                ToNode::Pong(number) => upto = confirmation.answered(number).or(upto),
                ToNode::Close => closed = true,
            }
        }
        submit(node, session, stream, &mut stanzas);
        if let Some(upto) = upto {
            node.propose(&Command::Acknowledge {
                session,
                stream,
                upto,
            });
        }
        if closed {
            return self.detach(node, true);
        }
        // A closed socket is seen after all that was in it, and not at once.
        if !self.open && self.to_node.is_empty() && rng.chance(150) {
            return self.detach(node, false);
        }
        true
    }

    /// Writes what waits for the component, and tells what was taken.
    fn serve(&mut self, node: &mut Node, now: Duration, rng: &mut Rng) -> bool {
        let State::Bound {
            stream,
            ref mut confirmation,
            ref mut told,
            ref mut enabling,
        } = self.state
        else {
            return true;
        };
        let session = node.replica.session(self.session);
        let Some(session) = session.filter(|session| session.is_served_by(self.at, stream)) else {
            return false;
        };
        if *enabling {
            if !session.managed {
                return true;
            }
            confirmation.manage();
            *told = session.taken;
            (self.managed, *enabling) = (true, false);
            self.to_peer.push_back(ToPeer::Enabled(self.session));
            // As an answer to all that was taken between the two.
            self.to_peer.push_back(ToPeer::Answer(session.handled()));
        }
        let cursor = confirmation.written();
        let items: Vec<Item> = session
            .queue
            .after(cursor)
            .take(rng.below(4))
            .cloned()
            .collect();
        confirmation.wrote(cursor + items.len() as u64);
        self.to_peer.extend(items.into_iter().map(ToPeer::Stanza));
        if node.probes.remove(&self.session) {
            self.probed = true;
            let mut question = Vec::new();
            confirmation.probe(now, "s", "p", &mut question);
            self.to_peer.push_back(ToPeer::Ask(asked(&question)));
        }
        let mut question = Vec::new();
        confirmation.ask(now, "s", "p", &mut question);
        if !question.is_empty() {
            self.to_peer.push_back(ToPeer::Ask(asked(&question)));
        }
        if self.managed && *told != session.taken && rng.chance(500) {
            *told = session.taken;
            self.to_peer.push_back(ToPeer::Answer(session.handled()));
        }
        true
    }

    fn detach(&mut self, node: &mut Node, closed: bool) -> bool {
        let (State::Asked {
            request: stream, ..
        }
        | State::Bound { stream, .. }) = self.state;
        let session = self.session;
        node.propose(&Command::Detach {
            session,
            stream,
            closed,
        });
        false
    }
}

/// Hands stanzas on that were read.
fn submit(node: &mut Node, session: SessionId, stream: u64, stanzas: &mut Vec<String>) {
    if !stanzas.is_empty() {
        let texts: Vec<&str> = stanzas.iter().map(String::as_str).collect();
        node.push(pack(session, stream, &texts));
        stanzas.clear();
    }
}

/// The number of a ping.
fn asked(question: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(question).expect("text");
    let id = text.split("id='").nth(1)?.split('\'').next()?;
    Confirmation::ping_number(id)
}

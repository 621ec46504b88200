//! The decisions: one log entry in, a changed state and its news out.
//!
//! Length: one arm a command, and what they share.

use bytes::Bytes;

use super::batch::{ChunkHeader, open_batch};
use super::clients::Wanted;
use super::command::{Command, Malformed, next_command};
use super::configure::ConfigureError;
use super::packing::next_stanza;
use super::queue::Item;
use super::session::{Attachment, Counted, Newcomer, Session, SessionId};
use super::{NodeRecord, Router};
use crate::error::StanzaCondition;
use crate::stanza::Routed;

/// Removed nodes that are remembered, the last ones.
const FORGOTTEN: usize = 256;

/// Why a stream got no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The bridge or user, or the secret that was proved, is no longer there.
    NotAuthorized,
    /// The name is served by another stream, which answered.
    Conflict,
    /// The user has as many resources as may be.
    TooManyResources,
    /// There is no such session to resume (XEP-0198, 5).
    ItemNotFound,
    /// The peer claims more than it was sent; it was sent this many (XEP-0198, 4).
    HandledTooHigh {
        /// What the peer claims.
        h: u32,
        /// Stanzas sent, modulo 2^32.
        sent: u32,
    },
}

/// What an entry changed for streams and for those who wait for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Something changed for the stream of this session: its queue, what was taken from it, or whether it still serves it.
    Session(SessionId),
    /// A stream's bind or resume was refused.
    Refused {
        /// The session that it asked for.
        session: SessionId,
        /// The node that it is connected to.
        at: Attachment,
        /// The number of its request there.
        request: u64,
        /// Why.
        refusal: Refusal,
    },
    /// The stream of this session must show that its peer lives: somebody wants its name.
    Probe(SessionId),
    /// A node's change of configuration was decided.
    Configured {
        /// The node that asked.
        at: Attachment,
        /// The number of its request.
        request: u64,
        /// The decision.
        result: Result<(), ConfigureError>,
    },
}

/// The place of an entry, and where its news goes.
pub(super) struct Context<'a> {
    pub(super) index: u64,
    pub(super) offset: u32,
    pub(super) stamp: u64,
    pub(super) news: &'a mut Vec<News>,
}

impl Context<'_> {
    /// Tells the stream of a newcomer why it gets no session.
    pub(super) fn refuse(&mut self, newcomer: Newcomer, refusal: Refusal) {
        let Newcomer {
            session,
            at,
            request,
            ..
        } = newcomer;
        self.news.push(News::Refused {
            session,
            at,
            request,
            refusal,
        });
    }

    /// A stanza with the place that it has in the log.
    pub(super) fn item(&self, stanza: Routed, original: bool) -> Item {
        Item {
            stanza,
            index: self.index,
            offset: self.offset,
            stamp: self.stamp,
            original,
        }
    }
}

impl Router {
    /// Applies one log entry.
    ///
    /// # Errors
    /// [`Malformed`] if this version cannot read the entry; the state is then no longer the cluster's and the node must stop.
    pub fn apply(
        &mut self,
        index: u64,
        batch: &Bytes,
        news: &mut Vec<News>,
    ) -> Result<(), Malformed> {
        let (stamp, mut chunks) = open_batch(batch)?;
        let mut context = Context {
            index,
            offset: 0,
            stamp,
            news,
        };
        while !chunks.is_empty() {
            let (header, mut commands, rest) = ChunkHeader::split(chunks)?;
            chunks = rest;
            let at = Attachment {
                node: header.node,
                incarnation: header.incarnation,
            };
            let Some(seen) = self.node_seen(at, &mut context) else {
                continue;
            };
            // Commands seen before are sent again after a change of leader; a gap means that some are still to be sent again.
            let last = header.last();
            if header.first > seen.saturating_add(1) || last <= seen {
                continue;
            }
            for request in header.first..=last {
                let (command, raw) = next_command(&mut commands)?;
                if request > seen && self.is_current(at) {
                    self.command(at, request, &command, batch, raw, &mut context)?;
                }
            }
            if !commands.is_empty() {
                return Err(Malformed("chunk has a tail"));
            }
            if self.is_current(at)
                && let Some(node) = self.nodes.get_mut(&at.node)
            {
                node.seen = last;
            }
        }
        Ok(())
    }

    /// The last request taken from a node; `None` for an incarnation that is over.
    fn node_seen(&mut self, at: Attachment, context: &mut Context<'_>) -> Option<u64> {
        match self.nodes.get(&at.node) {
            None if self.is_forgotten(at) => None,
            Some(node) if node.incarnation > at.incarnation => None,
            Some(node) if node.incarnation == at.incarnation => Some(node.seen),
            old => {
                if let Some(old) = old {
                    self.detach_node(
                        Attachment {
                            node: at.node,
                            incarnation: old.incarnation,
                        },
                        context,
                    );
                }
                self.nodes.insert(
                    at.node,
                    NodeRecord {
                        incarnation: at.incarnation,
                        seen: 0,
                    },
                );
                Some(0)
            }
        }
    }

    fn command(
        &mut self,
        at: Attachment,
        request: u64,
        command: &Command<'_>,
        batch: &Bytes,
        raw: &[u8],
        context: &mut Context<'_>,
    ) -> Result<(), Malformed> {
        match *command {
            Command::Stanzas {
                session,
                stream,
                count,
                ..
            } => self.take(at, session, stream, count, batch, raw, context)?,
            Command::Bind {
                session,
                domain,
                generation,
                managed,
            } => {
                self.bind(
                    Newcomer {
                        session,
                        at,
                        request,
                        managed,
                    },
                    domain,
                    generation,
                    context,
                );
            }
            Command::Resume {
                session,
                name,
                generation,
                h,
            } => self.resume(at, request, session, name, generation, h, context),
            Command::BindResource {
                session,
                account,
                generation,
                resource,
                on_conflict,
                most,
            } => {
                let newcomer = Newcomer {
                    session,
                    at,
                    request,
                    managed: false,
                };
                let wanted = Wanted {
                    account,
                    generation,
                    resource,
                    on_conflict,
                    most,
                };
                self.bind_resource(newcomer, wanted, context);
            }
            Command::Enable {
                session,
                stream,
                written,
            } => {
                if let Some(found) = self.served(session, at, stream) {
                    found.managed = true;
                    found.counted = Counted {
                        taken: found.taken,
                        written: written.min(found.queue.end()),
                    };
                    context.news.push(News::Session(session));
                }
            }
            Command::Detach {
                session,
                stream,
                closed,
            } => self.detach(at, session, stream, closed, context),
            Command::Acknowledge {
                session,
                stream,
                upto,
            } => {
                if let Some(found) = self.served(session, at, stream) {
                    let (originals, cost) = found.queue.confirm(upto);
                    self.ledger.delivered += originals;
                    self.queued_bytes -= cost;
                    self.offer_after(session, context);
                }
            }
            Command::Unconfirmed {
                session,
                stream,
                on,
            } => {
                if let Some(found) = self.served(session, at, stream) {
                    found.unconfirmed = on;
                }
            }
            Command::Keep { session, stream } => {
                if let Some(found) = self.served(session, at, stream) {
                    if let Some(newcomer) = found.newcomer.take() {
                        context.refuse(newcomer, Refusal::Conflict);
                    }
                    self.held.remove(&session);
                }
            }
            Command::Evict {
                session,
                epoch,
                newcomer,
            } => {
                let waits = |found: &Session| {
                    found.epoch == epoch
                        && found
                            .newcomer
                            .is_some_and(|waiting| waiting.session == newcomer)
                };
                if self.sessions.get(&session).is_some_and(waits) {
                    self.vacate(session, context);
                }
            }
            Command::Expire { session, epoch } => {
                if self.detached.contains(&session) && self.is_at(session, epoch) {
                    if self.sessions.get(&session).is_some_and(Session::is_client) {
                        self.end_client(session, context);
                    } else {
                        self.end(session, StanzaCondition::RemoteServerTimeout, context);
                    }
                }
            }
            Command::NodeUp => {}
            Command::NodeDown { node, incarnation } => {
                self.detach_node(Attachment { node, incarnation }, context)
            }
            Command::ForgetNode { node } => {
                if let Some(record) = self.nodes.remove(&node) {
                    let gone = Attachment {
                        node,
                        incarnation: record.incarnation,
                    };
                    self.forget(gone);
                    self.detach_node(gone, context);
                }
            }
            Command::Configure { .. }
            | Command::PutBridge { .. }
            | Command::RotateSecret { .. }
            | Command::RetireSecret { .. }
            | Command::LimitBridge { .. }
            | Command::RemoveBridge { .. }
            | Command::PutAccount { .. }
            | Command::RemoveAccount { .. } => {
                let result = self.configure(command, context);
                context.news.push(News::Configured {
                    at,
                    request,
                    result,
                });
            }
        }
        Ok(())
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one call, all of it from one command"
    )]
    fn take(
        &mut self,
        at: Attachment,
        session: SessionId,
        stream: u64,
        count: u32,
        batch: &Bytes,
        mut packed: &[u8],
        context: &mut Context<'_>,
    ) -> Result<(), Malformed> {
        let Some(sender) = self.served(session, at, stream) else {
            // They get no places in the entry either: offsets count what is taken.
            return Ok(());
        };
        sender.taken += u64::from(count);
        self.ledger.accepted += u64::from(count);
        for _ in 0..count {
            let stanza = next_stanza(batch, &mut packed)?;
            self.route(session, stanza, context);
            context.offset += 1;
        }
        if !packed.is_empty() {
            return Err(Malformed("stanzas have a tail"));
        }
        context.news.push(News::Session(session));
        Ok(())
    }

    /// Remembers a start of a node that was removed, as what it still had under way must not begin anew.
    fn forget(&mut self, gone: Attachment) {
        self.forgotten.retain(|old| old.node != gone.node);
        if self.forgotten.len() == FORGOTTEN {
            self.forgotten.remove(0);
        }
        self.forgotten.push(gone);
    }

    fn is_forgotten(&self, at: Attachment) -> bool {
        self.forgotten
            .iter()
            .any(|gone| gone.node == at.node && gone.incarnation >= at.incarnation)
    }

    /// A session, if this stream serves it: what another stream says of it has no effect.
    fn served(&mut self, session: SessionId, at: Attachment, stream: u64) -> Option<&mut Session> {
        self.sessions
            .get_mut(&session)
            .filter(|found| found.is_served_by(at, stream))
    }

    fn is_at(&self, session: SessionId, epoch: u32) -> bool {
        self.sessions
            .get(&session)
            .is_some_and(|found| found.epoch == epoch)
    }

    pub(super) fn is_current(&self, at: Attachment) -> bool {
        self.nodes
            .get(&at.node)
            .is_some_and(|node| node.incarnation == at.incarnation)
    }
}

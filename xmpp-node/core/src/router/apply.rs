//! The decisions: one log entry in, a changed state and its news out.

use bytes::Bytes;

use super::bridge::{Bridge, SealedSecret};
use super::command::{ChunkHeader, Command, Malformed, next_command, next_stanza, open_batch};
use super::session::{Attachment, Newcomer, Session, SessionId};
use super::{Limits, NodeRecord, Router};
use crate::error::StanzaCondition;

/// Removed nodes that are remembered, the last ones.
const FORGOTTEN: usize = 256;

/// Why a stream got no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The bridge or the secret that was proved is no longer there.
    NotAuthorized,
    /// The name is served by another stream, which answered.
    Conflict,
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

/// Why a change of configuration was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigureError {
    /// Something of the name exists.
    #[error("it exists already")]
    Exists,
    /// Nothing of the name exists.
    #[error("there is no such bridge")]
    Unknown,
    /// The generation that was to be replaced is not the present one.
    #[error("it was changed by somebody else meanwhile")]
    Changed,
    /// The limit on bridges is reached.
    #[error("the limit on bridges is reached")]
    Full,
}

/// What an entry changed for streams and for those who wait for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Something changed for the stream of this session: its queue, what was taken from it, or whether it still serves it.
    Session(SessionId),
    /// A stream's bind or resume was refused.
    Refused(SessionId, Refusal),
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
                domain,
                generation,
                h,
            } => self.resume(at, request, session, domain, generation, h, context),
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
                if let Some(found) = self
                    .sessions
                    .get_mut(&session)
                    .filter(|found| found.is_served_by(at, stream))
                {
                    let (originals, cost) = found.queue.confirm(upto);
                    self.ledger.delivered += originals;
                    self.queued_bytes -= cost;
                }
            }
            Command::Unconfirmed {
                session,
                stream,
                on,
            } => {
                if let Some(found) = self
                    .sessions
                    .get_mut(&session)
                    .filter(|found| found.is_served_by(at, stream))
                {
                    found.unconfirmed = on;
                }
            }
            Command::Keep { session, stream } => {
                if let Some(found) = self
                    .sessions
                    .get_mut(&session)
                    .filter(|found| found.is_served_by(at, stream))
                {
                    if let Some(newcomer) = found.newcomer.take() {
                        context
                            .news
                            .push(News::Refused(newcomer.session, Refusal::Conflict));
                    }
                    self.held.remove(&session);
                }
            }
            Command::Evict { session, epoch } => {
                if self.held.contains(&session)
                    && self
                        .sessions
                        .get(&session)
                        .is_some_and(|found| found.epoch == epoch)
                {
                    self.vacate(session, context);
                }
            }
            Command::Expire { session, epoch } => {
                if self.detached.contains(&session)
                    && self
                        .sessions
                        .get(&session)
                        .is_some_and(|found| found.epoch == epoch)
                {
                    self.end(session, StanzaCondition::RemoteServerTimeout, context);
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
            | Command::RemoveBridge { .. } => {
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
        let Some(sender) = self
            .sessions
            .get_mut(&session)
            .filter(|sender| sender.is_served_by(at, stream))
        else {
            // The offsets of those that follow must be the same as if these had been taken nowhere: they count stanzas taken.
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

    fn bind(
        &mut self,
        newcomer: Newcomer,
        domain: &str,
        generation: u32,
        context: &mut Context<'_>,
    ) {
        let Some(bridge) = self
            .bridges
            .get(domain)
            .filter(|bridge| bridge.accepts(generation))
        else {
            context
                .news
                .push(News::Refused(newcomer.session, Refusal::NotAuthorized));
            return;
        };
        // Ids are random, so this is a fault of whoever chose it; the session that has the id must not suffer.
        if self.sessions.contains_key(&newcomer.session) {
            context
                .news
                .push(News::Refused(newcomer.session, Refusal::Conflict));
            return;
        }
        let Some(holder) = bridge.session else {
            self.serve(
                newcomer,
                domain.to_owned(),
                super::Queue::default(),
                context,
            );
            return;
        };
        match self.sessions.get_mut(&holder) {
            Some(held) if held.attached.is_some() => {
                if held.newcomer.is_some() {
                    context
                        .news
                        .push(News::Refused(newcomer.session, Refusal::Conflict));
                } else {
                    held.newcomer = Some(newcomer);
                    self.held.insert(holder);
                    context.news.push(News::Probe(holder));
                }
            }
            Some(_) => self.succeed(holder, newcomer, context),
            None => self.serve(
                newcomer,
                domain.to_owned(),
                super::Queue::default(),
                context,
            ),
        }
    }

    /// A newcomer takes over the name and the queue of a detached session.
    fn succeed(&mut self, holder: SessionId, newcomer: Newcomer, context: &mut Context<'_>) {
        if let Some(old) = self.sessions.remove(&holder) {
            self.detached.remove(&holder);
            self.serve(newcomer, old.domain, old.queue.hand_over(), context);
        }
    }

    fn serve(
        &mut self,
        newcomer: Newcomer,
        domain: String,
        queue: super::Queue,
        context: &mut Context<'_>,
    ) {
        if let Some(bridge) = self.bridges.get_mut(&domain) {
            bridge.session = Some(newcomer.session);
        }
        let session = Session {
            domain,
            managed: newcomer.managed,
            epoch: 1,
            attached: Some(newcomer.at),
            stream: newcomer.request,
            since: context.stamp,
            taken: 0,
            carried: queue.end(),
            queue,
            newcomer: None,
            unconfirmed: false,
        };
        self.sessions.insert(newcomer.session, session);
        context.news.push(News::Session(newcomer.session));
        // A node that ended meanwhile will not say so again.
        if !self.is_current(newcomer.at) {
            self.vacate(newcomer.session, context);
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one call, all of it from one command"
    )]
    fn resume(
        &mut self,
        at: Attachment,
        request: u64,
        id: SessionId,
        domain: &str,
        generation: u32,
        h: u32,
        context: &mut Context<'_>,
    ) {
        let accepted = self
            .bridges
            .get(domain)
            .is_some_and(|bridge| bridge.accepts(generation));
        let decision = match self.sessions.get_mut(&id) {
            _ if !accepted => Err(Refusal::NotAuthorized),
            Some(session) if session.domain == domain && session.managed => {
                session.position(h).map(|upto| (session, upto))
            }
            _ => Err(Refusal::ItemNotFound),
        };
        let (session, upto) = match decision {
            Ok(decided) => decided,
            Err(refusal) => {
                context.news.push(News::Refused(id, refusal));
                return;
            }
        };
        let (originals, cost) = session.queue.confirm(upto);
        self.ledger.delivered += originals;
        self.queued_bytes -= cost;
        session.epoch += 1;
        session.attached = Some(at);
        session.stream = request;
        session.since = context.stamp;
        session.carried = session.queue.end();
        if let Some(newcomer) = session.newcomer.take() {
            context
                .news
                .push(News::Refused(newcomer.session, Refusal::Conflict));
        }
        self.held.remove(&id);
        self.detached.remove(&id);
        context.news.push(News::Session(id));
    }

    fn detach(
        &mut self,
        at: Attachment,
        id: SessionId,
        stream: u64,
        closed: bool,
        context: &mut Context<'_>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            self.withdraw(at, id);
            return;
        };
        if session.is_served_by(at, stream) {
            if closed {
                // Ended by its peer: what waits for the name is kept for the name's next session, but nobody resumes this one.
                session.managed = false;
            }
            self.vacate(id, context);
        }
    }

    /// A newcomer that waited for a name is gone.
    fn withdraw(&mut self, at: Attachment, id: SessionId) {
        let waiting = |session: &Session| {
            session
                .newcomer
                .is_some_and(|newcomer| newcomer.session == id && newcomer.at == at)
        };
        let holder = self
            .held
            .iter()
            .copied()
            .find(|holder| self.sessions.get(holder).is_some_and(waiting));
        if let Some(session) = holder.and_then(|holder| self.sessions.get_mut(&holder)) {
            session.newcomer = None;
        }
        if let Some(holder) = holder {
            self.held.remove(&holder);
        }
    }

    /// A session loses its stream; whoever waits for its name takes over.
    fn vacate(&mut self, id: SessionId, context: &mut Context<'_>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.attached = None;
        session.since = context.stamp;
        session.unconfirmed = false;
        self.detached.insert(id);
        self.held.remove(&id);
        context.news.push(News::Session(id));
        if let Some(newcomer) = session.newcomer.take() {
            self.succeed(id, newcomer, context);
        }
    }

    fn detach_node(&mut self, at: Attachment, context: &mut Context<'_>) {
        let waiting: Vec<SessionId> = self.held.iter().copied().collect();
        for id in waiting {
            let newcomer = self.sessions.get(&id).and_then(|session| session.newcomer);
            if let Some(newcomer) = newcomer.filter(|newcomer| newcomer.at == at) {
                self.withdraw(at, newcomer.session);
            }
        }
        let gone: Vec<SessionId> = self
            .sessions
            .iter()
            .filter(|(_, session)| session.attached == Some(at))
            .map(|(id, _)| *id)
            .collect();
        for id in gone {
            self.vacate(id, context);
        }
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

    fn is_current(&self, at: Attachment) -> bool {
        self.nodes
            .get(&at.node)
            .is_some_and(|node| node.incarnation == at.incarnation)
    }

    /// A session is over: every stanza that waits for it is answered.
    pub(super) fn end(
        &mut self,
        id: SessionId,
        condition: StanzaCondition,
        context: &mut Context<'_>,
    ) {
        let Some(mut session) = self.sessions.remove(&id) else {
            return;
        };
        self.detached.remove(&id);
        self.held.remove(&id);
        if let Some(newcomer) = session.newcomer {
            context
                .news
                .push(News::Refused(newcomer.session, Refusal::NotAuthorized));
        }
        if let Some(bridge) = self
            .bridges
            .get_mut(&session.domain)
            .filter(|bridge| bridge.session == Some(id))
        {
            bridge.session = None;
        }
        self.queued_bytes -= session.queue.cost();
        context.news.push(News::Session(id));
        for item in session.queue.take() {
            self.settle(&item, condition, context);
        }
    }

    fn configure(
        &mut self,
        command: &Command<'_>,
        context: &mut Context<'_>,
    ) -> Result<(), ConfigureError> {
        match *command {
            Command::Configure {
                cluster,
                domain,
                limits,
                expected,
            } => self.set_configuration(cluster, domain, limits, expected),
            Command::PutBridge { domain, sealed } => {
                if self.bridges.contains_key(domain) {
                    return Err(ConfigureError::Exists);
                }
                if self.bridges.len() >= self.limits.bridges as usize {
                    return Err(ConfigureError::Full);
                }
                let secrets = vec![SealedSecret {
                    generation: 1,
                    sealed: sealed.to_vec(),
                }];
                self.bridges.insert(
                    domain.to_owned(),
                    Bridge {
                        secrets,
                        session: None,
                    },
                );
                Ok(())
            }
            Command::RotateSecret {
                domain,
                expected,
                sealed,
            } => {
                let bridge = self
                    .bridges
                    .get_mut(domain)
                    .ok_or(ConfigureError::Unknown)?;
                if bridge.generation() != expected {
                    return Err(ConfigureError::Changed);
                }
                bridge.rotate(sealed.to_vec());
                Ok(())
            }
            Command::RetireSecret { domain, generation } => {
                let bridge = self
                    .bridges
                    .get_mut(domain)
                    .ok_or(ConfigureError::Unknown)?;
                if bridge.generation() == generation || !bridge.accepts(generation) {
                    return Err(ConfigureError::Changed);
                }
                bridge
                    .secrets
                    .retain(|secret| secret.generation != generation);
                Ok(())
            }
            Command::RemoveBridge { domain } => {
                let bridge = self.bridges.remove(domain).ok_or(ConfigureError::Unknown)?;
                if let Some(session) = bridge.session {
                    self.end(session, StanzaCondition::ItemNotFound, context);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn set_configuration(
        &mut self,
        cluster: &str,
        domain: &str,
        limits: Limits,
        expected: u64,
    ) -> Result<(), ConfigureError> {
        if self.configuration_generation != expected {
            return Err(ConfigureError::Changed);
        }
        if expected != 0 && (self.cluster != cluster || self.domain != domain) {
            return Err(ConfigureError::Exists);
        }
        cluster.clone_into(&mut self.cluster);
        domain.clone_into(&mut self.domain);
        self.limits = limits;
        self.configuration_generation += 1;
        Ok(())
    }
}

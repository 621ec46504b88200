//! Who serves a name: bind, resume, detach, take-over, end. What is different for clients is in `clients`.

use std::collections::BTreeSet;

use super::apply::{Context, News, Refusal};
use super::session::{Attachment, Counted, Newcomer, Session, SessionId};
use super::{Queue, Router};
use crate::error::StanzaCondition;
use crate::jid::Jid;

impl Router {
    pub(super) fn bind(
        &mut self,
        newcomer: Newcomer,
        domain: &str,
        generation: u32,
        context: &mut Context<'_>,
    ) {
        let Some(bridge) = self
            .bridges
            .get_mut(domain)
            .filter(|bridge| bridge.accepts(generation))
        else {
            context.refuse(newcomer, Refusal::NotAuthorized);
            return;
        };
        // Ids are random, so this is a fault of whoever chose it; the session that has the id must not suffer.
        if self.sessions.contains_key(&newcomer.session) {
            context.refuse(newcomer, Refusal::Conflict);
            return;
        }
        let holder = bridge
            .session
            .and_then(|id| Some((id, self.sessions.get_mut(&id)?)));
        match holder {
            None => match Jid::from_normalized(domain) {
                Ok(name) => {
                    bridge.session = Some(newcomer.session);
                    self.serve(newcomer, name, Queue::default(), context);
                }
                Err(_) => context.refuse(newcomer, Refusal::NotAuthorized),
            },
            Some((id, held)) if held.attached.is_none() => self.succeed(id, newcomer, context),
            Some((_, held)) if held.newcomer.is_some() => {
                context.refuse(newcomer, Refusal::Conflict);
            }
            Some((id, held)) => {
                held.newcomer = Some(newcomer);
                self.held.insert(id);
                context.news.push(News::Probe(id));
            }
        }
    }

    /// A newcomer takes over the name and the queue of a detached session.
    fn succeed(&mut self, holder: SessionId, newcomer: Newcomer, context: &mut Context<'_>) {
        if let Some(old) = self.sessions.remove(&holder) {
            self.detached.remove(&holder);
            if let Some(bridge) = self.bridges.get_mut(old.name.as_str()) {
                bridge.session = Some(newcomer.session);
            }
            self.serve(newcomer, old.name, old.queue.hand_over(), context);
        }
    }

    /// Begins a session; whoever has the name knows of it already.
    pub(super) fn serve(
        &mut self,
        newcomer: Newcomer,
        name: Jid,
        queue: Queue,
        context: &mut Context<'_>,
    ) {
        let bridge = self.bridges.get(name.as_str());
        let limits = bridge.map(|bridge| bridge.limits).unwrap_or_default();
        let session = Session {
            name,
            managed: newcomer.managed,
            counted: Counted::default(),
            epoch: 1,
            attached: Some(newcomer.at),
            stream: newcomer.request,
            since: context.stamp,
            taken: 0,
            carried: queue.end(),
            queue,
            newcomer: None,
            unconfirmed: false,
            availability: None,
            presence: None,
            directed: BTreeSet::new(),
            interested: false,
            limits,
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
    pub(super) fn resume(
        &mut self,
        at: Attachment,
        request: u64,
        id: SessionId,
        name: &str,
        generation: u32,
        h: u32,
        context: &mut Context<'_>,
    ) {
        let accepted = match self.bridges.get(name) {
            Some(bridge) => bridge.accepts(generation),
            None => self
                .account_of(name)
                .is_some_and(|account| account.generation() == generation),
        };
        let decision = match self.sessions.get_mut(&id) {
            _ if !accepted => Err(Refusal::NotAuthorized),
            Some(session) if session.name.bare_str() == name && session.managed => {
                session.position(h).map(|upto| (session, upto))
            }
            _ => Err(Refusal::ItemNotFound),
        };
        let (session, upto) = match decision {
            Ok(decided) => decided,
            Err(refusal) => {
                context.news.push(News::Refused {
                    session: id,
                    at,
                    request,
                    refusal,
                });
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
            context.refuse(newcomer, Refusal::Conflict);
        }
        self.held.remove(&id);
        self.detached.remove(&id);
        context.news.push(News::Session(id));
        self.offer_after(id, context);
    }

    pub(super) fn detach(
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
    pub(super) fn vacate(&mut self, id: SessionId, context: &mut Context<'_>) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        if session.is_client() && !session.managed {
            return self.end_client(id, context);
        }
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

    pub(super) fn detach_node(&mut self, at: Attachment, context: &mut Context<'_>) {
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

    /// A bridge's session is over: every stanza that waits for it is answered.
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
            context.refuse(newcomer, Refusal::NotAuthorized);
        }
        if let Some(bridge) = self
            .bridges
            .get_mut(session.name.as_str())
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
}

//! A bound session: what its stream reads goes to the log, what waits for it goes out.

use std::sync::Arc;

use tokio::time::Instant;
use tracing::info;
use xmpp_core::error::{StreamCondition, StreamError};
use xmpp_core::jid::Jid;
use xmpp_core::router::{Command, Router, SessionId, StanzaPacker};
use xmpp_core::stream::Input;
use xmpp_core::stream::confirmation::Confirmation;

use super::StreamContext;
use super::outgoing::Outgoing;
use super::pace::Pace;
use super::window::{Window, shown};
use crate::applied::Signal;
use crate::egress;
use crate::ingress::Ingress;

/// What a stream keeps of the session that it serves.
pub(super) struct Bound {
    pub(super) session: SessionId,
    /// What it serves: a bridge's domain, or a client's full address.
    pub(super) name: Jid,
    /// The same as the value of an attribute.
    pub(super) address: String,
    /// Number of the request that bound or resumed the session: it names the stream.
    pub(super) stream: u64,
    pub(super) signal: Arc<Signal>,
    pub(super) confirmation: Confirmation,
    pub(super) window: Window,
    pub(super) pace: Pace,
    /// When more may be read, if the pace says that it is too early.
    pub(super) waits_until: Option<Instant>,
    pub(super) packer: StanzaPacker,
    pub(super) scratch: String,
    /// Bytes of the stream up to the end of the question that the socket has not taken yet.
    pub(super) question_end: Option<u64>,
    /// Position that is confirmed and not yet proposed.
    pub(super) acknowledge: Option<u64>,
    /// The router's queue went on after what was written.
    pub(super) more: bool,
    /// Since when the peer's `<r/>` waits.
    pub(super) owed: Option<Instant>,
    /// Somebody wants the name: the peer was asked for a sign of life.
    pub(super) probed: bool,
    pub(super) idle_asked: bool,
    pub(super) ended: bool,
    /// A peer that answered no pings does so again, and that is not proposed yet.
    pub(super) answers_again: bool,
    /// XEP-0198 is asked for, and that is not decided yet: nothing is written.
    pub(super) enabling: bool,
}

impl Bound {
    pub(super) fn observe(
        &mut self,
        context: &StreamContext,
        start: Instant,
        out: &mut Outgoing,
    ) -> Option<Input> {
        if self.ended {
            return None;
        }
        let router = context.applied.router();
        let at = context.applied.at();
        let Some(session) = router
            .session(self.session)
            .filter(|session| session.is_served_by(at, self.stream))
        else {
            self.ended = true;
            let condition = why_ended(
                &router,
                self.name.bare_str(),
                self.name.resource(),
                self.session,
            );
            info!(
                name = self.name.as_str(),
                session = shown(self.session),
                condition = condition.as_str(),
                "no longer bound"
            );
            return Some(Input::Close(StreamError::new(condition)));
        };
        self.more = session.queue.end() > self.confirmation.written();
        let (taken, counted) = (session.taken, session.counted.taken);
        let limits = session.limits;
        let enabled = self.enabling && session.managed;
        drop(router);
        self.pace.set(limits);
        if self.signal.take_probe() {
            self.probed = true;
            self.ask_for_life(context, start, out);
        }
        let news = self
            .window
            .taken(taken, |took| context.metrics.accepted(took));
        if enabled {
            self.enabling = false;
            self.confirmation.manage();
            self.question_end = None;
            return Some(Input::Enabled { taken, counted });
        }
        news.then_some(Input::Taken(taken))
    }

    pub(super) fn submit(&mut self, ingress: &Ingress) {
        if !self.packer.is_empty() {
            self.window
                .submit(u64::from(self.packer.count()), self.packer.len() as u64);
            let (command, raw) = self.packer.finish(self.session, self.stream);
            ingress.push(command, raw);
        }
        if std::mem::take(&mut self.answers_again) {
            let (session, stream) = (self.session, self.stream);
            ingress.propose(&Command::Unconfirmed {
                session,
                stream,
                on: false,
            });
        }
        if let Some(upto) = self.acknowledge.take() {
            ingress.mention(&Command::Acknowledge {
                session: self.session,
                stream: self.stream,
                upto,
            });
        }
    }

    /// What was read before is submitted first, so that both ends begin to count at the same stanza.
    pub(super) fn enable(&mut self, ingress: &Ingress) {
        self.submit(ingress);
        self.enabling = true;
        ingress.propose(&Command::Enable {
            session: self.session,
            stream: self.stream,
            written: self.confirmation.written(),
        });
    }

    pub(super) fn fill(&mut self, context: &StreamContext, start: Instant, out: &mut Outgoing) {
        if self.ended || self.enabling || !context.contact.is_open() {
            return;
        }
        if self.more && out.len() < egress::FILL_BYTES {
            let router = context.applied.router();
            if let Some(session) = router.session(self.session) {
                let cursor = self.confirmation.written();
                let position =
                    egress::fill(&router, session, cursor, &mut out.bytes, &mut self.scratch);
                self.more = position < session.queue.end();
                drop(router);
                let confirmed = self.confirmation.wrote(position);
                self.acknowledge = confirmed.or(self.acknowledge);
            }
        }
        let before = out.len();
        self.confirmation.ask(
            start.elapsed(),
            &context.server.domain,
            &self.address,
            &mut out.bytes,
        );
        self.asked(before, out);
        // What counts as delivered when written was confirmed just now.
        self.submit(&context.ingress);
    }

    pub(super) fn ask_for_life(
        &mut self,
        context: &StreamContext,
        start: Instant,
        out: &mut Outgoing,
    ) {
        let before = out.len();
        self.confirmation.probe(
            start.elapsed(),
            &context.server.domain,
            &self.address,
            &mut out.bytes,
        );
        self.asked(before, out);
    }

    /// Notes where a question ends that was appended to `out`.
    fn asked(&mut self, before: usize, out: &Outgoing) {
        if out.len() > before {
            self.question_end = Some(out.end());
        }
    }

    /// The socket took everything up to `position` of the stream.
    pub(super) fn taken_by_socket(&mut self, position: u64, start: Instant) {
        if self.question_end.take_if(|end| *end <= position).is_some() {
            self.confirmation.sent(start.elapsed());
        }
    }
}

/// Why a stream does not serve a session any more. `name` is a bridge's domain, or a user's bare address.
pub(super) fn why_ended(
    router: &Router,
    name: &str,
    resource: Option<&str>,
    session: SessionId,
) -> StreamCondition {
    match name.split_once('@') {
        None if router.bridge(name).is_none() => return StreamCondition::HostGone,
        Some((user, _)) if router.account(user).is_none() => return StreamCondition::NotAuthorized,
        None | Some(_) => {}
    }
    match router.session(session) {
        // The node was declared down, or an older request of the peer came late; it resumes again.
        Some(session) if session.attached.is_none() => StreamCondition::SystemShutdown,
        // A client without XEP-0198 loses its session when its node is declared down; nobody took its place.
        None if resource.is_some_and(|resource| !is_taken(router, name, resource)) => {
            StreamCondition::SystemShutdown
        }
        _ => StreamCondition::Conflict,
    }
}

fn is_taken(router: &Router, name: &str, resource: &str) -> bool {
    let account = name
        .split_once('@')
        .and_then(|(user, _)| router.account(user));
    account.is_some_and(|account| account.sessions.contains_key(resource))
}

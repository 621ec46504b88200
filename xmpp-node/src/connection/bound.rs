//! A bound session: what its stream reads goes to the log, what waits for it goes out.

use std::sync::Arc;

use bytes::BytesMut;
use tokio::time::Instant;
use tracing::info;
use xmpp_core::error::{StreamCondition, StreamError};
use xmpp_core::router::{Command, Router, SessionId, StanzaPacker};
use xmpp_core::stream::component::Input;
use xmpp_core::stream::confirmation::Confirmation;

use super::StreamContext;
use super::window::{Window, shown};
use crate::applied::Signal;
use crate::egress;
use crate::ingress::Ingress;

/// What a stream keeps of the session that it serves.
pub(super) struct Bound {
    pub(super) session: SessionId,
    pub(super) domain: String,
    /// Number of the request that bound or resumed the session: it names the stream.
    pub(super) stream: u64,
    pub(super) signal: Arc<Signal>,
    pub(super) confirmation: Confirmation,
    pub(super) window: Window,
    pub(super) packer: StanzaPacker,
    pub(super) scratch: String,
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
}

impl Bound {
    pub(super) fn observe(
        &mut self,
        context: &StreamContext,
        start: Instant,
        out: &mut BytesMut,
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
            let condition = self.why_ended(&router);
            info!(
                bridge = self.domain,
                session = shown(self.session),
                condition = condition.as_str(),
                "no longer bound"
            );
            return Some(Input::Close(StreamError::new(condition)));
        };
        self.more = session.queue.end() > self.confirmation.written();
        let taken = session.taken;
        drop(router);
        if self.signal.take_probe() {
            self.probed = true;
            self.ask_for_life(context, start, out);
        }
        let news = self
            .window
            .taken(taken, |took| context.metrics.accepted(took));
        news.then_some(Input::Taken(taken))
    }

    fn why_ended(&self, router: &Router) -> StreamCondition {
        if router.bridge(&self.domain).is_none() {
            return StreamCondition::HostGone;
        }
        match router.session(self.session) {
            // This node was declared down; the peer resumes elsewhere.
            Some(session) if session.attached.is_none() => StreamCondition::SystemShutdown,
            _ => StreamCondition::Conflict,
        }
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
            ingress.propose(&Command::Acknowledge {
                session: self.session,
                stream: self.stream,
                upto,
            });
        }
    }

    pub(super) fn fill(&mut self, context: &StreamContext, start: Instant, out: &mut BytesMut) {
        if self.ended || !context.contact.is_open() {
            return;
        }
        if self.more && out.len() < egress::FILL_BYTES {
            let router = context.applied.router();
            if let Some(session) = router.session(self.session) {
                let cursor = self.confirmation.written();
                let position = egress::fill(&router, session, cursor, out, &mut self.scratch);
                self.more = position < session.queue.end();
                drop(router);
                let confirmed = self.confirmation.wrote(position);
                self.acknowledge = confirmed.or(self.acknowledge);
            }
        }
        self.confirmation
            .ask(start.elapsed(), &context.server.domain, &self.domain, out);
        // What counts as delivered when written was confirmed just now.
        self.submit(&context.ingress);
    }

    pub(super) fn ask_for_life(
        &mut self,
        context: &StreamContext,
        start: Instant,
        out: &mut BytesMut,
    ) {
        self.confirmation
            .probe(start.elapsed(), &context.server.domain, &self.domain, out);
    }
}

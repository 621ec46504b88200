//! The session that a stream serves: asked for, bound, and given up again.
//!
//! Length: one method an event of a session, on all three states.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;
use xmpp_core::error::{StanzaCondition, StreamCondition, StreamError};
use xmpp_core::router::{Command, Refusal, Router, SessionId, StanzaPacker};
use xmpp_core::stanza::Stanza;
use xmpp_core::stream::Input;
use xmpp_core::stream::confirmation::{Confirmation, Mode, Verdict};
use xmpp_core::text::escape;

use super::bound::{Bound, why_ended};
use super::outgoing::Outgoing;
use super::pace::Pace;
use super::window::{Window, shown};
use super::{StreamContext, StreamLimits};
use crate::applied::Signal;
use crate::ingress::Ingress;
use crate::sealing::{self, SealingError};

/// How long a peer that was asked for a sign of life may take.
const SIGN_OF_LIFE: Duration = Duration::from_secs(10);

/// What a stream has to do with sessions.
pub(super) enum Serving {
    /// None yet.
    Nothing,
    /// A bind or resume is proposed.
    Asked(Asked),
    /// Bound.
    Bound(Box<Bound>),
}

pub(super) struct Asked {
    session: SessionId,
    /// A bridge's domain, or a user's bare address.
    name: String,
    managed: bool,
    signal: Arc<Signal>,
    /// Number of the request that asks.
    request: u64,
}

impl Serving {
    /// Proposes a new session.
    pub(super) fn bind(
        context: &StreamContext,
        domain: String,
        generation: u32,
        managed: bool,
    ) -> Result<Self, SealingError> {
        let session = SessionId(u128::from_le_bytes(sealing::random()?));
        let signal = context.applied.watch_session(session);
        let request = context.ingress.propose(&Command::Bind {
            session,
            domain: &domain,
            generation,
            managed,
        });
        Ok(Self::Asked(Asked {
            session,
            name: domain,
            managed,
            signal,
            request,
        }))
    }

    /// Proposes a new session of a client.
    pub(super) fn bind_resource(
        context: &StreamContext,
        user: &str,
        generation: u32,
        resource: &str,
    ) -> Result<Self, SealingError> {
        let session = SessionId(u128::from_le_bytes(sealing::random()?));
        let signal = context.applied.watch_session(session);
        let request = context.ingress.propose(&Command::BindResource {
            session,
            account: user,
            generation,
            resource,
            on_conflict: context.resources.on_conflict,
            most: context.resources.most,
        });
        Ok(Self::Asked(Asked {
            session,
            name: format!("{user}@{}", context.server.domain),
            managed: false,
            signal,
            request,
        }))
    }

    /// Proposes to count what follows (XEP-0198); until that is decided nothing is written.
    pub(super) fn enable(&mut self, ingress: &Ingress) {
        if let Self::Bound(bound) = self {
            bound.enable(ingress);
        }
    }

    /// Proposes to serve a session again.
    pub(super) fn resume(
        context: &StreamContext,
        name: String,
        generation: u32,
        session: SessionId,
        h: u32,
    ) -> Self {
        let signal = context.applied.watch_session(session);
        let request = context.ingress.propose(&Command::Resume {
            session,
            name: &name,
            generation,
            h,
        });
        Self::Asked(Asked {
            session,
            name,
            managed: true,
            signal,
            request,
        })
    }

    /// Waits until something changed for the session. Cancel-safe.
    pub(super) async fn changed(&self) {
        match self {
            Self::Nothing => std::future::pending().await,
            Self::Asked(asked) => asked.signal.changed().await,
            Self::Bound(bound) => bound.signal.changed().await,
        }
    }

    /// What the applied state says: bound, refused, progress, or no longer ours.
    pub(super) fn observe(
        &mut self,
        context: &StreamContext,
        start: Instant,
        out: &mut Outgoing,
    ) -> Option<Input> {
        match self {
            Self::Nothing => None,
            Self::Asked(asked) => {
                if let Some(refusal) = asked.signal.take_refusal(asked.request) {
                    return Some(self.refused(context, refusal));
                }
                let router = context.applied.router();
                if context.applied.seen() < asked.request {
                    return None;
                }
                let session = router
                    .session(asked.session)
                    .filter(|session| session.is_served_by(context.applied.at(), asked.request));
                let Some(session) = session else {
                    if waits(&router, asked) {
                        return None;
                    }
                    if router.session(asked.session).is_none() {
                        drop(router);
                        return Some(self.refused(context, Refusal::ItemNotFound));
                    }
                    // It was undone at once, or its decision was part of a snapshot. The session is there, so the peer
                    // must not be told that it cannot be resumed: it would repeat what was taken.
                    let condition = why_ended(&router, &asked.name, None, asked.session);
                    return Some(Input::Close(StreamError::new(condition)));
                };
                let (taken, counted) = (session.taken, session.counted);
                let name = session.name.clone();
                let limits = session.limits;
                let mode = if asked.managed {
                    Mode::Managed
                } else {
                    Mode::Plain
                };
                let mut confirmation = Confirmation::new(mode, session.queue.confirmed())
                    .with_silence(context.limits.barrier)
                    .with_base(counted.written);
                if mode == Mode::Plain && name.local().is_some() {
                    confirmation = confirmation.with_patience(start.elapsed());
                }
                let bound = Bound {
                    session: asked.session,
                    address: escape(name.as_str()).into_owned(),
                    name: name.clone(),
                    stream: asked.request,
                    signal: Arc::clone(&asked.signal),
                    confirmation,
                    window: Window::new(taken),
                    pace: Pace::new(limits, Instant::now()),
                    waits_until: None,
                    packer: StanzaPacker::default(),
                    scratch: String::new(),
                    question_end: None,
                    acknowledge: None,
                    more: true,
                    owed: None,
                    probed: false,
                    idle_asked: false,
                    ended: false,
                    answers_again: false,
                    enabling: false,
                };
                info!(
                    name = bound.name.as_str(),
                    session = shown(bound.session),
                    "bound"
                );
                let session = bound.session;
                drop(router);
                *self = Self::Bound(Box::new(bound));
                Some(Input::Bound {
                    session,
                    name,
                    taken,
                    counted: counted.taken,
                })
            }
            Self::Bound(bound) => bound.observe(context, start, out),
        }
    }

    fn refused(&mut self, context: &StreamContext, refusal: Refusal) -> Input {
        if let Self::Asked(asked) = std::mem::replace(self, Self::Nothing) {
            info!(name = asked.name, ?refusal, "refused");
            context
                .applied
                .unwatch_session(asked.session, &asked.signal);
        }
        Input::Refused(refusal)
    }

    /// Whether more may be read now.
    pub(super) fn reads(&mut self, limits: &StreamLimits) -> bool {
        match self {
            Self::Nothing => true,
            // What comes before the bind is decided waits in the socket.
            Self::Asked(_) => false,
            Self::Bound(bound) => {
                let (stanzas, bytes) = (bound.packer.count(), bound.packer.len() as u64);
                bound.waits_until = match bound.pace.is_bounded() {
                    true => bound.pace.waits_until(Instant::now()),
                    false => None,
                };
                bound.waits_until.is_none()
                    && bound.window.is_open(limits, u64::from(stanzas), bytes)
            }
        }
    }

    /// Whether nothing is read now, as the peer was faster than it may be.
    pub(super) fn is_paced(&self) -> bool {
        matches!(self, Self::Bound(bound) if bound.waits_until.is_some())
    }

    /// A stanza was read.
    pub(super) fn take(&mut self, stanza: &Stanza, to: &str, reject: Option<StanzaCondition>) {
        if let Self::Bound(bound) = self {
            let before = bound.packer.len();
            bound.packer.push(stanza, to, reject);
            bound.pace.took(bound.packer.len() - before);
        }
    }

    /// Hands on what was read and what was confirmed since the last time, in one command each.
    pub(super) fn submit(&mut self, ingress: &Ingress) {
        if let Self::Bound(bound) = self {
            bound.submit(ingress);
        }
    }

    /// Appends what waits for the peer, and a question if one is due.
    pub(super) fn fill(&mut self, context: &StreamContext, start: Instant, out: &mut Outgoing) {
        if let Self::Bound(bound) = self {
            bound.fill(context, start, out);
        }
    }

    pub(super) fn answered(&mut self, number: u64) {
        if let Self::Bound(bound) = self {
            let silent = bound.confirmation.is_unconfirmed();
            let position = bound.confirmation.answered(number);
            bound.answers_again |= silent && !bound.confirmation.is_unconfirmed();
            bound.acknowledge = position.or(bound.acknowledge);
        }
    }

    pub(super) fn acknowledged(&mut self, h: u32) -> Result<(), u32> {
        if let Self::Bound(bound) = self {
            let position = bound.confirmation.acknowledged(h)?;
            bound.acknowledge = position.or(bound.acknowledge);
        }
        Ok(())
    }

    /// The socket took everything up to `position` of the stream.
    pub(super) fn taken_by_socket(&mut self, position: u64, start: Instant) {
        if let Self::Bound(bound) = self {
            bound.taken_by_socket(position, start);
        }
    }

    /// Since when the peer's question waits.
    pub(super) fn owed_since(&mut self, now: Instant) -> Instant {
        match self {
            Self::Bound(bound) => *bound.owed.get_or_insert(now),
            Self::Nothing | Self::Asked(_) => now,
        }
    }

    pub(super) fn answered_peer(&mut self) {
        if let Self::Bound(bound) = self {
            bound.owed = None;
        }
    }

    /// The peer sent something.
    pub(super) fn heard(&mut self, ingress: &Ingress) {
        if let Self::Bound(bound) = self {
            bound.idle_asked = false;
            if std::mem::take(&mut bound.probed) {
                ingress.propose(&Command::Keep {
                    session: bound.session,
                    stream: bound.stream,
                });
            }
        }
    }

    pub(super) fn tick(
        &mut self,
        context: &StreamContext,
        start: Instant,
        silent: Duration,
        out: &mut Outgoing,
    ) -> Option<StreamError> {
        let Self::Bound(bound) = self else {
            return None;
        };
        // What the peer answers while we do not read, we do not know.
        let deaf = !out.is_empty() || bound.waits_until.is_some();
        if bound.confirmation.tick(start.elapsed(), deaf) == Verdict::Unconfirmed {
            info!(
                name = bound.name.as_str(),
                "answers no pings: delivery counts when written"
            );
            let (session, stream) = (bound.session, bound.stream);
            context.ingress.propose(&Command::Unconfirmed {
                session,
                stream,
                on: true,
            });
            bound.acknowledge = Some(bound.confirmation.written());
        }
        if silent >= context.limits.idle && !bound.idle_asked {
            bound.idle_asked = true;
            bound.ask_for_life(context, start, out);
        }
        let dead = bound.confirmation.mode() == Mode::Managed
            && silent >= context.limits.idle + SIGN_OF_LIFE;
        dead.then(|| StreamError::new(StreamCondition::ConnectionTimeout))
    }

    pub(super) fn deadline(
        &self,
        context: &StreamContext,
        start: Instant,
        heard_at: Instant,
    ) -> Option<Instant> {
        let Self::Bound(bound) = self else {
            return None;
        };
        let idle = heard_at
            + context.limits.idle
            + if bound.idle_asked {
                SIGN_OF_LIFE
            } else {
                Duration::ZERO
            };
        let idle =
            (!bound.idle_asked || bound.confirmation.mode() == Mode::Managed).then_some(idle);
        let question = bound.confirmation.next_tick().map(|tick| start + tick);
        let owed = bound.owed.map(|owed| owed + context.limits.answer);
        [idle, question, owed, bound.waits_until]
            .into_iter()
            .flatten()
            .min()
    }

    /// Gives the session up; returns the number of the request that says so.
    pub(super) fn detach(mut self, context: &StreamContext, closed_by_peer: bool) -> Option<u64> {
        self.submit(&context.ingress);
        let (session, signal, stream) = match &self {
            Self::Nothing => return None,
            Self::Asked(asked) => (asked.session, &asked.signal, asked.request),
            Self::Bound(bound) => (bound.session, &bound.signal, bound.stream),
        };
        context.applied.unwatch_session(session, signal);
        // What was asked for and not sent, as without a quorum, must not come true when nobody waits for it any more.
        let over = match &self {
            Self::Bound(bound) => bound.ended,
            Self::Asked(asked) => context.ingress.withdraw(asked.request),
            Self::Nothing => true,
        };
        let detach = Command::Detach {
            session,
            stream,
            closed: closed_by_peer,
        };
        (!over).then(|| context.ingress.propose(&detach))
    }
}

/// Whether a bind waits for the holder of its name.
fn waits(router: &Router, asked: &Asked) -> bool {
    let holder = router
        .bridge(&asked.name)
        .and_then(|bridge| bridge.session)
        .and_then(|holder| router.session(holder));
    holder
        .and_then(|holder| holder.newcomer)
        .is_some_and(|newcomer| newcomer.session == asked.session)
}

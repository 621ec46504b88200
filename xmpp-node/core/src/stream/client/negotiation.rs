//! From the proved user to the bound session: a new resource, or an old session (RFC 6120, 7; XEP-0198, 5).

use super::{ClientStream, MAX_BINDS, State, User};
use crate::error::{StanzaCondition, StreamCondition, StreamError};
use crate::framer::Element;
use crate::jid::Jid;
use crate::ns;
use crate::router::{Refusal, SessionId};
use crate::stanza::{Kind, Stanza};
use crate::stream::{Action, failed, handled, handled_too_high};
use crate::text::escape;

/// What a client waits for.
#[derive(Debug)]
pub(super) enum Wish {
    /// A resource, asked for by an IQ of this `id`.
    Resource {
        /// As sent.
        id: String,
    },
    /// Its old session.
    Resume,
}

impl ClientStream {
    /// A child of a stream that has no session.
    pub(super) fn bind(
        &mut self,
        user: User,
        element: &Element,
        out: &mut Vec<Action>,
    ) -> Result<State, StreamError> {
        if element.is("resume", ns::SM) {
            return Ok(self.resume(user, element, out));
        }
        if element.ns() == ns::SM {
            out.push(Action::Write(failed("unexpected-request")));
            return Ok(State::AwaitBind { user });
        }
        let parsed = Stanza::parse(element, None, ns::CLIENT, &self.server.domain)?;
        let request = parsed.filter(|stanza| {
            let payload = element.children().next();
            stanza.kind == Kind::Iq
                && stanza.stanza_type().as_deref() == Some("set")
                && payload.is_some_and(|(name, namespace)| name == "bind" && namespace == ns::BIND)
        });
        let Some(request) = request else {
            return Err(
                StreamError::new(StreamCondition::NotAuthorized).with_text("bind a resource first")
            );
        };
        let wish = Wish::Resource {
            id: request.id().unwrap_or_default().into_owned(),
        };
        let wanted = element.text_at(&["bind", "resource"]).unwrap_or_default();
        let resource = match wanted.as_ref() {
            "" => Ok(String::new()),
            wanted => Jid::resourcepart(wanted).map(std::borrow::Cow::into_owned),
        };
        match (request.reject(), resource) {
            (None, Ok(resource)) => {
                out.push(Action::BindResource {
                    user: user.name.clone(),
                    generation: user.generation,
                    resource,
                });
                Ok(State::Binding { user, wish })
            }
            _ => self.not_bound(user, &wish, StanzaCondition::BadRequest, out),
        }
    }

    fn resume(&mut self, user: User, element: &Element, out: &mut Vec<Action>) -> State {
        let session = element
            .attribute("previd")
            .and_then(|previd| SessionId::from_previd(&previd));
        let h = element.attribute("h").and_then(|h| handled(&h));
        let (Some(session), Some(h)) = (session, h) else {
            out.push(Action::Write(failed("item-not-found")));
            return State::AwaitBind { user };
        };
        out.push(Action::Resume {
            name: self.address(&user),
            generation: user.generation,
            session,
            h,
        });
        let wish = Wish::Resume;
        State::Binding { user, wish }
    }

    /// The cluster gives no session.
    pub(super) fn refused(
        &mut self,
        user: User,
        wish: &Wish,
        refusal: Refusal,
        out: &mut Vec<Action>,
    ) -> Result<State, StreamError> {
        match (refusal, wish) {
            (Refusal::NotAuthorized, _) => Err(StreamError::new(StreamCondition::NotAuthorized)),
            (Refusal::HandledTooHigh { h, sent }, _) => Err(handled_too_high(h, sent)),
            (_, Wish::Resume) => {
                out.push(Action::Write(failed("item-not-found")));
                Ok(State::AwaitBind { user })
            }
            (Refusal::Conflict, Wish::Resource { .. }) => {
                self.not_bound(user, wish, StanzaCondition::Conflict, out)
            }
            (Refusal::TooManyResources, Wish::Resource { .. }) => {
                self.not_bound(user, wish, StanzaCondition::ResourceConstraint, out)
            }
            // The decision was lost with a snapshot; on the next stream it can be asked for again.
            (Refusal::ItemNotFound, Wish::Resource { .. }) => {
                Err(StreamError::new(StreamCondition::SystemShutdown))
            }
        }
    }

    fn not_bound(
        &mut self,
        user: User,
        wish: &Wish,
        condition: StanzaCondition,
        out: &mut Vec<Action>,
    ) -> Result<State, StreamError> {
        let id = match wish {
            Wish::Resource { id } => id.as_str(),
            Wish::Resume => "",
        };
        out.push(Action::Write(format!(
            "<iq type='error' id='{}'><error type='{}'><{condition} xmlns='{}'/></error></iq>",
            escape(id),
            condition.error_type().as_str(),
            ns::STANZA_ERRORS
        )));
        self.binds += 1;
        if self.binds >= MAX_BINDS {
            return Err(StreamError::new(StreamCondition::PolicyViolation)
                .with_text("too many attempts to bind a resource"));
        }
        Ok(State::AwaitBind { user })
    }
}

/// The answer to a client that has its resource.
pub(super) fn bound(id: &str, name: &Jid) -> String {
    format!(
        "<iq type='result' id='{}'><bind xmlns='{}'><jid>{}</jid></bind></iq>",
        escape(id),
        ns::BIND,
        escape(name.as_str())
    )
}

/// The answer to a client that has its session back.
pub(super) fn resumed(session: SessionId, h: u32) -> String {
    let previd = session.previd();
    format!("<resumed xmlns='{}' previd='{previd}' h='{h}'/>", ns::SM)
}

//! From the handshake to the bound session.

use super::{Action, Asked, Peer, State};
use crate::error::{StreamCondition, StreamError};
use crate::framer::Element;
use crate::ns;
use crate::router::{Refusal, SessionId};
use crate::stream::{failed, handled, handled_too_high};

pub(super) fn handshake(
    peer: Peer,
    element: &Element,
    out: &mut Vec<Action>,
) -> Result<State, StreamError> {
    if !element.is("handshake", ns::COMPONENT_ACCEPT) {
        return Err(StreamError::new(StreamCondition::NotAuthorized));
    }
    let presented = element.text().into_owned();
    out.push(Action::Verify {
        domain: peer.domain.clone(),
        presented,
    });
    Ok(State::Verifying { peer })
}

pub(super) fn verified(
    peer: Peer,
    generation: Option<u32>,
    out: &mut Vec<Action>,
) -> Result<State, StreamError> {
    let Some(generation) = generation else {
        return Err(StreamError::new(StreamCondition::NotAuthorized));
    };
    if peer.managed {
        out.push(Action::Write("<handshake/>".to_owned()));
        return Ok(State::AwaitManagement { peer, generation });
    }
    out.push(Action::Bind {
        domain: peer.domain.clone(),
        generation,
        managed: false,
    });
    Ok(State::Binding {
        peer,
        generation,
        asked: Asked::Handshake,
    })
}

pub(super) fn manage(
    peer: Peer,
    generation: u32,
    element: &Element,
    out: &mut Vec<Action>,
) -> Result<State, StreamError> {
    let domain = peer.domain.clone();
    if element.is("enable", ns::SM) {
        let resumable = element
            .attribute("resume")
            .is_some_and(|resume| matches!(&*resume, "true" | "1"));
        out.push(Action::Bind {
            domain,
            generation,
            managed: true,
        });
        return Ok(State::Binding {
            peer,
            generation,
            asked: Asked::Enable { resumable },
        });
    }
    if element.is("resume", ns::SM) {
        let session = element
            .attribute("previd")
            .and_then(|previd| SessionId::from_previd(&previd));
        let h = element.attribute("h").and_then(|h| handled(&h));
        let (Some(session), Some(h)) = (session, h) else {
            return refused(peer, generation, Refusal::ItemNotFound, out);
        };
        out.push(Action::Resume {
            name: domain,
            generation,
            session,
            h,
        });
        return Ok(State::Binding {
            peer,
            generation,
            asked: Asked::Resume,
        });
    }
    if element.ns() == ns::SM {
        out.push(Action::Write(failed("unexpected-request")));
        return Ok(State::AwaitManagement { peer, generation });
    }
    Err(StreamError::new(StreamCondition::NotAuthorized)
        .with_text("stanzas flow after <enable/> or <resume/>"))
}

pub(super) fn refused(
    peer: Peer,
    generation: u32,
    refusal: Refusal,
    out: &mut Vec<Action>,
) -> Result<State, StreamError> {
    match refusal {
        // A plain component cannot ask again on the same stream; on the next one it can.
        Refusal::ItemNotFound if !peer.managed => {
            Err(StreamError::new(StreamCondition::SystemShutdown))
        }
        Refusal::ItemNotFound => {
            out.push(Action::Write(failed("item-not-found")));
            Ok(State::AwaitManagement { peer, generation })
        }
        // Only clients have resources.
        Refusal::NotAuthorized | Refusal::TooManyResources => {
            Err(StreamError::new(StreamCondition::NotAuthorized))
        }
        Refusal::Conflict => Err(StreamError::new(StreamCondition::Conflict)),
        Refusal::HandledTooHigh { h, sent } => Err(handled_too_high(h, sent)),
    }
}

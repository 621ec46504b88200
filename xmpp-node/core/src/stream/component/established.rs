//! Stanzas of a bound component.

use super::{Action, Peer};
use crate::error::{StreamCondition, StreamError};
use crate::framer::Element;
use crate::ns;
use crate::stanza::{Kind, Stanza};
use crate::stream::confirmation::Confirmation;
use crate::stream::counting::Counting;

/// A stream whose session is bound.
#[derive(Debug)]
pub(super) struct Established {
    peer: Peer,
    counting: Counting,
}

impl Established {
    /// A session from which `taken` stanzas were taken before this stream.
    pub(super) fn new(peer: Peer, taken: u64) -> Self {
        let counting = Counting::new(peer.managed.then_some(0), taken);
        Self { peer, counting }
    }

    /// The counting of its stanzas.
    pub(super) fn counting(&mut self) -> &mut Counting {
        &mut self.counting
    }

    /// Whether a question of the peer waits for an answer.
    pub(super) fn owes_answer(&self) -> bool {
        self.counting.owes_answer()
    }

    /// The domain that is served.
    pub(super) fn domain(&self) -> &str {
        &self.peer.domain
    }

    /// Takes a child of the stream.
    pub(super) fn element(
        &mut self,
        element: &Element,
        domain: &str,
        out: &mut Vec<Action>,
    ) -> Result<(), StreamError> {
        let parsed = Stanza::parse(
            element,
            self.peer.lang.as_deref(),
            ns::COMPONENT_ACCEPT,
            domain,
        )?;
        let Some(stanza) = parsed else {
            return self.nonza(element, out);
        };
        let Some(from) = &stanza.from else {
            return Err(StreamError::new(StreamCondition::ImproperAddressing));
        };
        if from.domain() != self.peer.domain {
            return Err(StreamError::new(StreamCondition::InvalidFrom));
        }
        let to = match &stanza.to {
            Some(to) => to.domain().to_owned(),
            None if stanza.to_fault.is_some() => String::new(),
            None => return Err(StreamError::new(StreamCondition::ImproperAddressing)),
        };
        // XEP-0198 counts every stanza, and peers that use it get no pings of ours.
        if !self.peer.managed
            && to == domain
            && stanza.kind == Kind::Iq
            && !stanza.answerable
            && let Some(number) = stanza.id().and_then(|id| Confirmation::ping_number(&id))
        {
            out.push(Action::PingAnswered(number));
            return Ok(());
        }
        self.counting.submit();
        let reject = stanza.reject();
        out.push(Action::Submit { stanza, to, reject });
        Ok(())
    }

    fn nonza(&mut self, element: &Element, out: &mut Vec<Action>) -> Result<(), StreamError> {
        if element.ns() != ns::SM || !self.peer.managed {
            return Err(StreamError::new(StreamCondition::UnsupportedStanzaType));
        }
        self.counting.element(element, out)
    }
}

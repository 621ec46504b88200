//! Stanzas of a bound component, and their counting (XEP-0198).

use super::negotiation::handled;
use super::{Action, Peer};
use crate::error::{StreamCondition, StreamError};
use crate::framer::Element;
use crate::ns;
use crate::stanza::{Kind, Stanza};
use crate::stream::confirmation::Confirmation;

/// Accepted stanzas after which `<a/>` is written unasked.
const STANZAS_PER_ACKNOWLEDGEMENT: u64 = 16;

/// A stream whose session is bound.
#[derive(Debug)]
pub(super) struct Established {
    peer: Peer,
    /// Stanzas submitted over the life of the session, those taken before this stream included.
    submitted: u64,
    taken: u64,
    /// `h` last written.
    told: u64,
    asked: Option<Asked>,
}

/// Questions (`<r/>`) not yet answered, by the stanzas that had been submitted when they came. A peer that asks after every
/// stanza is answered as often as something that it asked about is accepted, not only when it pauses.
#[derive(Debug, Clone, Copy)]
struct Asked {
    oldest: u64,
    newest: u64,
}

impl Established {
    /// A session from which `taken` stanzas were taken before this stream.
    pub(super) fn new(peer: Peer, taken: u64) -> Self {
        Self {
            peer,
            submitted: taken,
            taken,
            told: taken,
            asked: None,
        }
    }

    /// Whether a question of the peer waits for an answer.
    pub(super) fn owes_answer(&self) -> bool {
        self.asked.is_some()
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
        self.submitted += 1;
        let reject = stanza.reject();
        out.push(Action::Submit { stanza, to, reject });
        Ok(())
    }

    fn nonza(&mut self, element: &Element, out: &mut Vec<Action>) -> Result<(), StreamError> {
        if element.ns() != ns::SM || !self.peer.managed {
            return Err(StreamError::new(StreamCondition::UnsupportedStanzaType));
        }
        match element.name() {
            "r" => {
                let oldest = self.asked.map_or(self.submitted, |asked| asked.oldest);
                self.asked = Some(Asked {
                    oldest,
                    newest: self.submitted,
                });
                self.progress(self.taken, out);
            }
            "a" => {
                let h = element.attribute("h").and_then(|h| handled(&h));
                let Some(h) = h else {
                    return Err(StreamError::new(StreamCondition::BadFormat));
                };
                out.push(Action::Acknowledged(h));
            }
            // XEP-0198, 3: once enabled, a second request is a fault.
            "enable" | "resume" => {
                return Err(
                    StreamError::new(StreamCondition::PolicyViolation).with_text("already enabled")
                );
            }
            _ => return Err(StreamError::new(StreamCondition::UnsupportedStanzaType)),
        }
        Ok(())
    }

    /// So many stanzas of the session were accepted; an answer that waited for them is given.
    pub(super) fn progress(&mut self, taken: u64, out: &mut Vec<Action>) {
        self.taken = taken;
        match self.asked {
            Some(asked) if asked.oldest <= taken => {
                self.acknowledge(out);
                self.asked = (asked.newest > taken).then_some(Asked {
                    oldest: asked.newest,
                    ..asked
                });
            }
            _ if self.peer.managed && taken >= self.told + STANZAS_PER_ACKNOWLEDGEMENT => {
                self.acknowledge(out);
            }
            _ => {}
        }
    }

    /// Answers with what is accepted so far.
    pub(super) fn answer(&mut self, out: &mut Vec<Action>) {
        self.asked = None;
        self.acknowledge(out);
    }

    fn acknowledge(&mut self, out: &mut Vec<Action>) {
        self.told = self.taken;
        out.push(Action::Write(format!(
            "<a xmlns='{}' h='{}'/>",
            ns::SM,
            self.taken as u32
        )));
    }
}

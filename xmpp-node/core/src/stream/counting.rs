//! What a peer is told of the stanzas that it sent (XEP-0198, 4): `h` covers what was accepted, and nothing else.

use super::{Action, handled};
use crate::error::{StreamCondition, StreamError};
use crate::framer::Element;
use crate::ns;

/// Accepted stanzas after which `<a/>` is written unasked.
const STANZAS_PER_ACKNOWLEDGEMENT: u64 = 16;

/// Counts over the life of a session, those of earlier streams included.
#[derive(Debug)]
pub(super) struct Counting {
    /// What had been taken when the peer's counter was 0; `None` while it does not count.
    base: Option<u64>,
    submitted: u64,
    taken: u64,
    /// What `<a/>` covered last.
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

impl Counting {
    /// A session from which `taken` stanzas were taken before this stream, and whose peer counts from `base` on, or not at all.
    pub(super) fn new(base: Option<u64>, taken: u64) -> Self {
        Self {
            base,
            submitted: taken,
            taken,
            told: taken,
            asked: None,
        }
    }

    /// The peer's counter was 0 when `base` stanzas had been taken.
    pub(super) fn begin(&mut self, base: u64, taken: u64, out: &mut Vec<Action>) {
        self.base = Some(base);
        self.told = base;
        self.progress(taken, out);
    }

    /// Whether a question waits for an answer.
    pub(super) fn owes_answer(&self) -> bool {
        self.asked.is_some() && self.base.is_some()
    }

    /// A stanza is submitted.
    pub(super) fn submit(&mut self) {
        self.submitted += 1;
    }

    /// Takes an element of XEP-0198 on a stream that is counted.
    ///
    /// # Errors
    /// One that ends the stream.
    pub(super) fn element(
        &mut self,
        element: &Element,
        out: &mut Vec<Action>,
    ) -> Result<(), StreamError> {
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
        let Some(base) = self.base else {
            return;
        };
        match self.asked {
            Some(asked) if asked.oldest <= taken => {
                self.acknowledge(base, out);
                self.asked = (asked.newest > taken).then_some(Asked {
                    oldest: asked.newest,
                    ..asked
                });
            }
            _ if taken >= self.told + STANZAS_PER_ACKNOWLEDGEMENT => self.acknowledge(base, out),
            _ => {}
        }
    }

    /// Answers with what is accepted so far.
    pub(super) fn answer(&mut self, out: &mut Vec<Action>) {
        self.asked = None;
        if let Some(base) = self.base {
            self.acknowledge(base, out);
        }
    }

    fn acknowledge(&mut self, base: u64, out: &mut Vec<Action>) {
        self.told = self.taken;
        out.push(Action::Write(format!(
            "<a xmlns='{}' h='{}'/>",
            ns::SM,
            (self.taken - base) as u32
        )));
    }
}

//! Stanzas of a bound client.

use crate::error::{StreamCondition, StreamError};
use crate::framer::Element;
use crate::jid::Jid;
use crate::ns;
use crate::router::SessionId;
use crate::stanza::{Kind, Stanza};
use crate::stream::Action;
use crate::stream::confirmation::Confirmation;
use crate::stream::counting::Counting;

/// A stream whose session is bound.
#[derive(Debug)]
pub(super) struct Established {
    session: SessionId,
    /// The client's full address.
    name: Jid,
    lang: Option<String>,
    counting: Counting,
    enabling: Enabling,
}

/// Whether XEP-0198 is asked for, and whether a session that can be resumed is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Enabling {
    No,
    Asked { resume: bool },
    Done,
}

impl Established {
    /// `taken` stanzas were taken from the session before this stream; its peer counts from `base` on, or not yet.
    pub(super) fn new(
        session: SessionId,
        name: Jid,
        lang: Option<String>,
        taken: u64,
        base: Option<u64>,
    ) -> Self {
        Self {
            session,
            name,
            lang,
            counting: Counting::new(base, taken),
            enabling: if base.is_some() {
                Enabling::Done
            } else {
                Enabling::No
            },
        }
    }

    /// The counting of its stanzas.
    pub(super) fn counting(&mut self) -> &mut Counting {
        &mut self.counting
    }

    /// Whether a question of the peer waits for an answer.
    pub(super) fn owes_answer(&self) -> bool {
        self.counting.owes_answer()
    }

    /// Takes a child of the stream.
    pub(super) fn element(
        &mut self,
        element: &Element,
        domain: &str,
        out: &mut Vec<Action>,
    ) -> Result<(), StreamError> {
        let parsed = Stanza::parse(element, self.lang.as_deref(), ns::CLIENT, domain)?;
        let Some(mut stanza) = parsed else {
            return self.nonza(element, out);
        };
        self.stamp(&mut stanza)?;
        let to = match &stanza.to {
            Some(to) => to.domain().to_owned(),
            None if stanza.to_fault.is_some() => String::new(),
            None => {
                // Presence without an address is the client's own; everything else is for its user (RFC 6120, 10.3).
                if stanza.kind != Kind::Presence {
                    stanza.to = Some(self.name.bare());
                }
                domain.to_owned()
            }
        };
        if self.enabling == Enabling::No
            && let Some(number) = answered_ping(&stanza, domain)
        {
            out.push(Action::PingAnswered(number));
            return Ok(());
        }
        self.counting.submit();
        let reject = stanza.reject();
        out.push(Action::Submit { stanza, to, reject });
        Ok(())
    }

    /// RFC 6120, 8.1.2.1: a client speaks for itself alone; what it leaves out, or gives as its bare address, is made full.
    fn stamp(&self, stanza: &mut Stanza) -> Result<(), StreamError> {
        let own = |from: &Jid| *from == self.name || from.as_str() == self.name.bare_str();
        if stanza.from_fault.is_some() || !stanza.from.as_ref().is_none_or(own) {
            return Err(StreamError::new(StreamCondition::InvalidFrom));
        }
        stanza.from = Some(self.name.clone());
        Ok(())
    }

    fn nonza(&mut self, element: &Element, out: &mut Vec<Action>) -> Result<(), StreamError> {
        if element.ns() != ns::SM {
            return Err(StreamError::new(StreamCondition::UnsupportedStanzaType));
        }
        match (self.enabling, element.name()) {
            (Enabling::No, "enable") => {
                let resume = element.attribute("resume");
                let resume = matches!(resume.as_deref(), Some("true" | "1"));
                self.enabling = Enabling::Asked { resume };
                out.push(Action::Enable);
                Ok(())
            }
            (Enabling::No, _) => Err(StreamError::new(StreamCondition::UnsupportedStanzaType)),
            (Enabling::Asked { .. } | Enabling::Done, _) => self.counting.element(element, out),
        }
    }

    /// The cluster knows that the client counts.
    pub(super) fn enabled(
        &mut self,
        taken: u64,
        counted: u64,
        resume_seconds: u64,
        out: &mut Vec<Action>,
    ) {
        let Enabling::Asked { resume } = self.enabling else {
            return;
        };
        self.enabling = Enabling::Done;
        let resumable = match resume {
            true => format!(
                " id='{}' resume='true' max='{resume_seconds}'",
                self.session.previd()
            ),
            false => String::new(),
        };
        out.push(Action::Write(format!(
            "<enabled xmlns='{}'{resumable}/>",
            ns::SM
        )));
        self.counting.begin(counted, taken, out);
    }
}

/// The number of the ping of ours that a stanza answers. XEP-0198 counts every stanza, and peers that use it get no pings.
fn answered_ping(stanza: &Stanza, domain: &str) -> Option<u64> {
    let to_us = stanza.to.as_ref().is_some_and(|to| to.as_str() == domain);
    if stanza.kind != Kind::Iq || stanza.answerable || !to_us {
        return None;
    }
    Confirmation::ping_number(&stanza.id()?)
}

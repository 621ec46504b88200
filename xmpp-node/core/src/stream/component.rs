//! A component stream: XEP-0114, with XEP-0198 for peers that ask for it in their header.
//!
//! | state | input | next state | actions |
//! |---|---|---|---|
//! | `AwaitHeader` | header | `AwaitHandshake` | write our header |
//! | `AwaitHandshake` | `<handshake/>` | `Verifying` | verify |
//! | `Verifying` | verified, plain | `Binding` | bind |
//! | `Verifying` | verified, managed | `AwaitManagement` | write `<handshake/>` |
//! | `AwaitManagement` | `<enable/>`, `<resume/>` | `Binding` | bind, resume |
//! | `Binding` | bound | `Established` | write `<handshake/>`, `<enabled/>` or `<resumed/>` |
//! | `Binding` | refused: `ItemNotFound` | `AwaitManagement` | write `<failed/>` |
//! | `Established` | stanza | | submit |
//! | `Established` | `<r/>`, progress | | write `<a/>` |
//! | any | close of the peer, fault, close by us | `Closed` | write error and close, finish |
//!
//! Nothing is bound, submitted or delivered before `Established`; stanza data that comes earlier is refused with
//! `not-authorized` (RFC 6120, 4.9.3.12). Deliveries are written by the caller, which follows them with
//! [`super::confirmation`].

mod established;
mod negotiation;

use super::{Action, Input, Server};
use crate::error::{StreamCondition, StreamError};
use crate::framer::{Frame, StreamHeader};
use crate::jid::Jid;
use crate::ns;
use crate::router::SessionId;
use established::Established;
use negotiation::{handshake, manage, refused, verified};

#[derive(Debug)]
struct Peer {
    domain: String,
    managed: bool,
    lang: Option<String>,
}

/// How a session was asked for.
#[derive(Debug, Clone, Copy)]
enum Asked {
    /// By the handshake alone.
    Handshake,
    /// By `<enable/>`.
    Enable {
        /// Whether the peer wants to resume the session later.
        resumable: bool,
    },
    /// By `<resume/>`.
    Resume,
}

#[derive(Debug)]
enum State {
    AwaitHeader,
    AwaitHandshake {
        peer: Peer,
    },
    Verifying {
        peer: Peer,
    },
    AwaitManagement {
        peer: Peer,
        generation: u32,
    },
    Binding {
        peer: Peer,
        generation: u32,
        asked: Asked,
    },
    Established(Established),
    Closed,
}

/// The stream machine. See the module documentation.
#[derive(Debug)]
pub struct ComponentStream {
    server: Server,
    id: String,
    header_sent: bool,
    error: Option<StreamCondition>,
    state: State,
}

impl ComponentStream {
    /// A stream whose header has not come. `id` must be unpredictable (RFC 6120, 4.7.3).
    #[must_use]
    pub fn new(server: Server, id: String) -> Self {
        Self {
            server,
            id,
            header_sent: false,
            error: None,
            state: State::AwaitHeader,
        }
    }

    /// The stream's id.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether the session is bound and stanzas flow.
    #[must_use]
    pub fn is_established(&self) -> bool {
        matches!(self.state, State::Established(_))
    }

    /// Whether the stream is over.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// The error by which we ended the stream, if we did.
    #[must_use]
    pub fn error(&self) -> Option<StreamCondition> {
        self.error
    }

    /// Whether a question of the peer (`<r/>`) waits for an answer.
    #[must_use]
    pub fn owes_answer(&self) -> bool {
        matches!(&self.state, State::Established(established) if established.owes_answer())
    }

    /// The domain that the stream was opened for.
    #[must_use]
    pub fn peer_domain(&self) -> Option<&str> {
        match &self.state {
            State::AwaitHandshake { peer }
            | State::Verifying { peer }
            | State::AwaitManagement { peer, .. }
            | State::Binding { peer, .. } => Some(&peer.domain),
            State::Established(established) => Some(established.domain()),
            State::AwaitHeader | State::Closed => None,
        }
    }

    /// Takes one input; what must be done is appended to `out`.
    pub fn handle(&mut self, input: Input, out: &mut Vec<Action>) {
        let state = std::mem::replace(&mut self.state, State::Closed);
        match self.step(state, input, out) {
            Ok(next) => self.state = next,
            Err(error) => self.fail(&error, out),
        }
    }

    fn step(
        &mut self,
        state: State,
        input: Input,
        out: &mut Vec<Action>,
    ) -> Result<State, StreamError> {
        match (state, input) {
            (State::Closed, _) => Ok(State::Closed),
            (_, Input::Close(error)) => Err(error),
            (_, Input::Frame(Frame::Close)) => {
                self.finish(true, out);
                Ok(State::Closed)
            }
            // The peer found a fault and will close: that ends the stream, but not the session (RFC 6120, 4.9.1.1).
            (_, Input::Frame(Frame::Element(element))) if element.is("error", ns::STREAMS) => {
                self.finish(false, out);
                Ok(State::Closed)
            }
            (State::AwaitHeader, Input::Frame(Frame::Open(header))) => self.open(&header, out),
            (State::AwaitHandshake { peer }, Input::Frame(Frame::Element(element))) => {
                handshake(peer, &element, out)
            }
            (State::Verifying { peer }, Input::Verified(generation)) => {
                verified(peer, generation, out)
            }
            (
                State::AwaitManagement { peer, generation },
                Input::Frame(Frame::Element(element)),
            ) => manage(peer, generation, &element, out),
            (State::Binding { peer, asked, .. }, Input::Bound { session, taken, .. }) => {
                out.push(Action::Write(self.bound_text(asked, session, taken)));
                Ok(State::Established(Established::new(peer, taken)))
            }
            (
                State::Binding {
                    peer, generation, ..
                },
                Input::Refused(refusal),
            ) => refused(peer, generation, refusal, out),
            (State::Established(mut established), Input::Frame(Frame::Element(element))) => {
                established.element(&element, &self.server.domain, out)?;
                Ok(State::Established(established))
            }
            (State::Established(mut established), Input::Taken(taken)) => {
                established.counting().progress(taken, out);
                Ok(State::Established(established))
            }
            (State::Established(mut established), Input::AnswerNow) => {
                established.counting().answer(out);
                Ok(State::Established(established))
            }
            // A second header, or anything but a header first.
            (_, Input::Frame(Frame::Open(_))) => Err(StreamError::new(StreamCondition::BadFormat)),
            (_, Input::Frame(Frame::Element(_))) => {
                Err(StreamError::new(StreamCondition::NotAuthorized))
            }
            // Answers to questions that this state did not ask are late; nothing hangs on them.
            (
                state,
                Input::Verified(_)
                | Input::Credentials(_)
                | Input::Tried(_)
                | Input::Bound { .. }
                | Input::Enabled { .. }
                | Input::Refused(_)
                | Input::Taken(_)
                | Input::AnswerNow,
            ) => Ok(state),
        }
    }

    fn open(&mut self, header: &StreamHeader, out: &mut Vec<Action>) -> Result<State, StreamError> {
        if header.content_ns != ns::COMPONENT_ACCEPT {
            return Err(StreamError::new(StreamCondition::InvalidNamespace));
        }
        if header.foreign_prefixes {
            return Err(StreamError::new(StreamCondition::BadNamespacePrefix)
                .with_text("prefixes of stanzas must be declared by the stanzas"));
        }
        let domain = header
            .to
            .as_deref()
            .and_then(|to| self.component_domain(to));
        let Some(domain) = domain else {
            return Err(StreamError::new(StreamCondition::HostUnknown));
        };
        let peer = Peer {
            domain,
            managed: header.management,
            lang: header.lang.clone(),
        };
        self.write_header(&peer.domain, peer.managed, out);
        Ok(State::AwaitHandshake { peer })
    }

    /// `cb1.example.test`, or `cb1` alone, whether or not such a bridge exists: that must not be told before the secret is
    /// proved.
    fn component_domain(&self, to: &str) -> Option<String> {
        let jid = Jid::parse(to)
            .ok()
            .filter(|jid| jid.local().is_none() && jid.resource().is_none())?;
        let below = jid
            .domain()
            .strip_suffix(self.server.domain.as_str())
            .and_then(|front| front.strip_suffix('.'));
        let name = below.unwrap_or_else(|| jid.domain());
        let served = jid.domain() != self.server.domain && !name.is_empty() && !name.contains('.');
        served.then(|| format!("{name}.{}", self.server.domain))
    }

    fn write_header(&mut self, from: &str, managed: bool, out: &mut Vec<Action>) {
        self.header_sent = true;
        let opt_in = if managed {
            format!(" xmlns:xc='{}' xc:management='1'", ns::MANAGEMENT)
        } else {
            String::new()
        };
        out.push(Action::Write(format!(
            "<?xml version='1.0'?><stream:stream xmlns='{}' xmlns:stream='{}' from='{from}' id='{}' xml:lang='en'{opt_in}>",
            ns::COMPONENT_ACCEPT,
            ns::STREAMS,
            self.id,
        )));
    }

    fn bound_text(&self, asked: Asked, session: SessionId, taken: u64) -> String {
        match asked {
            Asked::Handshake => "<handshake/>".to_owned(),
            Asked::Enable { resumable: false } => format!("<enabled xmlns='{}'/>", ns::SM),
            Asked::Enable { resumable: true } => format!(
                "<enabled xmlns='{}' id='{}' resume='true' max='{}'/>",
                ns::SM,
                session.previd(),
                self.server.resume_seconds
            ),
            Asked::Resume => format!(
                "<resumed xmlns='{}' previd='{}' h='{}'/>",
                ns::SM,
                session.previd(),
                taken as u32
            ),
        }
    }

    /// RFC 6120, 4.9.1.2: an error in the header is answered with a header of ours, the error, and the close.
    fn fail(&mut self, error: &StreamError, out: &mut Vec<Action>) {
        if !self.header_sent {
            let domain = self.server.domain.clone();
            self.write_header(&domain, false, out);
        }
        out.push(Action::Write(error.to_xml()));
        self.error = Some(error.condition);
        self.finish(false, out);
    }

    fn finish(&mut self, closed_by_peer: bool, out: &mut Vec<Action>) {
        if self.header_sent {
            out.push(Action::Write("</stream:stream>".to_owned()));
        }
        out.push(Action::Finish { closed_by_peer });
    }
}

#[cfg(test)]
mod tests;

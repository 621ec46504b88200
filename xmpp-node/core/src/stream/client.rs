//! A client stream inside TLS: SASL, a restart, a resource, then stanzas (RFC 6120, 6 and 7; XEP-0198).
//!
//! | state | input | next state | actions |
//! |---|---|---|---|
//! | `AwaitHeader` | header | `AwaitAuth` | write our header, mechanisms |
//! | `AwaitAuth` | `<auth/>` | `Looking` | lookup |
//! | `Looking` | credentials | `Challenged` | write `<challenge/>` |
//! | `AwaitAuth` | `<auth/>` of PLAIN, EXTERNAL | `Trying`, `Certified` | try the password; lookup |
//! | `Trying`, `Certified` | tried; credentials | as after `<response/>` | |
//! | `Challenged` | `<response/>`, right | `AwaitRestart` | judged, write `<success/>`, restart |
//! | `Challenged` | `<response/>`, wrong | `AwaitAuth` | judged, write `<failure/>` |
//! | `AwaitRestart` | header | `AwaitBind` | write our header, features |
//! | `AwaitBind` | `bind`, `<resume/>` | `Binding` | bind, resume |
//! | `Binding` | bound | `Established` | write the result, or `<resumed/>` |
//! | `Binding` | refused | `AwaitBind` | write an error, or `<failed/>` |
//! | `Established` | stanza | | submit |
//! | `Established` | `<enable/>`; enabled | | enable; write `<enabled/>` |
//! | `Established` | `<r/>`, progress | | write `<a/>` |
//! | any | close of the peer, fault, close by us | `Closed` | write error and close, finish |
//!
//! Before TLS there is [`super::starttls`]; a stream by direct TLS (XEP-0368) begins here. Stanzas that come before a resource
//! is bound are refused with `not-authorized` (7.1). Mechanisms are those of [`crate::scram`]; EXTERNAL for who showed a
//! certificate with the address of a user (XEP-0178); PLAIN where it is switched on.

mod established;
mod features;
pub(super) mod header;
mod negotiation;
mod sasl;

use ring::digest::{SHA256, digest};

use self::established::Established;
use self::negotiation::Wish;
use super::{Action, Input, Server};
use crate::error::{StreamCondition, StreamError};
use crate::framer::{Frame, StreamHeader};
use crate::jid::Jid;
use crate::ns;
use crate::scram::Exchange;

/// Failed attempts to authenticate on one stream, at which it ends (RFC 6120, 6.4.4).
const MAX_FAILURES: u32 = 5;
/// Failed attempts to bind on one stream, at which it ends (RFC 6120, 7.7.2.2).
const MAX_BINDS: u32 = 10;

/// Who a client proved to be.
#[derive(Debug, Clone)]
struct User {
    name: String,
    /// Of the credentials.
    generation: u32,
    /// `xml:lang` of the stream.
    lang: Option<String>,
}

#[derive(Debug)]
enum State {
    AwaitHeader,
    AwaitAuth,
    /// `<auth/>` without data: the client's first message comes as a response.
    AwaitFirst {
        mechanism: sasl::Offer,
    },
    Looking(Box<sasl::Begun>),
    /// A password is compared.
    Trying {
        user: String,
    },
    /// A certificate is this user's; whether there is such a user is asked.
    Certified {
        user: String,
    },
    Challenged {
        user: String,
        generation: Option<u32>,
        exchange: Box<Exchange>,
    },
    AwaitRestart {
        user: User,
    },
    AwaitBind {
        user: User,
    },
    Binding {
        user: User,
        wish: Wish,
    },
    Established(Box<Established>),
    Closed,
}

/// The stream machine. See the module documentation.
#[derive(Debug)]
pub struct ClientStream {
    server: Server,
    entropy: Entropy,
    /// What the channel exports (RFC 9266), if it can be bound.
    channel: Option<Vec<u8>>,
    /// Names of the users whose addresses are in the client's certificate, which the caller verified.
    certified: Vec<String>,
    header_sent: bool,
    failures: u32,
    binds: u32,
    error: Option<StreamCondition>,
    state: State,
}

impl ClientStream {
    /// A stream whose header has not come. `entropy` must be random and secret: stream ids and nonces come from it. `channel` is
    /// what the channel exports for `tls-exporter`; without it no channel binding is offered. `certified` are the addresses in a
    /// certificate that the client showed and the caller verified (RFC 6120, 13.7.1.4).
    #[must_use]
    pub fn new(
        server: Server,
        entropy: [u8; 32],
        channel: Option<Vec<u8>>,
        certified: &[Jid],
    ) -> Self {
        let own = |jid: &&Jid| jid.domain() == server.domain && jid.resource().is_none();
        let users = certified.iter().filter(own).filter_map(Jid::local);
        Self {
            certified: users.map(str::to_owned).collect(),
            server,
            entropy: Entropy { entropy, drawn: 0 },
            channel,
            header_sent: false,
            failures: 0,
            binds: 0,
            error: None,
            state: State::AwaitHeader,
        }
    }

    /// Whether the session is bound and stanzas flow.
    #[must_use]
    pub fn is_established(&self) -> bool {
        matches!(self.state, State::Established(_))
    }

    /// Whether our header was written.
    #[must_use]
    pub fn has_header(&self) -> bool {
        self.header_sent
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
            (State::AwaitHeader, Input::Frame(Frame::Open(header))) => {
                self.open(&header, out)?;
                out.push(Action::Write(features::mechanisms(&self.offers())));
                Ok(State::AwaitAuth)
            }
            (State::AwaitAuth, Input::Frame(Frame::Element(element))) => {
                self.authenticate(&element, out)
            }
            (State::AwaitFirst { mechanism }, Input::Frame(Frame::Element(element))) => {
                self.first_response(mechanism, &element, out)
            }
            (State::Looking(begun), Input::Credentials(found)) => {
                self.challenge(*begun, &found, out)
            }
            (State::Trying { user }, Input::Tried(generation)) => {
                self.judge(sasl::Offer::Plain, user, generation, "", out)
            }
            (State::Certified { user }, Input::Credentials(found)) => {
                self.judge(sasl::Offer::External, user, found.generation, "", out)
            }
            (
                State::Challenged {
                    user,
                    generation,
                    exchange,
                },
                Input::Frame(Frame::Element(element)),
            ) => self.response(user, generation, *exchange, &element, out),
            (State::AwaitRestart { user }, Input::Frame(Frame::Open(header))) => {
                self.restart(user, &header, out)
            }
            (State::AwaitBind { user }, Input::Frame(Frame::Element(element))) => {
                self.bind(user, &element, out)
            }
            (
                State::Binding { user, wish },
                Input::Bound {
                    session,
                    name,
                    taken,
                    counted,
                },
            ) => {
                let (text, base) = match wish {
                    Wish::Resource { id } => (negotiation::bound(&id, &name), None),
                    Wish::Resume => {
                        let h = (taken - counted) as u32;
                        (negotiation::resumed(session, h), Some(counted))
                    }
                };
                out.push(Action::Write(text));
                let established = Established::new(session, name, user.lang, taken, base);
                Ok(State::Established(Box::new(established)))
            }
            (State::Binding { user, wish }, Input::Refused(refusal)) => {
                self.refused(user, &wish, refusal, out)
            }
            (State::Established(mut established), Input::Frame(Frame::Element(element))) => {
                established.element(&element, &self.server.domain, out)?;
                Ok(State::Established(established))
            }
            (State::Established(mut established), Input::Enabled { taken, counted }) => {
                established.enabled(taken, counted, self.server.resume_seconds, out);
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
            // A header where none belongs, or anything but a header first.
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

    /// Judges a header and answers with ours; returns the `from` that it gives.
    fn open(
        &mut self,
        header: &StreamHeader,
        out: &mut Vec<Action>,
    ) -> Result<Option<Jid>, StreamError> {
        let from = header::judge(header, &self.server.domain)?;
        self.write_header(from.as_ref(), out);
        Ok(from)
    }

    fn restart(
        &mut self,
        user: User,
        header: &StreamHeader,
        out: &mut Vec<Action>,
    ) -> Result<State, StreamError> {
        let own = self.address(&user);
        let from = self.open(header, out)?;
        if from.is_some_and(|from| from.bare_str() != own) {
            return Err(StreamError::new(StreamCondition::InvalidFrom));
        }
        let text = features::after_authentication(&self.server);
        out.push(Action::Write(text));
        let lang = header.lang.clone();
        Ok(State::AwaitBind {
            user: User { lang, ..user },
        })
    }

    /// The bare address of a user.
    fn address(&self, user: &User) -> String {
        format!("{}@{}", user.name, self.server.domain)
    }

    fn write_header(&mut self, to: Option<&Jid>, out: &mut Vec<Action>) {
        self.header_sent = true;
        let id = self.entropy.draw();
        out.push(Action::Write(header::ours(&self.server.domain, &id, to)));
    }

    /// RFC 6120, 4.9.1.2: an error in the header is answered with a header of ours, the error, and the close.
    fn fail(&mut self, error: &StreamError, out: &mut Vec<Action>) {
        if !self.header_sent {
            self.write_header(None, out);
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

/// Texts that nobody can guess, from one random number; never shown.
struct Entropy {
    entropy: [u8; 32],
    drawn: u64,
}

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("entropy")
    }
}

impl Entropy {
    /// 128 bits as hexadecimal digits, other ones each time.
    fn draw(&mut self) -> String {
        self.drawn += 1;
        let mut input = self.entropy.to_vec();
        input.extend_from_slice(&self.drawn.to_be_bytes());
        let digest = digest(&SHA256, &input);
        let part = digest.as_ref().iter().take(16);
        part.map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod sasl_tests;
#[cfg(test)]
mod tests;

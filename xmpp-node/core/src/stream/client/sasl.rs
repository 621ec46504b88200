//! Authentication (RFC 6120, 6): the elements of SASL around the messages of SCRAM.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::{ClientStream, MAX_FAILURES, State, User};
use crate::error::{StreamCondition, StreamError};
use crate::framer::Element;
use crate::jid::Jid;
use crate::ns;
use crate::scram::{ClientFirst, Exchange, Mechanism, ScramError};
use crate::stream::{Action, Found};

/// A client's first message, until its user is looked up.
#[derive(Debug)]
pub(super) struct Begun {
    mechanism: Mechanism,
    first: ClientFirst,
    user: String,
}

impl ClientStream {
    /// `<auth/>`
    pub(super) fn authenticate(
        &mut self,
        element: &Element,
        out: &mut Vec<Action>,
    ) -> Result<State, StreamError> {
        if element.ns() != ns::SASL {
            return Err(StreamError::new(StreamCondition::NotAuthorized));
        }
        if element.name() != "auth" {
            return self.failure("malformed-request", out);
        }
        let name = element.attribute("mechanism").unwrap_or_default();
        let offered = |mechanism: &Mechanism| !mechanism.plus || self.channel.is_some();
        let Some(mechanism) = Mechanism::from_name(&name).filter(offered) else {
            return self.failure("invalid-mechanism", out);
        };
        let text = element.text();
        if text.trim().is_empty() {
            out.push(Action::Write(message("challenge", "")));
            return Ok(State::AwaitFirst { mechanism });
        }
        self.begin(mechanism, &text, out)
    }

    /// The first message of a client that sent none with `<auth/>`.
    pub(super) fn first_response(
        &mut self,
        mechanism: Mechanism,
        element: &Element,
        out: &mut Vec<Action>,
    ) -> Result<State, StreamError> {
        match response(element)? {
            Some(text) => self.begin(mechanism, &text, out),
            None => self.failure("aborted", out),
        }
    }

    fn begin(
        &mut self,
        mechanism: Mechanism,
        text: &str,
        out: &mut Vec<Action>,
    ) -> Result<State, StreamError> {
        let Ok(bytes) = BASE64_STANDARD.decode(text.trim()) else {
            return self.failure("incorrect-encoding", out);
        };
        let Ok(first) = ClientFirst::parse(&bytes) else {
            return self.failure("malformed-request", out);
        };
        // No such name can exist.
        let Ok(user) = Jid::localpart(&first.name).map(std::borrow::Cow::into_owned) else {
            return self.failure("not-authorized", out);
        };
        // A client acts as itself or not at all (RFC 6120, 6.3.8).
        let own = format!("{user}@{}", self.server.domain);
        let acts_as_itself =
            |authzid: &String| Jid::parse(authzid).is_ok_and(|authzid| authzid.as_str() == own);
        if !first.authzid.as_ref().is_none_or(acts_as_itself) {
            return self.failure("invalid-authzid", out);
        }
        out.push(Action::Lookup { user: user.clone() });
        Ok(State::Looking(Box::new(Begun {
            mechanism,
            first,
            user,
        })))
    }

    /// The user's salts and keys are known, or those of nobody.
    pub(super) fn challenge(
        &mut self,
        begun: Begun,
        found: &Found,
        out: &mut Vec<Action>,
    ) -> Result<State, StreamError> {
        let nonce = self.entropy.draw();
        let exchange = Exchange::begin(
            begun.mechanism,
            begun.first,
            &found.credentials,
            found.generation.is_some(),
            self.channel.as_deref(),
            &nonce,
        );
        let Ok((exchange, challenge)) = exchange else {
            return self.failure("not-authorized", out);
        };
        out.push(Action::Write(message("challenge", &challenge)));
        Ok(State::Challenged {
            user: begun.user,
            generation: found.generation,
            exchange: Box::new(exchange),
        })
    }

    /// `<response/>` to our challenge.
    pub(super) fn response(
        &mut self,
        user: String,
        generation: Option<u32>,
        exchange: Exchange,
        element: &Element,
        out: &mut Vec<Action>,
    ) -> Result<State, StreamError> {
        let Some(text) = response(element)? else {
            return self.failure("aborted", out);
        };
        let Ok(bytes) = BASE64_STANDARD.decode(text.trim()) else {
            return self.failure("incorrect-encoding", out);
        };
        match (exchange.finish(&bytes), generation) {
            (Ok(proof), Some(generation)) => {
                out.push(Action::Judged {
                    user: user.clone(),
                    proved: true,
                });
                out.push(Action::Write(message("success", &proof)));
                out.push(Action::Restart);
                let user = User {
                    name: user,
                    generation,
                    lang: None,
                };
                Ok(State::AwaitRestart { user })
            }
            (Err(ScramError::Malformed), _) => self.failure("malformed-request", out),
            (Ok(_) | Err(ScramError::Binding | ScramError::NotAuthorized), _) => {
                out.push(Action::Judged {
                    user,
                    proved: false,
                });
                self.failure("not-authorized", out)
            }
        }
    }

    /// The client may try again, a few times.
    fn failure(&mut self, condition: &str, out: &mut Vec<Action>) -> Result<State, StreamError> {
        out.push(Action::Write(format!(
            "<failure xmlns='{}'><{condition}/></failure>",
            ns::SASL
        )));
        self.failures += 1;
        if self.failures >= MAX_FAILURES {
            return Err(StreamError::new(StreamCondition::PolicyViolation)
                .with_text("too many attempts to authenticate"));
        }
        Ok(State::AwaitAuth)
    }
}

/// The text of a `<response/>`; `None` for `<abort/>`.
fn response(element: &Element) -> Result<Option<String>, StreamError> {
    match element.name() {
        _ if element.ns() != ns::SASL => Err(StreamError::new(StreamCondition::NotAuthorized)),
        "response" => Ok(Some(element.text().into_owned())),
        "abort" => Ok(None),
        _ => Err(StreamError::new(StreamCondition::NotAuthorized)),
    }
}

fn message(name: &str, text: &str) -> String {
    let text = BASE64_STANDARD.encode(text);
    format!("<{name} xmlns='{}'>{text}</{name}>", ns::SASL)
}

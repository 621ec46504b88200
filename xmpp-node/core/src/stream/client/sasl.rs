//! Authentication (RFC 6120, 6): the elements of SASL around the messages of SCRAM, or around a password or nothing.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use zeroize::Zeroizing;

use super::{ClientStream, MAX_FAILURES, State, User};
use crate::error::{StreamCondition, StreamError};
use crate::framer::Element;
use crate::jid::Jid;
use crate::ns;
use crate::scram::{ClientFirst, Exchange, Mechanism, Password, ScramError};
use crate::stream::{Action, Found};

/// A mechanism that may be offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// The client's certificate (RFC 4422, A; XEP-0178).
    External,
    /// A proof of the password.
    Scram(Mechanism),
    /// The password itself (RFC 4616).
    Plain,
}

impl Offer {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::External => "EXTERNAL",
            Self::Scram(mechanism) => mechanism.name(),
            Self::Plain => "PLAIN",
        }
    }

    /// Whether it binds the channel.
    pub(super) const fn binds(&self) -> bool {
        matches!(self, Self::Scram(mechanism) if mechanism.plus)
    }
}

/// A client's first message, until its user is looked up.
#[derive(Debug)]
pub(super) struct Begun {
    mechanism: Mechanism,
    first: ClientFirst,
    user: String,
}

impl ClientStream {
    /// What this client may use, the best first.
    pub(super) fn offers(&self) -> Vec<Offer> {
        let scram = Mechanism::ALL.into_iter();
        let scram = scram.filter(|mechanism| self.channel.is_some() || !mechanism.plus);
        let external = (!self.certified.is_empty()).then_some(Offer::External);
        let plain = self.server.plain.then_some(Offer::Plain);
        let offers = external.into_iter().chain(scram.map(Offer::Scram));
        offers.chain(plain).collect()
    }

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
        let mut offers = self.offers().into_iter();
        let Some(mechanism) = offers.find(|offer| offer.name() == name) else {
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
        mechanism: Offer,
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
        mechanism: Offer,
        text: &str,
        out: &mut Vec<Action>,
    ) -> Result<State, StreamError> {
        let text = text.trim();
        // A message without content (RFC 6120, 6.4.2).
        let decoded = match text {
            "=" => Ok(Vec::new()),
            text => BASE64_STANDARD.decode(text),
        };
        let Ok(bytes) = decoded else {
            return self.failure("incorrect-encoding", out);
        };
        match mechanism {
            Offer::Scram(mechanism) => self.scram(mechanism, &bytes, out),
            Offer::Plain => self.plain(bytes, out),
            Offer::External => self.external(&bytes, out),
        }
    }

    /// Who a client says to be, normalised.
    ///
    /// # Errors
    /// The condition of the failure: no such name can exist, or it wants to act as somebody else.
    fn user(&self, name: &str, authzid: Option<&str>) -> Result<String, &'static str> {
        let user = Jid::localpart(name).map_err(|_| "not-authorized")?;
        // A client acts as itself or not at all (RFC 6120, 6.3.8).
        let own = format!("{user}@{}", self.server.domain);
        let itself =
            |authzid: &str| Jid::parse(authzid).is_ok_and(|authzid| authzid.as_str() == own);
        match authzid.is_none_or(itself) {
            true => Ok(user.into_owned()),
            false => Err("invalid-authzid"),
        }
    }

    /// The password itself.
    fn plain(&mut self, message: Vec<u8>, out: &mut Vec<Action>) -> Result<State, StreamError> {
        let Some((authzid, name, password)) = plain(message) else {
            return self.failure("malformed-request", out);
        };
        let authzid = Some(authzid.as_str()).filter(|authzid| !authzid.is_empty());
        match self.user(&name, authzid) {
            Ok(user) => {
                let tried = user.clone();
                out.push(Action::Try {
                    user: tried,
                    password,
                });
                Ok(State::Trying { user })
            }
            Err(condition) => self.failure(condition, out),
        }
    }

    /// The certificate; the message is whom the client wants to act as, needed only where the certificate names several.
    fn external(&mut self, message: &[u8], out: &mut Vec<Action>) -> Result<State, StreamError> {
        let authzid = str::from_utf8(message).unwrap_or("@");
        let user = match (authzid, self.certified.as_slice()) {
            ("", [only]) => Some(only.clone()),
            _ => {
                let of = |user: &&String| self.user(user, Some(authzid)).is_ok();
                self.certified.iter().find(of).cloned()
            }
        };
        let Some(user) = user else {
            return self.failure("invalid-authzid", out);
        };
        out.push(Action::Lookup { user: user.clone() });
        Ok(State::Certified { user })
    }

    fn scram(
        &mut self,
        mechanism: Mechanism,
        message: &[u8],
        out: &mut Vec<Action>,
    ) -> Result<State, StreamError> {
        let Ok(first) = ClientFirst::parse(message) else {
            return self.failure("malformed-request", out);
        };
        let user = match self.user(&first.name, first.authzid.as_deref()) {
            Ok(user) => user,
            Err(condition) => return self.failure(condition, out),
        };
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
        let offer = Offer::Scram(exchange.mechanism());
        match exchange.finish(&bytes) {
            Ok(proof) => self.judge(offer, user, generation, &proof, out),
            Err(ScramError::Malformed) => self.failure("malformed-request", out),
            Err(ScramError::Binding | ScramError::NotAuthorized) => {
                self.judge(offer, user, None, "", out)
            }
        }
    }

    /// The client proved to be this user, whose credentials are of this generation, or it did not. `proof` is what proves the
    /// server.
    pub(super) fn judge(
        &mut self,
        offer: Offer,
        user: String,
        generation: Option<u32>,
        proof: &str,
        out: &mut Vec<Action>,
    ) -> Result<State, StreamError> {
        out.push(Action::Judged {
            user: user.clone(),
            mechanism: offer.name(),
            proved: generation.is_some(),
        });
        let Some(generation) = generation else {
            return self.failure("not-authorized", out);
        };
        out.push(Action::Write(message("success", proof)));
        out.push(Action::Restart);
        let user = User {
            name: user,
            generation,
            lang: None,
        };
        Ok(State::AwaitRestart { user })
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

/// The most bytes of a message of PLAIN: three parts of at most 1023 bytes and some.
const MAX_PLAIN: usize = 4096;

/// Whom to act as, name and password of a message of PLAIN (RFC 4616, 2).
fn plain(message: Vec<u8>) -> Option<(String, String, Password)> {
    let message = Zeroizing::new(message);
    let text = str::from_utf8(&message).ok()?;
    let (authzid, rest) = text.split_once('\0')?;
    let (name, password) = rest.split_once('\0')?;
    let well = text.len() <= MAX_PLAIN && !password.is_empty() && !password.contains('\0');
    let password = Password::new(password.to_owned());
    well.then(|| (authzid.to_owned(), name.to_owned(), password))
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

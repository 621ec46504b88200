//! SCRAM, the server's side (RFC 5802, RFC 7677), with the channel binding `tls-exporter` (RFC 9266).
//!
//! | step | sends | here |
//! |---|---|---|
//! | client-first | client | [`ClientFirst::parse`] |
//! | server-first | server | [`Exchange::begin`] |
//! | client-final | client | [`Exchange::finish`] |
//! | server-final | server | what that returns |
//!
//! The server keeps no password and computes no PBKDF2 here: two HMACs and a digest prove the client. Whoever gives a name that
//! does not exist goes the same way with [`Credentials::decoy`] keys. Knows no XML and no streams.

mod keys;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use subtle::ConstantTimeEq as _;

pub use keys::{Credentials, DEFAULT_ITERATIONS, Hash, Keys, MIN_ITERATIONS, Password};

/// The longest message that a client may send, bytes.
const MAX_MESSAGE: usize = 4096;
/// The one type of channel binding.
pub const CHANNEL_BINDING: &str = "tls-exporter";

/// A mechanism of SASL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mechanism {
    /// The digest.
    pub hash: Hash,
    /// Whether the channel is bound.
    pub plus: bool,
}

impl Mechanism {
    /// All, the best first.
    pub const ALL: [Self; 4] = [
        Self::new(Hash::Sha256, true),
        Self::new(Hash::Sha1, true),
        Self::new(Hash::Sha256, false),
        Self::new(Hash::Sha1, false),
    ];

    const fn new(hash: Hash, plus: bool) -> Self {
        Self { hash, plus }
    }

    /// The name that SASL has for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match (self.hash, self.plus) {
            (Hash::Sha1, false) => "SCRAM-SHA-1",
            (Hash::Sha1, true) => "SCRAM-SHA-1-PLUS",
            (Hash::Sha256, false) => "SCRAM-SHA-256",
            (Hash::Sha256, true) => "SCRAM-SHA-256-PLUS",
        }
    }

    /// The mechanism of a name.
    #[cfg(test)]
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|known| known.name() == name)
    }
}

/// Why an exchange fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// No message of SCRAM.
    #[error("malformed message")]
    Malformed,
    /// The client binds another channel, another way, or was made to believe that it could not (RFC 5802, 6).
    #[error("the channel binding does not match")]
    Binding,
    /// The password is wrong, or there is no such user.
    #[error("wrong password, or no such user")]
    NotAuthorized,
}

/// What a client says of channel bindings.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Binding {
    /// It knows none.
    None,
    /// It knows some and believes that we know none.
    Unheard,
    /// It uses this one.
    Used(String),
}

/// The first message of a client, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFirst {
    binding: Binding,
    header: String,
    bare: String,
    nonce: String,
    /// The user's name, unescaped and not normalised.
    pub name: String,
    /// Whom the client wants to act as, if it says so.
    pub authzid: Option<String>,
}

impl ClientFirst {
    /// Reads a client-first-message (RFC 5802, 7).
    ///
    /// # Errors
    /// [`ScramError::Malformed`].
    pub fn parse(message: &[u8]) -> Result<Self, ScramError> {
        let text = text(message)?;
        let (flag, rest) = text.split_once(',').ok_or(ScramError::Malformed)?;
        let (authzid, bare) = rest.split_once(',').ok_or(ScramError::Malformed)?;
        let binding = match flag {
            "n" => Binding::None,
            "y" => Binding::Unheard,
            _ => {
                let name = flag.strip_prefix("p=").ok_or(ScramError::Malformed)?;
                Binding::Used(name.to_owned())
            }
        };
        let authzid = match authzid {
            "" => None,
            given => Some(name(
                given.strip_prefix("a=").ok_or(ScramError::Malformed)?,
            )?),
        };
        // An extension that must be understood (`m=`) would stand before the name.
        let mut fields = bare.split(',');
        let user = field(fields.next(), "n=")?;
        let nonce = field(fields.next(), "r=")?;
        if nonce.is_empty() || !nonce.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(ScramError::Malformed);
        }
        Ok(Self {
            binding,
            header: text[..text.len() - bare.len()].to_owned(),
            bare: bare.to_owned(),
            nonce: nonce.to_owned(),
            name: name(user)?,
            authzid,
        })
    }
}

/// An exchange whose challenge was sent.
pub struct Exchange {
    mechanism: Mechanism,
    keys: Keys,
    known: bool,
    first: ClientFirst,
    challenge: String,
    nonce: String,
    /// What stands in the client's `c=`.
    bound: Vec<u8>,
}

impl std::fmt::Debug for Exchange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "exchange by {}", self.mechanism.name())
    }
}

impl Exchange {
    /// Begins; returns the server-first-message too. `channel` is what the channel exports, if it does, which is when mechanisms
    /// with channel binding were offered. `known` says whether the keys are those of a user. `nonce` must be unpredictable.
    ///
    /// # Errors
    /// [`ScramError::Binding`].
    pub fn begin(
        mechanism: Mechanism,
        first: ClientFirst,
        credentials: &Credentials,
        known: bool,
        channel: Option<&[u8]>,
        nonce: &str,
    ) -> Result<(Self, String), ScramError> {
        let mut bound = first.header.clone().into_bytes();
        match (&first.binding, mechanism.plus, channel) {
            (Binding::None, false, _) | (Binding::Unheard, false, None) => {}
            (Binding::Used(name), true, Some(channel)) if name == CHANNEL_BINDING => {
                bound.extend_from_slice(channel);
            }
            // `y` although we offered it: somebody in between took it out of the offer.
            _ => return Err(ScramError::Binding),
        }
        let keys = credentials.of(mechanism.hash).clone();
        let nonce = format!("{}{nonce}", first.nonce);
        let salt = BASE64_STANDARD.encode(&keys.salt);
        let challenge = format!("r={nonce},s={salt},i={}", keys.iterations);
        let exchange = Self {
            mechanism,
            keys,
            known,
            first,
            challenge: challenge.clone(),
            nonce,
            bound,
        };
        Ok((exchange, challenge))
    }

    /// The mechanism that the client chose.
    #[must_use]
    pub const fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// Judges the client-final-message; returns the server-final-message, which proves the server.
    ///
    /// # Errors
    /// [`ScramError`].
    pub fn finish(self, message: &[u8]) -> Result<String, ScramError> {
        let text = text(message)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let mut fields = without_proof.split(',');
        let channel = decode(field(fields.next(), "c=")?)?;
        let nonce = field(fields.next(), "r=")?;
        let proof = decode(proof)?;
        let hash = self.mechanism.hash;
        let auth = format!("{},{},{without_proof}", self.first.bare, self.challenge);
        let mut client_key = hash.hmac(&self.keys.stored, auth.as_bytes());
        let length = client_key.len();
        for (byte, sent) in client_key.iter_mut().zip(&proof) {
            *byte ^= sent;
        }
        // All of it is computed whatever is wrong, so that time does not tell what.
        let right = hash.digest(&client_key).ct_eq(&self.keys.stored);
        let proved = bool::from(right) & (proof.len() == length) & self.known;
        if channel != self.bound {
            return Err(ScramError::Binding);
        }
        if nonce != self.nonce {
            return Err(ScramError::Malformed);
        }
        if !proved {
            return Err(ScramError::NotAuthorized);
        }
        let signature = hash.hmac(&self.keys.server, auth.as_bytes());
        Ok(format!("v={}", BASE64_STANDARD.encode(signature)))
    }
}

fn text(message: &[u8]) -> Result<&str, ScramError> {
    if message.len() > MAX_MESSAGE {
        return Err(ScramError::Malformed);
    }
    let text = str::from_utf8(message).map_err(|_| ScramError::Malformed)?;
    if text.contains('\0') {
        return Err(ScramError::Malformed);
    }
    Ok(text)
}

fn field<'a>(field: Option<&'a str>, prefix: &str) -> Result<&'a str, ScramError> {
    field
        .and_then(|field| field.strip_prefix(prefix))
        .ok_or(ScramError::Malformed)
}

fn decode(text: &str) -> Result<Vec<u8>, ScramError> {
    BASE64_STANDARD
        .decode(text)
        .map_err(|_| ScramError::Malformed)
}

/// A `saslname`: `=2C` is a comma, `=3D` an equals sign, and nothing else follows one.
fn name(text: &str) -> Result<String, ScramError> {
    let mut parts = text.split('=');
    let mut name = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (sign, rest) = match (part.strip_prefix("2C"), part.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            (None, None) => return Err(ScramError::Malformed),
        };
        name.push(sign);
        name.push_str(rest);
    }
    if name.is_empty() {
        return Err(ScramError::Malformed);
    }
    Ok(name)
}

#[cfg(test)]
pub(crate) mod tests;

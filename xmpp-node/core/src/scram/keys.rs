//! What is kept of a password: salt, number of iterations, and two keys a digest (RFC 5802, 3). Neither opens anything by itself
//! but an offline search for the password, so they are sealed wherever they are stored.

use std::fmt;
use std::num::NonZeroU32;

use ring::{digest, hmac, pbkdf2};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

/// The least iterations (RFC 7677, 4).
pub const MIN_ITERATIONS: u32 = 4096;
/// Iterations that new passwords get.
pub const DEFAULT_ITERATIONS: u32 = 10_000;

/// Version of the encoding, its first byte.
const VERSION: u8 = 1;
const SALT: usize = 16;

/// A digest that SCRAM is used with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-1, which every client knows.
    Sha1,
    /// SHA-256.
    Sha256,
}

impl Hash {
    /// HMAC with this digest.
    pub(super) fn hmac(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
        };
        let key = hmac::Key::new(algorithm, key);
        hmac::sign(&key, message).as_ref().to_vec()
    }

    /// The digest of a message.
    pub(super) fn digest(self, message: &[u8]) -> Vec<u8> {
        let algorithm = match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
        };
        digest::digest(algorithm, message).as_ref().to_vec()
    }

    fn salted(self, password: &str, salt: &[u8], iterations: NonZeroU32) -> Vec<u8> {
        let (algorithm, length) = match self {
            Self::Sha1 => (pbkdf2::PBKDF2_HMAC_SHA1, digest::SHA1_OUTPUT_LEN),
            Self::Sha256 => (pbkdf2::PBKDF2_HMAC_SHA256, digest::SHA256_OUTPUT_LEN),
        };
        let mut out = vec![0; length];
        pbkdf2::derive(algorithm, iterations, salt, password.as_bytes(), &mut out);
        out
    }
}

/// What is kept for one digest. Never shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// The salt.
    pub(super) salt: Vec<u8>,
    /// Iterations of PBKDF2.
    pub(super) iterations: u32,
    /// Checks what a client sends.
    pub(super) stored: Vec<u8>,
    /// Proves the server to the client.
    pub(super) server: Vec<u8>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "keys of {} iterations", self.iterations)
    }
}

impl Keys {
    fn new(hash: Hash, password: &str, salt: &[u8], iterations: NonZeroU32) -> Self {
        let salted = hash.salted(password, salt, iterations);
        Self {
            salt: salt.to_vec(),
            iterations: iterations.get(),
            stored: hash.digest(&hash.hmac(&salted, b"Client Key")),
            server: hash.hmac(&salted, b"Server Key"),
        }
    }

    /// Keys that fit no password, always the same for a name.
    fn decoy(hash: Hash, secret: &[u8], name: &str) -> Self {
        let make = |what: &str| hash.hmac(secret, format!("{what} {name}").as_bytes());
        let mut salt = make("salt");
        salt.truncate(SALT);
        Self {
            salt,
            iterations: DEFAULT_ITERATIONS,
            stored: make("stored"),
            server: make("server"),
        }
    }
}

/// A password on its way to be compared. Never shown, and wiped when it is dropped.
pub struct Password(Zeroizing<String>);

impl Password {
    /// A password as its user typed it.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// The password itself.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("password")
    }
}

/// What is kept of a user's password.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    sha1: Keys,
    sha256: Keys,
}

impl Credentials {
    /// From a prepared password (RFC 4013). Takes some milliseconds: not where others wait. `iterations` below
    /// [`MIN_ITERATIONS`] count as those; `salts` must be random.
    #[must_use]
    pub fn derive(password: &str, salts: &[[u8; SALT]; 2], iterations: u32) -> Self {
        let iterations = NonZeroU32::new(iterations.max(MIN_ITERATIONS)).unwrap_or(NonZeroU32::MIN);
        Self {
            sha1: Keys::new(Hash::Sha1, password, &salts[0], iterations),
            sha256: Keys::new(Hash::Sha256, password, &salts[1], iterations),
        }
    }

    /// For a name that does not exist: as plausible as those of a user, and the same each time (RFC 5802, 9). `secret` must be the
    /// same on all nodes, and unknown to clients.
    #[must_use]
    pub fn decoy(secret: &[u8], name: &str) -> Self {
        Self {
            sha1: Keys::decoy(Hash::Sha1, secret, name),
            sha256: Keys::decoy(Hash::Sha256, secret, name),
        }
    }

    /// Whether a prepared password (RFC 4013) is the one that these were made of. Takes milliseconds, as [`Self::derive`] does.
    #[must_use]
    pub fn matches(&self, password: &str) -> bool {
        let keys = &self.sha256;
        let iterations = NonZeroU32::new(keys.iterations).unwrap_or(NonZeroU32::MIN);
        let tried = Keys::new(Hash::Sha256, password, &keys.salt, iterations);
        tried.stored.ct_eq(&keys.stored).into()
    }

    /// The keys for a digest.
    #[must_use]
    pub fn of(&self, hash: Hash) -> &Keys {
        match hash {
            Hash::Sha1 => &self.sha1,
            Hash::Sha256 => &self.sha256,
        }
    }

    /// As bytes, to be sealed.
    ///
    /// # Panics
    /// Never: postcard refuses only types that cannot be encoded, and this one can.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.extend(postcard::to_stdvec(self).expect("credentials can be encoded"));
        out
    }

    /// What [`Self::encode`] wrote; `None` for anything else.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (version, rest) = bytes.split_first()?;
        match postcard::take_from_bytes(rest) {
            Ok((credentials, [])) if *version == VERSION => Some(credentials),
            _ => None,
        }
    }
}

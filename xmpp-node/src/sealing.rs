//! Secrets of bridges, encrypted under the cluster's sealing key before they enter the log.
//!
//! XEP-0114 needs the shared secret as it is, so it cannot be hashed. AES-256-GCM with a random nonce; the bridge's domain
//! is authenticated with it, so a sealed secret moved to another bridge does not open. The key never enters the log.

use std::fmt;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use secrecy::{ExposeSecret, SecretSlice};

/// Bytes of a sealing key.
pub const KEY_BYTES: usize = 32;

/// The sealing key of a cluster.
pub struct SealingKey {
    key: LessSafeKey,
    bytes: SecretSlice<u8>,
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey")
    }
}

/// A sealing key or a sealed secret is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealingError {
    /// The key has the wrong length.
    #[error("a sealing key has {KEY_BYTES} bytes")]
    KeyLength,
    /// The secret was sealed under another key or for another bridge, or was damaged.
    #[error("the secret does not open with this cluster's sealing key")]
    DoesNotOpen,
    /// The system gave no random numbers.
    #[error("the system gave no random numbers")]
    Random,
}

impl SealingKey {
    /// A key from its bytes.
    ///
    /// # Errors
    /// [`SealingError::KeyLength`].
    pub fn new(bytes: &[u8]) -> Result<Self, SealingError> {
        let key = UnboundKey::new(&AES_256_GCM, bytes).map_err(|_| SealingError::KeyLength)?;
        Ok(Self {
            key: LessSafeKey::new(key),
            bytes: bytes.to_vec().into(),
        })
    }

    /// A new random key.
    ///
    /// # Errors
    /// [`SealingError::Random`].
    pub fn generate() -> Result<Self, SealingError> {
        Self::new(&random::<KEY_BYTES>()?)
    }

    /// The key's bytes, for the file and for a member that joins.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.bytes.expose_secret()
    }

    /// Nonce and ciphertext of a bridge's secret.
    ///
    /// # Errors
    /// [`SealingError::Random`].
    pub fn seal(&self, domain: &str, secret: &[u8]) -> Result<Vec<u8>, SealingError> {
        let nonce = random::<NONCE_LEN>()?;
        let mut text = secret.to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(domain.as_bytes()),
                &mut text,
            )
            .map_err(|_| SealingError::DoesNotOpen)?;
        Ok([&nonce[..], &text].concat())
    }

    /// The secret that [`Self::seal`] sealed for this bridge.
    ///
    /// # Errors
    /// [`SealingError::DoesNotOpen`].
    pub fn open(&self, domain: &str, sealed: &[u8]) -> Result<SecretSlice<u8>, SealingError> {
        let (nonce, text) = sealed
            .split_at_checked(NONCE_LEN)
            .ok_or(SealingError::DoesNotOpen)?;
        let nonce =
            Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealingError::DoesNotOpen)?;
        let mut text = text.to_vec();
        let opened = self
            .key
            .open_in_place(nonce, Aad::from(domain.as_bytes()), &mut text)
            .map_err(|_| SealingError::DoesNotOpen)?
            .len();
        text.truncate(opened);
        Ok(text.into())
    }
}

/// `N` random bytes.
///
/// # Errors
/// [`SealingError::Random`].
pub fn random<const N: usize>() -> Result<[u8; N], SealingError> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| SealingError::Random)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_only_for_its_bridge_and_under_its_key() {
        let key = SealingKey::generate().expect("random numbers");
        let sealed = key.seal("cb1.example.test", b"secret").expect("seals");
        assert_eq!(
            key.open("cb1.example.test", &sealed)
                .expect("opens")
                .expose_secret(),
            b"secret"
        );
        assert!(matches!(
            key.open("cb2.example.test", &sealed),
            Err(SealingError::DoesNotOpen)
        ));
        let other = SealingKey::generate().expect("random numbers");
        assert!(matches!(
            other.open("cb1.example.test", &sealed),
            Err(SealingError::DoesNotOpen)
        ));
        assert!(matches!(
            key.open("cb1.example.test", &sealed[..5]),
            Err(SealingError::DoesNotOpen)
        ));
    }
}

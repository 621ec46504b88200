//! Bridges: names that components serve, and the secrets that open them.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::configure::ConfigureError;
use super::session::SessionId;

/// Secrets that a bridge may have at once: the present one, and the one before it during a rotation.
pub(super) const MAX_SECRETS: usize = 2;

/// A secret, encrypted under the cluster's sealing key; the router never sees it in clear.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SealedSecret {
    /// Counts from 1 for each bridge.
    pub generation: u32,
    /// Nonce and ciphertext.
    pub sealed: Vec<u8>,
}

impl std::fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "secret generation {}", self.generation)
    }
}

/// Bounds of one bridge beside those of the cluster. 0: none of its own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeLimits {
    /// Stanzas that are taken from it a second. Reading waits beyond that; nothing is refused.
    pub stanzas_per_second: u32,
    /// Bytes of them.
    pub bytes_per_second: u64,
    /// Stanzas that may wait for it, if fewer than [`super::Limits::queue_stanzas`].
    pub queue_stanzas: u32,
    /// Bytes that may wait for it, if fewer than [`super::Limits::queue_bytes`].
    pub queue_bytes: u64,
}

/// A bridge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// Its secrets, oldest first, at most two.
    pub secrets: Vec<SealedSecret>,
    /// The session that serves its name.
    pub session: Option<SessionId>,
    /// Its own bounds.
    pub limits: BridgeLimits,
}

impl Bridge {
    /// The newest generation.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.secrets.last().map_or(0, |secret| secret.generation)
    }

    /// Whether a secret of this generation is still valid.
    #[must_use]
    pub fn accepts(&self, generation: u32) -> bool {
        self.secrets
            .iter()
            .any(|secret| secret.generation == generation)
    }

    /// A third secret would end the one in use before its component knows the second.
    pub(super) fn rotate(&mut self, sealed: Vec<u8>) -> Result<(), ConfigureError> {
        if self.secrets.len() >= MAX_SECRETS {
            return Err(ConfigureError::Rotating);
        }
        let generation = self.generation() + 1;
        self.secrets.push(SealedSecret { generation, sealed });
        Ok(())
    }

    /// One that is retired already may be retired again.
    pub(super) fn retire(&mut self, generation: u32) -> Result<(), ConfigureError> {
        match generation.cmp(&self.generation()) {
            Ordering::Less => {
                self.secrets
                    .retain(|secret| secret.generation != generation);
                Ok(())
            }
            Ordering::Equal => Err(ConfigureError::Newest),
            Ordering::Greater => Err(ConfigureError::UnknownSecret),
        }
    }
}

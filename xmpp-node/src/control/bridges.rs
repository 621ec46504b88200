//! Bridges and their secrets: what the admin API does about them, on any member.

use secrecy::ExposeSecret as _;
use subtle::ConstantTimeEq as _;
use xmpp_core::router::{self, Command, ConfigureError};
use xmpp_node_api::admin::{AdminError, Bridge, BridgeLimits, BridgeSecret, ErrorCode, Secret};
use xmpp_node_api::config::domain_fault;

use super::failure;
use crate::consensus::ConsensusError;
use crate::node::Node;
use crate::sealing;

/// Characters of a generated secret; 24 of 62 kinds are 142 bits.
const SECRET_CHARS: usize = 24;

impl Node {
    /// `cb1.example.test` for `cb1`.
    pub(super) fn bridge_domain(&self, name: &str) -> Result<String, AdminError> {
        let domain = format!("{name}.{}", self.settings.domain);
        match domain_fault(&domain) {
            None => Ok(domain),
            Some(_) => Err(AdminError::new(
                ErrorCode::Invalid,
                format!("name: {domain} is no DNS name of at most 253 bytes"),
            )
            .with_fix("give the bridge a shorter name")),
        }
    }

    pub(super) fn list_bridges(&self, reveal: bool) -> Result<Vec<Bridge>, AdminError> {
        let bridges: Vec<_> = {
            let router = self.streams.applied.router();
            router
                .bridges()
                .map(|(domain, bridge)| (domain.to_owned(), bridge.clone()))
                .collect()
        };
        let key = self.streams.sealing.load_full();
        let show = |domain: &str, sealed: &[u8]| {
            let opened = key.as_ref().and_then(|key| key.open(domain, sealed).ok())?;
            Some(Secret::new(
                String::from_utf8_lossy(opened.expose_secret()).into_owned(),
            ))
        };
        Ok(bridges
            .into_iter()
            .map(|(domain, bridge)| Bridge {
                name: domain.split('.').next().unwrap_or_default().to_owned(),
                limits: shown(bridge.limits),
                secrets: bridge
                    .secrets
                    .iter()
                    .map(|secret| BridgeSecret {
                        generation: secret.generation.into(),
                        secret: if reveal {
                            show(&domain, &secret.sealed)
                        } else {
                            None
                        },
                    })
                    .collect(),
                domain: self.settings.domain.clone(),
            })
            .collect())
    }

    pub(super) async fn put_bridge(
        &self,
        name: &str,
        secret: Option<Secret>,
    ) -> Result<Bridge, AdminError> {
        let domain = self.bridge_domain(name)?;
        let (secret, sealed) = self.seal(&domain, secret)?;
        let command = Command::PutBridge {
            domain: &domain,
            sealed: &sealed,
        };
        match self.configure(name, &command).await {
            Ok(()) => Ok(self.bridge(name, 1, secret)),
            // Asked again, it is what was wanted.
            Err(error) if error.code == ErrorCode::BridgeExists => {
                let generation = self.generation_of(&domain, &secret).ok_or(error)?;
                Ok(self.bridge(name, generation.into(), secret))
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn rotate_bridge(
        &self,
        name: &str,
        secret: Option<Secret>,
    ) -> Result<Bridge, AdminError> {
        let domain = self.bridge_domain(name)?;
        let expected = self
            .streams
            .applied
            .router()
            .bridge(&domain)
            .map(router::Bridge::generation);
        let expected = expected.ok_or_else(|| unknown_bridge(name))?;
        let (secret, sealed) = self.seal(&domain, secret)?;
        if self.generation_of(&domain, &secret) == Some(expected) {
            // Asked again, it is what was wanted.
            return Ok(self.bridge(name, expected.into(), secret));
        }
        self.configure(
            name,
            &Command::RotateSecret {
                domain: &domain,
                expected,
                sealed: &sealed,
            },
        )
        .await?;
        Ok(self.bridge(name, u64::from(expected) + 1, secret))
    }

    pub(super) async fn retire_secret(
        &self,
        name: &str,
        generation: u64,
    ) -> Result<(), AdminError> {
        let domain = self.bridge_domain(name)?;
        // What is beyond its bounds no bridge has.
        let generation = u32::try_from(generation).unwrap_or(u32::MAX);
        let retire = Command::RetireSecret {
            domain: &domain,
            generation,
        };
        self.configure(name, &retire).await
    }

    pub(super) async fn limit_bridge(
        &self,
        name: &str,
        limits: BridgeLimits,
    ) -> Result<(), AdminError> {
        let domain = self.bridge_domain(name)?;
        let limits = router::BridgeLimits {
            stanzas_per_second: limits.stanzas_per_second.unwrap_or_default(),
            bytes_per_second: limits.bytes_per_second.unwrap_or_default(),
            queue_stanzas: limits.queue_stanzas.unwrap_or_default(),
            queue_bytes: limits.queue_bytes.unwrap_or_default(),
        };
        let command = Command::LimitBridge {
            domain: &domain,
            limits,
        };
        self.configure(name, &command).await
    }

    /// The newest generation of the bridge whose secret is this one.
    fn generation_of(&self, domain: &str, secret: &Secret) -> Option<u32> {
        let key = self.streams.sealing.load_full()?;
        let bridge = self.streams.applied.router().bridge(domain).cloned()?;
        let same = |sealed: &[u8]| {
            let opened = key.open(domain, sealed).ok();
            let given = secret.expose().as_bytes();
            opened.is_some_and(|opened| opened.expose_secret().ct_eq(given).into())
        };
        let mut newest_first = bridge.secrets.iter().rev();
        newest_first.find_map(|secret| same(&secret.sealed).then_some(secret.generation))
    }

    fn limits_of(&self, name: &str) -> BridgeLimits {
        let domain = format!("{name}.{}", self.settings.domain);
        let router = self.streams.applied.router();
        router
            .bridge(&domain)
            .map(|bridge| shown(bridge.limits))
            .unwrap_or_default()
    }

    pub(super) fn bridge(&self, name: &str, generation: u64, secret: Secret) -> Bridge {
        Bridge {
            name: name.to_owned(),
            domain: self.settings.domain.clone(),
            secrets: vec![BridgeSecret {
                generation,
                secret: Some(secret),
            }],
            limits: self.limits_of(name),
        }
    }

    pub(super) fn seal(
        &self,
        domain: &str,
        secret: Option<Secret>,
    ) -> Result<(Secret, Vec<u8>), AdminError> {
        let Some(key) = self.streams.sealing.load_full() else {
            return Err(not_initialized());
        };
        let internal =
            |error: sealing::SealingError| AdminError::new(ErrorCode::Internal, error.to_string());
        let secret = match secret {
            Some(secret) => secret,
            None => generate().map_err(internal)?,
        };
        let sealed = key
            .seal(domain, secret.expose().as_bytes())
            .map_err(internal)?;
        Ok((secret, sealed))
    }

    pub(super) async fn configure(
        &self,
        bridge: &str,
        command: &Command<'_>,
    ) -> Result<(), AdminError> {
        if self.consensus.members().is_empty() {
            return Err(not_initialized());
        }
        match self.consensus.configure(command).await {
            Err(ConsensusError::Refused(ConfigureError::Exists)) => Err(AdminError::new(
                ErrorCode::BridgeExists,
                format!("name: there is a bridge {bridge} already"),
            )
            .with_fix("rotate its secret instead, or remove it first")),
            Err(ConsensusError::Refused(ConfigureError::Unknown)) => Err(unknown_bridge(bridge)),
            Err(ConsensusError::Refused(ConfigureError::Full)) => Err(AdminError::new(
                ErrorCode::Unavailable,
                "name: the cluster has as many bridges as it may have",
            )
            .with_fix("remove one that is not needed")),
            Err(ConsensusError::Refused(ConfigureError::Rotating)) => Err(AdminError::new(
                ErrorCode::Conflict,
                format!("name: bridge {bridge} has two valid secrets already"),
            )
            .with_fix("give its component the newer one and retire the older, then rotate again")),
            Err(ConsensusError::Refused(ConfigureError::UnknownSecret)) => Err(AdminError::new(
                ErrorCode::Invalid,
                format!("generation: bridge {bridge} has no secret of that generation"),
            )
            .with_fix("list the bridge's secrets: each shows its generation")),
            Err(ConsensusError::Refused(ConfigureError::Newest)) => Err(AdminError::new(
                ErrorCode::Conflict,
                format!("generation: it is the newest secret of bridge {bridge}, which stays"),
            )
            .with_fix("rotate first, or remove the bridge")),
            other => other.map_err(|error| failure(self, error)),
        }
    }
}

fn shown(limits: router::BridgeLimits) -> BridgeLimits {
    let some = |value: u64| (value > 0).then_some(value);
    let few = |value: u32| (value > 0).then_some(value);
    BridgeLimits {
        stanzas_per_second: few(limits.stanzas_per_second),
        bytes_per_second: some(limits.bytes_per_second),
        queue_stanzas: few(limits.queue_stanzas),
        queue_bytes: some(limits.queue_bytes),
    }
}

/// Secrets are read out and typed, so only letters and digits.
fn generate() -> Result<Secret, sealing::SealingError> {
    const KINDS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(SECRET_CHARS);
    while text.len() < SECRET_CHARS {
        // Bytes from 248 on would make the first letters likelier.
        let fair = sealing::random::<64>()?
            .into_iter()
            .filter(|byte| *byte < 248);
        text.extend(
            fair.take(SECRET_CHARS - text.len())
                .map(|byte| char::from(KINDS[usize::from(byte) % KINDS.len()])),
        );
    }
    Ok(Secret::new(text))
}

fn unknown_bridge(name: &str) -> AdminError {
    AdminError::new(
        ErrorCode::UnknownBridge,
        format!("name: there is no bridge {name}"),
    )
}

pub(super) fn not_initialized() -> AdminError {
    AdminError::new(
        ErrorCode::NotInitialized,
        "this node belongs to no cluster yet",
    )
    .with_fix(
        "`xmpp cluster initialize` on the first node, `xmpp cluster join <address>` on the others",
    )
}

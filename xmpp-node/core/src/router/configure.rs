//! Changes of the configuration, of bridges and of users, each decided once.

use super::apply::{Context, News};
use super::bridge::{Bridge, BridgeLimits, SealedSecret};
use super::command::Command;
use super::{Limits, Router};
use crate::error::StanzaCondition;

/// Why a change of configuration was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigureError {
    /// Something of the name exists.
    #[error("it exists already")]
    Exists,
    /// Nothing of the name exists.
    #[error("there is nothing of that name")]
    Unknown,
    /// The generation that was to be replaced is not the present one.
    #[error("it was changed by somebody else meanwhile")]
    Changed,
    /// The bridge has as many valid secrets as it may have: one must be retired before the next.
    #[error("two secrets are valid already")]
    Rotating,
    /// The bridge never had a secret of this generation.
    #[error("there is no such secret")]
    UnknownSecret,
    /// The newest secret of a bridge is not retired.
    #[error("it is the newest secret")]
    Newest,
    /// The limit on bridges or users is reached.
    #[error("there are as many as there may be")]
    Full,
}

impl Router {
    pub(super) fn configure(
        &mut self,
        command: &Command<'_>,
        context: &mut Context<'_>,
    ) -> Result<(), ConfigureError> {
        match *command {
            Command::Configure {
                cluster,
                domain,
                limits,
                expected,
            } => self.set_configuration(cluster, domain, limits, expected),
            Command::PutBridge { domain, sealed } => {
                if self.bridges.contains_key(domain) {
                    return Err(ConfigureError::Exists);
                }
                if self.bridges.len() >= self.limits.bridges as usize {
                    return Err(ConfigureError::Full);
                }
                let secrets = vec![SealedSecret {
                    generation: 1,
                    sealed: sealed.to_vec(),
                }];
                self.bridges.insert(
                    domain.to_owned(),
                    Bridge {
                        secrets,
                        session: None,
                        limits: BridgeLimits::default(),
                    },
                );
                Ok(())
            }
            Command::RotateSecret {
                domain,
                expected,
                sealed,
            } => {
                let bridge = self
                    .bridges
                    .get_mut(domain)
                    .ok_or(ConfigureError::Unknown)?;
                if bridge.generation() != expected {
                    return Err(ConfigureError::Changed);
                }
                bridge.rotate(sealed.to_vec())
            }
            Command::RetireSecret { domain, generation } => {
                let bridge = self
                    .bridges
                    .get_mut(domain)
                    .ok_or(ConfigureError::Unknown)?;
                bridge.retire(generation)
            }
            Command::LimitBridge { domain, limits } => {
                let bridge = self
                    .bridges
                    .get_mut(domain)
                    .ok_or(ConfigureError::Unknown)?;
                bridge.limits = limits;
                if let Some(id) = bridge.session
                    && let Some(session) = self.sessions.get_mut(&id)
                {
                    session.limits = limits;
                    context.news.push(News::Session(id));
                }
                Ok(())
            }
            Command::RemoveBridge { domain } => {
                let bridge = self.bridges.remove(domain).ok_or(ConfigureError::Unknown)?;
                if let Some(session) = bridge.session {
                    self.end(session, StanzaCondition::ItemNotFound, context);
                }
                Ok(())
            }
            Command::PutAccount {
                name,
                expected,
                sealed,
                most,
            } => self.put_account(name, expected, sealed, most),
            Command::RemoveAccount { name } => self.remove_account(name, context),
            _ => Ok(()),
        }
    }

    fn set_configuration(
        &mut self,
        cluster: &str,
        domain: &str,
        limits: Limits,
        expected: u64,
    ) -> Result<(), ConfigureError> {
        if self.configuration_generation != expected {
            return Err(ConfigureError::Changed);
        }
        if expected != 0 && (self.cluster != cluster || self.domain != domain) {
            return Err(ConfigureError::Exists);
        }
        cluster.clone_into(&mut self.cluster);
        domain.clone_into(&mut self.domain);
        self.limits = limits;
        self.configuration_generation += 1;
        Ok(())
    }
}

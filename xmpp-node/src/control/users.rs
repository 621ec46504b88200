//! Users: what the admin API does about them, on any member.
//!
//! A password is prepared and hashed here, on a thread where nobody waits, and forgotten; what enters the log are salts and keys
//! of SCRAM, sealed.

use secrecy::{ExposeSecret as _, SecretString};
use tokio::task::spawn_blocking;
use xmpp_core::jid::Jid;
use xmpp_core::router::{Account, Command, ConfigureError};
use xmpp_core::scram::{Credentials, DEFAULT_ITERATIONS};
use xmpp_node_api::admin::{AdminError, ErrorCode, Secret, User};

use super::bridges::not_initialized;
use super::failure;
use crate::consensus::ConsensusError;
use crate::node::Node;
use crate::passwords;
use crate::sealing::{self, SealingError};

impl Node {
    pub(super) fn list_users(&self) -> Vec<User> {
        let router = self.streams.applied.router();
        let user = |(name, account): (&str, &Account)| User {
            name: name.to_owned(),
            jid: format!("{name}@{}", self.settings.domain),
            resources: account.sessions.keys().cloned().collect(),
            waiting: account.offline.len() as u64,
        };
        router.accounts().map(user).collect()
    }

    pub(super) async fn put_user(
        &self,
        name: &str,
        password: Secret,
        replace: bool,
    ) -> Result<(), AdminError> {
        let name = normalised(name)?;
        let Some(key) = self.streams.sealing.load_full() else {
            return Err(not_initialized());
        };
        let prepared = SecretString::from(prepared(&password)?);
        let expected = {
            let router = self.streams.applied.router();
            router.account(&name).map_or(0, Account::generation)
        };
        if expected != 0 && !replace {
            return Err(exists(&name));
        }
        let salts = [
            sealing::random().map_err(internal)?,
            sealing::random().map_err(internal)?,
        ];
        let hashing = spawn_blocking(move || {
            Credentials::derive(prepared.expose_secret(), &salts, DEFAULT_ITERATIONS)
        });
        let credentials = hashing
            .await
            .map_err(|error| AdminError::new(ErrorCode::Internal, error.to_string()))?;
        let address = format!("{name}@{}", self.settings.domain);
        let sealed = key
            .seal(&address, &credentials.encode())
            .map_err(internal)?;
        let command = Command::PutAccount {
            name: &name,
            expected,
            sealed: &sealed,
            most: self.settings.clients.users,
        };
        self.configure_user(&name, &command).await
    }

    pub(super) async fn remove_user(&self, name: &str) -> Result<(), AdminError> {
        let name = normalised(name)?;
        self.configure_user(&name, &Command::RemoveAccount { name: &name })
            .await
    }

    async fn configure_user(&self, name: &str, command: &Command<'_>) -> Result<(), AdminError> {
        if self.consensus.members().is_empty() {
            return Err(not_initialized());
        }
        match self.consensus.configure(command).await {
            Err(ConsensusError::Refused(ConfigureError::Exists)) => Err(exists(name)),
            Err(ConsensusError::Refused(ConfigureError::Unknown)) => Err(AdminError::new(
                ErrorCode::UnknownUser,
                format!("name: there is no user {name}"),
            )),
            Err(ConsensusError::Refused(ConfigureError::Full)) => Err(AdminError::new(
                ErrorCode::Unavailable,
                "name: the cluster has as many users as clients.users allows",
            )
            .with_fix("remove one that is not needed, or raise clients.users")),
            other => other.map_err(|error| failure(self, error)),
        }
    }
}

/// The name as it stands in addresses.
fn normalised(name: &str) -> Result<String, AdminError> {
    let name = Jid::localpart(name).map(std::borrow::Cow::into_owned);
    name.map_err(|error| {
        AdminError::new(ErrorCode::Invalid, format!("name: {error}"))
            .with_fix("use letters, digits and signs that addresses may have (RFC 7622)")
    })
}

fn prepared(password: &Secret) -> Result<String, AdminError> {
    let prepared = passwords::prepared(password.expose()).map(std::borrow::Cow::into_owned);
    prepared.ok_or_else(|| {
        AdminError::new(
            ErrorCode::Invalid,
            "password: has characters that no password may have (RFC 4013)",
        )
    })
}

fn exists(name: &str) -> AdminError {
    AdminError::new(
        ErrorCode::UserExists,
        format!("name: there is a user {name} already"),
    )
    .with_fix("`xmpp user password` gives a new password, `xmpp user remove` removes the user")
}

fn internal(error: SealingError) -> AdminError {
    AdminError::new(ErrorCode::Internal, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_addresses() {
        assert_eq!(normalised("Juliet").ok().as_deref(), Some("juliet"));
        for bad in ["", "ju liet", "a@b", "a\"b", "a\u{0}"] {
            let error = normalised(bad).expect_err("no localpart");
            assert_eq!(error.code, ErrorCode::Invalid, "{bad}");
        }
    }

    #[test]
    fn a_password_that_is_none_is_not_shown() {
        let error = prepared(&Secret::new("\u{7}secret".to_owned())).expect_err("prohibited");
        assert!(!error.message.contains("secret"), "{}", error.message);
    }
}

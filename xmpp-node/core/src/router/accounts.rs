//! Users: who they are, what proves it, their resources, and what waits for those who are away.
//!
//! Credentials are sealed: salts and keys of SCRAM, never a password, and nothing of them is readable in the log. Bounded by
//! the `most` of the commands, and each user's `offline` like the queue of a session.

use std::collections::BTreeMap;

use super::Router;
use super::apply::Context;
use super::bridge::SealedSecret;
use super::configure::ConfigureError;
use super::queue::Queue;
use super::roster::Roster;
use super::session::SessionId;
use crate::error::StanzaCondition;
use crate::jid::Jid;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// What proves the user.
    pub credentials: SealedSecret,
    /// The sessions by their resources.
    pub sessions: BTreeMap<String, SessionId>,
    /// What waits until a resource is available.
    pub offline: Queue,
    /// The contact list.
    pub roster: Roster,
}

impl Account {
    /// The generation of the credentials; any change raises it.
    #[must_use]
    pub fn generation(&self) -> u32 {
        self.credentials.generation
    }
}

impl Router {
    /// A user by the normalised localpart of the address.
    #[must_use]
    pub fn account(&self, name: &str) -> Option<&Account> {
        self.accounts.get(name)
    }

    /// All users by their names, in order.
    pub fn accounts(&self) -> impl Iterator<Item = (&str, &Account)> {
        self.accounts
            .iter()
            .map(|(name, account)| (name.as_str(), account))
    }

    /// The user of a bare address.
    pub(super) fn account_of(&self, bare: &str) -> Option<&Account> {
        let (name, domain) = bare.split_once('@')?;
        self.accounts.get(name).filter(|_| domain == self.domain)
    }

    /// The session that serves an address: a client's full one, or any below a bridge's domain.
    pub(super) fn session_of(&self, address: &Jid) -> Option<SessionId> {
        if address.domain() != self.domain {
            return self.bridges.get(address.domain())?.session;
        }
        let account = self.accounts.get(address.local()?)?;
        account.sessions.get(address.resource()?).copied()
    }

    pub(super) fn put_account(
        &mut self,
        name: &str,
        expected: u32,
        sealed: &[u8],
        most: u32,
    ) -> Result<(), ConfigureError> {
        let present = self.accounts.get(name).map_or(0, Account::generation);
        match (present, expected) {
            (0, 0) => {}
            (0, _) => return Err(ConfigureError::Unknown),
            (_, 0) => return Err(ConfigureError::Exists),
            _ if present != expected => return Err(ConfigureError::Changed),
            _ => {}
        }
        if present == 0 && self.accounts.len() >= most as usize {
            return Err(ConfigureError::Full);
        }
        let credentials = SealedSecret {
            generation: present + 1,
            sealed: sealed.to_vec(),
        };
        match self.accounts.get_mut(name) {
            Some(account) => account.credentials = credentials,
            None => {
                let account = Account {
                    credentials,
                    sessions: BTreeMap::new(),
                    offline: Queue::default(),
                    roster: Roster::default(),
                };
                self.accounts.insert(name.to_owned(), account);
            }
        }
        Ok(())
    }

    pub(super) fn remove_account(
        &mut self,
        name: &str,
        context: &mut Context<'_>,
    ) -> Result<(), ConfigureError> {
        if !self.accounts.contains_key(name) {
            return Err(ConfigureError::Unknown);
        }
        // Contacts are told that the user is gone as long as there is a list of them.
        for session in self.sessions_of(name) {
            self.leave(session, None, context);
        }
        let mut account = self.accounts.remove(name).ok_or(ConfigureError::Unknown)?;
        for session in account.sessions.into_values() {
            self.end_client(session, context);
        }
        let roster = account.roster.iter();
        self.kept_bytes -= roster.map(|(jid, contact)| contact.cost(jid)).sum::<u64>();
        self.queued_bytes -= account.offline.cost();
        for item in account.offline.take() {
            self.settle(&item, StanzaCondition::ServiceUnavailable, context);
        }
        Ok(())
    }
}

//! Sessions of clients: bound to a resource of a user, and at their end what waits goes elsewhere.
//!
//! A client without XEP-0198 has its session as long as its stream; one with it may resume within `detachTimeout`. When a
//! session is over, what it did not confirm is treated as sent to a resource that is not there (RFC 6121, 8.5.3.2; XEP-0198, 5):
//!
//! | what | goes |
//! |---|---|
//! | a message, `chat` or `normal` | to another resource that is available, else it waits for the user |
//! | a request (IQ `get`, `set`), a `groupchat` message | back to its sender, as an error |
//! | a `headline`, presence, an answer, an error | nowhere: it is discarded |

use ring::digest::{SHA256, digest};

use super::Router;
use super::apply::{Context, News, Refusal};
use super::command::OnConflict;
use super::delivery::{Waits, waits_for};
use super::queue::{Item, Queue};
use super::session::{Newcomer, SessionId};
use crate::error::StanzaCondition;
use crate::jid::Jid;
use crate::stanza::Kind;

/// What a client asks for when it binds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    pub(super) account: &'a str,
    pub(super) generation: u32,
    /// Empty: any.
    pub(super) resource: &'a str,
    pub(super) on_conflict: OnConflict,
    pub(super) most: u32,
}

impl Router {
    pub(super) fn bind_resource(
        &mut self,
        newcomer: Newcomer,
        wanted: Wanted<'_>,
        context: &mut Context<'_>,
    ) {
        match self.resource_for(newcomer.session, wanted, context) {
            Ok(name) => {
                if let (Some(local), Some(resource)) = (name.local(), name.resource())
                    && let Some(account) = self.accounts.get_mut(local)
                {
                    let resource = resource.to_owned();
                    account.sessions.insert(resource, newcomer.session);
                }
                self.serve(newcomer, name, Queue::default(), context);
            }
            Err(refusal) => context.refuse(newcomer, refusal),
        }
    }

    /// The address that a newcomer gets; whoever had it before has it no more.
    fn resource_for(
        &mut self,
        session: SessionId,
        wanted: Wanted<'_>,
        context: &mut Context<'_>,
    ) -> Result<Jid, Refusal> {
        let account = self
            .accounts
            .get(wanted.account)
            .filter(|account| account.generation() == wanted.generation)
            .ok_or(Refusal::NotAuthorized)?;
        // Ids are random, so this is a fault of whoever chose it; the session that has the id must not suffer.
        if self.sessions.contains_key(&session) {
            return Err(Refusal::Conflict);
        }
        let holder = account.sessions.get(wanted.resource).copied();
        let served = holder
            .and_then(|holder| self.sessions.get(&holder))
            .is_some_and(|holder| holder.attached.is_some());
        let (resource, replaced) = match (holder, wanted.on_conflict) {
            (None, _) if wanted.resource.is_empty() => (unpredictable(session), None),
            (None, _) => (wanted.resource.to_owned(), None),
            (Some(_), OnConflict::Refuse) if served => return Err(Refusal::Conflict),
            (Some(_), OnConflict::Rename) if served => (
                format!("{}-{}", wanted.resource, unpredictable(session)),
                None,
            ),
            (Some(holder), _) => (wanted.resource.to_owned(), Some(holder)),
        };
        if replaced.is_none() && account.sessions.len() >= wanted.most as usize {
            return Err(Refusal::TooManyResources);
        }
        let address = format!("{}@{}/{resource}", wanted.account, self.domain);
        let name = Jid::from_normalized(&address).map_err(|_| Refusal::Conflict)?;
        if let Some(replaced) = replaced {
            self.end_client(replaced, context);
        }
        Ok(name)
    }

    /// A client's session is over: what waits for it goes where the table of the module says.
    pub(super) fn end_client(&mut self, id: SessionId, context: &mut Context<'_>) {
        self.leave(id, None, context);
        let Some(mut session) = self.sessions.remove(&id) else {
            return;
        };
        self.detached.remove(&id);
        let user = session.name.local().unwrap_or_default();
        if let Some(account) = self.accounts.get_mut(user) {
            account.sessions.retain(|_, session| *session != id);
        }
        self.queued_bytes -= session.queue.cost();
        context.news.push(News::Session(id));
        for item in session.queue.take() {
            self.redirect(user, item, context);
        }
        self.offer(user, context);
    }

    /// Finds another place for what waited for a session of a user.
    fn redirect(&mut self, user: &str, item: Item, context: &mut Context<'_>) {
        if !item.original {
            self.ledger.replies_dropped += 1;
            return;
        }
        let kind = item.stanza.kind;
        let message = (kind == Kind::Message).then(|| waits_for(&item.stanza));
        match message {
            Some(Waits::Stored) if self.accounts.contains_key(user) => {
                if let Err(item) = self.give_to_user(user, item, context) {
                    self.settle(&item, StanzaCondition::ResourceConstraint, context);
                }
            }
            Some(Waits::Dropped) => self.ledger.discarded += 1,
            None if kind == Kind::Presence => self.ledger.discarded += 1,
            _ => self.settle(&item, StanzaCondition::ServiceUnavailable, context),
        }
    }

    /// Gives a message that was delayed to the user's best resource, or keeps it until there is one.
    ///
    /// # Errors
    /// The item, if what it should wait in is full.
    fn give_to_user(
        &mut self,
        user: &str,
        item: Item,
        context: &mut Context<'_>,
    ) -> Result<(), Item> {
        let Some(best) = self.best_resource(user) else {
            return self.move_to_user(user, item);
        };
        self.move_to(best, item.unpinned(), context)?;
        if let Some(session) = self.sessions.get_mut(&best) {
            session.carried = session.queue.end();
        }
        Ok(())
    }
}

/// A resource that nobody can guess (RFC 6120, 7.6), the same on every node. A session's id is random, and cannot be told from this.
fn unpredictable(session: SessionId) -> String {
    let digest = digest(&SHA256, &session.0.to_be_bytes());
    let part = digest.as_ref().iter().take(6);
    part.map(|byte| format!("{byte:02x}")).collect()
}

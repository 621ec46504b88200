//! What is sent to users (RFC 6121, 8.5).
//!
//! | `to` | message | presence | IQ |
//! |---|---|---|---|
//! | a resource that is bound | its queue | its queue | its queue |
//! | a resource that is not | `chat`, `normal`: as to the user; `groupchat`: `service-unavailable`; else discarded | discarded | `service-unavailable` |
//! | the user | `chat`, `normal`: the best resource, else they wait; `headline`: all available, else discarded; `groupchat`: `service-unavailable` | all available, else discarded | answered here: to the user's own clients ping (XEP-0199), discovery (XEP-0030), session (RFC 3921); else `service-unavailable` |
//! | nobody | `service-unavailable` | discarded | `service-unavailable` |
//!
//! The best resource is available with the highest priority, which is not below 0. A full queue is answered
//! `resource-constraint`. What goes to several resources is one stanza in the ledger; the further copies are the cluster's own.
//! Nobody learns from an IQ whether a user exists. Subscriptions and probes are in `contacts` and `presence`.

use super::Router;
use super::accounts::Account;
use super::apply::Context;
use super::local;
use super::queue::Item;
use super::roster::Subscription;
use super::session::{Availability, Session, SessionId};
use crate::error::StanzaCondition;
use crate::jid::Jid;
use crate::stanza::{Kind, Routed};

/// What becomes of a message when no resource can take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waits {
    /// It waits for the user.
    Stored,
    /// It is answered by an error.
    Answered,
    /// It is discarded.
    Dropped,
}

/// By the type of the message (RFC 6121, 8.5.2.2.1); an unknown one is `normal`.
pub(super) fn waits_for(message: &Routed) -> Waits {
    match message.stanza_type().as_deref() {
        Some("groupchat") => Waits::Answered,
        Some("headline" | "error") => Waits::Dropped,
        _ => Waits::Stored,
    }
}

impl Router {
    /// Routes a stanza whose address is below our domain.
    pub(super) fn route_to_user(
        &mut self,
        sender: SessionId,
        to: &Jid,
        stanza: Routed,
        context: &mut Context<'_>,
    ) {
        let user = to.local().unwrap_or_default();
        if stanza.kind == Kind::Presence {
            let kind = stanza.stanza_type();
            if kind.as_deref() == Some("probe") {
                return self.answer_probe(sender, user, &stanza, context);
            }
            if let Some(what) = kind.as_deref().and_then(Subscription::from_type) {
                self.ledger.delivered += 1;
                let from = stanza
                    .from()
                    .and_then(|from| Jid::from_normalized(&from).ok());
                let Some(from) = from.map(|from| from.bare()) else {
                    return;
                };
                let to = self.address_of(user);
                let stanza = stanza.readdressed(from.as_str(), &to);
                return self.receive_subscription(from.as_str(), user, what, stanza, context);
            }
        }
        let account = self.accounts.get(user);
        let bound = account
            .zip(to.resource())
            .and_then(|(account, resource)| account.sessions.get(resource).copied());
        if let Some(session) = bound {
            return self.deliver(sender, session, stanza, context);
        }
        let known = account.is_some();
        match (stanza.kind, waits_for(&stanza)) {
            (Kind::Message, Waits::Stored) if known => {
                self.route_message(sender, user, stanza, context)
            }
            (Kind::Message, Waits::Dropped) if known && to.is_bare() && stanza.answerable => {
                self.route_to_all(
                    sender,
                    user,
                    &stanza,
                    |session| session.priority >= 0,
                    context,
                );
            }
            (Kind::Message, Waits::Dropped) => self.ledger.discarded += 1,
            (Kind::Presence, _) if known && to.is_bare() => {
                self.route_to_all(sender, user, &stanza, |_| true, context);
            }
            (Kind::Presence, _) => self.ledger.discarded += 1,
            (Kind::Iq, _) if known && to.is_bare() => {
                self.answer_for_user(sender, to, &stanza, context)
            }
            (Kind::Message | Kind::Iq, _) => {
                self.bounce(
                    sender,
                    &stanza,
                    StanzaCondition::ServiceUnavailable,
                    context,
                );
            }
        }
    }

    fn route_message(
        &mut self,
        sender: SessionId,
        user: &str,
        stanza: Routed,
        context: &mut Context<'_>,
    ) {
        if let Some(best) = self.best_resource(user) {
            return self.deliver(sender, best, stanza, context);
        }
        let item = context.item(stanza, true);
        if let Err(item) = self.store(user, item) {
            let condition = StanzaCondition::ResourceConstraint;
            self.bounce(sender, &item.stanza, condition, context);
        }
    }

    /// To all available resources: the stanza itself to the first, copies to the others.
    fn route_to_all(
        &mut self,
        sender: SessionId,
        user: &str,
        stanza: &Routed,
        wanted: impl Fn(Availability) -> bool,
        context: &mut Context<'_>,
    ) {
        let available = self.resources(user).filter(|(_, found)| wanted(*found));
        let available: Vec<SessionId> = available.map(|(session, _)| session).collect();
        let Some((first, others)) = available.split_first() else {
            self.ledger.discarded += 1;
            return;
        };
        for other in others {
            self.reply(*other, stanza.clone(), context);
        }
        self.deliver(sender, *first, stanza.clone(), context);
    }

    /// What is asked of a user, the cluster answers, and only to the user's own clients.
    fn answer_for_user(
        &mut self,
        sender: SessionId,
        to: &Jid,
        stanza: &Routed,
        context: &mut Context<'_>,
    ) {
        let own = |session: &Session| session.name.bare_str() == to.as_str();
        let own = self.sessions.get(&sender).is_some_and(own);
        if own && self.roster_request(sender, to.local().unwrap_or_default(), stanza, context) {
            return;
        }
        let reply = if own {
            local::reply_for_user(stanza)
        } else {
            None
        };
        match reply {
            Some(reply) => {
                self.ledger.delivered += 1;
                self.reply(sender, reply, context);
            }
            None => self.bounce(sender, stanza, StanzaCondition::ServiceUnavailable, context),
        }
    }

    /// The resource that gets what is sent to the user now; none while older stanzas wait, as those come first.
    pub(super) fn best_resource(&self, user: &str) -> Option<SessionId> {
        let waits = |account: &Account| !account.offline.is_empty();
        if self.accounts.get(user).is_none_or(waits) {
            return None;
        }
        self.first_resource(user)
    }

    /// The available resource of the highest priority that is not below 0; of several, the one that said so last.
    fn first_resource(&self, user: &str) -> Option<SessionId> {
        self.resources(user)
            .filter(|(_, found)| found.priority >= 0)
            .max_by_key(|(_, found)| *found)
            .map(|(session, _)| session)
    }

    /// The available resources of a user.
    fn resources(&self, user: &str) -> impl Iterator<Item = (SessionId, Availability)> {
        let sessions = self.accounts.get(user).map(|account| &account.sessions);
        sessions.into_iter().flatten().filter_map(|(_, id)| {
            let session = self.sessions.get(id)?;
            Some((*id, session.availability?))
        })
    }

    /// Keeps a stanza until the user is available, or gives it back if too much waits already.
    fn store(&mut self, user: &str, item: Item) -> Result<(), Item> {
        if self.queued_bytes + item.cost() > self.limits.state_bytes {
            return Err(item);
        }
        self.keep(user, item, 1)
    }

    /// The same with what waited elsewhere before, and so is in the state already: it has as much room again.
    pub(super) fn move_to_user(&mut self, user: &str, item: Item) -> Result<(), Item> {
        self.keep(user, item, 2)
    }

    fn keep(&mut self, user: &str, item: Item, share: u64) -> Result<(), Item> {
        let limits = self.limits;
        let cost = item.cost();
        let Some(account) = self.accounts.get_mut(user) else {
            return Err(item);
        };
        let fits = (account.offline.len() as u64) < u64::from(limits.queue_stanzas) * share
            && account.offline.cost() + cost <= limits.queue_bytes.saturating_mul(share);
        if !fits {
            return Err(item);
        }
        // What comes back from a session may be older than what waits.
        account.offline.insert_in_order(item.unpinned());
        self.queued_bytes += cost;
        Ok(())
    }

    /// Hands out what waits for the user of a session that confirmed something: there may be room now.
    pub(super) fn offer_after(&mut self, session: SessionId, context: &mut Context<'_>) {
        let session = self.sessions.get(&session);
        let user = session.and_then(|session| session.name.local().map(str::to_owned));
        if let Some(user) = user {
            self.offer(&user, context);
        }
    }

    /// Hands out what waits for a user who is there. Called whenever a resource comes, goes, or has more room.
    pub(super) fn offer(&mut self, user: &str, context: &mut Context<'_>) {
        let waits = |account: &Account| !account.offline.is_empty();
        if self.accounts.get(user).is_some_and(waits)
            && let Some(first) = self.first_resource(user)
        {
            self.hand_out(user, first, context);
        }
    }

    /// What waited for the user goes to a resource, as much as fits there.
    fn hand_out(&mut self, user: &str, to: SessionId, context: &mut Context<'_>) {
        let Some(account) = self
            .accounts
            .get_mut(user)
            .filter(|account| !account.offline.is_empty())
        else {
            return;
        };
        self.queued_bytes -= account.offline.cost();
        let mut waiting = account.offline.take();
        let mut left = None;
        while let Some(item) = waiting.pop_front() {
            if let Err(item) = self.move_to(to, item, context) {
                left = Some(item);
                break;
            }
        }
        for item in left.into_iter().chain(waiting) {
            // There was room for all of them before.
            self.queued_bytes += item.cost();
            if let Some(account) = self.accounts.get_mut(user) {
                account.offline.push(item);
            }
        }
        if let Some(session) = self.sessions.get_mut(&to) {
            session.carried = session.queue.end();
        }
    }
}

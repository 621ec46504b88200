//! Where a stanza goes, and what becomes of it when it cannot go there.
//!
//! | `to` | outcome |
//! |---|---|
//! | a bridge's domain with a session, attached or waiting for its next stream | its queue; `resource-constraint` if it is full |
//! | a bridge's domain without a session | `remote-server-timeout` (RFC 6120, 8.3.3.17) |
//! | the XMPP domain itself | answered here: ping (XEP-0199), disco (XEP-0030); else `service-unavailable` |
//! | a user below the XMPP domain | see `delivery` |
//! | anything else | `remote-server-not-found`: there is no federation (RFC 6120, 8.3.3.16) |
//!
//! Errors and results that cannot be delivered are discarded, everything else is answered by one error (RFC 6120, 8.3.1); what
//! RFC 6121 says must pass in silence if a user is away, is discarded too.

use super::apply::{Context, News};
use super::packing::Packed;
use super::queue::Item;
use super::session::{Session, SessionId};
use super::{Router, local};
use crate::error::StanzaCondition;
use crate::jid::Jid;
use crate::stanza::{Kind, Routed};

impl Router {
    /// Routes a stanza just taken from `sender`.
    pub(super) fn route(
        &mut self,
        sender: SessionId,
        packed: Packed<'_>,
        context: &mut Context<'_>,
    ) {
        let Packed { to, reject, stanza } = packed;
        if let Some(condition) = reject {
            self.bounce(sender, &stanza, condition, context);
            return;
        }
        if stanza.kind == Kind::Presence
            && stanza.to().is_some()
            && self.sessions.get(&sender).is_some_and(Session::is_client)
            && !self.presence_from_client(sender, &stanza, context)
        {
            return;
        }
        let Some(bridge) = self.bridges.get(to) else {
            self.route_here(sender, to, stanza, context);
            return;
        };
        let Some(recipient) = bridge.session else {
            self.bounce(
                sender,
                &stanza,
                StanzaCondition::RemoteServerTimeout,
                context,
            );
            return;
        };
        self.deliver(sender, recipient, stanza, context);
    }

    /// To the queue of a session, or back to the sender if that is full.
    pub(super) fn deliver(
        &mut self,
        sender: SessionId,
        recipient: SessionId,
        stanza: Routed,
        context: &mut Context<'_>,
    ) {
        let item = context.item(stanza, true);
        if let Err(item) = self.enqueue(recipient, item, context) {
            self.bounce(
                sender,
                &item.stanza,
                StanzaCondition::ResourceConstraint,
                context,
            );
        }
    }

    /// A stanza to the XMPP domain itself, to a user below it, or to a name that we do not know.
    fn route_here(
        &mut self,
        sender: SessionId,
        to: &str,
        stanza: Routed,
        context: &mut Context<'_>,
    ) {
        if to != self.domain {
            let condition = StanzaCondition::RemoteServerNotFound;
            return self.bounce(sender, &stanza, condition, context);
        }
        let Some(address) = stanza.to().and_then(|to| Jid::from_normalized(&to).ok()) else {
            return self.route_own_presence(sender, &stanza, context);
        };
        if address.local().is_some() {
            return self.route_to_user(sender, &address, stanza, context);
        }
        let components = self.bridges.keys().map(String::as_str);
        match local::reply(&stanza, &self.domain, components) {
            Some(reply) => {
                self.ledger.delivered += 1;
                self.reply(sender, reply, context);
            }
            None => self.bounce(
                sender,
                &stanza,
                StanzaCondition::ServiceUnavailable,
                context,
            ),
        }
    }

    /// Answers a stanza that was never queued.
    pub(super) fn bounce(
        &mut self,
        sender: SessionId,
        stanza: &Routed,
        condition: StanzaCondition,
        context: &mut Context<'_>,
    ) {
        let reply = if stanza.to().is_some() {
            stanza.error_reply(condition, None)
        } else {
            // Its recipient was no address: the cluster itself answers.
            stanza.error_reply_from(&self.domain, condition, None)
        };
        match reply {
            Some(reply) => {
                self.ledger.bounced += 1;
                self.reply(sender, reply, context);
            }
            None => self.ledger.discarded += 1,
        }
    }

    /// Answers a stanza that waited in the queue of a session that is over.
    pub(super) fn settle(
        &mut self,
        item: &Item,
        condition: StanzaCondition,
        context: &mut Context<'_>,
    ) {
        if !item.original {
            self.ledger.replies_dropped += 1;
            return;
        }
        let Some(reply) = item
            .stanza
            .error_reply(condition, Some("not confirmed by its recipient"))
        else {
            self.ledger.discarded += 1;
            return;
        };
        self.ledger.expired += 1;
        let from = item.stanza.from().and_then(|from| Jid::parse(&from).ok());
        let sender = from.and_then(|from| self.session_of(&from));
        match sender {
            Some(sender) => {
                self.reply(sender, reply, context);
                // Each answer has a place in the entry of its own, as each stanza taken has.
                context.offset += 1;
            }
            None => {
                self.ledger.replies += 1;
                self.ledger.replies_dropped += 1;
            }
        }
    }

    pub(super) fn reply(&mut self, to: SessionId, stanza: Routed, context: &mut Context<'_>) {
        self.ledger.replies += 1;
        let item = context.item(stanza, false);
        if self.enqueue(to, item, context).is_err() {
            self.ledger.replies_dropped += 1;
        }
    }

    /// Appends to a session's queue, or gives the item back if it is full. The cluster's own answers have as much room
    /// again as the stanzas of others, so that a full queue does not swallow them.
    pub(super) fn enqueue(
        &mut self,
        to: SessionId,
        item: Item,
        context: &mut Context<'_>,
    ) -> Result<(), Item> {
        let share = share(&item);
        let room = self.limits.state_bytes.saturating_mul(share);
        if self.queued_bytes + item.cost() > room {
            return Err(item);
        }
        self.move_to(to, item, context)
    }

    /// The same with what waited elsewhere before, and so is in the state already.
    pub(super) fn move_to(
        &mut self,
        to: SessionId,
        item: Item,
        context: &mut Context<'_>,
    ) -> Result<(), Item> {
        let limits = self.limits;
        let Some(session) = self.sessions.get_mut(&to) else {
            return Err(item);
        };
        let (share, cost) = (share(&item), item.cost());
        let (stanzas, bytes) = session.room(&limits);
        let fits = (session.queue.len() as u64) < stanzas * share
            && session.queue.cost() + cost <= bytes.saturating_mul(share);
        if !fits {
            return Err(item);
        }
        session.queue.push(item);
        self.queued_bytes += cost;
        if session.attached.is_some() && context.news.last() != Some(&News::Session(to)) {
            context.news.push(News::Session(to));
        }
        Ok(())
    }
}

/// How much of the limits is open to an item, in parts of them.
fn share(item: &Item) -> u64 {
    if item.original { 1 } else { 2 }
}

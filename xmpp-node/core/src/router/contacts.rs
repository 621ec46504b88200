//! Contact lists at work: clients read and change them, and subscriptions go to and fro (RFC 6121, 2 and 3).
//!
//! A contact is a user below the XMPP domain, or an address below that of a bridge. What a list says and who is told of it is
//! [`super::roster`]'s; presence itself is [`super::presence`]'s. A subscription that a bridge could not be told, as it had no session,
//! stays as asked for.

use super::Router;
use super::apply::Context;
use super::roster::{CONTACTS, Contact, Effect, Subscription, Wanted};
use super::session::SessionId;
use crate::error::StanzaCondition;
use crate::jid::Jid;
use crate::ns;
use crate::stanza::{Kind, Routed};

impl Router {
    /// Answers a client's request about its user's list; `false` if it is none.
    pub(super) fn roster_request(
        &mut self,
        sender: SessionId,
        user: &str,
        stanza: &Routed,
        context: &mut Context<'_>,
    ) -> bool {
        let query = stanza.payload();
        if !query.is_some_and(|(name, namespace)| {
            name == "query" && namespace.as_deref() == Some(ns::ROSTER)
        }) {
            return false;
        }
        let answer = match stanza.stanza_type().as_deref() {
            Some("get") => Ok(self.roster_of(sender, user)),
            Some("set") => Wanted::read(stanza)
                .and_then(|wanted| self.change_contact(user, &wanted, context))
                .map(|()| String::new()),
            _ => return false,
        };
        match answer.map(|payload| stanza.result_reply(&payload)) {
            Ok(Some(reply)) => {
                self.ledger.delivered += 1;
                self.reply_apart(sender, reply, context);
            }
            Ok(None) => self.bounce(sender, stanza, StanzaCondition::BadRequest, context),
            Err(condition) => self.bounce(sender, stanza, condition, context),
        }
        true
    }

    /// Whoever asks for the list is told of its changes (RFC 6121, 2.1.6).
    fn roster_of(&mut self, sender: SessionId, user: &str) -> String {
        if let Some(session) = self.sessions.get_mut(&sender) {
            session.interested = true;
        }
        let roster = self.accounts.get(user).map(|account| &account.roster);
        let items: String = roster
            .into_iter()
            .flatten()
            .filter(|(_, contact)| contact.listed)
            .map(|(jid, contact)| contact.item(jid))
            .collect();
        format!("<query xmlns='{}'>{items}</query>", ns::ROSTER)
    }

    fn change_contact(
        &mut self,
        user: &str,
        wanted: &Wanted,
        context: &mut Context<'_>,
    ) -> Result<(), StanzaCondition> {
        let jid = wanted.jid.as_str();
        if wanted.remove {
            return self.remove_contact(user, jid, context);
        }
        if jid == self.address_of(user) {
            return Err(StanzaCondition::NotAllowed);
        }
        let room = self.has_room_for(user, jid);
        let text: usize = wanted.groups.iter().map(String::len).sum();
        let cost = (text + wanted.name.len()) as u64;
        if !room || self.kept_bytes + cost > self.limits.state_bytes / 4 {
            return Err(StanzaCondition::ResourceConstraint);
        }
        self.with_contact(user, jid, |contact| {
            contact.name.clone_from(&wanted.name);
            contact.groups.clone_from(&wanted.groups);
            contact.listed = true;
            Effect::default()
        });
        self.push(user, jid, context);
        Ok(())
    }

    /// Whoever is taken out of the list neither gets nor gives presence any more (RFC 6121, 2.5.2).
    fn remove_contact(
        &mut self,
        user: &str,
        jid: &str,
        context: &mut Context<'_>,
    ) -> Result<(), StanzaCondition> {
        let roster = self.accounts.get(user).map(|account| &account.roster);
        let contact = roster.and_then(|roster| roster.get(jid));
        let Some(old) = contact.filter(|contact| contact.listed).cloned() else {
            return Err(StanzaCondition::ItemNotFound);
        };
        let own = self.address_of(user);
        let hides = old.from;
        let says = [
            (old.to || old.asked, Subscription::Unsubscribe),
            (old.from || old.asks, Subscription::Unsubscribed),
        ];
        self.with_contact(user, jid, |contact| {
            *contact = Contact::default();
            Effect::default()
        });
        self.push(user, jid, context);
        for (due, what) in says {
            if due {
                let stanza = subscription(&own, jid, what);
                self.pass_subscription(&own, jid, what, stanza, context);
            }
        }
        if hides {
            self.hide(user, jid, context);
        }
        Ok(())
    }

    /// A client's user subscribes to somebody, lets somebody subscribe, or ends it.
    pub(super) fn send_subscription(
        &mut self,
        sender: SessionId,
        what: Subscription,
        stanza: &Routed,
        context: &mut Context<'_>,
    ) {
        let user = self.user_of(sender);
        let to = stanza.to().and_then(|to| Jid::from_normalized(&to).ok());
        let (Some(user), Some(to)) = (user, to.map(|to| to.bare())) else {
            return self.bounce(sender, stanza, StanzaCondition::BadRequest, context);
        };
        let (own, jid) = (self.address_of(&user), to.as_str());
        if jid == own {
            return self.bounce(sender, stanza, StanzaCondition::NotAllowed, context);
        }
        if to.domain() != self.domain && !self.bridges.contains_key(to.domain()) {
            let condition = StanzaCondition::RemoteServerNotFound;
            return self.bounce(sender, stanza, condition, context);
        }
        if !self.has_room_for(&user, jid) {
            let condition = StanzaCondition::ResourceConstraint;
            return self.bounce(sender, stanza, condition, context);
        }
        self.ledger.delivered += 1;
        let effect = self.with_contact(&user, jid, |contact| contact.sends(what));
        if effect.changed {
            self.push(&user, jid, context);
        }
        if effect.passes {
            let stanza = stanza.readdressed(&own, jid);
            self.pass_subscription(&own, jid, what, stanza, context);
        }
        if effect.shows {
            self.show(&user, jid, context);
        }
        if effect.hides {
            self.hide(&user, jid, context);
        }
    }

    fn pass_subscription(
        &mut self,
        from: &str,
        to: &str,
        what: Subscription,
        stanza: Routed,
        context: &mut Context<'_>,
    ) {
        match to.split_once('@') {
            Some((user, domain)) if domain == self.domain => {
                let user = user.to_owned();
                self.receive_subscription(from, &user, what, stanza, context);
            }
            _ => self.tell(to, &stanza, context),
        }
    }

    /// Somebody subscribes to a user, lets the user subscribe, or ends it. `from` is the bare address.
    pub(super) fn receive_subscription(
        &mut self,
        from: &str,
        user: &str,
        what: Subscription,
        stanza: Routed,
        context: &mut Context<'_>,
    ) {
        let own = self.address_of(user);
        if !self.accounts.contains_key(user) {
            // Nobody is there who could agree (RFC 6121, 3.1.3).
            if what == Subscription::Subscribe {
                let no = Subscription::Unsubscribed;
                let stanza = subscription(&own, from, no);
                self.pass_subscription(&own, from, no, stanza, context);
            }
            return;
        }
        if !self.has_room_for(user, from) {
            return;
        }
        let effect = self.with_contact(user, from, |contact| contact.receives(what));
        if effect.passes {
            let hears = |router: &Self, id: &SessionId| {
                router
                    .sessions
                    .get(id)
                    .is_some_and(|session| session.interested || session.availability.is_some())
            };
            for session in self.sessions_of(user) {
                if hears(self, &session) {
                    self.reply_apart(session, stanza.clone(), context);
                }
            }
        }
        if effect.changed {
            self.push(user, from, context);
        }
        if effect.granted {
            let yes = Subscription::Subscribed;
            let stanza = subscription(&own, from, yes);
            self.pass_subscription(&own, from, yes, stanza, context);
        }
        if effect.hides {
            self.hide(user, from, context);
        }
    }

    /// Tells every client that asked for the list of an item of it, or that it is gone (RFC 6121, 2.1.6).
    fn push(&mut self, user: &str, jid: &str, context: &mut Context<'_>) {
        let roster = self.accounts.get(user).map(|account| &account.roster);
        let contact = roster.and_then(|roster| roster.get(jid));
        let item = match contact.filter(|contact| contact.listed) {
            Some(contact) => contact.item(jid),
            None => format!(
                "<item jid='{}' subscription='remove'/>",
                crate::text::escape(jid)
            ),
        };
        let query = format!("<query xmlns='{}'>{item}</query>", ns::ROSTER);
        for id in self.sessions_of(user) {
            let session = self.sessions.get(&id).filter(|session| session.interested);
            let Some(to) = session.map(|session| session.name.as_str().to_owned()) else {
                continue;
            };
            let number = format!("push-{}-{}", context.index, context.offset);
            let attributes = [("to", to.as_str()), ("id", &number), ("type", "set")];
            let push = Routed::made(Kind::Iq, &attributes, &query);
            self.reply_apart(id, push, context);
        }
    }

    /// Changes a contact, which comes to be and goes by that.
    fn with_contact(
        &mut self,
        user: &str,
        jid: &str,
        change: impl FnOnce(&mut Contact) -> Effect,
    ) -> Effect {
        let Some(account) = self.accounts.get_mut(user) else {
            return Effect::default();
        };
        let old = account.roster.remove(jid);
        self.kept_bytes -= old.as_ref().map_or(0, |contact| contact.cost(jid));
        let mut contact = old.unwrap_or_default();
        let effect = change(&mut contact);
        if contact.is_kept() {
            self.kept_bytes += contact.cost(jid);
            account.roster.insert(jid.to_owned(), contact);
        }
        effect
    }

    fn has_room_for(&self, user: &str, jid: &str) -> bool {
        let roster = self.accounts.get(user).map(|account| &account.roster);
        roster.is_none_or(|roster| roster.contains_key(jid) || roster.len() < CONTACTS)
            && self.kept_bytes < self.limits.state_bytes / 4
    }

    /// A user's bare address.
    pub(super) fn address_of(&self, user: &str) -> String {
        format!("{user}@{}", self.domain)
    }

    /// The user of a client's session.
    pub(super) fn user_of(&self, session: SessionId) -> Option<String> {
        self.sessions.get(&session)?.name.local().map(str::to_owned)
    }

    /// The sessions of a user, in the order of their resources.
    pub(super) fn sessions_of(&self, user: &str) -> Vec<SessionId> {
        let account = self.accounts.get(user);
        account.map_or_else(Vec::new, |account| {
            account.sessions.values().copied().collect()
        })
    }

    /// A stanza of the cluster's own, with a place in the entry of its own, as each stanza taken has.
    pub(super) fn reply_apart(&mut self, to: SessionId, stanza: Routed, context: &mut Context<'_>) {
        self.reply(to, stanza, context);
        context.offset += 1;
    }
}

fn subscription(from: &str, to: &str, what: Subscription) -> Routed {
    let attributes = [("from", from), ("to", to), ("type", what.as_str())];
    Routed::made(Kind::Presence, &attributes, "")
}

//! Presence of users: who is told when a client comes, changes and goes (RFC 6121, 4).
//!
//! | a client | told of it |
//! |---|---|
//! | says that it is available | contacts that are subscribed, the user's own available clients, itself too; the first time it gets the presence of contacts, requests to subscribe that wait, and what waited for the user |
//! | says so to somebody | that one; and when it goes, that it has gone |
//! | says that it is unavailable, or its session ends | contacts that are subscribed, the user's other clients, and to whom it said that it is available |
//!
//! A session that may be resumed keeps its presence meanwhile. A bridge is asked for presence of addresses below its domain by probes,
//! and may ask for that of users. Bounds: [`PRESENCE_BYTES`] of a presence that is kept, [`DIRECTED`] addresses a session.

use super::Router;
use super::apply::Context;
use super::roster::Subscription;
use super::session::{Availability, SessionId};
use crate::error::StanzaCondition;
use crate::jid::Jid;
use crate::stanza::{Kind, Routed};

/// The longest presence that is kept of a client, bytes.
pub(super) const PRESENCE_BYTES: usize = 16 << 10;
/// Addresses beside its contacts to which a client may have said that it is available.
pub(super) const DIRECTED: usize = 128;

impl Router {
    /// A presence with an address, from a client; whether it is to be routed as others are.
    pub(super) fn presence_from_client(
        &mut self,
        sender: SessionId,
        stanza: &Routed,
        context: &mut Context<'_>,
    ) -> bool {
        let kind = stanza.stanza_type();
        if let Some(what) = kind.as_deref().and_then(Subscription::from_type) {
            self.send_subscription(sender, what, stanza, context);
            return false;
        }
        let to = stanza.to().unwrap_or_default();
        let bare = to.split('/').next().unwrap_or_default();
        let user = self.user_of(sender);
        let shown = user.is_some_and(|user| self.shows_to(&user, bare));
        let Some(session) = self.sessions.get_mut(&sender) else {
            return true;
        };
        match kind.as_deref() {
            None if shown || session.directed.contains(&*to) => {}
            None if session.directed.len() >= DIRECTED => {
                self.bounce(sender, stanza, StanzaCondition::ResourceConstraint, context);
                return false;
            }
            None => {
                session.directed.insert(to.into_owned());
            }
            Some("unavailable") => {
                session.directed.remove(&*to);
            }
            Some("error") => {}
            // Servers ask by probes, clients do not (RFC 6121, 4.3).
            Some(_) => {
                self.bounce(sender, stanza, StanzaCondition::BadRequest, context);
                return false;
            }
        }
        true
    }

    /// A client says whether it is available.
    pub(super) fn route_own_presence(
        &mut self,
        sender: SessionId,
        stanza: &Routed,
        context: &mut Context<'_>,
    ) {
        let session = self.sessions.get_mut(&sender);
        let Some(session) = session.filter(|session| session.is_client()) else {
            return self.bounce(sender, stanza, StanzaCondition::BadRequest, context);
        };
        match stanza.stanza_type().as_deref() {
            None if stanza.bytes.len() > PRESENCE_BYTES => {
                self.bounce(sender, stanza, StanzaCondition::NotAcceptable, context);
            }
            None => {
                let priority = stanza.child_text("priority");
                let priority = priority.and_then(|text| text.trim().parse().ok());
                let first = session.availability.is_none();
                session.availability = Some(Availability {
                    priority: priority.unwrap_or_default(),
                    place: (context.index, context.offset),
                });
                let full = session.name.as_str().to_owned();
                // A copy, which does not keep its batch in memory.
                let kept = stanza.readdressed(&full, &full);
                let cost = kept.bytes.len() as u64;
                let old = session.presence.replace(kept);
                self.kept_bytes += cost;
                self.kept_bytes -= old.map_or(0, |old| old.bytes.len() as u64);
                self.ledger.delivered += 1;
                // What waited comes first, as it was sent before.
                self.offer_after(sender, context);
                // The user's others are told of it as the contacts are, and so is it itself.
                self.broadcast(sender, stanza, context);
                if first {
                    self.introduce(sender, context);
                }
            }
            Some("unavailable") => {
                self.ledger.delivered += 1;
                self.leave(sender, Some(stanza), context);
                self.offer_after(sender, context);
            }
            Some(_) => self.bounce(sender, stanza, StanzaCondition::BadRequest, context),
        }
    }

    /// A client is not available any more: those who were told that it is, are told.
    pub(super) fn leave(
        &mut self,
        id: SessionId,
        said: Option<&Routed>,
        context: &mut Context<'_>,
    ) {
        let Some(session) = self.sessions.get_mut(&id) else {
            return;
        };
        session.availability = None;
        let (presence, directed) = (
            session.presence.take(),
            std::mem::take(&mut session.directed),
        );
        let full = session.name.as_str().to_owned();
        let gone = said.map_or_else(|| unavailable(&full, &full), Routed::clone);
        if let Some(presence) = presence {
            self.kept_bytes -= presence.bytes.len() as u64;
            self.broadcast(id, &gone, context);
        }
        for address in directed {
            self.tell(&address, &gone.readdressed(&full, &address), context);
        }
    }

    /// To the contacts that are subscribed, and to the user's own available clients.
    fn broadcast(&mut self, sender: SessionId, stanza: &Routed, context: &mut Context<'_>) {
        let Some(session) = self.sessions.get(&sender) else {
            return;
        };
        let full = session.name.as_str().to_owned();
        let user = session.name.local().unwrap_or_default().to_owned();
        for contact in self.contacts(&user, |contact| contact.from) {
            self.tell(&contact, &stanza.readdressed(&full, &contact), context);
        }
        for (session, name) in self.available(&user) {
            self.reply_apart(session, stanza.readdressed(&full, &name), context);
        }
    }

    /// What a client gets that has just become available.
    fn introduce(&mut self, to: SessionId, context: &mut Context<'_>) {
        let Some(session) = self.sessions.get(&to) else {
            return;
        };
        let full = session.name.as_str().to_owned();
        let user = session.name.local().unwrap_or_default().to_owned();
        let own = self.address_of(&user);
        for contact in self.contacts(&user, |contact| contact.to) {
            match contact.split_once('@') {
                Some((other, domain)) if domain == self.domain => {
                    let other = other.to_owned();
                    if self.shows_to(&other, &own) {
                        self.show_to(&other, to, &full, context);
                    }
                }
                _ => {
                    let attributes = [("from", full.as_str()), ("to", &contact), ("type", "probe")];
                    let probe = Routed::made(Kind::Presence, &attributes, "");
                    self.tell(&contact, &probe, context);
                }
            }
        }
        for contact in self.contacts(&user, |contact| contact.asks) {
            let attributes = [
                ("from", contact.as_str()),
                ("to", &own),
                ("type", "subscribe"),
            ];
            let asked = Routed::made(Kind::Presence, &attributes, "");
            self.reply_apart(to, asked, context);
        }
        for (session, _) in self.available(&user) {
            if session != to {
                self.presence_to(session, to, &full, context);
            }
        }
    }

    /// A bridge asks for the presence of a user.
    pub(super) fn answer_probe(
        &mut self,
        sender: SessionId,
        user: &str,
        stanza: &Routed,
        context: &mut Context<'_>,
    ) {
        self.ledger.delivered += 1;
        let own = self.address_of(user);
        let from = stanza
            .from()
            .and_then(|from| Jid::from_normalized(&from).ok());
        let Some(from) = from else { return };
        if !self.shows_to(user, from.bare_str()) {
            let attributes = [
                ("from", own.as_str()),
                ("to", from.bare_str()),
                ("type", "unsubscribed"),
            ];
            let no = Routed::made(Kind::Presence, &attributes, "");
            return self.reply_apart(sender, no, context);
        }
        if self.available(user).is_empty() {
            return self.reply_apart(sender, unavailable(&own, from.as_str()), context);
        }
        self.show_to(user, sender, from.as_str(), context);
    }

    /// A contact that is subscribed from now on gets the presence of a user.
    pub(super) fn show(&mut self, user: &str, contact: &str, context: &mut Context<'_>) {
        for (session, full) in self.available(user) {
            let presence = self
                .sessions
                .get(&session)
                .and_then(|found| found.presence.clone());
            if let Some(presence) = presence {
                self.tell(contact, &presence.readdressed(&full, contact), context);
            }
        }
    }

    /// A contact that is not subscribed any more is told that the user is gone.
    pub(super) fn hide(&mut self, user: &str, contact: &str, context: &mut Context<'_>) {
        for (_, full) in self.available(user) {
            self.tell(contact, &unavailable(&full, contact), context);
        }
    }

    /// Gives a stanza to whoever an address is of: a resource, the available clients of a user, or a bridge.
    pub(super) fn tell(&mut self, to: &str, stanza: &Routed, context: &mut Context<'_>) {
        let Ok(to) = Jid::from_normalized(to) else {
            return;
        };
        if to.domain() == self.domain && to.is_bare() {
            for (session, _) in self.available(to.local().unwrap_or_default()) {
                self.reply_apart(session, stanza.clone(), context);
            }
        } else if let Some(session) = self.session_of(&to) {
            self.reply_apart(session, stanza.clone(), context);
        }
    }

    /// The presence of all clients of a user, to one session; `to` is the address.
    fn show_to(&mut self, user: &str, session: SessionId, to: &str, context: &mut Context<'_>) {
        for (shown, _) in self.available(user) {
            self.presence_to(shown, session, to, context);
        }
    }

    fn presence_to(
        &mut self,
        of: SessionId,
        session: SessionId,
        to: &str,
        context: &mut Context<'_>,
    ) {
        let shown = self.sessions.get(&of);
        let presence = shown.and_then(|shown| {
            let presence = shown.presence.as_ref()?;
            Some(presence.readdressed(shown.name.as_str(), to))
        });
        if let Some(presence) = presence {
            self.reply_apart(session, presence, context);
        }
    }

    /// Whether a user's presence is for somebody, by the bare address.
    fn shows_to(&self, user: &str, to: &str) -> bool {
        let account = self.accounts.get(user);
        account.is_some_and(|account| account.roster.get(to).is_some_and(|contact| contact.from))
    }

    /// The available clients of a user, each with its full address.
    fn available(&self, user: &str) -> Vec<(SessionId, String)> {
        let sessions = self.sessions_of(user).into_iter();
        let available = sessions.filter_map(|id| {
            let session = self.sessions.get(&id)?;
            session.availability?;
            Some((id, session.name.as_str().to_owned()))
        });
        available.collect()
    }

    fn contacts(
        &self,
        user: &str,
        wanted: impl Fn(&super::roster::Contact) -> bool,
    ) -> Vec<String> {
        let roster = self.accounts.get(user).map(|account| &account.roster);
        let wanted = roster
            .into_iter()
            .flatten()
            .filter(|(_, contact)| wanted(contact));
        wanted.map(|(jid, _)| jid.clone()).collect()
    }
}

fn unavailable(from: &str, to: &str) -> Routed {
    let attributes = [("from", from), ("to", to), ("type", "unavailable")];
    Routed::made(Kind::Presence, &attributes, "")
}

//! A user's contact list (RFC 6121, 2), and how subscriptions change it (RFC 6121, appendix A). Pure.
//!
//! What a user sends to a contact, [`Contact::sends`]:
//!
//! | type | changes | goes on | then the contact gets |
//! |---|---|---|---|
//! | `subscribe` | the user asked, unless subscribed | yes | |
//! | `unsubscribe` | not subscribed, not asked | yes | |
//! | `subscribed` | the contact is subscribed, if it asked | if it asked | the user's presence |
//! | `unsubscribed` | the contact is not subscribed | if it was, or asked | that the user is unavailable |
//!
//! What comes from a contact, [`Contact::receives`]:
//!
//! | type | changes | shown to the user | answer |
//! |---|---|---|---|
//! | `subscribe` | the contact asks | if it is new | `subscribed`, if the contact is subscribed |
//! | `unsubscribe` | the contact is not subscribed | if it was, or asked | that the user is unavailable |
//! | `subscribed` | subscribed, if the user asked | if the user asked | |
//! | `unsubscribed` | not subscribed | if the user was, or asked | |
//!
//! Bounds: [`CONTACTS`] a user, names and groups of [`TEXT_BYTES`], [`GROUPS`] a contact; all of it counts into the state.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::StanzaCondition;
use crate::jid::Jid;
use crate::stanza::Routed;
use crate::tag::{Piece, TagReader, is_empty_tag};
use crate::text::{escape, unescape_text};

/// Contacts of a user, those who only asked included.
pub(super) const CONTACTS: usize = 1000;
/// Groups of a contact.
pub(super) const GROUPS: usize = 32;
/// Longest name of a contact or group, bytes (RFC 6121, 2.1.2.3, 2.1.2.6).
pub(super) const TEXT_BYTES: usize = 1023;
/// What a contact costs beside its text.
const OVERHEAD: u64 = 128;

/// The contact list of a user, by bare addresses.
pub type Roster = BTreeMap<String, Contact>;

/// A contact.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contact {
    /// What the user calls it; empty: nothing.
    pub name: String,
    /// Groups that the user put it into.
    pub groups: Vec<String>,
    /// Whether the user sees it in the list; else it only asked.
    pub listed: bool,
    /// The user gets its presence.
    pub to: bool,
    /// It gets the user's presence.
    pub from: bool,
    /// The user asked for its presence.
    pub asked: bool,
    /// It asked for the user's presence.
    pub asks: bool,
}

/// A presence that concerns subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Subscription {
    /// Asks for presence.
    Subscribe,
    /// Does not want it any more.
    Unsubscribe,
    /// Grants presence.
    Subscribed,
    /// Denies it, or takes it back.
    Unsubscribed,
}

impl Subscription {
    /// By the type of a presence; `None` if it concerns no subscription.
    pub(super) fn from_type(text: &str) -> Option<Self> {
        [
            Self::Subscribe,
            Self::Unsubscribe,
            Self::Subscribed,
            Self::Unsubscribed,
        ]
        .into_iter()
        .find(|one| one.as_str() == text)
    }

    /// The type.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Subscribed => "subscribed",
            Self::Unsubscribed => "unsubscribed",
        }
    }
}

/// What follows from a subscription.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Effect {
    /// The list that the user sees is another.
    pub(super) changed: bool,
    /// The stanza goes on to whom it is for.
    pub(super) passes: bool,
    /// The contact gets the user's presence from now on.
    pub(super) shows: bool,
    /// The contact does not get it any more.
    pub(super) hides: bool,
    /// What the contact asks for it has already.
    pub(super) granted: bool,
}

impl Contact {
    /// The user sends this to the contact.
    pub(super) fn sends(&mut self, what: Subscription) -> Effect {
        let before = self.clone();
        let mut effect = Effect::default();
        match what {
            Subscription::Subscribe => {
                self.asked |= !self.to;
                self.listed = true;
                effect.passes = true;
            }
            Subscription::Unsubscribe => {
                (self.to, self.asked) = (false, false);
                effect.passes = true;
            }
            Subscription::Subscribed => {
                effect.passes = self.asks;
                effect.shows = self.asks;
                self.listed |= self.asks;
                self.from |= self.asks;
                self.asks = false;
            }
            Subscription::Unsubscribed => {
                effect.passes = self.from || self.asks;
                effect.hides = self.from;
                (self.from, self.asks) = (false, false);
            }
        }
        effect.changed = self.seen_differs(&before);
        effect
    }

    /// This comes from the contact.
    pub(super) fn receives(&mut self, what: Subscription) -> Effect {
        let before = self.clone();
        let mut effect = Effect::default();
        match what {
            Subscription::Subscribe => {
                effect.granted = self.from;
                effect.passes = !self.from && !self.asks;
                self.asks = !self.from;
            }
            Subscription::Unsubscribe => {
                effect.passes = self.from || self.asks;
                effect.hides = self.from;
                (self.from, self.asks) = (false, false);
            }
            Subscription::Subscribed => {
                effect.passes = self.asked;
                self.to |= self.asked;
                self.asked = false;
            }
            Subscription::Unsubscribed => {
                effect.passes = self.to || self.asked;
                (self.to, self.asked) = (false, false);
            }
        }
        effect.changed = self.seen_differs(&before);
        effect
    }

    /// Whether there is anything to keep.
    pub(super) fn is_kept(&self) -> bool {
        self.listed || self.asks
    }

    /// What it counts into the state, bytes.
    pub(super) fn cost(&self, jid: &str) -> u64 {
        let groups: usize = self.groups.iter().map(String::len).sum();
        (jid.len() + self.name.len() + groups) as u64 + OVERHEAD
    }

    fn seen_differs(&self, before: &Self) -> bool {
        let seen = |one: &Self| (one.listed, one.to, one.from, one.asked);
        self.listed && seen(self) != seen(before)
    }

    /// The item that the user's clients get.
    pub(super) fn item(&self, jid: &str) -> String {
        let subscription = match (self.to, self.from) {
            (true, true) => "both",
            (true, false) => "to",
            (false, true) => "from",
            (false, false) => "none",
        };
        let mut item = format!("<item jid='{}' subscription='{subscription}'", escape(jid));
        if self.asked {
            item.push_str(" ask='subscribe'");
        }
        if !self.name.is_empty() {
            item.push_str(&format!(" name='{}'", escape(&self.name)));
        }
        item.push('>');
        for group in &self.groups {
            item.push_str(&format!("<group>{}</group>", escape(group)));
        }
        item.push_str("</item>");
        item
    }
}

/// What a client wants of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The contact's bare address.
    pub(super) jid: Jid,
    /// Take it out of the list; the rest does not count then.
    pub(super) remove: bool,
    /// Its name.
    pub(super) name: String,
    /// Its groups.
    pub(super) groups: Vec<String>,
}

impl Wanted {
    /// Reads a roster set (RFC 6121, 2.1.5).
    ///
    /// # Errors
    /// What answers it.
    pub(super) fn read(request: &Routed) -> Result<Self, StanzaCondition> {
        let bad = StanzaCondition::BadRequest;
        let mut found: Option<(Option<String>, bool, String)> = None;
        let mut groups: Vec<String> = Vec::new();
        let mut depth = 0_usize;
        let mut in_group = false;
        for piece in request.pieces() {
            match piece {
                Piece::Start(tag) => {
                    let reader = TagReader::new(tag).map_err(|_| bad)?;
                    let name = reader.name().local;
                    let attribute = |wanted: &str| {
                        let reader = TagReader::new(tag).ok()?;
                        let found = reader.find(|name| name.is(wanted))?;
                        Some(found.value().into_owned())
                    };
                    if depth == 1 && name == "item" {
                        if found.is_some() {
                            return Err(bad);
                        }
                        let remove = attribute("subscription").as_deref() == Some("remove");
                        let name = attribute("name").unwrap_or_default();
                        found = Some((attribute("jid"), remove, name));
                    }
                    in_group = depth == 2 && name == "group" && found.is_some();
                    if in_group {
                        groups.push(String::new());
                    }
                    depth += usize::from(!is_empty_tag(tag.as_bytes()));
                }
                Piece::End => {
                    in_group = false;
                    // The last one belongs to the stanza itself.
                    depth = depth.saturating_sub(1);
                }
                Piece::Text(raw) if in_group => extend(&mut groups, &unescape_text(raw)),
                Piece::CData(raw) if in_group => extend(&mut groups, raw),
                Piece::Text(_) | Piece::CData(_) => {}
            }
        }
        let (jid, remove, name) = found.ok_or(bad)?;
        let jid = Jid::parse(&jid.ok_or(bad)?).map_err(|_| bad)?.bare();
        if name.len() > TEXT_BYTES || groups.len() > GROUPS {
            return Err(StanzaCondition::NotAcceptable);
        }
        if groups
            .iter()
            .any(|group| group.is_empty() || group.len() > TEXT_BYTES)
        {
            return Err(StanzaCondition::NotAcceptable);
        }
        let unique: std::collections::BTreeSet<&String> = groups.iter().collect();
        if unique.len() < groups.len() {
            return Err(bad);
        }
        Ok(Self {
            jid,
            remove,
            name,
            groups,
        })
    }
}

fn extend(groups: &mut [String], text: &str) {
    if let Some(last) = groups.last_mut() {
        last.push_str(text);
    }
}

#[cfg(test)]
mod tests;

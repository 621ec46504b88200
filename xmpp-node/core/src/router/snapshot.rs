//! The whole state as bytes, written and read piece by piece.
//!
//! ```text
//! version u8 | length of the outline u64 | outline (postcard) | text of all queued stanzas: sessions, then users
//! ```
//! Integers are little-endian.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, Read, Write};

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::accounts::Account;
use super::bridge::{Bridge, SealedSecret};
use super::command::Malformed;
use super::ledger::Ledger;
use super::queue::{Item, ItemHead, Queue};
use super::roster::Roster;
use super::session::{Attachment, Availability, Counted, Newcomer, Session, SessionId};
use super::{Limits, NodeRecord, Router};
use crate::jid::Jid;
use crate::stanza::{Kind, Routed};

const VERSION: u8 = 3;
/// No stanza is longer: the bound of a reader that is given damaged lengths.
const TEXT_BYTES: usize = 16 << 20;

/// The state without the text of stanzas.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Outline {
    cluster: String,
    domain: String,
    limits: Limits,
    configuration_generation: u64,
    nodes: BTreeMap<u64, NodeRecord>,
    forgotten: Vec<Attachment>,
    bridges: BTreeMap<String, Bridge>,
    sessions: Vec<(SessionId, SessionOutline)>,
    accounts: Vec<(String, AccountOutline)>,
    ledger: Ledger,
}

#[derive(Debug, Serialize, Deserialize)]
struct SessionOutline {
    name: Jid,
    managed: bool,
    counted: Counted,
    epoch: u32,
    attached: Option<Attachment>,
    stream: u64,
    since: u64,
    taken: u64,
    confirmed: u64,
    carried: u64,
    newcomer: Option<Newcomer>,
    unconfirmed: bool,
    availability: Option<Availability>,
    /// Length of the start tag, and all of it.
    presence: Option<(u32, Vec<u8>)>,
    directed: BTreeSet<String>,
    interested: bool,
    items: Vec<ItemHead>,
}

#[derive(Debug, Serialize, Deserialize)]
struct AccountOutline {
    credentials: SealedSecret,
    sessions: BTreeMap<String, SessionId>,
    offline: Vec<ItemHead>,
    roster: Roster,
}

impl Outline {
    pub(super) fn new(router: &Router) -> Self {
        let session = |(id, session): (&SessionId, &Session)| {
            let outline = SessionOutline {
                name: session.name.clone(),
                managed: session.managed,
                counted: session.counted,
                epoch: session.epoch,
                attached: session.attached,
                stream: session.stream,
                since: session.since,
                taken: session.taken,
                confirmed: session.queue.confirmed(),
                carried: session.carried,
                newcomer: session.newcomer,
                unconfirmed: session.unconfirmed,
                availability: session.availability,
                presence: session
                    .presence
                    .as_ref()
                    .map(|presence| (presence.tag_len, presence.bytes.to_vec())),
                directed: session.directed.clone(),
                interested: session.interested,
                items: session.queue.items().map(ItemHead::new).collect(),
            };
            (*id, outline)
        };
        let account = |(name, account): (&String, &Account)| {
            let outline = AccountOutline {
                credentials: account.credentials.clone(),
                sessions: account.sessions.clone(),
                offline: account.offline.items().map(ItemHead::new).collect(),
                roster: account.roster.clone(),
            };
            (name.clone(), outline)
        };
        Self {
            cluster: router.cluster.clone(),
            domain: router.domain.clone(),
            limits: router.limits,
            configuration_generation: router.configuration_generation,
            nodes: router.nodes.clone(),
            forgotten: router.forgotten.clone(),
            bridges: router.bridges.clone(),
            sessions: router.sessions.iter().map(session).collect(),
            accounts: router.accounts.iter().map(account).collect(),
            ledger: router.ledger,
        }
    }
}

impl Router {
    /// Writes the state, readable by [`Self::read_snapshot`]. Beside the outline nothing is held in memory.
    ///
    /// # Errors
    /// Those of `out`.
    ///
    /// # Panics
    /// Never: postcard refuses only types that cannot be encoded, and these can.
    pub fn write_snapshot(&self, out: &mut dyn Write) -> io::Result<()> {
        let outline = postcard::to_stdvec(&Outline::new(self)).expect("the outline can be encoded");
        out.write_all(&[VERSION])?;
        out.write_all(&(outline.len() as u64).to_le_bytes())?;
        out.write_all(&outline)?;
        let sessions = self.sessions.values().map(|session| &session.queue);
        let offline = self.accounts.values().map(|account| &account.offline);
        sessions
            .chain(offline)
            .flat_map(Queue::items)
            .try_for_each(|item| out.write_all(&item.stanza.bytes))
    }

    /// The state that [`Self::write_snapshot`] wrote. `input` must end with it.
    ///
    /// # Errors
    /// Those of `input`, and [`io::ErrorKind::InvalidData`] with [`Malformed`] in it if this is not a snapshot of this
    /// version, whole.
    pub fn read_snapshot(input: &mut dyn Read) -> io::Result<Self> {
        let outline = read_outline(input)?;
        let bridges = outline.bridges;
        let mut sessions = BTreeMap::new();
        for (id, outline) in outline.sessions {
            let items = read_items(input, outline.items)?;
            let bridge = bridges.get(outline.name.as_str());
            let limits = bridge
                .map(|bridge: &Bridge| bridge.limits)
                .unwrap_or_default();
            let session = Session {
                name: outline.name,
                managed: outline.managed,
                counted: outline.counted,
                epoch: outline.epoch,
                attached: outline.attached,
                stream: outline.stream,
                since: outline.since,
                taken: outline.taken,
                queue: Queue::restore(outline.confirmed, items),
                carried: outline.carried,
                newcomer: outline.newcomer,
                unconfirmed: outline.unconfirmed,
                availability: outline.availability,
                presence: outline.presence.map(|(tag_len, bytes)| Routed {
                    kind: Kind::Presence,
                    answerable: true,
                    tag_len,
                    bytes: bytes.into(),
                }),
                directed: outline.directed,
                interested: outline.interested,
                limits,
            };
            sessions.insert(id, session);
        }
        let mut accounts = BTreeMap::new();
        for (name, outline) in outline.accounts {
            let account = Account {
                credentials: outline.credentials,
                sessions: outline.sessions,
                offline: Queue::restore(0, read_items(input, outline.offline)?),
                roster: outline.roster,
            };
            accounts.insert(name, account);
        }
        if input.read(&mut [0])? > 0 {
            return Err(malformed("snapshot has a tail"));
        }
        let with = |test: fn(&Session) -> bool| -> BTreeSet<SessionId> {
            sessions
                .iter()
                .filter(|(_, session)| test(session))
                .map(|(id, _)| *id)
                .collect()
        };
        let detached = with(|session| session.attached.is_none());
        let held = with(|session| session.newcomer.is_some());
        let queues = sessions.values().map(|session: &Session| &session.queue);
        let offline = accounts.values().map(|account: &Account| &account.offline);
        let queued_bytes = queues.chain(offline).map(Queue::cost).sum();
        let presences = sessions
            .values()
            .filter_map(|session| session.presence.as_ref());
        let presences: u64 = presences.map(|presence| presence.bytes.len() as u64).sum();
        let contacts = accounts
            .values()
            .flat_map(|account: &Account| &account.roster);
        let contacts: u64 = contacts.map(|(jid, contact)| contact.cost(jid)).sum();
        Ok(Self {
            cluster: outline.cluster,
            domain: outline.domain,
            limits: outline.limits,
            configuration_generation: outline.configuration_generation,
            nodes: outline.nodes,
            forgotten: outline.forgotten,
            bridges,
            accounts,
            sessions,
            detached,
            held,
            ledger: outline.ledger,
            queued_bytes,
            kept_bytes: presences + contacts,
        })
    }
}

fn read_outline(input: &mut dyn Read) -> io::Result<Outline> {
    let (mut version, mut len) = ([0], [0; 8]);
    input.read_exact(&mut version)?;
    if version != [VERSION] {
        return Err(malformed("unknown version of snapshot"));
    }
    input.read_exact(&mut len)?;
    // Grows with what is there, whatever the length says.
    let mut outline = Vec::new();
    Read::take(&mut *input, u64::from_le_bytes(len)).read_to_end(&mut outline)?;
    match postcard::take_from_bytes(&outline) {
        Ok((outline, [])) => Ok(outline),
        Ok(_) | Err(_) => Err(malformed("unreadable snapshot")),
    }
}

fn read_items(input: &mut dyn Read, heads: Vec<ItemHead>) -> io::Result<VecDeque<Item>> {
    let mut items = VecDeque::with_capacity(heads.len());
    for head in heads {
        let text = read_text(input, head.len())?;
        let item = head.item(text);
        items.push_back(item.ok_or_else(|| malformed("bad stanza in snapshot"))?);
    }
    Ok(items)
}

fn read_text(input: &mut dyn Read, len: usize) -> io::Result<Bytes> {
    if len > TEXT_BYTES {
        return Err(malformed("stanza in snapshot is larger than any can be"));
    }
    let mut text = vec![0; len];
    input.read_exact(&mut text)?;
    Ok(text.into())
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, Malformed(what))
}

//! The whole state as bytes: a version, the structure in postcard, then the text of all queued stanzas.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::bridge::Bridge;
use super::command::Malformed;
use super::ledger::Ledger;
use super::queue::{ItemHead, Queue};
use super::session::{Attachment, Newcomer, Session, SessionId};
use super::{Limits, NodeRecord, Router};

const VERSION: u8 = 1;

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
    ledger: Ledger,
}

#[derive(Debug, Serialize, Deserialize)]
struct SessionOutline {
    domain: String,
    managed: bool,
    epoch: u32,
    attached: Option<Attachment>,
    stream: u64,
    since: u64,
    taken: u64,
    confirmed: u64,
    carried: u64,
    newcomer: Option<Newcomer>,
    unconfirmed: bool,
    items: Vec<ItemHead>,
}

impl Outline {
    pub(super) fn new(router: &Router) -> Self {
        let session = |(id, session): (&SessionId, &Session)| {
            let outline = SessionOutline {
                domain: session.domain.clone(),
                managed: session.managed,
                epoch: session.epoch,
                attached: session.attached,
                stream: session.stream,
                since: session.since,
                taken: session.taken,
                confirmed: session.queue.confirmed(),
                carried: session.carried,
                newcomer: session.newcomer,
                unconfirmed: session.unconfirmed,
                items: session.queue.items().map(ItemHead::new).collect(),
            };
            (*id, outline)
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
            ledger: router.ledger,
        }
    }
}

impl Router {
    /// The state as bytes, readable by [`Self::restore`].
    ///
    /// # Panics
    /// Never: postcard refuses only types that cannot be encoded, and these can.
    #[must_use]
    pub fn snapshot(&self) -> Bytes {
        let outline = postcard::to_stdvec(&Outline::new(self)).expect("the outline can be encoded");
        let text: usize = self
            .sessions
            .values()
            .flat_map(|session| session.queue.items())
            .map(|item| item.stanza.bytes.len())
            .sum();
        let mut out = BytesMut::with_capacity(1 + outline.len() + text);
        out.put_u8(VERSION);
        out.extend_from_slice(&outline);
        for item in self
            .sessions
            .values()
            .flat_map(|session| session.queue.items())
        {
            out.extend_from_slice(&item.stanza.bytes);
        }
        out.freeze()
    }

    /// The state that [`Self::snapshot`] wrote. Nothing of it shares memory with `bytes`.
    ///
    /// # Errors
    /// [`Malformed`] if the bytes are not a snapshot of this version, whole.
    pub fn restore(bytes: &[u8]) -> Result<Self, Malformed> {
        let (version, rest) = bytes.split_first().ok_or(Malformed("empty snapshot"))?;
        if *version != VERSION {
            return Err(Malformed("unknown version of snapshot"));
        }
        let (outline, mut text) = postcard::take_from_bytes::<Outline>(rest)
            .map_err(|_| Malformed("unreadable snapshot"))?;
        let mut sessions = BTreeMap::new();
        for (id, outline) in outline.sessions {
            let mut items = VecDeque::with_capacity(outline.items.len());
            for head in outline.items {
                let (own, rest) = text
                    .split_at_checked(head.len())
                    .ok_or(Malformed("snapshot cut short"))?;
                text = rest;
                items.push_back(
                    head.item(Bytes::copy_from_slice(own))
                        .ok_or(Malformed("bad stanza in snapshot"))?,
                );
            }
            let session = Session {
                domain: outline.domain,
                managed: outline.managed,
                epoch: outline.epoch,
                attached: outline.attached,
                stream: outline.stream,
                since: outline.since,
                taken: outline.taken,
                queue: Queue::restore(outline.confirmed, items),
                carried: outline.carried,
                newcomer: outline.newcomer,
                unconfirmed: outline.unconfirmed,
            };
            sessions.insert(id, session);
        }
        if !text.is_empty() {
            return Err(Malformed("snapshot has a tail"));
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
        let queued_bytes = sessions
            .values()
            .map(|session: &Session| session.queue.cost())
            .sum();
        Ok(Self {
            cluster: outline.cluster,
            domain: outline.domain,
            limits: outline.limits,
            configuration_generation: outline.configuration_generation,
            nodes: outline.nodes,
            forgotten: outline.forgotten,
            bridges: outline.bridges,
            sessions,
            detached,
            held,
            ledger: outline.ledger,
            queued_bytes,
        })
    }
}

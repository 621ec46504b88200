//! The replicated queue of one session, or of a user who is away: what waits to be written, or to be confirmed.
//!
//! Positions count from 1 over the life of the session; `confirmed` is the last one that the peer proved to have. There is
//! no second queue: a stream keeps a cursor into this one. Bounded by [`super::Limits`]: the stanzas of others by
//! `queue_stanzas` and `queue_bytes`, the cluster's own answers by as much again.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::stanza::{Kind, Routed};

/// Bytes that a queued stanza costs beside its own text.
const OVERHEAD: u64 = 96;

/// Items that a queue has room for even when it is empty, at most.
const KEPT_ROOM: usize = 256;

/// One stanza in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// The stanza.
    pub stanza: Routed,
    /// Index of the log entry that brought it: with `offset` the identity of the stanza (XEP-0359).
    pub index: u64,
    /// Which stanza of that entry it is, from 0.
    pub offset: u32,
    /// When the leader took it, milliseconds since 1970 (XEP-0203).
    pub stamp: u64,
    /// Whether it was taken from a session and so is counted in the ledger; the cluster's own answers are not.
    pub original: bool,
}

impl Item {
    /// Bytes that the item counts for in the limits.
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.stanza.bytes.len() as u64 + OVERHEAD
    }

    /// The same with a copy of its text, so that it does not keep its whole batch in memory wherever it waits.
    pub(super) fn unpinned(mut self) -> Self {
        self.stanza.bytes = Bytes::copy_from_slice(&self.stanza.bytes);
        self
    }
}

/// What a snapshot and the digest keep of an item beside its bytes.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(super) struct ItemHead {
    kind: u8,
    answerable: bool,
    tag_len: u32,
    len: u32,
    index: u64,
    offset: u32,
    stamp: u64,
    original: bool,
}

impl ItemHead {
    pub(super) fn new(item: &Item) -> Self {
        Self {
            kind: item.stanza.kind as u8,
            answerable: item.stanza.answerable,
            tag_len: item.stanza.tag_len,
            len: u32::try_from(item.stanza.bytes.len()).unwrap_or(u32::MAX),
            index: item.index,
            offset: item.offset,
            stamp: item.stamp,
            original: item.original,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// `None` if the kind is unknown or the start tag would be longer than the stanza.
    pub(super) fn item(self, bytes: Bytes) -> Option<Item> {
        let kind = Kind::from_code(self.kind)?;
        (self.tag_len as usize <= bytes.len()).then_some(Item {
            stanza: Routed {
                kind,
                answerable: self.answerable,
                tag_len: self.tag_len,
                bytes,
            },
            index: self.index,
            offset: self.offset,
            stamp: self.stamp,
            original: self.original,
        })
    }
}

/// The queue of a session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Queue {
    /// Shared with clones until one of them changes, so that a snapshot's clone costs nothing by the item.
    items: Arc<VecDeque<Item>>,
    confirmed: u64,
    cost: u64,
    originals: u64,
    /// Items up to this entry no longer share memory with their batch; those that came from another queue never do. Not part of the state's identity.
    unpinned: Unpinned,
}

/// Bookkeeping that never makes two queues differ.
#[derive(Debug, Clone, Copy, Default)]
struct Unpinned(u64);

impl PartialEq for Unpinned {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Unpinned {}

impl Queue {
    /// Position of the last item that the peer confirmed.
    #[must_use]
    pub fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// Position of the last item.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.confirmed + self.items.len() as u64
    }

    /// Items that are not confirmed.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether everything is confirmed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Items taken from sessions, which the ledger counts.
    #[must_use]
    pub fn originals(&self) -> u64 {
        self.originals
    }

    /// Bytes that the items count for.
    #[must_use]
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// The items after `position`, each with the next position.
    pub fn after(&self, position: u64) -> impl Iterator<Item = &Item> {
        let skip = usize::try_from(position.saturating_sub(self.confirmed)).unwrap_or(usize::MAX);
        self.items.range(skip.min(self.items.len())..)
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.items.capacity()
    }

    pub(super) fn items(&self) -> impl Iterator<Item = &Item> {
        self.items.iter()
    }

    pub(super) fn push(&mut self, item: Item) {
        self.cost += item.cost();
        self.originals += u64::from(item.original);
        Arc::make_mut(&mut self.items).push_back(item);
    }

    /// Adds an item before those that were taken after it.
    pub(super) fn insert_in_order(&mut self, item: Item) {
        self.cost += item.cost();
        self.originals += u64::from(item.original);
        let place = |item: &Item| (item.index, item.offset);
        let at = self
            .items
            .partition_point(|other| place(other) < place(&item));
        Arc::make_mut(&mut self.items).insert(at, item);
    }

    /// Confirms all up to `position`; returns how many ledger items and bytes of cost that were.
    pub(super) fn confirm(&mut self, position: u64) -> (u64, u64) {
        let (mut originals, mut cost) = (0, 0);
        let items = Arc::make_mut(&mut self.items);
        while self.confirmed < position {
            let Some(item) = items.pop_front() else {
                break;
            };
            self.confirmed += 1;
            originals += u64::from(item.original);
            cost += item.cost();
        }
        self.originals -= originals;
        self.cost -= cost;
        // A queue that was long once does not keep its room for ever.
        if items.capacity() > KEPT_ROOM && items.len() < items.capacity() / 4 {
            items.shrink_to((items.len() * 2).max(KEPT_ROOM));
        }
        (originals, cost)
    }

    /// Empties the queue, oldest first.
    pub(super) fn take(&mut self) -> VecDeque<Item> {
        self.cost = 0;
        self.originals = 0;
        Arc::unwrap_or_clone(std::mem::take(&mut self.items))
    }

    /// A queue for the name's next session: the same items, positions counted anew.
    pub(super) fn hand_over(self) -> Self {
        Self {
            confirmed: 0,
            ..self
        }
    }

    pub(super) fn restore(confirmed: u64, items: VecDeque<Item>) -> Self {
        let cost = items.iter().map(Item::cost).sum();
        let originals = items.iter().filter(|item| item.original).count() as u64;
        let unpinned = Unpinned(items.back().map_or(0, |item| item.index));
        Self {
            items: Arc::new(items),
            confirmed,
            cost,
            originals,
            unpinned,
        }
    }

    /// Copies items of entries up to `index` out of their batch.
    pub(super) fn unpin(&mut self, index: u64) {
        if self.unpinned.0 >= index {
            return;
        }
        for item in Arc::make_mut(&mut self.items) {
            if item.index > index {
                break;
            }
            if item.index > self.unpinned.0 {
                item.stanza.bytes = Bytes::copy_from_slice(&item.stanza.bytes);
            }
        }
        self.unpinned = Unpinned(index);
    }
}

//! The log as it is read: every entry that is not purged, in memory.
//!
//! Bounded only by whoever takes snapshots: it grows until [`Memory::purge`]. Weights let that be
//! done by bytes. Indices are contiguous from the first entry held to the last.

use std::collections::VecDeque;
use std::ops::{Bound, RangeBounds};

use openraft::LogIdOptionExt as _;

use super::super::types::{Entry, LogId, Payload};
use super::error::Damage;
use super::state::State;

/// Counted for each entry besides its payload, bytes: the entry itself, its framing, the allocator.
const ENTRY_OVERHEAD: u64 = 128;

/// Entries and state of the log.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Votes and marks.
    pub(super) state: State,
    entries: VecDeque<Held>,
    /// Weight of everything that ever stood before the first entry held.
    base: u64,
}

/// One entry, with the weight of the log up to and including it.
#[derive(Debug)]
struct Held {
    entry: Entry,
    end: u64,
}

impl Memory {
    /// Adds the entry that comes next.
    ///
    /// # Errors
    /// [`Damage::Gap`] when it does not; nothing has changed then.
    pub(super) fn push(&mut self, entry: Entry) -> Result<(), Damage> {
        let found = entry.log_id.index;
        let expected = self.state.next_index().unwrap_or(found);
        if found != expected {
            return Err(Damage::Gap { expected, found });
        }
        let end = self.end() + weight(&entry);
        self.state.last = Some(entry.log_id);
        self.entries.push_back(Held { entry, end });
        Ok(())
    }

    /// Drops the entries behind `after` and returns the first index that is gone.
    pub(super) fn truncate_after(&mut self, after: Option<LogId>) -> u64 {
        let gone = self.state.truncate_after(after);
        let keep = self.position(gone);
        self.entries.truncate(keep);
        gone
    }

    /// Drops the entries up to and including `upto`.
    pub(super) fn purge(&mut self, upto: LogId) {
        self.state.purge(upto);
        let drop = self.position(self.state.purged.next_index());
        if let Some(last) = drop.checked_sub(1).and_then(|last| self.entries.get(last)) {
            self.base = last.end;
        }
        self.entries.drain(..drop);
    }

    /// The entries of a range, as far as they are held.
    pub(super) fn range(&self, range: &impl RangeBounds<u64>) -> Vec<Entry> {
        let start = match range.start_bound() {
            Bound::Included(&start) => self.position(start),
            Bound::Excluded(&before) => self.position(before.saturating_add(1)),
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(&last) => self.position(last.saturating_add(1)),
            Bound::Excluded(&end) => self.position(end),
            Bound::Unbounded => self.entries.len(),
        };
        self.entries
            .range(start.min(end)..end)
            .map(|held| held.entry.clone())
            .collect()
    }

    /// The entries from `start` on and before `end` that together weigh at most `limit` bytes, and
    /// always the first. Empty if `start` itself is not held: the caller takes what comes for
    /// `start`.
    pub(super) fn limited(&self, start: u64, end: u64, limit: u64) -> Vec<Entry> {
        let from = self.position(start);
        if self
            .entries
            .get(from)
            .is_none_or(|held| held.entry.log_id.index != start)
        {
            return Vec::new();
        }
        let limit = self.start_of(from).saturating_add(limit);
        let held = self.entries.range(from..self.position(end).max(from));
        let within = held
            .clone()
            .take_while(|held| held.end <= limit)
            .count()
            .max(1);
        held.take(within).map(|held| held.entry.clone()).collect()
    }

    /// Weight of the entries behind `index`, bytes.
    pub(super) fn bytes_since(&self, index: Option<u64>) -> u64 {
        let from = index.map_or(0, |index| self.position(index.saturating_add(1)));
        self.end() - self.start_of(from)
    }

    /// Where `index` stands in `entries`, or the end it lies beyond.
    fn position(&self, index: u64) -> usize {
        let Some(first) = self.entries.front() else {
            return 0;
        };
        let distance = index.saturating_sub(first.entry.log_id.index);
        usize::try_from(distance).map_or(self.entries.len(), |at| at.min(self.entries.len()))
    }

    fn start_of(&self, position: usize) -> u64 {
        let before = position
            .checked_sub(1)
            .and_then(|before| self.entries.get(before));
        before.map_or(self.base, |held| held.end)
    }

    fn end(&self) -> u64 {
        self.start_of(self.entries.len())
    }
}

/// What `entry` costs in memory, and about what it costs on disk, bytes.
pub(super) fn weight(entry: &Entry) -> u64 {
    let payload = match &entry.payload {
        Payload::Blank => 0,
        Payload::Normal(batch) => batch.0.len() as u64,
        Payload::Membership(membership) => membership
            .nodes()
            .map(|(_, node)| ENTRY_OVERHEAD + (node.name.len() + node.peer.len()) as u64)
            .sum(),
    };
    ENTRY_OVERHEAD + payload
}

#[cfg(test)]
mod tests {
    use openraft::testing::{blank_ent, log_id};

    use super::super::super::types::{Batch, TypeConfig};
    use super::*;

    fn batch(index: u64, bytes: usize) -> Entry {
        Entry {
            log_id: log_id::<TypeConfig>(1, 1, index),
            payload: Payload::Normal(Batch(vec![0; bytes].into())),
        }
    }

    fn filled() -> Memory {
        let mut memory = Memory::default();
        for index in 0..10 {
            memory.push(batch(index, 1000)).expect("follows");
        }
        memory
    }

    fn indices(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.log_id.index).collect()
    }

    #[test]
    fn an_entry_that_does_not_follow_is_refused() {
        let mut memory = filled();
        let gap = Damage::Gap {
            expected: 10,
            found: 12,
        };
        assert_eq!(memory.push(blank_ent::<TypeConfig>(1, 1, 12)), Err(gap));
        assert_eq!(memory.state.next_index(), Some(10));
    }

    #[test]
    fn weights_follow_purge_and_truncation() {
        let mut memory = filled();
        let one = 1000 + ENTRY_OVERHEAD;
        assert_eq!(memory.bytes_since(None), 10 * one);
        assert_eq!(memory.bytes_since(Some(6)), 3 * one);
        memory.purge(log_id::<TypeConfig>(1, 1, 3));
        assert_eq!(memory.bytes_since(None), 6 * one);
        memory.truncate_after(Some(log_id::<TypeConfig>(1, 1, 7)));
        assert_eq!(memory.bytes_since(None), 4 * one);
        memory.push(batch(8, 0)).expect("follows");
        assert_eq!(memory.bytes_since(Some(7)), ENTRY_OVERHEAD);
        memory.purge(log_id::<TypeConfig>(2, 1, 20));
        assert_eq!(memory.bytes_since(None), 0);
        assert_eq!(memory.state.next_index(), Some(21));
    }

    #[test]
    fn a_limited_read_takes_what_fits_but_at_least_one() {
        let memory = filled();
        let one = 1000 + ENTRY_OVERHEAD;
        assert_eq!(indices(&memory.limited(2, 9, 3 * one)), [2, 3, 4]);
        assert_eq!(indices(&memory.limited(2, 9, 1)), [2]);
        assert_eq!(indices(&memory.limited(2, 4, 100 * one)), [2, 3]);
    }

    #[test]
    fn a_limited_read_never_starts_later_than_asked() {
        let mut memory = filled();
        memory.purge(log_id::<TypeConfig>(1, 1, 3));
        assert_eq!(memory.limited(3, 9, u64::MAX / 2), []);
        assert_eq!(memory.limited(10, 12, u64::MAX / 2), []);
        assert_eq!(indices(&memory.range(&(2..6))), [4, 5]);
    }

    #[test]
    fn truncation_never_reaches_behind_the_purge_mark() {
        let mut memory = filled();
        memory.purge(log_id::<TypeConfig>(1, 1, 3));
        memory.truncate_after(None);
        assert_eq!(memory.state.last, Some(log_id::<TypeConfig>(1, 1, 3)));
        assert_eq!(memory.range(&..), []);
    }
}

//! The few values that every segment repeats at its start, and how operations change them.

use openraft::LogIdOptionExt as _;
use serde::{Deserialize, Serialize};

use super::super::types::{LogId, Vote};

/// What is true at one point of the log, besides the entries themselves.
///
/// `purged <= last` whenever both are there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// The last vote saved.
    pub(super) vote: Option<Vote>,
    /// The last log id known to be committed; a hint, as it is not synced by itself.
    pub(super) committed: Option<LogId>,
    /// Everything up to here is covered by a snapshot and gone from the log.
    pub(super) purged: Option<LogId>,
    /// The last entry, or `purged` when there is none.
    pub(super) last: Option<LogId>,
}

impl State {
    /// The only index an entry may have next. `None`: the log never held anything, any will do.
    pub(super) fn next_index(&self) -> Option<u64> {
        self.last.map(|last| last.index.saturating_add(1))
    }

    /// Forgets entries behind `after`, but never what is purged.
    ///
    /// Returns the first index that is gone.
    pub(super) fn truncate_after(&mut self, after: Option<LogId>) -> u64 {
        let after = if after.next_index() < self.purged.next_index() {
            self.purged
        } else {
            after
        };
        if after.next_index() < self.last.next_index() {
            self.last = after;
        }
        after.next_index()
    }

    /// Forgets entries up to and including `upto`. A mark behind the present one changes nothing.
    pub(super) fn purge(&mut self, upto: LogId) {
        if self.purged.next_index() <= upto.index {
            self.purged = Some(upto);
        }
        if self.last.is_none_or(|last| last.index <= upto.index) {
            self.last = Some(upto);
        }
    }
}

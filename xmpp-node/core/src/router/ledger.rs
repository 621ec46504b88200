//! The ledger: accepted = delivered + bounced + expired + discarded + queued, on every node alike.

use serde::{Deserialize, Serialize};

/// Counters of what became of every accepted stanza since the cluster was initialised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Stanzas taken from sessions. Answers that the cluster itself writes are not among them.
    pub accepted: u64,
    /// Confirmed by the recipient's stream, or answered by the cluster itself (a ping to its domain).
    pub delivered: u64,
    /// Answered by one error at once.
    pub bounced: u64,
    /// Answered by one error since the recipient did not come back within `detachTimeout`, ended its session, or was removed.
    pub expired: u64,
    /// What could not be delivered and no error may answer: errors and results (RFC 6120, 8.3.1), and presence and headlines
    /// for users who are away (RFC 6121, 8.5).
    pub discarded: u64,
    /// Errors and results that the cluster itself wrote, and further copies of what goes to several resources of a user.
    pub replies: u64,
    /// Of `replies`, those that found no one to take them.
    pub replies_dropped: u64,
}

impl Ledger {
    /// The difference that must be 0, given the stanzas that are still queued.
    #[must_use]
    pub fn unaccounted(&self, queued: u64) -> i64 {
        let known = self.delivered + self.bounced + self.expired + self.discarded + queued;
        self.accepted.wrapping_sub(known).cast_signed()
    }
}

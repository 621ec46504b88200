//! What a stream read and the cluster has not accepted yet.

use std::collections::VecDeque;

use xmpp_core::router::SessionId;

use super::StreamLimits;

/// Counts of one session, over its life.
#[derive(Debug)]
pub(super) struct Window {
    submitted: u64,
    taken: u64,
    bytes: u64,
    groups: VecDeque<(u64, u64)>,
}

impl Window {
    pub(super) fn new(taken: u64) -> Self {
        Self {
            submitted: taken,
            taken,
            bytes: 0,
            groups: VecDeque::new(),
        }
    }

    /// So many stanzas and bytes were submitted together.
    pub(super) fn submit(&mut self, stanzas: u64, bytes: u64) {
        self.submitted += stanzas;
        self.bytes += bytes;
        self.groups.push_back((self.submitted, bytes));
    }

    /// Accepted so far; whether that is news.
    pub(super) fn taken(&mut self, taken: u64) -> bool {
        let news = taken != self.taken;
        self.taken = taken;
        while let Some((_, bytes)) = self
            .groups
            .front()
            .copied()
            .filter(|(upto, _)| *upto <= taken)
        {
            self.bytes -= bytes;
            self.groups.pop_front();
        }
        news
    }

    pub(super) fn is_open(
        &self,
        limits: &StreamLimits,
        more_stanzas: u64,
        more_bytes: u64,
    ) -> bool {
        (self.submitted + more_stanzas).saturating_sub(self.taken) < limits.window_stanzas
            && self.bytes + more_bytes < limits.window_bytes
    }
}

/// Names a session in a log line without opening it.
pub(super) fn shown(session: SessionId) -> String {
    format!("{session:?}")
}

//! What a stream read and the cluster has not accepted yet.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;
use xmpp_core::router::SessionId;

use super::StreamLimits;

/// Counts of one session, over its life.
#[derive(Debug)]
pub(super) struct Window {
    submitted: u64,
    taken: u64,
    bytes: u64,
    groups: VecDeque<Group>,
}

/// What was submitted together.
#[derive(Debug)]
struct Group {
    /// Stanzas submitted with it.
    upto: u64,
    bytes: u64,
    submitted: Instant,
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
        self.groups.push_back(Group {
            upto: self.submitted,
            bytes,
            submitted: Instant::now(),
        });
    }

    /// Accepted so far; whether that is news. `accepted` is told how long each group that is accepted now took.
    pub(super) fn taken(&mut self, taken: u64, mut accepted: impl FnMut(Duration)) -> bool {
        let news = taken != self.taken;
        self.taken = taken;
        while let Some(group) = self.groups.pop_front_if(|group| group.upto <= taken) {
            self.bytes -= group.bytes;
            accepted(group.submitted.elapsed());
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

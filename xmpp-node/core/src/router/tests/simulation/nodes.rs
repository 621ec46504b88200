//! A node: its pending commands (as `ingress` of the server keeps them), and its replica of the state.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::*;
use super::Rng;

/// A chunk on its way to the leader.
pub(super) struct Chunk {
    pub(super) header: ChunkHeader,
    pub(super) pieces: Vec<Bytes>,
}

pub(super) struct Node {
    pub(super) at: Attachment,
    pub(super) up: bool,
    pub(super) replica: Router,
    /// Entries applied.
    pub(super) applied: usize,
    pub(super) refusals: BTreeMap<(SessionId, u64), Refusal>,
    pub(super) probes: BTreeSet<SessionId>,
    first: u64,
    queue: VecDeque<[Bytes; 2]>,
    sent: usize,
    /// What is on its disk: a snapshot and how many entries it covers.
    snapshot: Option<(usize, Bytes)>,
}

impl Node {
    pub(super) fn new(node: u64) -> Self {
        let mut new = Self {
            at: Attachment {
                node,
                incarnation: 0,
            },
            up: false,
            replica: Router::new(),
            applied: 0,
            refusals: BTreeMap::new(),
            probes: BTreeSet::new(),
            first: 1,
            queue: VecDeque::new(),
            sent: 0,
            snapshot: None,
        };
        new.start();
        new
    }

    /// Starts with what is on disk, and nothing else.
    pub(super) fn start(&mut self) {
        self.at.incarnation += 1;
        self.up = true;
        (self.first, self.sent) = (1, 0);
        self.queue.clear();
        (self.applied, self.replica) = match &self.snapshot {
            Some((applied, bytes)) => (*applied, restored(bytes).expect("whole")),
            None => (0, Router::new()),
        };
        self.forget_news();
        self.propose(&Command::NodeUp);
    }

    /// Takes the state of another node, which may be ahead.
    pub(super) fn install(&mut self, applied: usize, bytes: Bytes) {
        if applied >= self.applied {
            self.replica = restored(&bytes).expect("whole");
            self.applied = applied;
            self.snapshot = Some((applied, bytes));
            self.forget_news();
            self.trim();
        }
    }

    pub(super) fn save(&mut self) {
        self.snapshot = Some((self.applied, snapshot(&self.replica)));
        let sessions: Vec<_> = self.replica.sessions().map(|(id, _)| id).collect();
        for id in sessions {
            self.replica.unpin(id, self.applied as u64);
        }
    }

    fn forget_news(&mut self) {
        self.refusals.clear();
        self.probes.clear();
    }

    pub(super) fn propose(&mut self, command: &Command<'_>) -> u64 {
        self.push([command.encode(), Bytes::new()])
    }

    pub(super) fn push(&mut self, command: [Bytes; 2]) -> u64 {
        self.queue.push_back(command);
        self.first + self.queue.len() as u64 - 1
    }

    /// The next commands that were not sent yet.
    pub(super) fn next_chunk(&mut self, rng: &mut Rng) -> Option<Chunk> {
        let count = (1 + rng.below(4)).min(self.queue.len() - self.sent);
        if count == 0 {
            return None;
        }
        let header = ChunkHeader {
            node: self.at.node,
            incarnation: self.at.incarnation,
            first: self.first + self.sent as u64,
            count: count as u32,
        };
        let pieces = self.queue.range(self.sent..self.sent + count);
        let pieces = pieces.flatten().cloned().collect();
        self.sent += count;
        Some(Chunk { header, pieces })
    }

    /// Everything that is not seen applied is sent again.
    pub(super) fn rewind(&mut self) {
        self.sent = 0;
    }

    /// Requests not seen applied.
    pub(super) fn pending(&self) -> usize {
        self.queue.len()
    }

    /// The last own request that the replica took.
    pub(super) fn seen(&self) -> u64 {
        self.replica
            .node(self.at.node)
            .filter(|node| node.incarnation == self.at.incarnation)
            .map_or(0, |node| node.seen)
    }

    /// Applies up to `most` further entries; the digest of each must be the one that all have.
    pub(super) fn apply(&mut self, log: &[Bytes], digests: &[String], most: usize) {
        let mut news = Vec::new();
        for batch in log.iter().skip(self.applied).take(most) {
            self.applied += 1;
            self.replica
                .apply(self.applied as u64, batch, &mut news)
                .expect("readable");
            let digest = &digests[self.applied - 1];
            assert_eq!(&self.replica.digest(), digest, "entry {}", self.applied);
        }
        for news in news {
            match news {
                News::Refused {
                    session,
                    at,
                    request,
                    refusal,
                } => {
                    if at == self.at {
                        self.refusals.insert((session, request), refusal);
                    }
                }
                News::Probe(session) => {
                    self.probes.insert(session);
                }
                News::Session(_) | News::Configured { .. } => {}
            }
        }
        self.trim();
    }

    fn trim(&mut self) {
        let seen = self.seen();
        while self.first <= seen && self.queue.pop_front().is_some() {
            self.first += 1;
            self.sent = self.sent.saturating_sub(1);
        }
    }
}

//! Who may try a handshake now: failed ones are counted by address, by bridge name, and by both together.
//!
//! Knows no socket, clock or stream: addresses, names and times come in as arguments. A *source* is what counts as one
//! address, see [`crate::admission::Source`].
//!
//! | counted | past it | setting |
//! |---|---|---|
//! | a name from a source | that name from that source waits, twice as long after each further failure | `limits.failed_handshakes`, `timing.handshake_backoff`, `_max` |
//! | all names from a source | one attempt each `handshake_backoff` for all names never proved from there | `limits.failed_handshakes_per_address` |
//! | a name from all sources | a first failure counts like the last allowed one, wherever it comes from | `limits.failed_handshakes_per_bridge` |
//!
//! # Nobody is locked out by others
//! Wrong secrets for a known name must not keep its bridge away, or whoever knows a name could silence it. So:
//! - What refuses an attempt is always the record of its *own source*. The count of a name only takes away free attempts, and
//!   whoever has the secret needs none: its first attempt from any address is compared, however many others failed.
//! - Many bridges may share an address (NAT, an IPv6 network). One that fails for ever adds to the count of its source only
//!   until its own wait begins, so it costs its neighbours `failed_handshakes` of the source's count and no more.
//! - A name that was proved from a source before is not refused for what its neighbours do, and waits `handshake_backoff`
//!   at most for what is done in its name there.
//! - An attempt made too early is not compared and not counted: to go on asking makes no wait longer.
//!
//! What is left: a newcomer waits for neighbours behind its own address who try many names or its own, for as long as they do.
//!
//! # What is told
//! A refusal depends on failures alone, never on whether the name exists or the secret is right, so it tells neither.
//! An attempt costs whoever guesses a handshake and then a wait; from `n` addresses a name can be tried about `n` times
//! a `handshake_backoff_max`.
//!
//! # Bounds
//! [`ENTRIES`] for each of four tables of 64-bit keyed hashes, so no entry is as long as a name. A full table forgets what
//! would matter for the shortest time. All is forgotten with the process, and other nodes know nothing of it.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use crate::admission::Source;

/// Entries of each table. When one is full, a failure costs a pass over it: some microseconds, beside a TLS handshake.
pub const ENTRIES: usize = 4096;

/// What is allowed.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Failures of a name from a source before it waits, at least 1.
    pub failures: u32,
    /// Failures from a source, of whatever names.
    pub per_source: u32,
    /// Failures of a name, from wherever.
    pub per_name: u32,
    /// The first wait, above 0; also the time in which a source and a name are forgiven one failure.
    pub first: Duration,
    /// The longest wait, at least `first`.
    pub longest: Duration,
}

/// See the module documentation.
#[derive(Debug)]
pub struct Throttle {
    policy: Policy,
    hasher: RandomState,
    pairs: Table<Failures>,
    sources: Table<Bucket>,
    names: Table<Bucket>,
    proved: Table<Proved>,
}

impl Throttle {
    /// Nobody failed yet.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            hasher: RandomState::new(),
            pairs: Table::default(),
            sources: Table::default(),
            names: Table::default(),
            proved: Table::default(),
        }
    }

    /// Whether an attempt may be compared with the secrets.
    ///
    /// # Errors
    /// How long to wait.
    pub fn check(&self, source: Source, name: &str, now: Instant) -> Result<(), Duration> {
        let pair = self.pair(source, name);
        let own = self.pairs.get(pair).map_or(Duration::ZERO, |failures| {
            failures.until.saturating_duration_since(now)
        });
        let neighbours = match self.sources.get(self.hasher.hash_one(source)) {
            Some(bucket) if self.proved.get(pair).is_none() => {
                bucket.wait(self.policy.per_source, self.policy.first, now)
            }
            _ => Duration::ZERO,
        };
        match own.max(neighbours) {
            Duration::ZERO => Ok(()),
            wait => Err(wait),
        }
    }

    /// The secret was right.
    pub fn proved(&mut self, source: Source, name: &str, now: Instant) {
        let pair = self.pair(source, name);
        self.pairs.remove(pair);
        *self.proved.entry(pair, || Proved(now)) = Proved(now);
    }

    /// The secret was wrong, or there is no such bridge.
    pub fn failed(&mut self, source: Source, name: &str, now: Instant) {
        let Policy {
            first,
            longest,
            failures: allowed,
            ..
        } = self.policy;
        let (pair, source, name) = (
            self.pair(source, name),
            self.hasher.hash_one(source),
            self.hasher.hash_one(name),
        );
        let known = self.proved.get(pair).is_some();
        let bucket = self.names.entry(name, || Bucket(now));
        let hot = !bucket.wait(self.policy.per_name, first, now).is_zero();
        bucket.add(first, now);

        let failures = self.pairs.entry(pair, || Failures::none(now, longest));
        if failures.forgotten <= now {
            *failures = Failures::none(now, longest);
        }
        failures.count = failures.count.saturating_add(1);
        failures.forgotten = now + longest * 2;
        let free = if hot && !known { 0 } else { allowed - 1 };
        if let Some(doublings) = failures.count.checked_sub(free + 1) {
            let wait = first.saturating_mul(1 << doublings.min(20)).min(longest);
            failures.until = now + if known { first } else { wait };
        }
        if failures.count <= allowed {
            let bucket = self.sources.entry(source, || Bucket(now));
            bucket.add(first, now);
        }
    }

    fn pair(&self, source: Source, name: &str) -> u64 {
        self.hasher.hash_one((source, name))
    }
}

/// Failures of one name from one source.
#[derive(Debug)]
struct Failures {
    count: u32,
    /// No attempt before.
    until: Instant,
    /// As if there had been none.
    forgotten: Instant,
}

impl Failures {
    fn none(now: Instant, longest: Duration) -> Self {
        Self {
            count: 0,
            until: now,
            forgotten: now + longest * 2,
        }
    }
}

/// Failures that are forgiven one by one: the time at which none is left.
#[derive(Debug)]
struct Bucket(Instant);

impl Bucket {
    fn add(&mut self, each: Duration, now: Instant) {
        self.0 = self.0.max(now) + each;
    }

    /// How long until fewer than `most` are left.
    fn wait(&self, most: u32, each: Duration, now: Instant) -> Duration {
        let room = each.saturating_mul(most.saturating_sub(1));
        self.0.saturating_duration_since(now).saturating_sub(room)
    }
}

/// When a name was last proved from a source.
#[derive(Debug)]
struct Proved(Instant);

trait Entry {
    /// Matters until then; for what matters always, when it last did.
    fn matters(&self) -> Instant;
}

impl Entry for Failures {
    fn matters(&self) -> Instant {
        self.forgotten
    }
}

impl Entry for Bucket {
    fn matters(&self) -> Instant {
        self.0
    }
}

impl Entry for Proved {
    fn matters(&self) -> Instant {
        self.0
    }
}

#[derive(Debug)]
struct Table<E>(HashMap<u64, E>);

impl<E> Default for Table<E> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<E: Entry> Table<E> {
    fn get(&self, key: u64) -> Option<&E> {
        self.0.get(&key)
    }

    fn remove(&mut self, key: u64) {
        self.0.remove(&key);
    }

    fn entry(&mut self, key: u64, new: impl FnOnce() -> E) -> &mut E {
        if self.0.len() >= ENTRIES && !self.0.contains_key(&key) {
            let least = self.0.iter().min_by_key(|(_, entry)| entry.matters());
            if let Some(key) = least.map(|(key, _)| *key) {
                self.0.remove(&key);
            }
        }
        self.0.entry(key).or_insert_with(new)
    }
}

#[cfg(test)]
mod tests;

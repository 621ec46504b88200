//! Who was refused of late, for people: the last refusal of each bridge, and names that no bridge has.
//!
//! Knows no socket or stream. Of a bridge there is one record, which a registration on this node ends; attempts that fail in
//! the same way from the same address only raise its count, so whoever shows reason, address and beginning shows something
//! that stands still. An attempt that came too early was not looked at, so it hides no cause that is known.
//!
//! Bounds: [`BRIDGES`] records of bridges and [`STRANGERS`] of other names; the one that is oldest makes room. Names are at
//! most 253 bytes. Strangers never displace bridges. All is this node's own, and forgotten with the process.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use xmpp_node_api::status::{RefusalReason, RefusalStatus};
use xmpp_node_api::time::Timestamp;

use crate::admission::Source;

/// Records of bridges: as many as a cluster can have of them.
pub const BRIDGES: usize = 4096;
/// Records of names that are no bridge's.
pub const STRANGERS: usize = 16;

/// See the module documentation.
#[derive(Debug, Default)]
pub struct Refusals {
    tables: Mutex<Tables>,
}

#[derive(Debug, Default)]
struct Tables {
    bridges: HashMap<String, Record>,
    strangers: HashMap<String, Record>,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    reason: RefusalReason,
    from: Source,
    /// Milliseconds since 1970, as all times here.
    since: u64,
    at: u64,
    count: u64,
}

impl Refusals {
    /// A stream for the bridge of this domain was refused.
    pub fn refused(&self, domain: &str, reason: RefusalReason, from: Source) {
        self.note(domain, reason, from, now());
    }

    /// The bridge of this domain is served by a stream here: what went wrong before is over.
    pub fn registered(&self, domain: &str) {
        let mut tables = self.tables();
        tables.bridges.remove(domain);
        tables.strangers.remove(domain);
    }

    /// The last refusal of the bridge of this domain.
    #[must_use]
    pub fn of(&self, domain: &str) -> Option<RefusalStatus> {
        self.tables().bridges.get(domain).map(Record::status)
    }

    /// Names that were refused because no bridge has them, sorted.
    #[must_use]
    pub fn strangers(&self) -> Vec<(String, RefusalStatus)> {
        let tables = self.tables();
        let mut found: Vec<_> = tables
            .strangers
            .iter()
            .map(|(domain, record)| (domain.clone(), record.status()))
            .collect();
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        found
    }

    fn note(&self, domain: &str, reason: RefusalReason, from: Source, now: u64) {
        let mut tables = self.tables();
        let (table, most) = match reason {
            RefusalReason::UnknownBridge => (&mut tables.strangers, STRANGERS),
            _ => (&mut tables.bridges, BRIDGES),
        };
        if let Some(known) = table.get_mut(domain) {
            let too_early = reason == RefusalReason::TooManyFailures;
            if too_early || (known.reason, known.from) == (reason, from) {
                known.at = now;
                known.count = known.count.saturating_add(1);
                return;
            }
        }
        if table.len() >= most && !table.contains_key(domain) {
            let oldest = table.iter().min_by_key(|(_, record)| record.at);
            if let Some(oldest) = oldest.map(|(domain, _)| domain.clone()) {
                table.remove(&oldest);
            }
        }
        let record = Record {
            reason,
            from,
            since: now,
            at: now,
            count: 1,
        };
        table.insert(domain.to_owned(), record);
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Record {
    fn status(&self) -> RefusalStatus {
        RefusalStatus {
            reason: self.reason,
            from: self.from.to_string(),
            since: Timestamp::from_unix_ms(self.since),
            at: Timestamp::from_unix_ms(self.at),
            count: self.count,
        }
    }
}

fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use RefusalReason::{Conflict, TooManyFailures, UnknownBridge, WrongSecret};

    fn source(text: &str) -> Source {
        Source::from(text.parse::<std::net::IpAddr>().expect("an address"))
    }

    #[test]
    fn the_same_failure_counts_up_and_another_one_begins_anew() {
        let refusals = Refusals::default();
        let (one, two) = (source("10.0.0.1"), source("2001:db8::7"));
        refusals.note("cb1.test", WrongSecret, one, 1_000);
        refusals.note("cb1.test", WrongSecret, one, 2_000);
        // Not looked at, so the cause stays the one that is known.
        refusals.note("cb1.test", TooManyFailures, two, 3_000);
        let found = refusals.of("cb1.test").expect("it was refused");
        assert_eq!((found.reason, found.count), (WrongSecret, 3));
        assert_eq!((found.since.unix_ms(), found.at.unix_ms()), (1_000, 3_000));
        assert_eq!(found.from, "10.0.0.1");
        refusals.note("cb1.test", Conflict, two, 4_000);
        let found = refusals.of("cb1.test").expect("it was refused");
        assert_eq!(
            (found.reason, found.count, found.since.unix_ms()),
            (Conflict, 1, 4_000)
        );
        assert_eq!(found.from, "2001:db8::/64");
        refusals.registered("cb1.test");
        assert_eq!(refusals.of("cb1.test"), None);
    }

    #[test]
    fn strangers_are_few_and_displace_no_bridge() {
        let refusals = Refusals::default();
        refusals.note("cb1.test", WrongSecret, source("10.0.0.1"), 1);
        for at in 0..100 {
            let name = format!("cb{}.test", 1_000 + at);
            refusals.note(&name, UnknownBridge, source("10.0.0.2"), 2 + at);
        }
        let strangers = refusals.strangers();
        assert_eq!(strangers.len(), STRANGERS);
        assert_eq!(strangers[0].0, "cb1084.test");
        assert!(refusals.of("cb1.test").is_some());
        assert_eq!(refusals.of("cb1099.test"), None);
    }

    #[test]
    fn a_full_table_forgets_the_oldest() {
        let refusals = Refusals::default();
        for at in 0..=BRIDGES {
            refusals.note(
                &format!("cb{at}.test"),
                WrongSecret,
                source("10.0.0.1"),
                at as u64,
            );
        }
        assert_eq!(refusals.of("cb0.test"), None);
        assert!(refusals.of("cb1.test").is_some());
        assert_eq!(refusals.tables().bridges.len(), BRIDGES);
    }
}

//! What a demo found: the figures, and whether the bridges' books and the nodes' ledgers say the same.
//!
//! Once everything sent is received or answered and the queues are empty, every node that answers must say, on its own:
//!
//! | Of its ledger | is equal to |
//! |---|---|
//! | `unaccounted` | 0 |
//! | `queued` | 0 |
//! | `accepted` | stanzas that the bridges saw accepted (XEP-0198 `h`) |
//! | `delivered` | messages that the bridges received, each once |
//! | `bounced + expired` | messages that were answered by an error |
//! | `discarded` | 0 |
//!
//! and all must agree on `accepted` to `discarded` and, at equal `applied`, on the digest of the state. If anyone else used
//! the cluster meanwhile (`spare1`, `spare2`), theirs is in the ledgers too: then "is equal to" becomes "is at least", and
//! `queued` and `discarded` are not compared.

use std::time::Duration;

use serde::Serialize;
use xmpp_node_api::status::{Ledger, NodeStatus};

use super::accounts::Totals;

/// The object that `-o json` prints. Gaps are in milliseconds, rounded up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Messages submitted.
    pub sent: u64,
    /// Messages received, each once.
    pub delivered: u64,
    /// Messages answered by an error.
    pub errors: u64,
    /// Arrivals beyond the first.
    pub duplicates: u64,
    /// Messages received after a later one of the same sender to the same recipient.
    pub out_of_order: u64,
    /// Messages neither received nor answered.
    pub unaccounted: u64,
    /// Nodes killed, by the demo or anyone else.
    pub faults: u64,
    /// How often leadership changed.
    pub leader_changes: u64,
    /// Longest time without a delivery between any two bridges.
    pub longest_gap_ms: u64,
    /// The same for each fault.
    pub gap_ms_by_fault: Vec<u64>,
    /// From submission to receipt.
    pub latency_us: Latency,
}

/// Quantiles in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Latency {
    /// Median.
    pub p50: u64,
    /// 99 %.
    pub p99: u64,
}

impl Report {
    /// The report of a run.
    #[must_use]
    pub fn new(totals: &Totals, faults: u64, leader_changes: u64) -> Self {
        Self {
            sent: totals.sent,
            delivered: totals.delivered,
            errors: totals.errors,
            duplicates: totals.duplicates,
            out_of_order: totals.out_of_order,
            unaccounted: totals.unaccounted,
            faults,
            leader_changes,
            longest_gap_ms: milliseconds(totals.longest_gap),
            gap_ms_by_fault: totals
                .gap_by_fault
                .iter()
                .copied()
                .map(milliseconds)
                .collect(),
            latency_us: Latency {
                p50: totals.latency_p50_us,
                p99: totals.latency_p99_us,
            },
        }
    }
}

/// What the bridges know, to be compared with ledgers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Books {
    /// Stanzas that bridges saw accepted.
    pub accepted: u64,
    /// Messages received, each once.
    pub delivered: u64,
    /// Messages answered by an error.
    pub errors: u64,
    /// Someone else used the cluster.
    pub shared: bool,
}

/// Where ledgers and books differ, in words; nothing if they agree. `statuses` are those of the nodes that answer.
#[must_use]
pub fn disagreements(books: &Books, statuses: &[NodeStatus]) -> Vec<String> {
    let mut found = Vec::new();
    for status in statuses {
        let ledger = &status.ledger;
        let mut expect = |what: &str, says: u64, bridges: u64, exact: bool| {
            let agrees = if exact {
                says == bridges
            } else {
                says >= bridges
            };
            if !agrees {
                let name = &status.name;
                found.push(format!(
                    "{name}: its ledger has {says} {what}, the bridges {bridges}"
                ));
            }
        };
        let exact = !books.shared;
        expect("accepted", ledger.accepted, books.accepted, exact);
        expect("delivered", ledger.delivered, books.delivered, exact);
        expect(
            "bounced and expired",
            ledger.bounced + ledger.expired,
            books.errors,
            exact,
        );
        if exact {
            expect("queued", ledger.queued, 0, true);
            expect("discarded", ledger.discarded, 0, true);
        }
        if ledger.unaccounted != 0 {
            let (name, count) = (&status.name, ledger.unaccounted);
            found.push(format!("{name}: its ledger has {count} unaccounted"));
        }
    }
    for pair in statuses.windows(2) {
        let [one, other] = pair else { continue };
        let names = format!("{} and {}", one.name, other.name);
        if !books.shared && settled_sums(&one.ledger) != settled_sums(&other.ledger) {
            found.push(format!("{names} have different ledgers"));
        }
        if one.applied == other.applied && one.digest != other.digest {
            found.push(format!(
                "{names} have different states at entry {}",
                one.applied
            ));
        }
    }
    found
}

const fn settled_sums(ledger: &Ledger) -> [u64; 5] {
    [
        ledger.accepted,
        ledger.delivered,
        ledger.bounced,
        ledger.expired,
        ledger.discarded,
    ]
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros().div_ceil(1000)).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::settled::tests::status;

    fn books() -> Books {
        Books {
            accepted: 10,
            delivered: 8,
            errors: 2,
            shared: false,
        }
    }

    fn nodes() -> Vec<NodeStatus> {
        let ledger = Ledger {
            accepted: 10,
            delivered: 8,
            bounced: 1,
            expired: 1,
            ..Ledger::default()
        };
        let with = |index| NodeStatus {
            ledger,
            ..status(index)
        };
        (0..3).map(with).collect()
    }

    #[test]
    fn the_object_has_exactly_the_documented_keys() {
        let totals = Totals {
            sent: 5,
            delivered: 4,
            longest_gap: Duration::from_micros(30_001),
            gap_by_fault: vec![Duration::from_millis(7)],
            latency_p50_us: 900,
            latency_p99_us: 4000,
            unaccounted: 1,
            ..Totals::default()
        };
        let report = Report::new(&totals, 1, 2);
        assert_eq!(
            serde_json::to_string(&report).expect("plain data"),
            r#"{"sent":5,"delivered":4,"errors":0,"duplicates":0,"out_of_order":0,"unaccounted":1,"#
                .to_owned()
                + r#""faults":1,"leader_changes":2,"longest_gap_ms":31,"gap_ms_by_fault":[7],"#
                + r#""latency_us":{"p50":900,"p99":4000}}"#
        );
        assert_eq!(totals.complaints(), ["1 messages are unaccounted for"]);
    }

    #[test]
    fn ledgers_that_say_what_the_bridges_say_raise_no_complaint() {
        assert_eq!(disagreements(&books(), &nodes()), [""; 0]);
    }

    #[test]
    fn every_difference_is_told() {
        type Change = fn(&mut Vec<NodeStatus>);
        let cases: [(&str, Change); 8] = [
            ("9 accepted, the bridges 10", |n| n[0].ledger.accepted = 9),
            ("11 accepted, the bridges 10", |n| n[0].ledger.accepted = 11),
            ("7 delivered, the bridges 8", |n| n[1].ledger.delivered = 7),
            ("3 bounced and expired, the bridges 2", |n| {
                n[2].ledger.bounced = 2
            }),
            ("1 queued, the bridges 0", |n| n[2].ledger.queued = 1),
            ("1 discarded, the bridges 0", |n| n[2].ledger.discarded = 1),
            ("has -1 unaccounted", |n| n[0].ledger.unaccounted = -1),
            ("xmpp2 and xmpp3 have different states at entry 9", |n| {
                n[2].digest = "other".to_owned();
            }),
        ];
        for (text, change) in cases {
            let mut nodes = nodes();
            change(&mut nodes);
            let found = disagreements(&books(), &nodes);
            assert!(
                found.iter().any(|line| line.contains(text)),
                "{text}: {found:?}"
            );
        }
    }

    #[test]
    fn other_peoples_stanzas_are_allowed_to_be_more_but_never_less() {
        let shared = Books {
            shared: true,
            ..books()
        };
        let mut nodes = nodes();
        nodes[0].ledger.accepted += 5;
        nodes[0].ledger.delivered += 4;
        nodes[0].ledger.queued += 1;
        assert_eq!(disagreements(&shared, &nodes), [""; 0]);
        nodes[0].ledger.delivered = 7;
        assert_eq!(disagreements(&shared, &nodes).len(), 1);
    }
}

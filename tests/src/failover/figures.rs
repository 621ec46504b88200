//! Gaps of pairs, sorted by what happened and whether it hit the pair; the report over them. Values only.

use std::time::Duration;

use serde::Serialize;
use xmpp_node::demo::accounts::Totals;

use super::{Kind, Plan};
use crate::measure::load_average;
use crate::report::{Aim, Findings, aims, milliseconds, quantile, table};

/// The gap of one pair at one fault.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sample {
    pub(super) kind: Kind,
    pub(super) place: Where,
    pub(super) gap: Duration,
}

/// Where a pair's bridges were when a fault happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Where {
    /// At least one on the node that was hit.
    On,
    /// Both on others.
    Elsewhere,
}

impl Where {
    const fn text(self) -> &'static str {
        match self {
            Self::On => "a bridge on that node",
            Self::Elsewhere => "bridges on others only",
        }
    }
}

/// All figures. Gaps are in milliseconds.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Messages a second over all pairs.
    pub rate: u32,
    /// Faults made.
    pub faults: usize,
    /// Seconds that all took.
    pub seconds: f64,
    /// Gaps by what happened and where.
    pub groups: Vec<Group>,
    /// Messages submitted.
    pub sent: u64,
    /// Messages received, each once.
    pub delivered: u64,
    /// Messages answered by an error.
    pub errors: u64,
    /// Messages neither received nor answered.
    pub unaccounted: u64,
    /// Arrivals beyond the first.
    pub duplicates: u64,
    /// Messages received after a later one of their pair and direction.
    pub out_of_order: u64,
    /// Processes that wanted a core in the last minute, at the end.
    pub load_average: f64,
    /// Which aims are met; each holds for both groups of its kind.
    pub aims: Vec<Aim>,
    /// What must not be.
    pub complaints: Vec<String>,
}

/// The gaps of pairs alike.
#[derive(Debug, Clone, Serialize)]
pub struct Group {
    /// What happened.
    pub fault: String,
    /// Which pairs.
    pub pairs: &'static str,
    /// How many gaps: one a pair and fault.
    pub gaps: usize,
    /// Median.
    pub p50_ms: f64,
    /// 99 of 100 are not longer (nearest rank).
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Report {
    pub(super) fn new(
        samples: &[Sample],
        totals: &Totals,
        plan: &Plan,
        complaints: Vec<String>,
    ) -> Self {
        let (mut groups, mut aims) = (Vec::new(), Vec::new());
        for &kind in &plan.kinds {
            for place in [Where::On, Where::Elsewhere] {
                let alike = samples.iter();
                let alike = alike.filter(|sample| sample.kind == kind && sample.place == place);
                let mut gaps: Vec<Duration> = alike.map(|sample| sample.gap).collect();
                gaps.sort_unstable();
                let group = Group::new(kind, place, &gaps);
                aims.extend(judge(kind, place, &group));
                groups.push(group);
            }
        }
        Self {
            rate: plan.rate,
            faults: 0,
            seconds: 0.0,
            groups,
            sent: totals.sent,
            delivered: totals.delivered,
            errors: totals.errors,
            unaccounted: totals.unaccounted,
            duplicates: totals.duplicates,
            out_of_order: totals.out_of_order,
            load_average: load_average().unwrap_or_default(),
            aims,
            complaints,
        }
    }
}

impl Findings for Report {
    fn complaints(&self) -> Vec<String> {
        self.complaints.clone()
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{} messages/s over 6 pairs of bridges, {} faults in {:.0} s, load average {:.2}\n\n",
            self.rate, self.faults, self.seconds, self.load_average
        );
        let head = ["gaps of pairs with", "count", "p50 ms", "p99 ms", "max ms"];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(self.groups.iter().map(|group| {
            [
                format!("{}, {}", group.fault, group.pairs),
                group.gaps.to_string(),
                format!("{:.1}", group.p50_ms),
                format!("{:.1}", group.p99_ms),
                format!("{:.1}", group.max_ms),
            ]
        }));
        text.push_str(&table(&rows));
        text.push_str(&format!(
            "\n{} sent, {} delivered, {} errors, {} unaccounted for, {} duplicates, {} out of order\n\n",
            self.sent,
            self.delivered,
            self.errors,
            self.unaccounted,
            self.duplicates,
            self.out_of_order
        ));
        text.push_str(&aims(&self.aims));
        text
    }
}

impl Group {
    fn new(kind: Kind, place: Where, sorted: &[Duration]) -> Self {
        let at = |share| milliseconds(quantile(sorted, share));
        Self {
            fault: kind.to_string(),
            pairs: place.text(),
            gaps: sorted.len(),
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            max_ms: at(1.0),
        }
    }
}

/// The aims of one group, if anything was seen.
fn judge(kind: Kind, place: Where, group: &Group) -> Vec<Aim> {
    let median = |below| ("median", group.p50_ms, below);
    let p99 = |below| ("p99", group.p99_ms, below);
    let figures = match (kind, place) {
        _ if group.gaps == 0 => vec![],
        (Kind::Leader, _) => vec![median(100.0), p99(400.0)],
        (Kind::Follower, _) => vec![median(80.0)],
        (Kind::Freeze, Where::On) => vec![p99(2500.0)],
        (Kind::Freeze, Where::Elsewhere) => vec![p99(1000.0)],
    };
    let aim = |(figure, seen, below)| {
        let what = format!("{kind}, {}: {figure} ms", place.text());
        Aim::new(what, seen, below)
    };
    figures.into_iter().map(aim).collect()
}

/// The gaps of one fault, in a few words.
pub(super) fn line(samples: &[Sample]) -> String {
    let of = |place| {
        let alike = samples.iter().filter(|sample| sample.place == place);
        let gaps = alike.map(|sample| format!("{:.0}", milliseconds(sample.gap)));
        gaps.collect::<Vec<_>>().join(" ")
    };
    format!(
        "pairs on it {} ms, others {} ms",
        of(Where::On),
        of(Where::Elsewhere)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn sample(kind: Kind, place: Where, ms: u64) -> Sample {
        let gap = Duration::from_millis(ms);
        Sample { kind, place, gap }
    }

    #[test]
    fn every_group_has_its_own_gaps_and_aims() {
        use Kind::{Follower, Freeze, Leader};
        use Where::{Elsewhere, On};
        let samples = [
            sample(Leader, On, 90),
            sample(Leader, On, 500),
            sample(Leader, On, 80),
            sample(Leader, Elsewhere, 20),
            sample(Follower, On, 80),
            sample(Freeze, On, 2499),
            sample(Freeze, Elsewhere, 1001),
        ];
        let plan = Plan {
            kinds: vec![Leader, Follower, Freeze],
            each: 1,
            rate: 1000,
            freeze: Duration::ZERO,
            within: Duration::ZERO,
        };
        let report = Report::new(&samples, &Totals::default(), &plan, Vec::new());
        let counts: Vec<_> = report.groups.iter().map(|group| group.gaps).collect();
        assert_eq!(counts, [3, 1, 1, 0, 1, 1]);
        let first = &report.groups[0];
        assert_eq!(
            (first.p50_ms, first.p99_ms, first.max_ms),
            (90.0, 500.0, 500.0)
        );
        let met: Vec<_> = report.aims.iter().map(|aim| aim.met).collect();
        // Leader on: median, p99; leader elsewhere: both; follower on: median of 80 is not below; freeze on, elsewhere.
        assert_eq!(met, [true, false, true, true, false, true, false]);
        let text = report.text();
        assert!(
            text.contains("leader killed, a bridge on that node"),
            "{text}"
        );
        assert!(text.contains("MISSED"), "{text}");
    }
}

//! How long a pair of bridges was without a delivery, and which fault was to blame.
//!
//! A gap is the time between two deliveries of one ordered pair (or from its first message to its first delivery), while
//! messages are offered or still under way; so it includes the pace of the traffic itself: 6 pairs at 200/s deliver every
//! 30 ms when all is well. It is blamed on every fault that lies within it; a gap without a fault in it is blamed on the
//! last fault before it, as what follows a fault (a node that comes back) belongs to it too, until that fault is over.

use std::time::Duration;

/// The longest gap, in all and by fault.
#[derive(Clone, Debug, Default)]
pub struct Gaps {
    longest: Duration,
    faults: Vec<Fault>,
}

#[derive(Clone, Copy, Debug)]
struct Fault {
    at: Duration,
    /// What lasts from then on is not its own.
    over: Duration,
    longest: Duration,
}

impl Gaps {
    /// A fault happens `now`; times are since the start of the clock and never go back.
    pub fn fault(&mut self, now: Duration) {
        self.faults.push(Fault {
            at: now,
            over: Duration::MAX,
            longest: Duration::ZERO,
        });
    }

    /// The last fault is over: all is as it was before.
    pub fn over(&mut self, now: Duration) {
        if let Some(last) = self.faults.last_mut() {
            last.over = last.over.min(now);
        }
    }

    /// The pair had no delivery from `since` to `until`.
    pub fn note(&mut self, since: Duration, until: Duration) {
        let gap = until.saturating_sub(since);
        self.longest = self.longest.max(gap);
        // The last fault that happened before the gap's end, and all others inside it.
        let before = self.faults.partition_point(|fault| fault.at < until);
        let inside = self.faults[..before].partition_point(|fault| fault.at < since);
        let first = inside.min(before.saturating_sub(1));
        for fault in &mut self.faults[first..before] {
            let blamed = until.min(fault.over).saturating_sub(since);
            fault.longest = fault.longest.max(blamed);
        }
    }

    /// The longest gap.
    #[must_use]
    pub const fn longest(&self) -> Duration {
        self.longest
    }

    /// The longest gap blamed on each fault, in the order of the faults.
    #[must_use]
    pub fn by_fault(&self) -> Vec<Duration> {
        self.faults.iter().map(|fault| fault.longest).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_blamed_on_the_faults_within_or_before_them() {
        let ms = Duration::from_millis;
        // Faults at 100 and 200; each gap, and what it adds to the two.
        let cases: [(&str, (u64, u64), [u64; 2]); 8] = [
            ("before any fault", (10, 90), [0, 0]),
            ("around the first", (95, 150), [55, 0]),
            ("ending where the first happens", (40, 100), [0, 0]),
            ("beginning where the first happens", (100, 130), [30, 0]),
            ("after the first", (120, 180), [60, 0]),
            ("around the second", (190, 260), [0, 70]),
            ("around both", (90, 290), [200, 200]),
            ("after the second", (300, 350), [0, 50]),
        ];
        for (name, (since, until), expected) in cases {
            let mut gaps = Gaps::default();
            gaps.fault(ms(100));
            gaps.fault(ms(200));
            gaps.note(ms(since), ms(until));
            assert_eq!(gaps.by_fault(), expected.map(ms), "{name}");
            assert_eq!(gaps.longest(), ms(until - since), "{name}");
        }
    }

    #[test]
    fn what_a_gap_lasts_after_a_fault_is_over_is_not_blamed_on_it() {
        let ms = Duration::from_millis;
        let mut gaps = Gaps::default();
        gaps.fault(ms(100));
        gaps.note(ms(95), ms(150));
        gaps.over(ms(200));
        gaps.note(ms(150), ms(260));
        assert_eq!(gaps.by_fault(), [ms(55)], "of the last gap, 50 to the end");
        gaps.note(ms(260), ms(400));
        assert_eq!(gaps.by_fault(), [ms(55)]);
        assert_eq!(gaps.longest(), ms(140));
        gaps.fault(ms(500));
        gaps.note(ms(400), ms(590));
        assert_eq!(gaps.by_fault(), [ms(55), ms(190)]);
    }

    #[test]
    fn without_faults_only_the_longest_is_known() {
        let mut gaps = Gaps::default();
        gaps.note(Duration::ZERO, Duration::from_millis(30));
        gaps.note(Duration::ZERO, Duration::from_millis(20));
        assert_eq!(gaps.longest(), Duration::from_millis(30));
        assert!(gaps.by_fault().is_empty());
    }
}

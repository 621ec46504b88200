//! How fast a bridge may send: beyond its bounds reading waits, and nothing is refused.
//!
//! Whoever was slow may catch up for a second. What was read is paid for afterwards, so a stanza may be larger than a second's bytes.

use std::time::Duration;

use tokio::time::Instant;
use xmpp_core::router::BridgeLimits;

/// What may be read ahead of its time.
const BURST: f64 = 1.0;
/// Shorter waits are not worth their timers.
const LEAST: Duration = Duration::from_millis(1);

/// The pace of one stream.
#[derive(Debug)]
pub(super) struct Pace {
    limits: BridgeLimits,
    /// Stanzas and bytes that may be read now; below 0 they are owed.
    stanzas: f64,
    bytes: f64,
    at: Instant,
}

impl Pace {
    /// A stream that may go on at once.
    pub(super) fn new(limits: BridgeLimits, now: Instant) -> Self {
        Self {
            limits,
            stanzas: f64::from(limits.stanzas_per_second) * BURST,
            bytes: limits.bytes_per_second as f64 * BURST,
            at: now,
        }
    }

    /// Other bounds, from now on.
    pub(super) fn set(&mut self, limits: BridgeLimits) {
        if self.limits != limits {
            *self = Self::new(limits, Instant::now());
        }
    }

    /// Whether there is anything to wait for.
    pub(super) fn is_bounded(&self) -> bool {
        self.limits.stanzas_per_second > 0 || self.limits.bytes_per_second > 0
    }

    /// A stanza of so many bytes was read.
    pub(super) fn took(&mut self, bytes: usize) {
        self.stanzas -= 1.0;
        self.bytes -= bytes as f64;
    }

    /// When more may be read; `None` is now.
    pub(super) fn waits_until(&mut self, now: Instant) -> Option<Instant> {
        let (stanzas, bytes) = (
            f64::from(self.limits.stanzas_per_second),
            self.limits.bytes_per_second as f64,
        );
        if !self.is_bounded() {
            return None;
        }
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = now;
        let wait = |left: &mut f64, rate: f64| {
            if rate == 0.0 {
                return 0.0;
            }
            *left = (*left + passed * rate).min(rate * BURST);
            (-*left / rate).max(0.0)
        };
        let wait = wait(&mut self.stanzas, stanzas).max(wait(&mut self.bytes, bytes));
        (wait > 0.0).then(|| now + Duration::from_secs_f64(wait).max(LEAST))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Stanzas of so many bytes that are read within so many seconds.
    fn read(limits: BridgeLimits, bytes: usize, seconds: u64) -> u32 {
        let start = Instant::now();
        let mut pace = Pace::new(limits, start);
        let (mut now, mut count) = (start, 0);
        let end = start + Duration::from_secs(seconds);
        while now < end && count < 1_000_000 {
            match pace.waits_until(now) {
                None => {
                    pace.took(bytes);
                    count += 1;
                }
                Some(until) => {
                    assert!(until > now);
                    now = until;
                }
            }
        }
        count
    }

    fn limits(stanzas_per_second: u32, bytes_per_second: u64) -> BridgeLimits {
        BridgeLimits {
            stanzas_per_second,
            bytes_per_second,
            ..BridgeLimits::default()
        }
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let count = read(limits(100, 0), 10, 10);
        assert!((1_090..=1_110).contains(&count), "{count}");
        let count = read(limits(0, 10_000), 1_000, 10);
        assert!((105..=115).contains(&count), "{count}");
    }

    #[test]
    fn the_tighter_of_both_counts() {
        let count = read(limits(100, 1_000), 1_000, 10);
        assert!((10..=13).contains(&count), "{count}");
    }

    #[test]
    fn a_stanza_larger_than_a_seconds_bytes_passes_and_is_paid_for() {
        let count = read(limits(0, 1_024), 10_240, 100);
        assert!((10..=12).contains(&count), "{count}");
    }

    #[test]
    fn without_bounds_nothing_waits_and_bounds_may_come_and_go() {
        let mut pace = Pace::new(BridgeLimits::default(), Instant::now());
        pace.took(usize::MAX);
        assert_eq!(pace.waits_until(Instant::now()), None);
        pace.set(limits(1, 0));
        for _ in 0..3 {
            pace.took(1);
        }
        let now = pace.at;
        assert_eq!(pace.waits_until(now), Some(now + Duration::from_secs(2)));
        pace.set(BridgeLimits::default());
        assert_eq!(pace.waits_until(now), None);
    }
}

//! How long to wait before the next round of connection attempts.
//!
//! The first retry after a loss is made at once, to another server; then waits double from `first` to `longest`, each
//! drawn from its upper half, so that bridges which lost the same server do not return in step. Pure: time and
//! randomness are arguments.

use std::time::{Duration, Instant};

use crate::random::Random;

/// State of the waits since the stream last held.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
    last_immediate: Option<Instant>,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            failures: 0,
            last_immediate: None,
        }
    }

    /// A registered stream was lost after it had held for `held`. Whether to retry at once: not if that was done less
    /// than a second ago, or a server that ends streams as soon as they stand would be asked in a tight loop.
    pub(crate) fn lost(&mut self, now: Instant, held: Duration) -> bool {
        if held >= SETTLED {
            self.failures = 0;
        }
        let recent = self
            .last_immediate
            .is_some_and(|last| now.saturating_duration_since(last) < SETTLED);
        if !recent {
            self.last_immediate = Some(now);
        }
        !recent
    }

    /// A round failed: how long to wait before the next.
    pub(crate) fn wait(&mut self, random: &mut Random) -> Duration {
        let doubled = self.first.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        let longest = doubled.min(self.longest);
        let half = longest / 2;
        half + half.mul_f64(f64::from(random.up_to(1_000_000)) / 1_000_000.0)
    }
}

/// A stream that held this long did stand.
const SETTLED: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn backoff() -> Backoff {
        Backoff::new(Duration::from_millis(100), Duration::from_secs(3))
    }

    #[test]
    fn waits_double_within_their_bounds() {
        let (mut backoff, mut random) = (backoff(), Random::from_system());
        for expected in [100, 200, 400, 800, 1600, 3000, 3000, 3000] {
            let wait = backoff.wait(&mut random);
            assert!(
                wait >= Duration::from_millis(expected / 2),
                "{wait:?} for {expected}"
            );
            assert!(
                wait <= Duration::from_millis(expected),
                "{wait:?} for {expected}"
            );
        }
    }

    #[test]
    fn a_stream_that_held_makes_waits_short_again() {
        let (mut backoff, mut random) = (backoff(), Random::from_system());
        for _ in 0..9 {
            backoff.wait(&mut random);
        }
        assert!(backoff.lost(Instant::now(), Duration::from_secs(2)));
        assert!(backoff.wait(&mut random) <= Duration::from_millis(100));
    }

    #[test]
    fn streams_that_end_at_once_are_not_retried_in_a_tight_loop() {
        let (mut backoff, now) = (backoff(), Instant::now());
        assert!(backoff.lost(now, Duration::from_millis(3)));
        assert!(!backoff.lost(now + Duration::from_millis(5), Duration::from_millis(3)));
        assert!(backoff.lost(now + Duration::from_secs(2), Duration::from_millis(3)));
    }
}

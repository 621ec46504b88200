//! When a peer was last heard: an atomic, so that neither the hot path nor those who ask take a
//! lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

/// When a peer was last heard, on any of its connections.
#[derive(Debug)]
pub(super) struct Heard {
    start: Instant,
    /// Microseconds from `start` to the last byte, plus one; 0 means never.
    micros: AtomicU64,
}

impl Heard {
    pub(super) fn new() -> Self {
        let start = Instant::now();
        Self {
            start,
            micros: AtomicU64::new(0),
        }
    }

    /// Bytes came at `now`.
    pub(super) fn touch(&self, now: Instant) {
        let micros = now.saturating_duration_since(self.start).as_micros();
        let micros = u64::try_from(micros).unwrap_or(u64::MAX).saturating_add(1);
        self.micros.fetch_max(micros, Ordering::Relaxed);
    }

    /// How long before `now` that was; `None`: never.
    pub(super) fn age(&self, now: Instant) -> Option<Duration> {
        let micros = self.micros.load(Ordering::Relaxed).checked_sub(1)?;
        Some(now.saturating_duration_since(self.start + Duration::from_micros(micros)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_the_last_byte_is_known_and_older_news_do_not_count() {
        let heard = Heard::new();
        let at = |millis| heard.start + Duration::from_millis(millis);
        assert_eq!(heard.age(at(5)), None);
        heard.touch(at(20));
        heard.touch(at(10));
        assert_eq!(heard.age(at(50)), Some(Duration::from_millis(30)));
    }
}

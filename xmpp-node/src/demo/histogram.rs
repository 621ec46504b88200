//! Latencies in constant memory: counts in buckets that are at most 1.6 % wide.

/// Counts of durations from 1 microsecond to about 70 minutes; longer ones count as that.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    total: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            total: 0,
        }
    }
}

impl Histogram {
    /// Counts one duration, in microseconds.
    pub fn add(&mut self, micros: u64) {
        self.counts[bucket(micros)] += 1;
        self.total += 1;
    }

    /// The duration, in microseconds, that this share of all do not exceed, up to the width of a bucket; 0 if there are
    /// none. `share` is from 0 to 1.
    #[must_use]
    pub fn quantile(&self, share: f64) -> u64 {
        // Counts of stanzas are far below where a float stops being exact.
        let rank = ((self.total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank {
                return highest(index);
            }
        }
        0
    }
}

/// Each power of two is cut into this many buckets.
const STEPS: u64 = 64;

const BUCKETS: usize = 64 * 28;

fn bucket(micros: u64) -> usize {
    if micros < STEPS {
        return micros as usize;
    }
    let shift = u64::from(micros.ilog2()) - u64::from(STEPS.ilog2());
    let index = STEPS * (shift + 1) + (micros >> shift) - STEPS;
    (index as usize).min(BUCKETS - 1)
}

/// The largest duration of a bucket.
const fn highest(index: usize) -> u64 {
    let index = index as u64;
    if index < STEPS {
        return index;
    }
    let shift = index / STEPS - 1;
    ((index % STEPS + STEPS + 1) << shift) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_in_a_bucket_hardly_wider_than_itself() {
        for micros in (0..4_000_000_000_u64).step_by(999_983).chain(0..5000) {
            let top = highest(bucket(micros));
            assert!(top >= micros, "{micros} is above {top}");
            assert!(top - micros <= micros / 64, "{micros} is far below {top}");
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_list() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), 0);
        (1..=100).for_each(|micros| histogram.add(micros * 10));
        let p50 = histogram.quantile(0.5);
        assert!((500..=508).contains(&p50), "{p50}");
        let p99 = histogram.quantile(0.99);
        assert!((990..=1005).contains(&p99), "{p99}");
        assert!(histogram.quantile(1.0) >= 1000);
        assert_eq!(histogram.quantile(0.0), 10);
    }
}

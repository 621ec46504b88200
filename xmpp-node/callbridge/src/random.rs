//! Random numbers for draws and jitter; nothing here guards a secret.

use ring::rand::{SecureRandom, SystemRandom};

/// SplitMix64, seeded by the system.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// A generator no other process shares.
    pub(crate) fn from_system() -> Self {
        let mut seed = [0; 8];
        // Without system randomness the address of a local still differs between processes: good enough for jitter.
        if SystemRandom::new().fill(&mut seed).is_err() {
            return Self(std::ptr::from_ref(&seed).addr() as u64 ^ u64::from(std::process::id()));
        }
        Self(u64::from_ne_bytes(seed))
    }

    /// A uniform number in `0..=max`.
    pub(crate) fn up_to(&mut self, max: u32) -> u32 {
        // The product's high half is uniform but for a bias below 2^-32.
        let high = (u128::from(self.next()) * (u128::from(max) + 1)) >> 64;
        high as u32
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_in_their_range_and_reach_both_ends() {
        let mut random = Random(7);
        let mut seen = [false; 4];
        for _ in 0..200 {
            seen[random.up_to(3) as usize] = true;
        }
        assert_eq!(seen, [true; 4]);
        assert_eq!(random.up_to(0), 0);
        let _ = random.up_to(u32::MAX);
    }
}

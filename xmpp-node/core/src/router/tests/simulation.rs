//! A seeded simulation: nodes with their pending commands, a log that takes chunks in any order, components and clients that come
//! and go, three replicas. Everything random comes from the seed, so a failure can be repeated.
//!
//! | File | Is |
//! |---|---|
//! | `world` | what may happen, and how often; the end in which everything comes to rest |
//! | `faults` | what goes wrong |
//! | `nodes` | a node: pending commands, chunks, its replica, crash and start |
//! | `connections` | a node's end of a stream, as `connection/serving.rs` of the server has it |
//! | `peers` | a component or a client, plain or with XEP-0198 |
//! | `oracle` | what must hold, checked after each entry, each read and each acknowledgement |
//!
//! `XMPP_SIM_SEEDS=n` runs n seeds, from `XMPP_SIM_SEED` on (1 if it is not set).

mod connections;
mod faults;
mod nodes;
mod oracle;
mod peers;
mod world;

/// Seeds that always run.
const SEEDS: u64 = 150;

/// A generator whose numbers follow from its seed (SplitMix64).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 if that is 0.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// True `of` times in 1000.
    fn chance(&mut self, of: u64) -> bool {
        self.next() % 1000 < of
    }
}

/// Says how to repeat what failed.
struct Announce(u64);

impl Drop for Announce {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let seed = self.0;
            eprintln!(
                "seed {seed} failed; repeat: XMPP_SIM_SEED={seed} XMPP_SIM_SEEDS=1 cargo test -p xmpp-core simulation"
            );
        }
    }
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "whoever runs it chooses the seeds"
)]
fn simulation_keeps_every_invariant() {
    let number = |name| {
        std::env::var(name)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
    };
    let first = number("XMPP_SIM_SEED").unwrap_or(1);
    let count = number("XMPP_SIM_SEEDS").unwrap_or(SEEDS);
    let mut sums = oracle::Sums::default();
    for seed in first..first + count {
        let _announce = Announce(seed);
        sums.add(&world::World::new(seed).run());
    }
    println!("{count} seeds: {sums:?}");
    if count >= SEEDS {
        sums.check_that_everything_happened();
    }
}

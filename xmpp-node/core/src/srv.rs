//! The order in which the targets of a service are tried (RFC 2782).
//!
//! Pure: the random numbers are an argument, and DNS is somebody else's work.

/// One SRV record: where a service may be found.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Target {
    /// Lower values are tried first.
    pub priority: u16,
    /// Share of this target among those of the same priority; 0 means hardly ever first.
    pub weight: u16,
    /// TCP port.
    pub port: u16,
    /// Host name as published. A trailing dot may be there; the single dot `.` says that there is
    /// no service.
    pub host: String,
}

/// Orders `targets` for one round of attempts: by priority, within it by the weighted draw of RFC
/// 2782.
///
/// `draw(max)` returns a uniform number in `0..=max`; a number above `max` is taken as `max`.
/// Each call of `order` gives a new order, so a peer calls it for every round.
pub fn order(mut targets: Vec<Target>, draw: &mut dyn FnMut(u32) -> u32) -> Vec<Target> {
    // Weight 0 stands first within its priority, so that only a draw of exactly 0 chooses it. The
    // sort is stable.
    targets.sort_by_key(|target| (target.priority, target.weight != 0));
    let mut ordered = Vec::with_capacity(targets.len());
    while let Some(first) = targets.first() {
        let priority = first.priority;
        let group = targets.partition_point(|target| target.priority == priority);
        let mut rest: Vec<Target> = targets.drain(..group).collect();
        while !rest.is_empty() {
            let chosen = choose(&rest, draw);
            ordered.push(rest.remove(chosen));
        }
    }
    ordered
}

/// Index of the first target whose running sum of weights reaches the number drawn.
fn choose(rest: &[Target], draw: &mut dyn FnMut(u32) -> u32) -> usize {
    let sum = rest.iter().fold(0_u32, |sum, target| {
        sum.saturating_add(target.weight.into())
    });
    let drawn = draw(sum).min(sum);
    let mut running = 0_u32;
    rest.iter()
        .position(|target| {
            running = running.saturating_add(target.weight.into());
            running >= drawn
        })
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(priority: u16, weight: u16, host: &str) -> Target {
        Target {
            priority,
            weight,
            port: 5223,
            host: host.to_owned(),
        }
    }

    /// SplitMix64, so that the draws are the same in each run; reduced without noticeable bias for
    /// small `max`.
    fn draws(mut seed: u64) -> impl FnMut(u32) -> u32 {
        move |max| {
            seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = seed;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let z = (z ^ (z >> 31)) >> 32;
            u32::try_from((z * (u64::from(max) + 1)) >> 32).unwrap_or(max)
        }
    }

    fn hosts(ordered: &[Target]) -> Vec<&str> {
        ordered.iter().map(|target| target.host.as_str()).collect()
    }

    #[test]
    fn rfc_2782_lower_priority_comes_first() {
        let ordered = order(
            vec![target(20, 9, "c"), target(10, 1, "a"), target(15, 0, "b")],
            &mut draws(1),
        );
        assert_eq!(hosts(&ordered), ["a", "b", "c"]);
    }

    #[test]
    fn rfc_2782_running_sum_chooses_the_first_target_that_reaches_the_draw() {
        let targets = || vec![target(1, 10, "a"), target(1, 20, "b"), target(1, 0, "zero")];
        assert_eq!(hosts(&order(targets(), &mut |_| 0)), ["zero", "a", "b"]);
        assert_eq!(
            hosts(&order(targets(), &mut |max| max.min(10))),
            ["a", "b", "zero"]
        );
        assert_eq!(
            hosts(&order(targets(), &mut |max| max.min(11))),
            ["b", "a", "zero"]
        );
        assert_eq!(hosts(&order(targets(), &mut |max| max)), ["b", "a", "zero"]);
    }

    #[test]
    fn every_target_is_kept_once() {
        let mut draw = draws(7);
        for _ in 0..100 {
            let targets = vec![
                target(1, 0, "a"),
                target(1, 0, "b"),
                target(1, 5, "c"),
                target(2, 65_535, "d"),
            ];
            let ordered = order(targets, &mut draw);
            let mut seen = hosts(&ordered);
            assert_eq!(seen[3], "d");
            seen.sort_unstable();
            assert_eq!(seen, ["a", "b", "c", "d"]);
        }
    }

    #[test]
    fn draw_outside_its_range_still_gives_an_order() {
        assert_eq!(
            order(vec![target(1, 1, "a"), target(1, 1, "b")], &mut |_| {
                u32::MAX
            })
            .len(),
            2
        );
        assert!(order(Vec::new(), &mut |_| 0).is_empty());
    }

    /// RFC 2782. Of the weights 0, 10, 30, 60 a draw in 0..=100 gives the first place 1, 10, 30, 60
    /// times in 101.
    #[test]
    fn rfc_2782_first_places_of_100_000_draws_pass_a_chi_square_test() {
        const ROUNDS: u32 = 100_000;
        let mut draw = draws(2782);
        let mut seen = [0_u32; 4];
        for _ in 0..ROUNDS {
            let targets = vec![
                target(1, 60, "3"),
                target(1, 0, "0"),
                target(1, 10, "1"),
                target(1, 30, "2"),
            ];
            let first = order(targets, &mut draw).swap_remove(0);
            seen[usize::from(first.host.as_bytes()[0] - b'0')] += 1;
        }
        let chi_square: f64 = [1.0, 10.0, 30.0, 60.0]
            .iter()
            .zip(seen)
            .map(|(share, seen)| {
                let expected = f64::from(ROUNDS) * share / 101.0;
                (f64::from(seen) - expected).powi(2) / expected
            })
            .sum();
        // Three degrees of freedom: 16.27 is passed by chance once in a thousand seeds.
        assert!(
            chi_square < 16.27,
            "chi-square {chi_square}, first places {seen:?}"
        );
    }
}

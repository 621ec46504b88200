//! Each sentence of the module's documentation, with times made up.

use std::net::{IpAddr, Ipv4Addr};

use super::*;

const POLICY: Policy = Policy {
    failures: 3,
    per_source: 10,
    per_name: 8,
    first: Duration::from_secs(1),
    longest: Duration::from_secs(30),
};
const NAME: &str = "cb1.example.test";

fn source(last: u32) -> Source {
    Source::from(IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + last)))
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Attempts with a wrong secret, as early as they are allowed, until `end`; returns how many were compared.
fn guess(
    throttle: &mut Throttle,
    source: Source,
    name: &str,
    mut now: Instant,
    end: Instant,
) -> u32 {
    let mut compared = 0;
    while now < end {
        match throttle.check(source, name, now) {
            Ok(()) => {
                throttle.failed(source, name, now);
                compared += 1;
            }
            Err(wait) => now += wait,
        }
    }
    compared
}

#[test]
fn waits_double_from_the_first_to_the_longest() {
    let (mut throttle, mut now) = (Throttle::new(POLICY), Instant::now());
    for _ in 1..POLICY.failures {
        throttle.failed(source(1), NAME, now);
        assert_eq!(throttle.check(source(1), NAME, now), Ok(()));
    }
    for wait in [1, 2, 4, 8, 16, 30, 30] {
        throttle.failed(source(1), NAME, now);
        assert_eq!(throttle.check(source(1), NAME, now), Err(seconds(wait)));
        now += seconds(wait);
        assert_eq!(throttle.check(source(1), NAME, now), Ok(()));
    }
}

#[test]
fn quiet_for_twice_the_longest_wait_forgets_all() {
    let (mut throttle, now) = (Throttle::new(POLICY), Instant::now());
    guess(&mut throttle, source(1), NAME, now, now + seconds(60));
    let later = now + seconds(60) + POLICY.longest * 2;
    for _ in 1..POLICY.failures {
        throttle.failed(source(1), NAME, later);
        assert_eq!(throttle.check(source(1), NAME, later), Ok(()));
    }
}

#[test]
fn the_right_secret_ends_the_wait_of_its_name_and_source() {
    let (mut throttle, now) = (Throttle::new(POLICY), Instant::now());
    throttle.failed(source(1), NAME, now);
    throttle.failed(source(1), NAME, now);
    throttle.proved(source(1), NAME, now);
    throttle.failed(source(1), NAME, now);
    throttle.failed(source(1), NAME, now);
    assert_eq!(throttle.check(source(1), NAME, now), Ok(()));
}

#[test]
fn a_newcomer_with_the_secret_is_compared_however_many_others_failed_with_its_name() {
    let (mut throttle, now) = (Throttle::new(POLICY), Instant::now());
    for attacker in 2..1000 {
        guess(
            &mut throttle,
            source(attacker),
            NAME,
            now,
            now + seconds(120),
        );
    }
    assert_eq!(throttle.check(source(1), NAME, now + seconds(120)), Ok(()));
}

#[test]
fn a_name_that_many_guess_at_costs_each_of_them_a_wait_from_the_first_failure_on() {
    let (mut throttle, now) = (Throttle::new(POLICY), Instant::now());
    for attacker in 0..POLICY.per_name {
        throttle.failed(source(attacker), NAME, now);
        assert_eq!(throttle.check(source(attacker), NAME, now), Ok(()));
    }
    throttle.failed(source(100), NAME, now);
    assert_eq!(throttle.check(source(100), NAME, now), Err(seconds(1)));
    let elsewhere = throttle.check(source(100), "cb2.example.test", now);
    assert_eq!(elsewhere, Ok(()), "another name is another matter");
}

#[test]
fn names_tried_from_one_source_are_one_a_second_after_the_first_few() {
    let (mut throttle, now) = (Throttle::new(POLICY), Instant::now());
    let mut compared = 0;
    for number in 0..1000 {
        let name = format!("cb{number}.example.test");
        if throttle.check(source(1), &name, now).is_ok() {
            throttle.failed(source(1), &name, now);
            compared += 1;
        }
    }
    assert_eq!(compared, POLICY.per_source);
    assert_eq!(throttle.check(source(1), NAME, now), Err(seconds(1)));
    assert_eq!(throttle.check(source(1), NAME, now + seconds(1)), Ok(()));
    assert_eq!(throttle.check(source(2), NAME, now), Ok(()));
}

#[test]
fn neighbours_that_fail_for_ever_do_not_use_up_what_their_source_may_do() {
    let (mut throttle, start) = (Throttle::new(POLICY), Instant::now());
    // So many that a failure each `longest` is more than a source is forgiven in that time.
    let names: Vec<_> = (0..60)
        .map(|number| format!("wrong{number}.example.test"))
        .collect();
    let mut compared = 0;
    let hour = start + seconds(3600);
    let mut now = start;
    while now < hour {
        for name in &names {
            if throttle.check(source(1), name, now).is_ok() {
                throttle.failed(source(1), name, now);
                compared += 1;
            }
        }
        now += seconds(1);
    }
    assert!(compared > 3600, "the neighbours went on: {compared}");
    assert_eq!(throttle.check(source(1), NAME, now), Ok(()));
}

#[test]
fn a_name_proved_from_a_source_is_not_refused_for_its_neighbours_and_waits_the_least_for_itself() {
    let (mut throttle, now) = (Throttle::new(POLICY), Instant::now());
    throttle.proved(source(1), NAME, now);
    for number in 0..1000 {
        throttle.failed(source(1), &format!("cb{number}.example.test"), now);
    }
    assert_eq!(throttle.check(source(1), NAME, now), Ok(()));
    for _ in 0..100 {
        throttle.failed(source(1), NAME, now);
    }
    assert_eq!(throttle.check(source(1), NAME, now), Err(POLICY.first));
}

#[test]
fn asking_too_early_makes_no_wait_longer() {
    let (mut throttle, now) = (Throttle::new(POLICY), Instant::now());
    for _ in 0..POLICY.failures {
        throttle.failed(source(1), NAME, now);
    }
    for _ in 0..100 {
        assert_eq!(throttle.check(source(1), NAME, now), Err(seconds(1)));
    }
}

#[test]
fn tables_are_bounded() {
    let (mut throttle, now) = (Throttle::new(POLICY), Instant::now());
    for other in 1..=u32::try_from(3 * ENTRIES).expect("fits") {
        let name = format!("cb{other}.example.test");
        throttle.failed(source(other), &name, now);
        throttle.proved(source(other), &format!("{name}.x"), now);
    }
    assert_eq!(throttle.pairs.0.len(), ENTRIES);
    assert_eq!(throttle.sources.0.len(), ENTRIES);
    assert_eq!(throttle.names.0.len(), ENTRIES);
    assert_eq!(throttle.proved.0.len(), ENTRIES);
}

//! The books, event by event.

use super::*;

const AB: Direction = Direction { from: 0, to: 1 };
const BA: Direction = Direction { from: 1, to: 0 };

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// One event in the life of a pair.
#[derive(Clone, Copy)]
enum Happens {
    Sends(Direction),
    Receives(Direction, u64),
    IsRefused(Direction, u64),
}

use Happens::{IsRefused, Receives, Sends};

#[test]
fn what_became_of_every_number_is_told_apart() {
    // sent, delivered, errors, duplicates, out of order, unaccounted
    let cases: [(&str, &[Happens], [u64; 6]); 11] = [
        ("nothing", &[], [0; 6]),
        (
            "delivery",
            &[Sends(AB), Receives(AB, 1)],
            [1, 1, 0, 0, 0, 0],
        ),
        (
            "loss",
            &[Sends(AB), Sends(AB), Receives(AB, 1)],
            [2, 1, 0, 0, 0, 1],
        ),
        (
            "loss in the middle is no disorder",
            &[
                Sends(AB),
                Sends(AB),
                Sends(AB),
                Receives(AB, 1),
                Receives(AB, 3),
            ],
            [3, 2, 0, 0, 0, 1],
        ),
        (
            "repeat",
            &[Sends(AB), Receives(AB, 1), Receives(AB, 1), Receives(AB, 1)],
            [1, 1, 0, 2, 0, 0],
        ),
        (
            "reordering",
            &[
                Sends(AB),
                Sends(AB),
                Sends(AB),
                Receives(AB, 3),
                Receives(AB, 1),
                Receives(AB, 2),
            ],
            [3, 3, 0, 0, 2, 0],
        ),
        ("error", &[Sends(AB), IsRefused(AB, 1)], [1, 0, 1, 0, 0, 0]),
        (
            "error for what was delivered",
            &[Sends(AB), Receives(AB, 1), IsRefused(AB, 1)],
            [1, 1, 0, 1, 0, 0],
        ),
        (
            "delivery of what was refused",
            &[Sends(AB), IsRefused(AB, 1), Receives(AB, 1)],
            [1, 0, 1, 1, 0, 0],
        ),
        (
            "a number never sent",
            &[Sends(AB), Receives(AB, 2)],
            [1, 0, 0, 1, 0, 1],
        ),
        (
            "the other direction is a pair of its own",
            &[
                Sends(AB),
                Sends(BA),
                Sends(BA),
                Receives(BA, 2),
                Receives(AB, 1),
                Receives(BA, 1),
            ],
            [3, 3, 0, 0, 1, 0],
        ),
    ];
    for (name, events, expected) in cases {
        let mut accounts = Accounts::new(2);
        for (at, event) in (1..).zip(events) {
            match *event {
                Sends(direction) => {
                    accounts.submit(direction, ms(at));
                }
                Receives(direction, number) => accounts.deliver(direction, number, ms(0), ms(at)),
                IsRefused(direction, number) => accounts.fail(direction, number),
            }
        }
        let totals = accounts.totals();
        let found = [
            totals.sent,
            totals.delivered,
            totals.errors,
            totals.duplicates,
            totals.out_of_order,
            totals.unaccounted,
        ];
        assert_eq!(found, expected, "{name}");
        assert_eq!(
            totals.sent,
            totals.delivered + totals.errors + totals.unaccounted,
            "{name}"
        );
    }
}

#[test]
fn what_a_stopped_bridge_did_not_take_was_not_sent() {
    let mut accounts = Accounts::new(2);
    accounts.submit(AB, ms(0));
    let number = accounts.submit(AB, ms(1));
    accounts.withdraw(AB, number);
    assert_eq!(accounts.totals().sent, 1);
    assert_eq!(accounts.open_numbers(9), ["1>2:1"]);
}

#[test]
fn the_longest_gap_is_that_of_the_worst_pair() {
    let mut accounts = Accounts::new(2);
    for at in [0, 10, 20, 30] {
        accounts.submit(AB, ms(at));
        accounts.submit(BA, ms(at));
    }
    // One direction flows all the time, the other is held up from 5 to 95.
    for (number, at) in [(1, 5), (2, 15), (3, 25), (4, 35)] {
        accounts.deliver(AB, number, ms(0), ms(at));
    }
    accounts.deliver(BA, 1, ms(0), ms(5));
    accounts.deliver(BA, 2, ms(10), ms(95));
    assert_eq!(accounts.totals().longest_gap, ms(90));
}

#[test]
fn each_pair_has_gaps_of_its_own() {
    let mut accounts = Accounts::new(2);
    for at in [0, 10] {
        accounts.submit(AB, ms(at));
        accounts.submit(BA, ms(at));
    }
    accounts.deliver(AB, 1, ms(0), ms(5));
    accounts.deliver(BA, 1, ms(0), ms(5));
    accounts.fault(ms(7));
    accounts.deliver(AB, 2, ms(10), ms(15));
    accounts.deliver(BA, 2, ms(10), ms(95));
    accounts.over(ms(96));
    assert_eq!(accounts.gaps(AB).by_fault(), [ms(10)]);
    assert_eq!(accounts.gaps(BA).by_fault(), [ms(90)]);
    assert_eq!(accounts.totals().gap_by_fault, [ms(90)]);
    assert_eq!((accounts.delivered(AB), accounts.delivered(BA)), (2, 2));
    accounts.finish(ms(1000));
    assert_eq!(accounts.totals().gap_by_fault, [ms(90)], "it was over");
}

#[test]
fn the_first_message_opens_the_first_gap() {
    let mut accounts = Accounts::new(2);
    accounts.submit(AB, ms(1000));
    accounts.deliver(AB, 1, ms(1000), ms(1007));
    let totals = accounts.totals();
    assert_eq!(totals.longest_gap, ms(7));
    assert!((7000..7200).contains(&totals.latency_p50_us), "{totals:?}");
}

#[test]
fn a_gap_counts_only_while_something_is_offered_or_open() {
    let mut accounts = Accounts::new(2);
    accounts.submit(AB, ms(0));
    accounts.submit(BA, ms(0));
    accounts.deliver(AB, 1, ms(0), ms(10));
    accounts.close(ms(30));
    assert_eq!(accounts.totals().longest_gap, ms(20), "offered, but idle");
    accounts.deliver(BA, 1, ms(0), ms(50));
    assert_eq!(accounts.totals().longest_gap, ms(50), "open beyond the end");
    accounts.finish(ms(1000));
    assert_eq!(accounts.totals().longest_gap, ms(50), "nothing was awaited");
}

#[test]
fn what_never_arrives_is_a_gap_to_the_end() {
    let mut accounts = Accounts::new(2);
    accounts.submit(AB, ms(0));
    accounts.fault(ms(100));
    accounts.close(ms(200));
    accounts.finish(ms(10_200));
    let totals = accounts.totals();
    assert_eq!(totals.longest_gap, ms(10_200));
    assert_eq!(totals.gap_by_fault, [ms(10_200)]);
    assert_eq!(totals.unaccounted, 1);
}

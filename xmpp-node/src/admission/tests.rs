//! Places as sources come and go.

use std::net::Ipv4Addr;

use super::*;

const BOUNDS: Bounds = Bounds {
    connections: 100,
    connections_per_source: 50,
    unproved: 8,
    unproved_per_source: 5,
};

fn source(last: u8) -> Source {
    Source::from(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)))
}

fn admitted(admission: &Arc<Admission>, source: Source, count: usize) -> Vec<(Place, Unproved)> {
    (0..count)
        .map(|_| admission.admit(source).expect("there is room"))
        .collect()
}

fn displaced(held: &[(Place, Unproved)]) -> Vec<bool> {
    held.iter()
        .map(|(_, unproved)| unproved.displaced.is_cancelled())
        .collect()
}

fn parsed(address: &str) -> Source {
    Source::from(address.parse::<IpAddr>().expect("an address"))
}

#[test]
fn a_source_is_an_ipv4_address_or_an_ipv6_network() {
    assert_eq!(parsed("::ffff:10.0.0.1"), parsed("10.0.0.1"));
    assert_ne!(parsed("::ffff:10.0.0.1"), parsed("::ffff:10.0.0.2"));
    assert_eq!(parsed("2001:db8:0:1::1"), parsed("2001:db8:0:1:ffff::"));
    assert_ne!(parsed("2001:db8:0:1::1"), parsed("2001:db8:0:2::1"));
}

#[test]
fn one_source_cannot_take_more_than_its_share() {
    let admission = Admission::new(BOUNDS);
    let held = admitted(&admission, source(1), 5);
    let refused = admission.admit(source(1)).err();
    assert_eq!(refused, Some(Refused::Limit("unauthenticated_per_address")));
    assert_eq!(displaced(&held), [false; 5]);
    admission.admit(source(2)).expect("others come in");
}

#[test]
fn a_newcomer_displaces_the_oldest_of_the_source_with_the_most() {
    let admission = Admission::new(BOUNDS);
    let one = admitted(&admission, source(1), 5);
    let two = admitted(&admission, source(2), 3);
    let newcomer = admitted(&admission, source(3), 1);
    assert_eq!(displaced(&one), [true, false, false, false, false]);
    assert_eq!(displaced(&two), [false; 3]);
    assert_eq!(displaced(&newcomer), [false]);
    assert_eq!(admission.unproved(), BOUNDS.unproved);
    // What was displaced frees no second place when it is gone.
    drop(one);
    assert_eq!(admission.unproved(), 4);
}

#[test]
fn a_source_with_its_fair_part_displaces_nobody() {
    let admission = Admission::new(BOUNDS);
    let one = admitted(&admission, source(1), 4);
    let two = admitted(&admission, source(2), 4);
    let refused = admission.admit(source(2)).err();
    assert_eq!(refused, Some(Refused::Limit("unauthenticated")));
    assert_eq!(displaced(&one), [false; 4]);
    assert_eq!(displaced(&two), [false; 4]);
}

#[tokio::test]
async fn where_every_place_is_of_another_source_the_next_waits_for_one() {
    let admission = Admission::new(BOUNDS);
    let mut held: Vec<_> = (1..=8)
        .flat_map(|number| admitted(&admission, source(number), 1))
        .collect();
    assert_eq!(admission.admit(source(9)).err(), Some(Refused::Wait));
    held.pop();
    admission.freed().await;
    admission.admit(source(9)).expect("one is gone");
}

#[test]
fn who_proved_a_secret_keeps_the_connection_and_gives_back_the_place() {
    let admission = Admission::new(Bounds {
        connections: 3,
        ..BOUNDS
    });
    let places: Vec<_> = admitted(&admission, source(1), 3)
        .into_iter()
        .map(|(place, _)| place)
        .collect();
    assert_eq!(admission.unproved(), 0);
    let refused = admission.admit(source(2)).err();
    assert_eq!(refused, Some(Refused::Limit("connections")));
    drop(places);
    admission.admit(source(2)).expect("there is room again");
    assert!(
        admission.table().per_source.len() <= 1,
        "nothing is kept of who is gone"
    );
}

#[test]
fn connections_of_a_source_are_bounded_whether_proved_or_not() {
    let admission = Admission::new(Bounds {
        connections_per_source: 2,
        ..BOUNDS
    });
    let _places: Vec<_> = admitted(&admission, source(1), 2)
        .into_iter()
        .map(|(place, _)| place)
        .collect();
    let refused = admission.admit(source(1)).err();
    assert_eq!(refused, Some(Refused::Limit("connections_per_address")));
}

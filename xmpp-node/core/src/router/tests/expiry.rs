//! Sessions that end while stanzas wait for them.

use super::*;

#[test]
fn an_expired_session_answers_all_that_waits_and_frees_the_name() {
    let mut cluster = Harness::new();
    let (a, b) = (cluster.bind(2, 1, "a", true), cluster.bind(2, 2, "b", true));
    let unanswerable = "<message from='b.example.test' to='a.example.test' type='error' id='e'/>";
    cluster.send(
        2,
        2,
        b,
        &[
            &message("b", "a", "m1"),
            unanswerable,
            &message("b", "a", "m2"),
        ],
    );
    cluster.expire(1, 1);
    assert!(cluster.is_served(1, 2, a), "it has a stream");
    cluster.detach(2, 1, a, false);
    cluster.expire(1, 2);
    assert_eq!(
        cluster.router.detached().count(),
        1,
        "decided about another epoch"
    );
    cluster.expire(1, 1);
    assert_eq!(cluster.router.session(id(1)), None);
    assert_eq!(
        cluster.waiting(2),
        ["m1!remote-server-timeout", "m2!remote-server-timeout"]
    );
    let ledger = cluster.router.ledger();
    assert_eq!((ledger.expired, ledger.discarded), (2, 1));
    cluster.send(2, 2, b, &[&message("b", "a", "m3")]);
    assert_eq!(
        cluster.waiting(2).last().map(String::as_str),
        Some("m3!remote-server-timeout")
    );
    let next = cluster.bind(3, 3, "a", true);
    assert!(cluster.is_served(3, 3, next));
    assert_eq!(cluster.waiting(3), [""; 0]);
}

#[test]
fn answers_of_one_entry_have_different_places_so_that_none_is_taken_for_a_repeat() {
    let mut cluster = Harness::new();
    let (a, b) = (cluster.bind(2, 1, "a", true), cluster.bind(2, 2, "b", true));
    cluster.send(
        2,
        2,
        b,
        &[&message("b", "a", "m1"), &message("b", "a", "m2")],
    );
    cluster.detach(2, 1, a, false);
    let first = cluster.next_request(2);
    let mut pieces = vec![
        Command::Expire {
            session: id(1),
            epoch: 1,
        }
        .encode(),
    ];
    pieces.extend(pack(
        id(2),
        b,
        &[&message("b", "a", "m3"), &message("b", "b", "m4")],
    ));
    cluster.chunk(cluster.header(2, first, 2), &pieces);
    let places: BTreeSet<_> = cluster
        .session(2)
        .queue
        .after(0)
        .map(|item| (item.index, item.offset))
        .collect();
    assert_eq!(cluster.waiting(2).len(), 4);
    assert_eq!(places.len(), 4, "{places:?}");
}

#[test]
fn an_expired_stanza_whose_sender_is_gone_is_counted_though_nobody_hears_of_it() {
    let mut cluster = Harness::new();
    let (a, b) = (cluster.bind(2, 1, "a", true), cluster.bind(2, 2, "b", true));
    cluster.send(2, 2, b, &[&message("b", "a", "m1")]);
    cluster.detach(2, 1, a, false);
    cluster.detach(2, 2, b, false);
    cluster.expire(2, 1);
    cluster.expire(1, 1);
    let ledger = cluster.router.ledger();
    assert_eq!(
        (ledger.expired, ledger.replies, ledger.replies_dropped),
        (1, 1, 1)
    );
}

//! Sessions that go on with another stream (XEP-0198, 5), and what is confirmed.

use super::*;

/// Bridge `a` with `count` messages waiting, bound by node 2 as session 1.
fn with_waiting(count: usize) -> (Harness, u64) {
    let mut cluster = Harness::new();
    let stream = cluster.bind(2, 1, "a", true);
    for number in 1..=count {
        cluster.send(2, 1, stream, &[&message("a", "a", &format!("m{number}"))]);
    }
    cluster.take_news();
    (cluster, stream)
}

#[test]
fn a_resumed_session_goes_on_at_h_with_a_new_epoch_and_stream() {
    let (mut cluster, old) = with_waiting(3);
    cluster.detach(2, 1, old, false);
    cluster.take_news();
    let new = cluster.resume(3, 1, "a", 2);
    assert_eq!(cluster.take_news(), [News::Session(id(1))]);
    assert!(cluster.is_served(1, 3, new));
    assert_eq!(cluster.waiting(1), ["m3"]);
    let session = cluster.session(1);
    assert_eq!((session.epoch, session.taken, session.carried), (2, 3, 3));
    assert_eq!(cluster.router.detached().count(), 0);
    assert_eq!(cluster.router.ledger().delivered, 2);
    cluster.expire(1, 1);
    assert!(
        cluster.is_served(1, 3, new),
        "what was decided about the detached session is outdated"
    );
}

#[test]
fn a_resumption_takes_the_session_from_a_stream_that_still_serves_it_and_fences_it() {
    let (mut cluster, old) = with_waiting(2);
    let new = cluster.resume(2, 1, "a", 0);
    assert!(cluster.is_served(1, 2, new), "on the same node");
    cluster.send(2, 1, old, &[&message("a", "a", "late")]);
    cluster.acknowledge(2, 1, old, 2);
    cluster.detach(2, 1, old, true);
    assert_eq!(cluster.waiting(1), ["m1", "m2"]);
    assert_eq!(cluster.session(1).taken, 2);
    assert!(cluster.is_served(1, 2, new));
}

#[test]
fn a_resumption_refuses_whoever_waits_for_the_name() {
    let (mut cluster, _) = with_waiting(1);
    cluster.bind(3, 2, "a", true);
    cluster.take_news();
    let new = cluster.resume(4, 1, "a", 1);
    assert_eq!(cluster.refusals(), [(id(2), Refusal::Conflict)]);
    assert!(cluster.is_served(1, 4, new));
    assert_eq!(cluster.router.held().count(), 0);
}

#[test]
fn what_cannot_be_resumed_is_not_found() {
    let (mut cluster, stream) = with_waiting(1);
    cluster.bind(2, 2, "b", false);
    cluster.take_news();
    let cases = [
        ("a session that never was", 9, "a"),
        ("the session of another name", 1, "b"),
        ("a session of a plain component", 2, "b"),
    ];
    for (what, session, name) in cases {
        cluster.resume(3, session, name, 0);
        assert_eq!(
            cluster.refusals(),
            [(id(session), Refusal::ItemNotFound)],
            "{what}"
        );
    }
    cluster.detach(2, 1, stream, true);
    cluster.take_news();
    cluster.resume(3, 1, "a", 0);
    assert_eq!(
        cluster.refusals(),
        [(id(1), Refusal::ItemNotFound)],
        "one that its peer ended"
    );
}

#[test]
fn a_resumption_needs_a_secret_that_is_still_valid() {
    let (mut cluster, stream) = with_waiting(1);
    for (domain, generation) in [("a.example.test", 2), ("x.example.test", 1)] {
        cluster.propose(
            3,
            &Command::Resume {
                session: id(1),
                name: domain,
                generation,
                h: 0,
            },
        );
        assert_eq!(cluster.refusals(), [(id(1), Refusal::NotAuthorized)]);
    }
    assert!(cluster.is_served(1, 2, stream));
}

#[test]
fn a_peer_that_claims_more_than_it_was_sent_is_refused_and_one_that_forgot_starts_anew() {
    let (mut cluster, stream) = with_waiting(3);
    cluster.acknowledge(2, 1, stream, 2);
    cluster.take_news();
    let too_high = |h| Refusal::HandledTooHigh { h, sent: 3 };
    for (h, refusal) in [
        (4, too_high(4)),
        (0x7fff_ffff, too_high(0x7fff_ffff)),
        (u32::MAX, too_high(u32::MAX)),
        (1, Refusal::ItemNotFound),
    ] {
        cluster.resume(3, 1, "a", h);
        assert_eq!(cluster.refusals(), [(id(1), refusal)], "{h}");
        assert!(cluster.is_served(1, 2, stream));
    }
    cluster.resume(3, 1, "a", 2);
    assert_eq!(cluster.waiting(1), ["m3"]);
}

#[test]
fn h_wraps_at_2_to_the_32() {
    let (mut cluster, _) = with_waiting(5);
    let session = cluster.router.sessions.get_mut(&id(1)).expect("bound");
    let items = session.queue.take();
    let base = u64::from(u32::MAX) - 1;
    session.queue = Queue::restore(base, items);
    session.taken = base;
    for (h, refusal) in [
        (4, Some(Refusal::HandledTooHigh { h: 4, sent: 3 })),
        (u32::MAX - 2, Some(Refusal::ItemNotFound)),
        (u32::MAX - 1, None),
        (u32::MAX, None),
        (1, None),
        (3, None),
    ] {
        cluster.resume(3, 1, "a", h);
        let refused = cluster.refusals().pop().map(|(_, refusal)| refusal);
        assert_eq!(refused, refusal, "{h}");
    }
    let stream = cluster.resume(3, 1, "a", 3);
    assert_eq!(cluster.waiting(1), [""; 0]);
    cluster.send(
        3,
        1,
        stream,
        &[&message("a", "x", "1"), &message("a", "x", "2")],
    );
    assert_eq!(cluster.session(1).handled(), 0);
}

#[test]
fn confirmed_stanzas_are_delivered_once_and_answers_of_the_cluster_are_not_counted() {
    let (mut cluster, stream) = with_waiting(2);
    cluster.send(
        2,
        1,
        stream,
        &[&message("a", "x", "m3"), &message("a", "a", "m4")],
    );
    assert_eq!(
        cluster.waiting(1),
        ["m1", "m2", "m3!remote-server-not-found", "m4"]
    );
    cluster.acknowledge(2, 1, stream, 3);
    cluster.acknowledge(2, 1, stream, 3);
    cluster.acknowledge(2, 1, stream, 1);
    assert_eq!(cluster.router.ledger().delivered, 2);
    assert_eq!(cluster.waiting(1), ["m4"]);
    cluster.acknowledge(2, 1, stream, u64::MAX);
    assert_eq!(cluster.router.ledger().delivered, 3);
    assert_eq!(
        cluster.session(1).queue.confirmed(),
        4,
        "no more than there is"
    );
}

#[test]
fn egress_reads_on_from_its_cursor_whatever_was_confirmed_meanwhile() {
    let (mut cluster, stream) = with_waiting(3);
    let after = |cluster: &Harness, position| -> Vec<String> {
        cluster
            .session(1)
            .queue
            .after(position)
            .map(short)
            .collect()
    };
    assert_eq!(after(&cluster, 1), ["m2", "m3"]);
    cluster.acknowledge(2, 1, stream, 2);
    assert_eq!(
        after(&cluster, 1),
        ["m3"],
        "a cursor behind what is confirmed"
    );
    assert_eq!(after(&cluster, 2), ["m3"]);
    assert_eq!(after(&cluster, 3), [""; 0]);
    assert_eq!(after(&cluster, u64::MAX), [""; 0]);
}

#[test]
fn stanzas_are_taken_only_from_the_stream_that_serves_the_session() {
    let (mut cluster, stream) = with_waiting(0);
    let texts = [&*message("a", "a", "no")];
    cluster.send(3, 1, stream, &texts);
    cluster.send(2, 1, stream + 1, &texts);
    cluster.send(2, 9, stream, &texts);
    assert_eq!(cluster.router.ledger().accepted, 0);
    cluster.send(2, 1, stream, &texts);
    assert_eq!(cluster.waiting(1), ["no"]);
}

#[test]
fn a_session_shows_eight_digits_of_its_id_and_reads_back_what_it_gave_its_peer() {
    let session = SessionId(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
    assert_eq!(format!("{session:?}"), "session 01234567..");
    assert_eq!(SessionId::from_previd(&session.previd()), Some(session));
    for text in [
        "",
        "+123456789abcdef0123456789abcdef",
        "0123456789abcdef0123456789abcdefg",
        "é",
    ] {
        assert_eq!(SessionId::from_previd(text), None);
    }
}

//! Who serves a name: bind, conflict, take-over, detach, expiry, nodes that come and go.

use super::*;

#[test]
fn a_free_name_is_served_by_the_stream_that_asked() {
    let mut cluster = Harness::new();
    let stream = cluster.bind(2, 1, "a", true);
    assert!(cluster.is_served(1, 2, stream));
    assert_eq!(cluster.take_news(), [News::Session(id(1))]);
    let session = cluster.session(1);
    assert_eq!((session.epoch, session.taken, session.carried), (1, 0, 0));
    assert!(!cluster.is_served(1, 3, stream));
    assert!(!cluster.is_served(1, 2, stream + 1));
}

#[test]
fn a_bind_needs_a_secret_that_is_still_valid() {
    let mut cluster = Harness::new();
    for (domain, generation) in [
        ("a.example.test", 2),
        ("x.example.test", 1),
        ("a.example.test", 0),
    ] {
        let command = Command::Bind {
            session: id(1),
            domain,
            generation,
            managed: true,
        };
        cluster.propose(2, &command);
        assert_eq!(cluster.refusals(), [(id(1), Refusal::NotAuthorized)]);
    }
}

#[test]
fn a_session_id_that_is_in_use_is_refused_and_the_session_lives_on() {
    let mut cluster = Harness::new();
    let a = cluster.bind(2, 1, "a", true);
    cluster.send(2, 1, a, &[&message("a", "a", "m1")]);
    cluster.take_news();
    cluster.bind(3, 1, "b", true);
    assert_eq!(cluster.refusals(), [(id(1), Refusal::Conflict)]);
    assert!(cluster.is_served(1, 2, a));
    assert_eq!(cluster.waiting(1), ["m1"]);
}

#[test]
fn a_taken_name_is_held_while_its_holder_is_asked_for_a_sign_of_life() {
    let mut cluster = Harness::new();
    let a = cluster.bind(2, 1, "a", true);
    cluster.take_news();
    cluster.bind(3, 2, "a", true);
    assert_eq!(cluster.take_news(), [News::Probe(id(1))]);
    assert!(cluster.is_served(1, 2, a));
    assert_eq!(
        cluster.router.held().collect::<Vec<_>>(),
        [(id(1), 1, id(2))]
    );
    // One waits, further ones are refused.
    cluster.bind(4, 3, "a", true);
    assert_eq!(cluster.refusals(), [(id(3), Refusal::Conflict)]);
}

#[test]
fn a_holder_that_answers_keeps_the_name() {
    let mut cluster = Harness::new();
    let a = cluster.bind(2, 1, "a", true);
    cluster.bind(3, 2, "a", true);
    cluster.take_news();
    cluster.propose(
        2,
        &Command::Keep {
            session: id(1),
            stream: a + 1,
        },
    );
    assert_eq!(
        cluster.router.held().count(),
        1,
        "another stream answers nothing"
    );
    cluster.propose(
        2,
        &Command::Keep {
            session: id(1),
            stream: a,
        },
    );
    assert_eq!(cluster.refusals(), [(id(2), Refusal::Conflict)]);
    cluster.propose(
        1,
        &Command::Evict {
            session: id(1),
            epoch: 1,
            newcomer: id(2),
        },
    );
    assert!(cluster.is_served(1, 2, a), "nobody waits any more");
}

#[test]
fn a_holder_that_does_not_answer_gives_name_and_queue_to_the_newcomer() {
    let mut cluster = Harness::new();
    let a = cluster.bind(2, 1, "a", false);
    cluster.send(
        2,
        1,
        a,
        &[&message("a", "a", "m1"), &message("a", "a", "m2")],
    );
    cluster.acknowledge(2, 1, a, 1);
    let newcomer = cluster.bind(3, 2, "a", true);
    cluster.propose(
        1,
        &Command::Evict {
            session: id(1),
            epoch: 2,
            newcomer: id(2),
        },
    );
    assert!(cluster.is_served(1, 2, a), "decided about another epoch");
    cluster.take_news();
    cluster.propose(
        1,
        &Command::Evict {
            session: id(1),
            epoch: 1,
            newcomer: id(2),
        },
    );
    assert_eq!(
        cluster.take_news(),
        [News::Session(id(1)), News::Session(id(2))]
    );
    assert_eq!(cluster.router.session(id(1)), None);
    assert!(cluster.is_served(2, 3, newcomer));
    assert_eq!(cluster.waiting(2), ["m2"]);
    let queue = &cluster.session(2).queue;
    assert_eq!(
        (queue.confirmed(), queue.end()),
        (0, 1),
        "positions are counted anew"
    );
    assert_eq!(cluster.session(2).carried, 1);
    assert_eq!(cluster.session(2).taken, 0);
}

#[test]
fn a_holder_is_not_evicted_for_a_newcomer_that_no_longer_waits() {
    let mut cluster = Harness::new();
    let a = cluster.bind(2, 1, "a", true);
    cluster.bind(3, 2, "a", true);
    cluster.propose(
        2,
        &Command::Keep {
            session: id(1),
            stream: a,
        },
    );
    // Proposed for the one before, while the holder's answer was under way.
    cluster.bind(4, 3, "a", true);
    let evict = |newcomer| Command::Evict {
        session: id(1),
        epoch: 1,
        newcomer,
    };
    cluster.propose(1, &evict(id(2)));
    assert!(cluster.is_served(1, 2, a));
    cluster.propose(1, &evict(id(3)));
    assert!(!cluster.is_served(1, 2, a));
}

#[test]
fn a_newcomer_that_gives_up_no_longer_waits() {
    let mut cluster = Harness::new();
    let a = cluster.bind(2, 1, "a", true);
    let newcomer = cluster.bind(3, 2, "a", true);
    cluster.detach(4, 2, newcomer, false);
    assert_eq!(cluster.router.held().count(), 1, "said by another node");
    cluster.detach(3, 2, newcomer, false);
    assert_eq!(cluster.router.held().count(), 0);
    cluster.propose(
        1,
        &Command::Evict {
            session: id(1),
            epoch: 1,
            newcomer: id(2),
        },
    );
    assert!(cluster.is_served(1, 2, a));
}

#[test]
fn a_newcomer_whose_node_is_gone_no_longer_waits() {
    let mut cluster = Harness::new();
    cluster.bind(2, 1, "a", true);
    cluster.bind(3, 2, "a", true);
    cluster.propose(
        1,
        &Command::NodeDown {
            node: 3,
            incarnation: 1,
        },
    );
    assert_eq!(cluster.router.held().count(), 0);
    cluster.propose(
        1,
        &Command::NodeDown {
            node: 2,
            incarnation: 1,
        },
    );
    assert_eq!(cluster.router.session(id(2)), None);
    assert_eq!(cluster.router.detached().collect::<Vec<_>>(), [(id(1), 1)]);
}

#[test]
fn a_newcomer_takes_the_name_at_once_when_the_holder_detaches_or_its_node_is_gone() {
    for case in [
        "detach",
        "close",
        "node down",
        "node restarts",
        "node forgotten",
    ] {
        let mut cluster = Harness::new();
        let a = cluster.bind(2, 1, "a", true);
        cluster.send(2, 1, a, &[&message("a", "a", "m1")]);
        let newcomer = cluster.bind(3, 2, "a", true);
        match case {
            "detach" => cluster.detach(2, 1, a, false),
            "close" => cluster.detach(2, 1, a, true),
            "node down" => {
                cluster.propose(
                    1,
                    &Command::NodeDown {
                        node: 2,
                        incarnation: 1,
                    },
                );
            }
            "node restarts" => {
                cluster.restart(2);
                cluster.propose(2, &Command::NodeUp);
            }
            _ => {
                cluster.propose(1, &Command::ForgetNode { node: 2 });
            }
        }
        assert!(cluster.is_served(2, 3, newcomer), "{case}");
        assert_eq!(cluster.waiting(2), ["m1"], "{case}");
        assert_eq!(cluster.router.detached().count(), 0, "{case}");
    }
}

#[test]
fn a_detached_session_goes_to_the_names_next_session_with_what_came_meanwhile() {
    for closed in [false, true] {
        let mut cluster = Harness::new();
        let a = cluster.bind(2, 1, "a", true);
        let b = cluster.bind(2, 2, "b", true);
        cluster.send(2, 2, b, &[&message("b", "a", "m1")]);
        cluster.detach(2, 1, a, closed);
        assert_eq!(cluster.router.detached().collect::<Vec<_>>(), [(id(1), 1)]);
        cluster.send(2, 2, b, &[&message("b", "a", "m2")]);
        let next = cluster.bind(3, 3, "a", false);
        cluster.send(2, 2, b, &[&message("b", "a", "m3")]);
        assert!(cluster.is_served(3, 3, next));
        assert_eq!(cluster.waiting(3), ["m1", "m2", "m3"]);
        assert_eq!(
            cluster.session(3).carried,
            2,
            "the third one is neither repeat nor delayed"
        );
    }
}

#[test]
fn a_detach_by_another_stream_has_no_effect() {
    let mut cluster = Harness::new();
    let old = cluster.bind(2, 1, "a", true);
    cluster.detach(2, 1, old, false);
    let new = cluster.resume(2, 1, "a", 0);
    cluster.detach(2, 1, old, true);
    assert!(cluster.is_served(1, 2, new));
    cluster.detach(3, 1, new, true);
    assert!(cluster.is_served(1, 2, new));
}

#[test]
fn a_node_down_concerns_one_start_of_a_node() {
    let mut cluster = Harness::new();
    cluster.bind(2, 1, "a", true);
    cluster.restart(2);
    let stream = cluster.bind(2, 2, "a", true);
    cluster.propose(
        1,
        &Command::NodeDown {
            node: 2,
            incarnation: 1,
        },
    );
    assert!(cluster.is_served(2, 2, stream));
    cluster.propose(
        1,
        &Command::NodeDown {
            node: 9,
            incarnation: 1,
        },
    );
    cluster.propose(1, &Command::ForgetNode { node: 9 });
    assert!(cluster.is_served(2, 2, stream));
}

#[test]
fn a_living_node_that_was_declared_down_may_be_bound_again() {
    let mut cluster = Harness::new();
    let old = cluster.bind(2, 1, "a", true);
    cluster.propose(
        1,
        &Command::NodeDown {
            node: 2,
            incarnation: 1,
        },
    );
    cluster.send(2, 1, old, &[&message("a", "a", "late")]);
    assert_eq!(
        cluster.session(1).taken,
        0,
        "what it still had under way is skipped"
    );
    let new = cluster.resume(2, 1, "a", 0);
    assert!(cluster.is_served(1, 2, new));
}

#[test]
fn a_component_that_answers_no_pings_is_marked_until_it_answers_or_its_stream_ends() {
    let mut cluster = Harness::new();
    let a = cluster.bind(2, 1, "a", false);
    let mark = |stream, on| Command::Unconfirmed {
        session: id(1),
        stream,
        on,
    };
    cluster.propose(2, &mark(a + 1, true));
    assert!(!cluster.session(1).unconfirmed);
    cluster.propose(2, &mark(a, true));
    assert!(cluster.session(1).unconfirmed);
    cluster.propose(2, &mark(a, false));
    assert!(!cluster.session(1).unconfirmed);
    cluster.propose(2, &mark(a, true));
    cluster.detach(2, 1, a, false);
    assert!(!cluster.session(1).unconfirmed);
}

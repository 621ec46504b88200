//! Bridges, secrets and the configuration, each change decided once.

use super::*;

const X: &str = "x.example.test";

/// The decision on one change.
fn decide(cluster: &mut Harness, command: &Command<'_>) -> Result<(), ConfigureError> {
    cluster.take_news();
    let request = cluster.propose(3, command);
    let at = cluster.at(3);
    let mut decisions = cluster
        .take_news()
        .into_iter()
        .filter_map(|news| match news {
            News::Configured {
                at: who,
                request: what,
                result,
            } if who == at && what == request => Some(result),
            _ => None,
        });
    let decision = decisions.next().expect("a decision");
    assert_eq!(decisions.next(), None);
    decision
}

fn generations(cluster: &Harness) -> Vec<u32> {
    let bridge = cluster.router.bridge(X).expect("the bridge is there");
    bridge
        .secrets
        .iter()
        .map(|secret| secret.generation)
        .collect()
}

#[test]
fn a_bridge_has_a_name_of_its_own_and_at_most_two_secrets() {
    let mut cluster = Harness::new();
    let put = Command::PutBridge {
        domain: X,
        sealed: b"one",
    };
    let rotate = |expected| Command::RotateSecret {
        domain: X,
        expected,
        sealed: b"more",
    };
    let retire = |generation| Command::RetireSecret {
        domain: X,
        generation,
    };
    let remove = Command::RemoveBridge { domain: X };
    let steps: [(&Command<'_>, Result<(), ConfigureError>, &[u32]); 17] = [
        (&rotate(1), Err(ConfigureError::Unknown), &[]),
        (&retire(1), Err(ConfigureError::Unknown), &[]),
        (&remove, Err(ConfigureError::Unknown), &[]),
        (&put, Ok(()), &[1]),
        (&put, Err(ConfigureError::Exists), &[1]),
        (&rotate(2), Err(ConfigureError::Changed), &[1]),
        (&rotate(1), Ok(()), &[1, 2]),
        (&rotate(1), Err(ConfigureError::Changed), &[1, 2]),
        (&retire(2), Err(ConfigureError::Newest), &[1, 2]),
        (&retire(3), Err(ConfigureError::UnknownSecret), &[1, 2]),
        (&rotate(2), Err(ConfigureError::Rotating), &[1, 2]),
        (&retire(1), Ok(()), &[2]),
        (&retire(1), Ok(()), &[2]),
        (&rotate(2), Ok(()), &[2, 3]),
        (&retire(2), Ok(()), &[3]),
        (&retire(3), Err(ConfigureError::Newest), &[3]),
        (&remove, Ok(()), &[]),
    ];
    for (step, (command, result, left)) in steps.into_iter().enumerate() {
        assert_eq!(decide(&mut cluster, command), result, "step {step}");
        match left {
            [] => assert_eq!(cluster.router.bridge(X), None, "step {step}"),
            left => assert_eq!(generations(&cluster), left, "step {step}"),
        }
    }
}

#[test]
fn the_number_of_bridges_is_bounded() {
    let mut cluster = Harness::with_limits(Limits {
        bridges: 4,
        ..Limits::default()
    });
    let put = |domain| Command::PutBridge {
        domain,
        sealed: b"s",
    };
    assert_eq!(decide(&mut cluster, &put(X)), Ok(()));
    assert_eq!(
        decide(&mut cluster, &put("y.example.test")),
        Err(ConfigureError::Full)
    );
    assert_eq!(decide(&mut cluster, &put(X)), Err(ConfigureError::Exists));
}

#[test]
fn a_bind_is_checked_with_either_secret_while_a_rotation_is_under_way() {
    let mut cluster = Harness::new();
    let rotate = Command::RotateSecret {
        domain: "a.example.test",
        expected: 1,
        sealed: b"2",
    };
    assert_eq!(decide(&mut cluster, &rotate), Ok(()));
    let bind = |session, generation| Command::Bind {
        session: id(session),
        domain: "a.example.test",
        generation,
        managed: true,
    };
    let stream = cluster.propose(2, &bind(1, 1));
    assert!(cluster.is_served(1, 2, stream));
    cluster.detach(2, 1, stream, true);
    let stream = cluster.propose(2, &bind(2, 2));
    assert!(cluster.is_served(2, 2, stream));
    let retire = Command::RetireSecret {
        domain: "a.example.test",
        generation: 1,
    };
    assert_eq!(decide(&mut cluster, &retire), Ok(()));
    cluster.propose(2, &bind(3, 1));
    assert_eq!(cluster.refusals(), [(id(3), Refusal::NotAuthorized)]);
    assert!(
        cluster.is_served(2, 2, stream),
        "a stream that is bound stays"
    );
}

#[test]
fn a_removed_bridge_ends_its_session_answers_what_waits_and_refuses_who_waits() {
    let mut cluster = Harness::new();
    let (a, b) = (cluster.bind(2, 1, "a", true), cluster.bind(2, 2, "b", true));
    cluster.send(2, 2, b, &[&message("b", "a", "m1")]);
    let waiting = cluster.bind(3, 3, "a", true);
    cluster.take_news();
    let remove = Command::RemoveBridge {
        domain: "a.example.test",
    };
    cluster.propose(3, &remove);
    let news = cluster.take_news();
    let refused = News::Refused {
        session: id(3),
        at: Attachment {
            node: 3,
            incarnation: 1,
        },
        request: waiting,
        refusal: Refusal::NotAuthorized,
    };
    for expected in [refused, News::Session(id(1)), News::Session(id(2))] {
        assert!(news.contains(&expected), "{expected:?} in {news:?}");
    }
    assert_eq!(cluster.waiting(2), ["m1!item-not-found"]);
    assert_eq!(cluster.router.session(id(1)), None);
    cluster.send(2, 1, a, &[&message("a", "b", "late")]);
    cluster.send(2, 2, b, &[&message("b", "a", "m2")]);
    assert_eq!(cluster.waiting(2)[1..], ["m2!remote-server-not-found"]);
}

#[test]
fn the_cluster_is_configured_once_and_its_limits_by_generation() {
    let mut cluster = Harness::new();
    let small = Limits {
        queue_stanzas: 1,
        ..Limits::default()
    };
    let configure = |cluster, domain, expected| Command::Configure {
        cluster,
        domain,
        limits: small,
        expected,
    };
    for (command, result) in [
        (
            configure("cluster", DOMAIN, 0),
            Err(ConfigureError::Changed),
        ),
        (configure("other", DOMAIN, 1), Err(ConfigureError::Exists)),
        (
            configure("cluster", "other.test", 1),
            Err(ConfigureError::Exists),
        ),
        (
            configure("cluster", DOMAIN, 2),
            Err(ConfigureError::Changed),
        ),
        (configure("cluster", DOMAIN, 1), Ok(())),
        (
            configure("cluster", DOMAIN, 1),
            Err(ConfigureError::Changed),
        ),
    ] {
        assert_eq!(decide(&mut cluster, &command), result, "{command:?}");
    }
    assert_eq!(cluster.router.limits(), small);
    assert_eq!(
        (cluster.router.cluster(), cluster.router.domain()),
        ("cluster", DOMAIN)
    );
}

#[test]
fn a_change_sent_twice_is_decided_once() {
    let mut cluster = Harness::new();
    let header = cluster.header(3, 1, 1);
    let put = Command::PutBridge {
        domain: X,
        sealed: b"s",
    };
    cluster.take_news();
    cluster.propose(3, &put);
    cluster.chunk(header, &[put.encode()]);
    assert_eq!(cluster.take_news().len(), 1);
}

#[test]
fn a_secret_is_never_shown() {
    let mut cluster = Harness::new();
    decide(
        &mut cluster,
        &Command::PutBridge {
            domain: X,
            sealed: b"\x07\x08",
        },
    )
    .expect("new");
    let shown = format!("{:?}", cluster.router.bridge(X));
    assert!(
        shown.contains("secret generation 1") && !shown.contains("[7, 8]"),
        "{shown}"
    );
}

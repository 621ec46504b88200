//! The state as bytes, and its digest.

use super::*;

/// A state with everything in it.
fn rich() -> Harness {
    let mut cluster = Harness::new();
    let a = cluster.bind(2, 1, "a", true);
    let b = cluster.bind(3, 2, "b", false);
    cluster.send(
        2,
        1,
        a,
        &[&message("a", "b", "m1"), &message("a", "x", "m2")],
    );
    cluster.send(
        3,
        2,
        b,
        &[&message("b", "a", "m3"), &message("b", "a", "m4")],
    );
    cluster.acknowledge(2, 1, a, 1);
    cluster.bind(4, 3, "b", true);
    cluster.propose(
        3,
        &Command::Unconfirmed {
            session: id(2),
            stream: b,
            on: true,
        },
    );
    cluster.detach(2, 1, a, false);
    cluster.resume(4, 1, "a", 2);
    cluster.propose(1, &Command::ForgetNode { node: 2 });
    cluster.propose(
        1,
        &Command::RotateSecret {
            domain: "c.example.test",
            expected: 1,
            sealed: b"2",
        },
    );
    cluster
}

#[test]
fn a_restored_state_is_the_same_and_goes_on_alike() {
    let mut cluster = rich();
    let mut restored = restored(&snapshot(&cluster.router)).expect("whole");
    assert_eq!(restored, cluster.router);
    assert_eq!(restored.digest(), cluster.router.digest());
    check(&restored);
    let mut batch = BatchBuilder::new(9, 64);
    let evict = Command::Evict {
        session: id(2),
        epoch: 1,
        newcomer: id(3),
    };
    batch.chunk(
        cluster.header(1, cluster.next_request(1), 1),
        &[evict.encode()],
    );
    let batch = batch.finish();
    cluster.entry(&batch);
    restored
        .apply(cluster.index, &batch, &mut Vec::new())
        .expect("readable");
    assert_eq!(restored, cluster.router);
    assert_eq!(snapshot(&restored), snapshot(&cluster.router));
}

#[test]
fn a_snapshot_that_is_cut_or_has_a_tail_is_malformed() {
    let bytes = snapshot(&rich().router);
    for len in 0..bytes.len() {
        assert!(restored(&bytes[..len]).is_err(), "{len}");
    }
    assert!(restored(&[&bytes[..], b"x"].concat()).is_err());
    let mut other = bytes.to_vec();
    other[0] = 99;
    let error = restored(&other).expect_err("is refused").to_string();
    assert!(error.contains("unknown version of snapshot"), "{error}");
}

#[test]
fn a_digest_shows_every_difference_of_the_state() {
    let base = rich();
    let mut seen = BTreeSet::from([base.router.digest()]);
    let stream = base.session(1).stream;
    let commands = [
        Command::NodeUp,
        Command::Acknowledge {
            session: id(1),
            stream,
            upto: 3,
        },
        Command::Detach {
            session: id(1),
            stream,
            closed: false,
        },
        Command::Detach {
            session: id(1),
            stream,
            closed: true,
        },
        Command::Evict {
            session: id(2),
            epoch: 1,
            newcomer: id(3),
        },
        Command::RemoveBridge {
            domain: "c.example.test",
        },
    ];
    for command in &commands {
        let mut cluster = rich();
        cluster.propose(4, command);
        assert!(seen.insert(cluster.router.digest()), "{command:?}");
    }
    assert_eq!(base.router.digest(), rich().router.digest());
}

#[test]
fn the_digest_of_the_configuration_changes_with_it_and_with_nothing_else() {
    let mut cluster = Harness::new();
    let before = cluster.router.configuration_digest();
    let a = cluster.bind(2, 1, "a", true);
    cluster.send(2, 1, a, &[&message("a", "a", "m1")]);
    assert_eq!(cluster.router.configuration_digest(), before);
    cluster.propose(
        1,
        &Command::RotateSecret {
            domain: "a.example.test",
            expected: 1,
            sealed: b"2",
        },
    );
    assert_ne!(cluster.router.configuration_digest(), before);
}

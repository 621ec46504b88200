//! Bounds, and that a full queue is answered and stops nobody.

use super::*;

fn limits(queue_stanzas: u32, queue_bytes: u64, state_bytes: u64) -> Limits {
    Limits {
        queue_stanzas,
        queue_bytes,
        state_bytes,
        bridges: 4,
    }
}

/// Bridges `a` to `b` under limits; sends `ids` from `a` to `b` one by one.
fn sent(limits: Limits, ids: &[&str]) -> Harness {
    let mut cluster = Harness::with_limits(limits);
    let a = cluster.bind(2, 1, "a", true);
    cluster.bind(2, 2, "b", true);
    for id in ids {
        cluster.send(2, 1, a, &[&message("a", "b", id)]);
    }
    cluster
}

#[test]
fn a_full_queue_is_answered_at_once_and_takes_again_when_there_is_room() {
    let mut cluster = sent(limits(2, 1 << 20, 1 << 20), &["1", "2", "3"]);
    assert_eq!(cluster.waiting(2), ["1", "2"]);
    assert_eq!(cluster.waiting(1), ["3!resource-constraint"]);
    assert_eq!(cluster.session(1).taken, 3);
    cluster.acknowledge(2, 2, 2, 1);
    cluster.send(2, 1, 1, &[&message("a", "b", "4")]);
    assert_eq!(cluster.waiting(2), ["2", "4"]);
}

#[test]
fn bytes_of_a_queue_and_of_all_queues_are_bounded() {
    let cost = 96 + message("a", "b", "1").len() as u64;
    for limits in [limits(99, 2 * cost, 1 << 20), limits(99, 1 << 20, 2 * cost)] {
        let cluster = sent(limits, &["1", "2", "3"]);
        assert_eq!(cluster.waiting(2), ["1", "2"]);
        assert_eq!(cluster.waiting(1), ["3!resource-constraint"]);
        assert!(cluster.router.queued_bytes() > 2 * cost);
    }
}

#[test]
fn answers_have_as_much_room_again_and_are_dropped_beyond_it() {
    let mut cluster = sent(limits(2, 1 << 20, 1 << 20), &[]);
    for id in ["1", "2", "3", "4"] {
        cluster.send(2, 1, 1, &[&message("a", "a", id)]);
    }
    assert_eq!(
        cluster.waiting(1),
        ["1", "2", "3!resource-constraint", "4!resource-constraint"]
    );
    cluster.send(2, 1, 1, &[&message("a", "x", "5")]);
    assert_eq!(cluster.waiting(1).len(), 4);
    let ledger = cluster.router.ledger();
    assert_eq!(
        (ledger.bounced, ledger.replies, ledger.replies_dropped),
        (3, 3, 1)
    );
}

#[test]
fn the_largest_limits_do_not_overflow() {
    let cluster = sent(limits(u32::MAX, u64::MAX, u64::MAX), &["1", "2"]);
    assert_eq!(cluster.waiting(2), ["1", "2"]);
}

#[test]
fn a_queue_that_was_long_once_gives_its_room_back() {
    let mut cluster = Harness::new();
    let a = cluster.bind(2, 1, "a", true);
    let texts: Vec<String> = (0..2000)
        .map(|id| message("a", "a", &id.to_string()))
        .collect();
    cluster.send(
        2,
        1,
        a,
        &texts.iter().map(String::as_str).collect::<Vec<_>>(),
    );
    cluster.acknowledge(2, 1, a, 1990);
    let queue = &cluster.session(1).queue;
    assert_eq!(queue.len(), 10);
    assert!(queue.capacity() <= 256, "{}", queue.capacity());
}

#[test]
fn what_waits_is_copied_out_of_its_entry_and_no_longer_keeps_it_in_memory() {
    let mut cluster = sent(Limits::default(), &["1", "2"]);
    let pinned = |cluster: &Harness| -> Vec<bool> {
        let items = cluster.session(2).queue.after(0);
        items.map(|item| !item.stanza.bytes.is_unique()).collect()
    };
    let before = (cluster.queue(2), cluster.router.digest());
    // A second handle on the entry, as the log has one, makes the difference visible.
    let batch = {
        let mut batch = BatchBuilder::new(0, 64);
        let pieces = pack(id(1), 1, &[&message("a", "b", "3")]);
        batch.chunk(cluster.header(2, cluster.next_request(2), 1), &pieces);
        batch.finish()
    };
    cluster.entry(&batch);
    let index = cluster.index;
    cluster.router.unpin(id(2), index - 1);
    assert_eq!(pinned(&cluster), [false, false, true]);
    cluster.router.unpin(id(2), index);
    assert_eq!(pinned(&cluster), [false, false, false]);
    assert_eq!(cluster.queue(2)[..2], before.0);
    drop(batch);
}

#[test]
fn a_bridge_may_have_less_room_than_others_and_never_more() {
    let own = |queue_stanzas, queue_bytes| BridgeLimits {
        queue_stanzas,
        queue_bytes,
        ..BridgeLimits::default()
    };
    let cost = 96 + message("a", "b", "1").len() as u64;
    for (own, expected) in [
        (own(1, 0), 1),
        (own(9, 0), 2),
        (own(0, cost), 1),
        (own(0, 9 * cost), 2),
    ] {
        let mut cluster = sent(limits(2, 1 << 20, 1 << 20), &[]);
        let domain = format!("b.{DOMAIN}");
        let bound = Command::LimitBridge {
            domain: &domain,
            limits: own,
        };
        cluster.propose(1, &bound);
        for id in ["1", "2", "3"] {
            cluster.send(2, 1, 1, &[&message("a", "b", id)]);
        }
        assert_eq!(cluster.waiting(2).len(), expected, "{own:?}");
        // What is derived is there again.
        let router = &cluster.router;
        assert_eq!(&restored(&snapshot(router)).expect("whole"), router);
        // The next session of the name has the same bounds.
        cluster.detach(2, 2, 2, true);
        cluster.bind(2, 3, "b", true);
        assert_eq!(cluster.session(3).limits, own);
    }
    let mut cluster = sent(limits(2, 1 << 20, 1 << 20), &[]);
    cluster.take_news();
    cluster.propose(
        1,
        &Command::LimitBridge {
            domain: "nobody.example.test",
            limits: BridgeLimits::default(),
        },
    );
    let news = cluster.take_news().pop();
    let Some(News::Configured { result, .. }) = news else {
        panic!("{news:?}");
    };
    assert_eq!(result, Err(ConfigureError::Unknown));
}

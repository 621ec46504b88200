//! Request numbers, incarnations, and entries that cannot be read.

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::router::batch::open_batch;
use crate::router::command::next_command;

#[test]
fn a_chunk_sent_twice_has_its_effect_once() {
    let mut cluster = Harness::new();
    let (a, b) = (cluster.bind(2, 1, "a", true), cluster.bind(2, 2, "b", true));
    let first = cluster.next_request(2);
    let command = pack(id(1), a, &[&message("a", "b", "m1")]);
    cluster.push(2, &command);
    cluster.chunk(cluster.header(2, first, 1), &command);
    assert_eq!(cluster.waiting(2), ["m1"]);
    assert_eq!(cluster.session(1).taken, 1);
    assert!(cluster.is_served(2, 2, b));
}

#[test]
fn of_a_chunk_that_overlaps_only_the_new_part_is_taken() {
    let mut cluster = Harness::new();
    let a = cluster.bind(2, 1, "a", true);
    cluster.bind(2, 2, "b", true);
    let first = cluster.next_request(2);
    let one = pack(id(1), a, &[&message("a", "b", "m1")]);
    let two = pack(
        id(1),
        a,
        &[&message("a", "b", "m2"), &message("a", "b", "m3")],
    );
    cluster.push(2, &one);
    let pieces: Vec<Bytes> = one.iter().chain(&two).cloned().collect();
    cluster.chunk(cluster.header(2, first, 2), &pieces);
    assert_eq!(cluster.waiting(2), ["m1", "m2", "m3"]);
    assert_eq!(
        cluster.router.node(2).map(|node| node.seen),
        Some(first + 1)
    );
}

#[test]
fn a_chunk_after_a_gap_is_skipped_whole_until_the_gap_is_filled() {
    let mut cluster = Harness::new();
    let a = cluster.bind(2, 1, "a", true);
    cluster.bind(2, 2, "b", true);
    let first = cluster.next_request(2);
    let one = pack(id(1), a, &[&message("a", "b", "m1")]);
    let two = pack(id(1), a, &[&message("a", "b", "m2")]);
    cluster.chunk(cluster.header(2, first + 1, 1), &two);
    assert_eq!(cluster.waiting(2), [""; 0]);
    cluster.chunk(cluster.header(2, first, 1), &one);
    cluster.chunk(cluster.header(2, first + 1, 1), &two);
    assert_eq!(cluster.waiting(2), ["m1", "m2"]);
}

#[test]
fn an_older_incarnation_has_no_effect_and_a_newer_one_detaches() {
    let mut cluster = Harness::new();
    let a = cluster.bind(2, 1, "a", true);
    let old = cluster.header(2, cluster.next_request(2), 1);
    let late = pack(id(1), a, &[&message("a", "b", "late")]);
    cluster.restart(2);
    assert_eq!(cluster.propose(2, &Command::NodeUp), 1);
    assert_eq!(cluster.session(1).attached, None);
    cluster.chunk(old, &late);
    assert_eq!(cluster.session(1).taken, 0);
    assert_eq!(cluster.router.node(2).map(|node| node.incarnation), Some(2));
}

#[test]
fn a_chunk_without_commands_is_the_beginning_of_an_incarnation_and_nothing_else() {
    let mut cluster = Harness::new();
    cluster.bind(2, 1, "a", true);
    for first in [0, 1, 2, u64::MAX] {
        cluster.chunk(cluster.header(2, first, 0), &[]);
    }
    assert_eq!(cluster.router.node(2).map(|node| node.seen), Some(1));
    cluster.restart(2);
    cluster.chunk(cluster.header(2, 0, 0), &[]);
    assert_eq!(cluster.session(1).attached, None);
    assert_eq!(cluster.router.node(2).map(|node| node.seen), Some(0));
}

#[test]
fn numbers_at_the_end_of_their_range_are_a_gap() {
    let mut cluster = Harness::new();
    for (first, count) in [(u64::MAX, 1), (u64::MAX, u32::MAX), (u64::MAX - 1, 5)] {
        let header = cluster.header(2, first, count);
        cluster.chunk(header, &[Command::NodeUp.encode()]);
    }
    assert_eq!(cluster.router.node(2).map(|node| node.seen), Some(0));
}

#[test]
fn what_a_forgotten_node_still_had_under_way_has_no_effect() {
    let mut cluster = Harness::new();
    let up = [Command::NodeUp.encode(), Bytes::new()];
    cluster.push(2, &up);
    let bind = cluster.header(2, cluster.next_request(2), 1);
    cluster.bind(2, 1, "a", true);
    cluster.propose(1, &Command::ForgetNode { node: 2 });
    assert_eq!(cluster.session(1).attached, None);
    // All of it again, from the first request on, and something new.
    let command = Command::Bind {
        session: id(2),
        domain: "b.example.test",
        generation: 1,
        managed: true,
    };
    cluster.chunk(cluster.header(2, 1, 1), &up);
    cluster.chunk(bind, &[command.encode()]);
    assert_eq!(cluster.router.node(2), None);
    assert_eq!(cluster.router.session(id(2)), None);
    // A later start of it may have been made a member again.
    cluster.restart(2);
    cluster.chunk(cluster.header(2, 1, 1), &[command.encode()]);
    assert!(cluster.is_served(2, 2, 1));
}

#[test]
fn a_node_that_forgets_itself_has_said_its_last_word() {
    let mut cluster = Harness::new();
    let bind = Command::Bind {
        session: id(1),
        domain: "a.example.test",
        generation: 1,
        managed: true,
    };
    let forget = Command::ForgetNode { node: 2 };
    cluster.chunk(cluster.header(2, 1, 2), &[forget.encode(), bind.encode()]);
    assert_eq!(cluster.router.session(id(1)), None);
    assert_eq!(cluster.router.node(2), None);
}

/// An entry whose only chunk has `count` commands in `pieces`.
fn entry(count: u32, pieces: &[Bytes]) -> Bytes {
    let mut batch = BatchBuilder::new(5, 64);
    let header = ChunkHeader {
        node: 2,
        incarnation: 1,
        first: 1,
        count,
    };
    batch.chunk(header, pieces);
    batch.finish()
}

#[test]
fn an_entry_that_is_cut_or_has_a_tail_is_malformed() {
    let pieces = pack(id(1), 1, &[&message("a", "b", "m1")]);
    let whole = entry(1, &pieces);
    assert_eq!(Router::new().apply(1, &whole, &mut Vec::new()), Ok(()));
    for len in (0..whole.len()).filter(|len| *len != 9) {
        let cut = whole.slice(..len);
        assert!(
            Router::new().apply(1, &cut, &mut Vec::new()).is_err(),
            "{len}"
        );
    }
    let longer = [Bytes::from_static(b"x")];
    let tail: Vec<Bytes> = pieces.iter().chain(&longer).cloned().collect();
    for malformed in [
        entry(1, &tail),
        entry(2, &pieces),
        entry(1, &[Bytes::from_static(&[200])]),
        entry(u32::MAX, &pieces),
        Bytes::from_static(&[2, 0, 0, 0, 0, 0, 0, 0, 0]),
    ] {
        assert!(Router::new().apply(1, &malformed, &mut Vec::new()).is_err());
    }
}

#[test]
fn a_stanza_that_is_not_what_it_says_is_malformed() {
    let mut good = Harness::new();
    let stream = good.bind(2, 1, "a", true);
    let [_, raw] = pack(id(1), stream, &[&message("a", "b", "m1")]);
    let command = |count, len: usize| {
        Command::Stanzas {
            session: id(1),
            stream,
            count,
            len: u32::try_from(len).expect("short"),
        }
        .encode()
    };
    let changed = |at: usize, value: u8| {
        let mut bytes = BytesMut::from(&raw[..]);
        bytes[at] = value;
        bytes.freeze()
    };
    let mut longer = BytesMut::from(&raw[..]);
    longer.put_u8(0);
    for (what, count, raw) in [
        ("fewer than said", 2, raw.clone()),
        ("more than said", 0, raw.clone()),
        ("a tail", 1, longer.freeze()),
        ("text longer than there is", 1, changed(1, 200)),
        ("start tag longer than the stanza", 1, changed(5, 200)),
        ("unknown kind", 1, changed(8, 3)),
        ("unknown error", 1, {
            let mut bytes = BytesMut::from(&raw[..]);
            bytes[8] |= 8;
            bytes[9] = 250;
            bytes.freeze()
        }),
        ("address longer than there is", 1, changed(11, 200)),
        ("address not UTF-8", 1, changed(12, 0xff)),
    ] {
        let mut router = good.router.clone();
        let header = good.header(2, good.next_request(2), 1);
        let mut batch = BatchBuilder::new(5, 64);
        batch.chunk(header, &[command(count, raw.len()), raw]);
        let batch = batch.finish();
        let result = router.apply(99, &batch, &mut Vec::new());
        assert!(result.is_err(), "{what}");
        let chunk = batch.slice_ref(open_batch(&batch).expect("a batch").1);
        assert_eq!(check_chunk(&chunk).err(), result.err(), "{what}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_applied_or_refused_without_a_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let mut cluster = Harness::new();
        let a = cluster.bind(2, 1, "a", true);
        cluster.bind(2, 2, "b", true);
        let mut pieces = Vec::new();
        pieces.extend(pack(id(1), a, &[&message("a", "b", "m1"), &message("a", "x", "m2")]));
        pieces.push(Command::Resume { session: id(2), name: "b.example.test", generation: 1, h: 1 }.encode());
        pieces.push(Command::Detach { session: id(1), stream: a, closed: false }.encode());
        pieces.push(Command::Bind { session: id(3), domain: "a.example.test", generation: 1, managed: false }.encode());
        pieces.push(Command::RemoveBridge { domain: "b.example.test" }.encode());
        let mut batch = BatchBuilder::new(5, 64);
        batch.chunk(cluster.header(2, cluster.next_request(2), 5), &pieces);
        let mut bytes = BytesMut::from(&batch.finish()[..]);
        for (index, value) in changes {
            let at = index.index(bytes.len());
            bytes[at] = value;
        }
        let bytes = bytes.freeze();
        let bytes = if whole { bytes } else { bytes.slice(..cut.index(bytes.len())) };
        let _ = open_batch(&bytes).map(|(_, mut chunks)| next_command(&mut chunks).map(|_| ()));
        if let Ok((_, chunk)) = open_batch(&bytes)
            && check_chunk(&bytes.slice_ref(chunk)).is_ok()
        {
            let mut batch = BatchBuilder::new(5, 64);
            batch.encoded(chunk);
            prop_assert_eq!(cluster.router.clone().apply(99, &batch.finish(), &mut Vec::new()), Ok(()));
        }
        let _ = cluster.router.apply(99, &bytes, &mut Vec::new());
        let _ = restored(&bytes);
    }
}

#[test]
fn commands_keep_their_places_in_the_log() {
    let domain = "a.example.test";
    for (command, place) in [
        (Command::NodeUp, 9),
        (Command::RemoveBridge { domain }, 16),
        (Command::RemoveAccount { name: "u" }, 18),
        (
            Command::Enable {
                session: id(1),
                stream: 1,
                written: 0,
            },
            20,
        ),
        (
            Command::LimitBridge {
                domain,
                limits: BridgeLimits::default(),
            },
            21,
        ),
    ] {
        assert_eq!(command.encode()[0], place, "{command:?}");
    }
}

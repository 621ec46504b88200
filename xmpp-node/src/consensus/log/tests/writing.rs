//! The writer: one group for all that waits, answers in order, and the end when the disk fails.

use std::sync::mpsc;

use openraft::storage::IOFlushed;
use openraft::type_config::TypeConfigExt as _;

use super::super::memory::Memory;
use super::super::shared::{Shared, Work};
use super::*;

fn noop() -> IOFlushed<TypeConfig> {
    IOFlushed::noop()
}

#[test]
fn all_that_waits_becomes_one_group_with_the_committed_id_last() {
    let shared = Shared::new(Memory::default());
    shared
        .append(vec![batch(1, 0, 10)], noop())
        .expect("queues");
    let _saved = shared.save_vote(Vote::new(2, 1)).expect("queues");
    shared
        .append(vec![batch(2, 1, 10)], noop())
        .expect("queues");
    shared.save_committed(Some(id(2, 1))).expect("remembers");
    let Work::Write {
        operations,
        committed,
    } = shared.next_work(false, Duration::ZERO)
    else {
        panic!("there is something to write");
    };
    assert_eq!((operations.len(), committed), (3, Some(Some(id(2, 1)))));
    shared.close();
    assert!(matches!(
        shared.next_work(false, Duration::ZERO),
        Work::Close { committed: None }
    ));
}

#[test]
fn a_committed_id_waits_for_the_entries_it_covers() {
    let shared = Shared::new(Memory::default());
    for index in 0..3 {
        shared
            .append(vec![batch(1, index, 3 << 20)], noop())
            .expect("queues");
    }
    shared.save_committed(Some(id(1, 2))).expect("remembers");
    let mut groups = Vec::new();
    for _ in 0..2 {
        let Work::Write {
            operations,
            committed,
        } = shared.next_work(false, Duration::ZERO)
        else {
            panic!("there is something to write");
        };
        groups.push((operations.len(), committed));
    }
    assert_eq!(groups, [(2, None), (1, Some(Some(id(1, 2))))]);
}

#[test]
fn a_committed_id_alone_is_settled_when_idle() {
    let shared = Shared::new(Memory::default());
    shared.save_committed(Some(id(1, 2))).expect("remembers");
    let work = shared.next_work(false, Duration::ZERO);
    assert!(matches!(
        work,
        Work::Settle {
            committed: Some(Some(_))
        }
    ));
}

#[tokio::test]
async fn appends_are_readable_at_once_and_answered_in_order() {
    let dir = new_dir();
    let mut log = open(dir.path(), 4000);
    let mut answers = Vec::new();
    for index in 0..500 {
        let (sender, receiver) = TypeConfig::oneshot();
        log.append([batch(1, index, 100)], IOFlushed::signal(sender))
            .await
            .expect("queues");
        assert_eq!(log.reader().last_log_id(), Some(id(1, index)));
        answers.push(receiver);
    }
    let last = answers.pop().expect("five hundred");
    last.await.expect("is answered").expect("is written");
    for mut answer in answers {
        answer
            .try_recv()
            .expect("was answered before the last")
            .expect("was written");
    }
    let opened = reread(left_by_a_kill(dir.path()).path()).expect("opens");
    assert_eq!(last_index(&opened), Some(499));
}

#[tokio::test]
async fn a_failed_write_calls_the_hook_and_is_never_acknowledged() {
    let dir = new_dir();
    let (sender, failed) = mpsc::channel();
    let fatal = Arc::new(move |error: &LogError| {
        let _ = sender.send(error.to_string());
    });
    let mut log = SegmentLog::open(
        dir.path(),
        LogOptions {
            fatal,
            ..options(1)
        },
    )
    .expect("opens");
    append(&mut log, 1, 0..1).await;
    // The next group needs a new segment, which cannot be created.
    fs::remove_dir_all(dir.path()).expect("deletes");
    log.blocking_append([batch(1, 1, 1)])
        .await
        .expect_err("is not written");
    let why = failed.recv().expect("the hook was called");
    assert!(why.starts_with("creating "), "{why}");
    log.save_vote(&Vote::new(5, 1))
        .await
        .expect_err("the log is unusable");
    log.append([batch(1, 2, 1)], noop())
        .await
        .expect_err("the log is unusable");
}

#[tokio::test]
async fn bytes_are_counted_for_whoever_takes_snapshots() {
    let dir = new_dir();
    let mut log = open(dir.path(), 1 << 20);
    log.blocking_append((0..10).map(|index| batch(1, index, 1000)))
        .await
        .expect("appends");
    let reader = log.reader();
    assert!((10_000..13_000).contains(&reader.bytes_in_memory()));
    assert!((3000..3900).contains(&reader.bytes_since(Some(6))));
    log.purge(id(1, 8)).await.expect("purges");
    assert!((1000..1300).contains(&reader.bytes_in_memory()));
}

//! More than one segment: rolling, sealing, deleting, and files that are missing.

use bytes::Bytes;

use super::super::Damage;
use super::super::format::{GROUP_HEADER_BYTES, HEAD_BYTES, Head, read_group};
use super::*;

/// A log with one group in each of its segments, as a kill leaves it: entries 0 to 3 of term 1.
async fn four_segments() -> TempDir {
    let dir = new_dir();
    let mut log = open(dir.path(), 1);
    vote(&mut log, 7).await;
    append(&mut log, 1, 0..4).await;
    left_by_a_kill(dir.path())
}

/// Where the groups behind a segment's state begin.
fn behind_the_state(segment: &Path) -> u64 {
    let bytes = Bytes::from(fs::read(segment).expect("reads"));
    let salt = Head::parse(&bytes).expect("has a head").salt;
    read_group(&bytes, HEAD_BYTES, salt)
        .expect("has a state")
        .end as u64
}

fn cut(segment: &Path, len: u64) {
    let file = fs::OpenOptions::new()
        .write(true)
        .open(segment)
        .expect("opens");
    file.set_len(len).expect("cuts");
}

fn len(segment: &Path) -> u64 {
    fs::metadata(segment).expect("exists").len()
}

#[tokio::test]
async fn segments_go_when_all_in_them_is_purged_and_the_vote_stays() {
    let dir = new_dir();
    let mut log = open(dir.path(), 1);
    vote(&mut log, 7).await;
    append(&mut log, 1, 0..10).await;
    let before = segments(dir.path());
    log.purge(id(1, 8)).await.expect("purges");
    append(&mut log, 1, 10..11).await;
    drop(log);
    let after = segments(dir.path());
    assert!(
        before
            .iter()
            .take(8)
            .all(|segment| !after.contains(segment))
    );
    let opened = reread(dir.path()).expect("opens");
    assert_eq!(
        (voted_term(&opened), last_index(&opened)),
        (Some(7), Some(10))
    );
}

#[tokio::test]
async fn a_segment_goes_when_what_is_not_purged_in_it_was_truncated() {
    let dir = new_dir();
    let mut log = open(dir.path(), 1);
    append(&mut log, 1, 0..10).await;
    log.truncate_after(Some(id(1, 1))).await.expect("truncates");
    append(&mut log, 2, 2..4).await;
    log.purge(id(1, 1)).await.expect("purges");
    append(&mut log, 2, 4..5).await;
    drop(log);
    assert!(segments(dir.path()).len() <= 4);
    assert_eq!(last_index(&reread(dir.path()).expect("opens")), Some(4));
}

#[tokio::test]
async fn a_missing_segment_is_named() {
    let whole = four_segments().await;
    let count = segments(whole.path()).len();
    for missing in 0..count {
        let dir = left_by_a_kill(whole.path());
        let gone = segments(dir.path()).remove(missing);
        fs::remove_file(&gone).expect("deletes");
        match reread(dir.path()).map(|opened| opened.recovery) {
            Err(LogError::Missing { path }) => assert_eq!(path, gone),
            // The first held a vote and no entry: every later one says that vote again.
            Ok(_) if missing == 0 => {}
            other => panic!("segment {missing} missing: {other:?}"),
        }
    }
}

#[tokio::test]
async fn older_segments_that_a_lost_deletion_left_are_deleted() {
    let dir = new_dir();
    let mut log = open(dir.path(), 1);
    append(&mut log, 1, 0..6).await;
    let old = left_by_a_kill(dir.path());
    log.purge(id(1, 4)).await.expect("purges");
    append(&mut log, 1, 6..8).await;
    drop(log);
    let kept = segments(dir.path());
    let first = &segments(old.path())[0];
    let back = dir.path().join(first.file_name().expect("a name"));
    fs::copy(first, &back).expect("copies");
    assert_eq!(last_index(&reread(dir.path()).expect("opens")), Some(7));
    assert_eq!(segments(dir.path()), kept);
}

#[tokio::test]
async fn any_change_to_a_sealed_segment_is_refused() {
    let whole = four_segments().await;
    let segment = segments(whole.path()).remove(1);
    let good = fs::read(&segment).expect("reads");
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x08;
        for bad in [&bad[..], &good[..at]] {
            fs::write(&segment, bad).expect("writes");
            match reread(whole.path()).map(|opened| opened.recovery) {
                Err(LogError::Damaged { path, offset, .. }) => {
                    assert_eq!(path, segment);
                    assert!(offset <= at as u64);
                }
                other => panic!("damage at {at}: {other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_crash_between_a_segment_and_the_seal_before_it_is_repaired() {
    let whole = four_segments().await;
    let all = segments(whole.path());
    let [.., before, last] = &all[..] else {
        panic!("two segments at least")
    };
    cut(last, behind_the_state(last));
    let sealed = len(before);
    for seal in 0..=GROUP_HEADER_BYTES as u64 {
        cut(before, sealed - GROUP_HEADER_BYTES as u64 + seal);
        let opened = reread(whole.path()).expect("opens");
        assert_eq!((last_index(&opened), len(before)), (Some(2), sealed));
    }
    // Sealed again: without its successor it is refused.
    fs::remove_file(last).expect("deletes");
    assert!(matches!(reread(whole.path()), Err(LogError::Missing { path }) if path == *last));
}

#[tokio::test]
async fn a_seal_missing_before_a_segment_in_use_is_refused() {
    let whole = four_segments().await;
    let all = segments(whole.path());
    let [.., before, _] = &all[..] else {
        panic!("two segments at least")
    };
    let end = len(before) - GROUP_HEADER_BYTES as u64;
    cut(before, end);
    match reread(whole.path()).map(|opened| opened.recovery) {
        Err(LogError::Damaged {
            path,
            offset,
            damage: Damage::Group,
        }) => {
            assert_eq!((&path, offset), (before, end));
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn a_segment_under_a_wrong_name_is_refused() {
    let whole = four_segments().await;
    let all = segments(whole.path());
    let [.., before, last] = &all[..] else {
        panic!("two segments at least")
    };
    fs::copy(before, last).expect("copies");
    match reread(whole.path()).map(|opened| opened.recovery) {
        Err(LogError::Damaged {
            path,
            damage: Damage::Number(_),
            ..
        }) => assert_eq!(path, *last),
        other => panic!("not refused: {other:?}"),
    }
}

#[tokio::test]
async fn an_unfinished_segment_is_deleted() {
    let whole = four_segments().await;
    let unfinished = whole.path().join("00000000000000000099.tmp");
    fs::write(&unfinished, b"xmpplog").expect("writes");
    assert_eq!(last_index(&reread(whole.path()).expect("opens")), Some(3));
    assert!(!unfinished.exists());
}

#[tokio::test]
async fn zeros_are_written_ahead_and_go_with_the_seal() {
    let dir = new_dir();
    let ahead = LogOptions {
        ahead_bytes: 5000,
        ..options(1000)
    };
    let mut log = SegmentLog::open(dir.path(), ahead.clone()).expect("opens");
    append(&mut log, 1, 0..2).await;
    let path = segments(dir.path()).remove(0);
    let before = len(&path);
    append(&mut log, 1, 2..4).await;
    assert_eq!(len(&path), before, "there was room");
    let bytes = fs::read(&path).expect("reads");
    assert!(bytes.ends_with(&[0; 4000]));
    let copy = left_by_a_kill(dir.path());
    let opened = reread(copy.path()).expect("opens");
    assert_eq!(last_index(&opened), Some(3));
    assert_eq!(opened.recovery.dropped_bytes, 0);
    append(&mut log, 1, 4..40).await;
    drop(log);
    assert!(segments(dir.path()).len() > 1);
    assert!(len(&path) < 1200, "{} bytes", len(&path));
    let mut log = SegmentLog::open(dir.path(), ahead).expect("opens again");
    assert!(log.recovery().clean_end);
    append(&mut log, 1, 40..60).await;
    drop(log);
    assert_eq!(last_index(&reread(dir.path()).expect("opens")), Some(59));
}

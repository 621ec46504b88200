//! What is there after a restart is what was there before.

use openraft::RaftLogReader as _;
use openraft::storage::IOFlushed;

use super::*;

#[tokio::test]
async fn entries_vote_and_committed_survive_a_restart() {
    let dir = new_dir();
    let mut log = open(dir.path(), 1 << 20);
    vote(&mut log, 3).await;
    log.blocking_append([batch(3, 0, 5), batch(3, 1, 70_000), batch(3, 2, 0)])
        .await
        .expect("appends");
    log.save_committed(Some(id(3, 1))).await.expect("saves");
    drop(log);
    let mut log = open(dir.path(), 1 << 20);
    assert!(log.recovery().clean_end && !log.recovery().created);
    assert_eq!(log.reader().vote(), Some(Vote::new(3, 1)));
    assert_eq!(log.read_committed().await.expect("reads"), Some(id(3, 1)));
    let entries = log.reader().try_get_log_entries(..).await.expect("reads");
    assert_eq!(
        entries,
        [batch(3, 0, 5), batch(3, 1, 70_000), batch(3, 2, 0)]
    );
}

#[tokio::test]
async fn everything_acknowledged_survives_a_kill() {
    let dir = new_dir();
    let mut log = open(dir.path(), 200);
    vote(&mut log, 1).await;
    append(&mut log, 1, 0..30).await;
    vote(&mut log, 2).await;
    append(&mut log, 2, 30..33).await;
    let opened = reread(left_by_a_kill(dir.path()).path()).expect("opens");
    assert_eq!(
        (voted_term(&opened), last_index(&opened)),
        (Some(2), Some(32))
    );
    assert!(!opened.recovery.clean_end);
    assert_eq!(opened.recovery.dropped_bytes, 0);
}

#[tokio::test]
async fn truncated_entries_stay_gone_after_a_restart() {
    for segment_bytes in [1, 300, 1 << 20] {
        let dir = new_dir();
        let mut log = open(dir.path(), segment_bytes);
        append(&mut log, 1, 0..10).await;
        log.truncate_after(Some(id(1, 3))).await.expect("truncates");
        append(&mut log, 2, 4..6).await;
        drop(log);
        let opened = reread(dir.path()).expect("opens");
        assert_eq!(last_index(&opened), Some(5));
        assert_eq!(opened.memory.state.last, Some(id(2, 5)));
        assert_eq!(opened.memory.range(&..)[3].log_id, id(1, 3));
    }
}

#[tokio::test]
async fn a_purged_log_comes_back_with_its_mark_and_the_rest() {
    for segment_bytes in [1, 300, 1 << 20] {
        let dir = new_dir();
        let mut log = open(dir.path(), segment_bytes);
        append(&mut log, 1, 0..20).await;
        log.purge(id(1, 11)).await.expect("purges");
        append(&mut log, 1, 20..22).await;
        drop(log);
        let opened = reread(dir.path()).expect("opens");
        assert_eq!(opened.memory.state.purged, Some(id(1, 11)));
        assert_eq!(last_index(&opened), Some(21));
        let log = open(dir.path(), segment_bytes);
        assert_eq!(log.reader().last_log_id(), Some(id(1, 21)));
    }
}

#[tokio::test]
async fn a_purge_beyond_the_end_is_where_the_log_goes_on() {
    let dir = new_dir();
    let mut log = open(dir.path(), 1);
    append(&mut log, 1, 0..5).await;
    log.purge(id(4, 100)).await.expect("purges");
    append(&mut log, 4, 101..103).await;
    drop(log);
    assert_eq!(last_index(&reread(dir.path()).expect("opens")), Some(102));
}

#[tokio::test]
async fn a_purge_at_the_last_index_with_another_term_takes_its_place() {
    let dir = new_dir();
    let mut log = open(dir.path(), 1 << 20);
    append(&mut log, 1, 0..5).await;
    log.purge(id(4, 4)).await.expect("purges");
    drop(log);
    let opened = reread(dir.path()).expect("opens");
    assert_eq!(opened.memory.state.last, Some(id(4, 4)));
}

#[tokio::test]
async fn what_is_appended_after_a_dropped_tail_is_kept() {
    let dir = new_dir();
    let mut log = open(dir.path(), 1 << 20);
    append(&mut log, 1, 0..3).await;
    let copy = left_by_a_kill(dir.path());
    let segment = segments(copy.path()).remove(0);
    let bytes = fs::read(&segment).expect("reads");
    fs::write(&segment, &bytes[..bytes.len() - 1]).expect("writes");
    let mut log = open(copy.path(), 1 << 20);
    assert_eq!(log.reader().last_log_id(), Some(id(1, 1)));
    append(&mut log, 2, 2..4).await;
    drop(log);
    let opened = reread(copy.path()).expect("opens");
    assert_eq!(
        (last_index(&opened), opened.memory.state.last),
        (Some(3), Some(id(2, 3)))
    );
}

#[tokio::test]
async fn a_committed_id_beyond_the_log_is_not_reported() {
    let dir = new_dir();
    let mut log = open(dir.path(), 1 << 20);
    append(&mut log, 1, 0..2).await;
    log.save_committed(Some(id(2, 9))).await.expect("saves");
    assert_eq!(log.read_committed().await.expect("reads"), None);
    log.save_committed(Some(id(1, 1))).await.expect("saves");
    assert_eq!(log.read_committed().await.expect("reads"), Some(id(1, 1)));
}

#[tokio::test]
async fn an_append_with_a_gap_is_refused_whole() {
    let dir = new_dir();
    let mut log = open(dir.path(), 1 << 20);
    append(&mut log, 1, 0..2).await;
    let gap = log
        .append([batch(1, 2, 1), batch(1, 4, 1)], IOFlushed::noop())
        .await;
    assert!(gap.is_err());
    assert_eq!(log.reader().last_log_id(), Some(id(1, 1)));
}

#[test]
fn a_directory_has_one_log_at_a_time() {
    let dir = new_dir();
    let log = open(dir.path(), 1 << 20);
    let second = SegmentLog::open(dir.path(), options(1 << 20));
    assert!(matches!(second, Err(LogError::InUse { .. })));
    drop(log);
    drop(open(dir.path(), 1 << 20));
}

#[test]
fn a_log_that_must_exist_is_not_created() {
    let dir = new_dir();
    let must_exist = LogOptions {
        must_exist: true,
        ..options(1 << 20)
    };
    let missing = SegmentLog::open(dir.path(), must_exist);
    assert!(matches!(missing, Err(LogError::Missing { .. })));
    assert_eq!(segments(dir.path()), Vec::<PathBuf>::new());
}

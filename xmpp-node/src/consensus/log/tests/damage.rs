//! Every byte of a log is cut off or changed, and the outcome is one of the two.

use std::fs;
use std::path::Path;

use super::super::super::types::Vote;
use super::super::LogError;
use super::super::format::{GROUP_HEADER_BYTES, HEAD_BYTES};
use super::super::recovery::Recovered;
use super::*;

/// A log of one segment, with the offset behind each step of its making.
struct Written {
    path: PathBuf,
    bytes: Vec<u8>,
    /// Length of the file after: creation, and each further step.
    ends: Vec<usize>,
    dir: TempDir,
}

/// Creates a log, does `steps` to it, and keeps what a kill after the last of them would leave.
async fn written(steps: &[Step]) -> Written {
    let dir = new_dir();
    let mut log = open(dir.path(), 1 << 20);
    let path = segments(dir.path()).remove(0);
    let len = |path: &Path| fs::metadata(path).expect("exists").len() as usize;
    let mut ends = vec![len(&path)];
    for step in steps {
        match *step {
            Step::Append(index) => append(&mut log, 1, [index]).await,
            Step::Vote(term) => vote(&mut log, term).await,
        }
        ends.push(len(&path));
    }
    let copy = left_by_a_kill(dir.path());
    let path = segments(copy.path()).remove(0);
    Written {
        bytes: fs::read(&path).expect("reads"),
        path,
        ends,
        dir: copy,
    }
}

#[derive(Clone, Copy)]
enum Step {
    Append(u64),
    Vote(u64),
}

impl Written {
    fn open_with(&self, bytes: &[u8]) -> Result<Recovered, LogError> {
        fs::write(&self.path, bytes).expect("writes");
        reread(self.dir.path())
    }

    /// As it is with zeros written ahead of the log.
    fn with_zeros(mut self) -> Self {
        self.bytes.resize(self.bytes.len() + 3000, 0);
        self
    }

    /// Opens the log with one bit of the byte at `at` changed, another one for each byte.
    fn open_with_flip(&self, at: usize) -> Result<Recovered, LogError> {
        let mut bytes = self.bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        self.open_with(&bytes)
    }

    /// Asserts that the log is refused, naming this file and an offset at or before `at`.
    fn assert_refused(&self, outcome: Result<Recovered, LogError>, at: usize) {
        match outcome {
            Ok(_) => panic!("damage at {at} went unnoticed"),
            Err(LogError::Damaged { path, offset, .. }) => {
                assert_eq!(path, self.path);
                assert!(offset <= at as u64, "damage at {at} was placed at {offset}");
            }
            Err(other) => panic!("damage at {at}: {other}"),
        }
    }
}

#[tokio::test]
async fn a_cut_at_any_byte_drops_the_group_it_falls_into() {
    let log = written(&[0, 1, 2, 3].map(Step::Append)).await;
    for cut in log.ends[0]..=log.bytes.len() {
        let opened = log
            .open_with(&log.bytes[..cut])
            .expect("a cut end is an unfinished write");
        let whole = log
            .ends
            .iter()
            .rposition(|end| *end <= cut)
            .expect("behind the first");
        assert_eq!(
            last_index(&opened),
            (whole as u64).checked_sub(1),
            "cut at {cut}"
        );
        // Zeros at the end may have been written ahead.
        let written = log.bytes[..cut].iter().rposition(|byte| *byte != 0);
        assert_eq!(
            opened.recovery.dropped_bytes,
            written
                .map_or(0, |last| last + 1)
                .saturating_sub(log.ends[whole]) as u64
        );
        assert_eq!(
            fs::metadata(&log.path).expect("exists").len(),
            log.ends[whole] as u64
        );
    }
}

#[tokio::test]
async fn a_write_ahead_of_whose_zeros_it_stopped_is_dropped_or_whole() {
    let log = written(&[0, 1, 2, 3].map(Step::Append)).await;
    for cut in log.ends[0]..=log.bytes.len() {
        let mut bytes = log.bytes[..cut].to_vec();
        bytes.resize(log.bytes.len() + 3000, 0);
        let opened = log.open_with(&bytes).expect("an unfinished write");
        // A group that ends in zeros is whole without them.
        let same = |end: &&usize| bytes[..**end] == log.bytes[..**end];
        let whole = log.ends.iter().take_while(same).count() as u64 - 1;
        assert_eq!(last_index(&opened), whole.checked_sub(1), "cut at {cut}");
        assert_eq!(opened.recovery.dropped_bytes > 0, {
            let end = log.ends[whole as usize];
            bytes[end..].iter().any(|byte| *byte != 0)
        });
    }
}

#[tokio::test]
async fn a_cut_into_what_a_new_segment_began_with_is_refused() {
    let log = written(&[Step::Append(0)]).await;
    for cut in 0..log.ends[0] {
        log.assert_refused(log.open_with(&log.bytes[..cut]), cut);
    }
}

#[tokio::test]
async fn a_change_to_any_byte_is_refused_before_the_last_group_and_drops_that_one() {
    let plain = written(&[0, 1, 2].map(Step::Append)).await;
    let ahead = written(&[0, 1, 2].map(Step::Append)).await.with_zeros();
    for log in [plain, ahead] {
        for at in 0..log.ends[3] {
            let outcome = log.open_with_flip(at);
            if at < log.ends[2] {
                log.assert_refused(outcome, at);
            } else {
                let opened = outcome.expect("the last group may be unfinished");
                assert_eq!(last_index(&opened), Some(1), "changed at {at}");
            }
        }
    }
}

#[tokio::test]
async fn a_tail_of_zeros_or_garbage_is_dropped() {
    let log = written(&[0, 1, 2].map(Step::Append)).await;
    for from in [log.ends[2], log.ends[2] + 7, log.ends[3]] {
        for filler in [0, 0xC7, b'<'] {
            let mut bytes = log.bytes[..from].to_vec();
            bytes.resize(from + 5000, filler);
            let opened = log.open_with(&bytes).expect("the end may be unfinished");
            let whole = if from == log.ends[3] { 2 } else { 1 };
            assert_eq!(last_index(&opened), Some(whole));
        }
    }
}

#[tokio::test]
async fn zeros_over_anything_that_a_later_group_vouches_for_are_refused() {
    let log = written(&[0, 1, 2, 3].map(Step::Append)).await;
    for group in 0..3 {
        let mut bytes = log.bytes.clone();
        bytes[log.ends[group]..log.ends[group + 1]].fill(0);
        log.assert_refused(log.open_with(&bytes), log.ends[group]);
    }
}

#[tokio::test]
async fn a_changed_vote_is_refused_even_when_nothing_follows_it() {
    let log = written(&[Step::Vote(1), Step::Append(0), Step::Vote(2)]).await;
    let mark = log.bytes.len() - GROUP_HEADER_BYTES;
    for at in HEAD_BYTES..mark {
        log.assert_refused(log.open_with_flip(at), at);
    }
    for at in mark..log.bytes.len() {
        let opened = log.open_with_flip(at).expect("only the mark is unfinished");
        assert_eq!(voted_term(&opened), Some(2));
    }
}

#[tokio::test]
async fn a_vote_cut_off_was_never_acknowledged_and_is_dropped() {
    let log = written(&[Step::Vote(1), Step::Append(0), Step::Vote(2)]).await;
    let mark = log.bytes.len() - GROUP_HEADER_BYTES;
    for cut in log.ends[2]..log.bytes.len() {
        let opened = log
            .open_with(&log.bytes[..cut])
            .expect("a cut end is an unfinished write");
        assert_eq!(
            voted_term(&opened),
            Some(if cut < mark { 1 } else { 2 }),
            "cut at {cut}"
        );
        assert_eq!(last_index(&opened), Some(0));
    }
}

#[tokio::test]
async fn after_a_clean_end_no_change_goes_unnoticed() {
    let dir = new_dir();
    let mut log = open(dir.path(), 1 << 20);
    append(&mut log, 1, 0..2).await;
    drop(log);
    let path = segments(dir.path()).remove(0);
    let bytes = fs::read(&path).expect("reads");
    let mark = bytes.len() - GROUP_HEADER_BYTES;
    let log = Written {
        path,
        bytes,
        ends: Vec::new(),
        dir,
    };
    assert!(log.open_with(&log.bytes).expect("opens").recovery.clean_end);
    for at in 0..log.bytes.len() {
        let outcome = log.open_with_flip(at);
        if at < mark {
            log.assert_refused(outcome, at);
        } else {
            let opened = outcome.expect("only the mark is unfinished");
            assert_eq!(
                (last_index(&opened), opened.recovery.clean_end),
                (Some(1), false)
            );
        }
    }
}

#[tokio::test]
async fn when_idle_the_last_group_gets_its_mark() {
    let dir = new_dir();
    let idle = LogOptions {
        idle: Duration::ZERO,
        ..options(1 << 20)
    };
    let mut log = SegmentLog::open(dir.path(), idle).expect("opens");
    let path = segments(dir.path()).remove(0);
    log.blocking_append([batch(1, 0, 1000)])
        .await
        .expect("appends");
    // The mark says that all before it is durable: it is the only group that claims so much.
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let marked = loop {
        let bytes = fs::read(&path).expect("reads");
        let mark = bytes.len() - GROUP_HEADER_BYTES;
        let durable = u64::from_le_bytes(bytes[mark + 16..mark + 24].try_into().expect("eight"));
        if durable == mark as u64 && mark > 1000 {
            break bytes;
        }
        assert!(std::time::Instant::now() < deadline, "no mark was written");
        std::thread::yield_now();
    };
    let copy = left_by_a_kill(dir.path());
    let path = segments(copy.path()).remove(0);
    let log = Written {
        path,
        bytes: marked,
        ends: Vec::new(),
        dir: copy,
    };
    let at = log.bytes.len() - GROUP_HEADER_BYTES - 1;
    log.assert_refused(log.open_with_flip(at), at);
}

#[tokio::test]
async fn a_group_inside_a_payload_does_not_vouch_for_anything() {
    // The bytes of a whole log, sent as a payload, then torn: its groups must not count.
    let inner = written(&[Step::Vote(1), Step::Append(0), Step::Append(1)]).await;
    let dir = new_dir();
    let mut log = open(dir.path(), 1 << 20);
    let entry = Entry {
        log_id: id(1, 0),
        payload: Payload::Normal(Batch(inner.bytes.repeat(3).into())),
    };
    log.blocking_append([entry]).await.expect("appends");
    let copy = left_by_a_kill(dir.path());
    let path = segments(copy.path()).remove(0);
    let mut bytes = fs::read(&path).expect("reads");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&path, bytes).expect("writes");
    assert_eq!(
        last_index(&reread(copy.path()).expect("the end may be unfinished")),
        None
    );
}

#[test]
fn a_record_that_checks_but_is_unknown_is_refused_even_at_the_end() {
    use super::super::format::Group;
    use super::super::segment::Segment;
    use super::super::state::State;

    let dir = new_dir();
    let mut group = Group::default();
    let mut segment = Segment::create(dir.path(), 1, 0, &State::default(), &mut group)
        .expect("creates a segment");
    let offset = segment.len() + GROUP_HEADER_BYTES as u64;
    segment.begin(&mut group);
    group.value(77, &Vote::new(1, 1));
    segment.append(&mut group, 0).expect("appends");
    let damage = super::super::Damage::Kind(77);
    match reread(dir.path()).map(|opened| opened.recovery) {
        Err(LogError::Damaged {
            offset: at,
            damage: found,
            ..
        }) => {
            assert_eq!((at, found), (offset, damage));
        }
        other => panic!("not refused: {other:?}"),
    }
}

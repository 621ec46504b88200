//! Random operations, then a crash at a random byte or a random change: the log is what it was
//! after some operation, or it is refused, but never anything else.

use proptest::prelude::*;
use proptest::sample::Index;

use super::super::memory::Memory;
use super::*;

#[derive(Debug, Clone)]
enum Step {
    Append(u8),
    Vote,
    Truncate(Index),
    Purge(Index),
    Commit,
}

fn any_steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..4_u8).prop_map(Step::Append),
        1 => Just(Step::Vote),
        1 => any::<Index>().prop_map(Step::Truncate),
        1 => any::<Index>().prop_map(Step::Purge),
        1 => Just(Step::Commit),
    ];
    prop::collection::vec(step, 1..25)
}

/// What must be the same before and after: everything but the committed id, which is a hint.
type Seen = (Option<u64>, Option<LogId>, Option<LogId>, Vec<Entry>);

fn seen(memory: &Memory) -> Seen {
    let state = &memory.state;
    (
        state.vote.map(|vote| vote.leader_id.term),
        state.purged,
        state.last,
        memory.range(&..),
    )
}

/// Does `steps` and returns what the log was after each of them, the beginning first.
async fn perform(log: &mut SegmentLog, steps: &[Step]) -> Vec<Seen> {
    let mut history = vec![log.shared.read(seen)];
    for (term, step) in (1..).zip(steps) {
        let (_, purged, last, _) = log.shared.read(seen);
        let next = last.map_or(0, |last| last.index + 1);
        let first = purged.map_or(0, |purged| purged.index + 1);
        match step {
            Step::Append(count) => {
                let entries = (next..next + u64::from(*count)).map(|index| batch(term, index, 30));
                log.blocking_append(entries).await.expect("appends");
            }
            Step::Vote => vote(log, term).await,
            Step::Truncate(at) if first + 1 < next => {
                let after = first + at.index((next - first - 1) as usize) as u64;
                let after = log
                    .shared
                    .read(|memory| memory.range(&(after..=after))[0].log_id);
                log.truncate_after(Some(after)).await.expect("truncates");
            }
            Step::Purge(at) if first < next => {
                let upto = first + at.index((next - first) as usize) as u64;
                let upto = log
                    .shared
                    .read(|memory| memory.range(&(upto..=upto))[0].log_id);
                log.purge(upto).await.expect("purges");
            }
            Step::Commit => log.save_committed(last).await.expect("remembers"),
            Step::Truncate(_) | Step::Purge(_) => {}
        }
        history.push(log.shared.read(seen));
    }
    history
}

fn last_segment_after(steps: &[Step], segment_bytes: u64, clean: bool) -> (TempDir, Vec<Seen>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let dir = new_dir();
        let mut log = open(dir.path(), segment_bytes);
        let history = perform(&mut log, steps).await;
        if clean {
            drop(log);
            return (dir, history);
        }
        // An append is in the file when it is answered, and with it all that was asked for before.
        let (_, _, last, _) = log.shared.read(seen);
        append(&mut log, 99, [last.map_or(0, |last| last.index + 1)]).await;
        let mut history = history;
        history.push(log.shared.read(seen));
        (left_by_a_kill(dir.path()), history)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_restart_changes_nothing(
        steps in any_steps(),
        segment_bytes in prop_oneof![Just(1_u64), Just(400), Just(1 << 20)],
        clean in any::<bool>(),
    ) {
        let (dir, history) = last_segment_after(&steps, segment_bytes, clean);
        let opened = reread(dir.path()).expect("opens");
        prop_assert_eq!(Some(&seen(&opened.memory)), history.last());
        prop_assert_eq!(opened.recovery.clean_end, clean);
    }

    #[test]
    fn a_cut_anywhere_leaves_what_was_once_there_or_is_refused(
        steps in any_steps(),
        segment_bytes in prop_oneof![Just(400_u64), Just(1 << 20)],
        at in any::<Index>(),
        zeros in 0..3000_usize,
    ) {
        let (dir, history) = last_segment_after(&steps, segment_bytes, false);
        let last = segments(dir.path()).pop().expect("a segment");
        let mut bytes = fs::read(&last).expect("reads");
        bytes.truncate(at.index(bytes.len()));
        bytes.resize(bytes.len() + zeros, 0);
        fs::write(&last, bytes).expect("writes");
        if let Ok(opened) = reread(dir.path()) {
            let seen = seen(&opened.memory);
            prop_assert!(history.contains(&seen), "{seen:?} never was");
            prop_assert_eq!(&self::seen(&reread(dir.path()).expect("opens again").memory), &seen);
        }
    }

    #[test]
    fn a_change_anywhere_is_refused_or_drops_the_last_group(
        steps in any_steps(),
        segment_bytes in prop_oneof![Just(1_u64), Just(400), Just(1 << 20)],
        segment in any::<Index>(),
        at in any::<Index>(),
        change in 1..=255_u8,
    ) {
        let (dir, history) = last_segment_after(&steps, segment_bytes, false);
        let segments = segments(dir.path());
        let segment = segment.get(&segments);
        let mut bytes = fs::read(segment).expect("reads");
        let at = at.index(bytes.len());
        bytes[at] ^= change;
        fs::write(segment, bytes).expect("writes");
        match reread(dir.path()) {
            Err(LogError::Damaged { path, .. }) => prop_assert_eq!(&path, segment),
            Err(other) => prop_assert!(false, "{other}"),
            Ok(opened) => {
                prop_assert_eq!(Some(segment), segments.last());
                prop_assert!(history.contains(&seen(&opened.memory)));
            }
        }
    }
}

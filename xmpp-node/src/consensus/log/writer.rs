//! The thread that writes: all that waits becomes one group, one write, one sync.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use openraft::LogIdOptionExt as _;

use super::super::types::LogId;
use super::error::LogError;
use super::format::{CLEAN_END, Group};
use super::recovery::Sealed;
use super::segment::{Segment, remove, sync_dir};
use super::shared::{Operation, Shared, Work};
use super::state::State;
use super::{FatalHook, LogOptions, SyncedHook};

/// Everything the thread owns.
pub(super) struct Writer {
    pub(super) shared: Arc<Shared>,
    pub(super) dir: PathBuf,
    pub(super) active: Segment,
    /// As [`Sealed::live_end`], for the active segment.
    pub(super) live_end: u64,
    pub(super) sealed: VecDeque<Sealed>,
    /// The state as of what is written, which lags behind the one in memory.
    pub(super) state: State,
    pub(super) options: LogOptions,
    /// Held as long as files may change.
    pub(super) lock: File,
}

impl Writer {
    /// Works until the log is closed or a file operation fails.
    pub(super) fn run(self) {
        let Self {
            shared,
            dir,
            active,
            live_end,
            sealed,
            state,
            options,
            lock,
        } = self;
        let LogOptions {
            segment_bytes,
            ahead_bytes,
            idle,
            fatal,
            synced,
            must_exist: _,
        } = options;
        let _unwinding = FailOnPanic(&shared);
        let group = Group::default();
        let mut files = Files {
            dir,
            active,
            live_end,
            sealed,
            state,
            segment_bytes,
            ahead_bytes,
            synced,
            group,
        };
        files.active.write_ahead(ahead_bytes);
        serve(&shared, files, idle, &fatal);
        // Only now may another log open the directory.
        drop(lock);
    }
}

/// Refuses everything from now on if the writer ends by a defect of its own.
struct FailOnPanic<'a>(&'a Shared);

impl Drop for FailOnPanic<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.fail("the writer of the log panicked");
        }
    }
}

fn serve(shared: &Shared, mut files: Files, idle: Duration, fatal: &FatalHook) {
    // Nothing vouches yet for the last group found when the log was opened.
    let mut unmarked = true;
    loop {
        let unsettled = unmarked || files.active.is_dirty();
        let (operations, result) = match shared.next_work(unsettled, idle) {
            Work::Write {
                operations,
                committed,
            } => {
                let written = files.write(&operations, committed);
                (operations, written.map(|marked| unmarked = !marked))
            }
            Work::Settle { committed } => {
                let settled = files.settle(committed, unmarked, 0);
                unmarked = false;
                (Vec::new(), settled)
            }
            Work::Close { committed } => match files.settle(committed, true, CLEAN_END) {
                Ok(()) => return,
                failed @ Err(_) => (Vec::new(), failed),
            },
        };
        match result {
            Ok(()) => operations
                .into_iter()
                .for_each(|operation| operation.complete(None)),
            Err(error) => {
                fatal(&error);
                // Not reached when the hook ends the process, as it should.
                let why = error.to_string();
                operations
                    .into_iter()
                    .for_each(|operation| operation.complete(Some(&why)));
                shared.fail(&why);
                return;
            }
        }
    }
}

/// The files, and what is written in them.
struct Files {
    dir: PathBuf,
    active: Segment,
    live_end: u64,
    sealed: VecDeque<Sealed>,
    state: State,
    segment_bytes: u64,
    ahead_bytes: u64,
    synced: SyncedHook,
    /// Memory for the group under way.
    group: Group,
}

impl Files {
    /// Makes `operations` durable.
    ///
    /// Returns whether a mark follows them: a vote is not acknowledged without one, so that a vote
    /// that was acknowledged can never pass for an unfinished write.
    fn write(
        &mut self,
        operations: &[Operation],
        committed: Option<Option<LogId>>,
    ) -> Result<bool, LogError> {
        if self.active.len() >= self.segment_bytes {
            self.roll()?;
        }
        self.active.begin(&mut self.group);
        for operation in operations {
            self.add(operation);
        }
        self.add_committed(committed);
        self.active.append(&mut self.group, 0)?;
        self.sync()?;
        let voted = operations
            .iter()
            .any(|operation| matches!(operation, Operation::Vote { .. }));
        if voted {
            self.mark(None, 0)?;
        }
        self.delete_purged()?;
        Ok(voted)
    }

    fn sync(&mut self) -> Result<(), LogError> {
        let began = Instant::now();
        self.active.sync()?;
        (self.synced)(began.elapsed());
        Ok(())
    }

    /// Adds one operation to the group, and to what is known of the written log.
    fn add(&mut self, operation: &Operation) {
        match operation {
            Operation::Append { entries, .. } => {
                for entry in entries {
                    self.group.entry(entry);
                    self.state.last = Some(entry.log_id);
                    self.live_end = self.state.last.next_index();
                }
            }
            Operation::Vote { vote, .. } => {
                self.group.vote(vote);
                self.state.vote = Some(*vote);
            }
            Operation::TruncateAfter(after) => {
                self.group.truncate_after(after);
                let gone = self.state.truncate_after(*after);
                self.live_end = self.live_end.min(gone);
                for segment in &mut self.sealed {
                    segment.live_end = segment.live_end.min(gone);
                }
            }
            Operation::Purge(upto) => {
                self.group.purge(upto);
                self.state.purge(*upto);
            }
        }
    }

    fn add_committed(&mut self, committed: Option<Option<LogId>>) {
        if let Some(committed) = committed {
            self.group.committed(&committed);
            self.state.committed = committed;
        }
    }

    /// Leaves nothing written unsynced, and with `mark` a group that vouches for all before it.
    fn settle(
        &mut self,
        committed: Option<Option<LogId>>,
        mark: bool,
        flags: u32,
    ) -> Result<(), LogError> {
        if mark || committed.is_some() {
            self.mark(committed, flags)?;
        }
        if self.active.is_dirty() {
            self.sync()
        } else {
            Ok(())
        }
    }

    /// Writes, without syncing it, a group that holds no operation: its header says that everything
    /// before it is durable.
    fn mark(&mut self, committed: Option<Option<LogId>>, flags: u32) -> Result<(), LogError> {
        self.active.begin(&mut self.group);
        self.add_committed(committed);
        self.active.append(&mut self.group, flags)
    }

    /// Goes on in a new segment. The old one is sealed only when the new one is durable, so that a
    /// seal without a successor is damage.
    fn roll(&mut self) -> Result<(), LogError> {
        if self.active.is_dirty() {
            self.sync()?;
        }
        let (number, end) = (self.active.number() + 1, self.active.len());
        let mut next = Segment::create(&self.dir, number, end, &self.state, &mut self.group)?;
        next.write_ahead(self.ahead_bytes);
        let full = std::mem::replace(&mut self.active, next);
        let path = full.path().to_path_buf();
        full.seal(&mut self.group)?;
        self.sealed.push_back(Sealed {
            path,
            live_end: self.live_end,
        });
        self.live_end = 0;
        Ok(())
    }

    /// Deletes the segments in front that hold nothing but purged and truncated entries. Their
    /// votes and marks stand in every later segment, and the purge mark is durable by now.
    fn delete_purged(&mut self) -> Result<(), LogError> {
        let purged_end = self.state.purged.next_index();
        let mut deleted = false;
        while let Some(segment) = self.sealed.pop_front_if(|it| it.live_end <= purged_end) {
            remove(&segment.path)?;
            deleted = true;
        }
        if deleted { sync_dir(&self.dir) } else { Ok(()) }
    }
}

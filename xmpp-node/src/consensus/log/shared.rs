//! Where the async side and the writer thread meet: the log in memory, and the queue of what has
//! still to reach the disk. One mutex, held only for work in memory, never across I/O or `.await`.

use std::collections::VecDeque;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openraft::storage::IOFlushed;
use tokio::sync::oneshot;

use super::super::types::{Entry, LogId, TypeConfig, Vote};
use super::memory::{Memory, weight};

/// An operation is added to a group while the group weighs less than this, bytes.
const GROUP_BYTES: u64 = 4 << 20;
/// What one append may weigh, bytes: lengths in the file are 32 bits wide.
const APPEND_BYTES: u64 = 1 << 30;

/// Something to be written, in the order in which it was asked for.
pub(super) enum Operation {
    Append {
        entries: Vec<Entry>,
        flushed: IOFlushed<TypeConfig>,
    },
    Vote {
        vote: Vote,
        saved: oneshot::Sender<io::Result<()>>,
    },
    TruncateAfter(Option<LogId>),
    Purge(LogId),
}

/// What the writer does next.
pub(super) enum Work {
    /// Write these as one group. The committed log id is there if it has changed.
    Write {
        operations: Vec<Operation>,
        committed: Option<Option<LogId>>,
    },
    /// Nothing came for a while: settle what is written.
    Settle { committed: Option<Option<LogId>> },
    /// The log is being closed and the queue is empty: settle, then end.
    Close { committed: Option<Option<LogId>> },
}

/// The log in memory, and the queue to its writer.
#[derive(Default)]
pub(super) struct Shared {
    inner: Mutex<Inner>,
    work: Condvar,
}

#[derive(Default)]
struct Inner {
    memory: Memory,
    queue: VecDeque<Operation>,
    /// `memory.state.committed` changed since the writer last took it.
    committed_changed: bool,
    waiting: Waiting,
    closing: bool,
    failed: Option<String>,
}

/// Whether the writer sleeps, so that no system call is spent on waking one that does not.
#[derive(Default, PartialEq)]
enum Waiting {
    #[default]
    No,
    /// For operations; it looks after everything else by itself soon.
    Briefly,
    /// For anything at all.
    Long,
}

impl Shared {
    pub(super) fn new(memory: Memory) -> Self {
        Self {
            inner: Mutex::new(Inner {
                memory,
                ..Inner::default()
            }),
            work: Condvar::new(),
        }
    }

    /// Reads the log as it is in memory.
    pub(super) fn read<T>(&self, read: impl FnOnce(&Memory) -> T) -> T {
        read(&self.lock().memory)
    }

    pub(super) fn append(
        &self,
        entries: Vec<Entry>,
        flushed: IOFlushed<TypeConfig>,
    ) -> io::Result<()> {
        if entries.iter().map(weight).sum::<u64>() > APPEND_BYTES {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "append of more than 1 GiB",
            ));
        }
        let mut inner = self.open()?;
        let before = inner.memory.state.last;
        for entry in &entries {
            if let Err(gap) = inner.memory.push(entry.clone()) {
                inner.memory.truncate_after(before);
                return Err(io::Error::new(io::ErrorKind::InvalidInput, gap));
            }
        }
        self.enqueue(inner, Operation::Append { entries, flushed });
        Ok(())
    }

    pub(super) fn save_vote(&self, vote: Vote) -> io::Result<oneshot::Receiver<io::Result<()>>> {
        let (saved, receiver) = oneshot::channel();
        let mut inner = self.open()?;
        inner.memory.state.vote = Some(vote);
        self.enqueue(inner, Operation::Vote { vote, saved });
        Ok(receiver)
    }

    pub(super) fn save_committed(&self, committed: Option<LogId>) -> io::Result<()> {
        let mut inner = self.open()?;
        inner.memory.state.committed = committed;
        inner.committed_changed = true;
        if inner.waiting == Waiting::Long {
            self.work.notify_one();
        }
        Ok(())
    }

    pub(super) fn truncate_after(&self, after: Option<LogId>) -> io::Result<()> {
        let mut inner = self.open()?;
        inner.memory.truncate_after(after);
        self.enqueue(inner, Operation::TruncateAfter(after));
        Ok(())
    }

    pub(super) fn purge(&self, upto: LogId) -> io::Result<()> {
        let mut inner = self.open()?;
        inner.memory.purge(upto);
        self.enqueue(inner, Operation::Purge(upto));
        Ok(())
    }

    /// Tells the writer to finish what is queued and to end.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.work.notify_one();
    }

    /// Refuses everything from now on, and answers what is queued.
    pub(super) fn fail(&self, why: &str) {
        let mut inner = self.lock();
        inner.failed = Some(why.to_owned());
        let queue = std::mem::take(&mut inner.queue);
        drop(inner);
        for operation in queue {
            operation.complete(Some(why));
        }
    }

    /// Waits for work. With `unsettled`, for no longer than `idle`.
    pub(super) fn next_work(&self, unsettled: bool, idle: Duration) -> Work {
        let mut inner = self.lock();
        loop {
            if !inner.queue.is_empty() {
                let operations = inner.take_group();
                return Work::Write {
                    operations,
                    committed: inner.take_committed(),
                };
            }
            if inner.closing {
                return Work::Close {
                    committed: inner.take_committed(),
                };
            }
            let mut timed_out = false;
            if unsettled || inner.committed_changed {
                inner.waiting = Waiting::Briefly;
                let woken = self.work.wait_timeout(inner, idle);
                let (guard, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
                inner = guard;
                timed_out = timeout.timed_out();
            } else {
                inner.waiting = Waiting::Long;
                inner = self
                    .work
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            inner.waiting = Waiting::No;
            if timed_out && inner.queue.is_empty() && !inner.closing {
                return Work::Settle {
                    committed: inner.take_committed(),
                };
            }
        }
    }

    /// The inner state, unless the writer has failed.
    fn open(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let inner = self.lock();
        match &inner.failed {
            None => Ok(inner),
            Some(why) => Err(io::Error::other(why.clone())),
        }
    }

    fn enqueue(&self, mut inner: MutexGuard<'_, Inner>, operation: Operation) {
        inner.queue.push_back(operation);
        let asleep = inner.waiting != Waiting::No;
        drop(inner);
        if asleep {
            self.work.notify_one();
        }
    }

    /// Nothing under the lock panics half-way, so a poisoned lock still guards a whole state.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Takes operations from the queue, at least one, and the next one while the group is small.
    fn take_group(&mut self) -> Vec<Operation> {
        let mut bytes = 0;
        let mut count = 0;
        for operation in &self.queue {
            if bytes >= GROUP_BYTES {
                break;
            }
            bytes += operation.weight();
            count += 1;
        }
        self.queue.drain(..count).collect()
    }

    /// The committed log id for the group that was just taken.
    ///
    /// Only when nothing is left in the queue: it may cover any entry that is queued, and must not
    /// come to stand before one it covers.
    fn take_committed(&mut self) -> Option<Option<LogId>> {
        let take = self.committed_changed && self.queue.is_empty();
        if take {
            self.committed_changed = false;
        }
        take.then_some(self.memory.state.committed)
    }
}

impl Operation {
    fn weight(&self) -> u64 {
        match self {
            Self::Append { entries, .. } => entries.iter().map(weight).sum(),
            Self::Vote { .. } | Self::TruncateAfter(_) | Self::Purge(_) => 0,
        }
    }

    /// Tells whoever waits for this operation how it went; `None` is success.
    pub(super) fn complete(self, failure: Option<&str>) {
        let result = failure.map_or(Ok(()), |why| Err(io::Error::other(why.to_owned())));
        match self {
            Self::Append { flushed, .. } => flushed.io_completed(result),
            // The receiver is gone when the caller gave up waiting; the vote is saved all the same.
            Self::Vote { saved, .. } => drop(saved.send(result)),
            Self::TruncateAfter(_) | Self::Purge(_) => {}
        }
    }
}

//! The log on disk: append-only segment files, read back only when the node starts.
//!
//! Every entry that is not purged is also in memory, so reads never touch the disk; whoever takes
//! snapshots bounds both by watching [`LogReader::bytes_in_memory`]. A thread of its own writes. It
//! gathers all that waits into one group, writes it by one call and syncs it once, and only then
//! answers for everything in it. Appending never blocks the async side: what may wait in the queue
//! is the same memory that the log holds anyway, and is bounded by the proposals in flight.
//! A write or sync that fails ends the process: after it nobody knows what is on the disk.
//!
//! # Format
//! ```text
//! file    00000000000000000001.seg, 2, ..   each: head, then groups; the first group is one State
//! head    "xmpplog" version | number u64 | end of the segment before u64 | salt u32 | crc u32
//! group   magic u32 | crc u32 | own offset u64 | durable u64 | body length u32 | flags u32 | records
//! record  crc u32 | length u32 | kind u8 | body of that length
//! kinds   Entry (see `encoding`), Vote, Committed, TruncateAfter, Purge; State: all marks at once
//! ```
//! `durable` is the durable mark: everything before that offset had been synced when the group was
//! written. A group without records is a mark and nothing else. It is written after a vote before
//! the vote is acknowledged, 20 ms after the last operation, and when the log is closed. A segment
//! is created under another name, synced, renamed, and only then its predecessor gets a last group
//! flagged as seal. Behind the last group of the last segment there are zeros, written ahead so that a sync has to write
//! data alone. Since votes and marks stand at the start of each segment, a segment can go as
//! soon as all its entries are purged.
//!
//! # What is made of damage
//! | Found when opening | Outcome |
//! |---|---|
//! | the last segment ends inside a group, or in zeros or garbage, and no later group's durable mark covers the place | an unfinished write: dropped from the start of that group |
//! | anything that fails its checksum before a durable mark, so any vote that was acknowledged | refused: file and offset |
//! | a segment's head or first group, a sealed segment, wherever it is damaged | refused |
//! | a record that checks, but is unknown, cannot be decoded or does not follow | refused, also at the end |
//! | a segment missing in the middle, at the end, or in front with entries that are not purged | refused: file |
//!
//! The window of doubt is the last group alone, until something follows it: the next group, or the
//! mark after 20 ms. If the *storage* damages that group after reporting it durable, this looks
//! like an unfinished write and is dropped, although it may have been acknowledged. The mark behind
//! a vote is in the file when the vote is acknowledged, but synced only with what comes next: to
//! lose an acknowledged vote unnoticed takes a power cut within those 20 ms and a disk that lies.
//! A last segment that was cut, or zeroed, exactly from the start of a group on, or replaced by an
//! older copy of itself, is not detected.

mod error;
mod format;
mod memory;
mod reader;
mod recovery;
mod segment;
mod shared;
mod state;
mod storage;
#[cfg(test)]
mod tests;
mod writer;

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use error::{Damage, LogError};
pub use reader::LogReader;
pub use recovery::Recovery;

use recovery::Recovered;
use shared::Shared;
use writer::Writer;

/// Called, on the writer's thread, with the error that made the log unusable.
///
/// It should end the process. If it returns, everything waiting and to come is answered by errors.
pub type FatalHook = Arc<dyn Fn(&LogError) + Send + Sync>;

/// Called, on the writer's thread, with the time that one sync took.
pub type SyncedHook = Arc<dyn Fn(Duration) + Send + Sync>;

/// How a log is opened.
#[derive(Clone)]
pub struct LogOptions {
    /// A segment that is at least this long gets a successor, bytes; 16 MiB by default. Each
    /// segment costs some four syncs.
    pub segment_bytes: u64,
    /// Zeros written ahead of the log at a time, bytes; 1 MiB by default. The last segment is up to so much longer than what
    /// is in it.
    pub ahead_bytes: u64,
    /// How long nothing must have been asked for until the last group gets its durable mark; 20 ms
    /// by default.
    pub idle: Duration,
    /// Refuse an empty directory. For a node that has voted before: its log cannot just be gone.
    pub must_exist: bool,
    /// What a failed write or sync leads to; by default a line in the log and `exit(1)`.
    pub fatal: FatalHook,
    /// What is told of each sync; nothing by default.
    pub synced: SyncedHook,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            ahead_bytes: 1 << 20,
            idle: Duration::from_millis(20),
            must_exist: false,
            fatal: Arc::new(|error| {
                tracing::error!(%error, "the log failed, ending the process");
                std::process::exit(1);
            }),
            synced: Arc::new(|_| ()),
        }
    }
}

impl fmt::Debug for LogOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut options = f.debug_struct("LogOptions");
        options
            .field("segment_bytes", &self.segment_bytes)
            .field("ahead_bytes", &self.ahead_bytes)
            .field("idle", &self.idle);
        options
            .field("must_exist", &self.must_exist)
            .finish_non_exhaustive()
    }
}

/// The log of this node, as openraft writes it. There is one; readers are [`LogReader`]s.
///
/// Dropping it finishes what is queued, marks the end as clean and waits for the writer to end,
/// usually for a few milliseconds.
pub struct SegmentLog {
    reader: LogReader,
    shared: Arc<Shared>,
    recovery: Recovery,
    writer: Option<JoinHandle<()>>,
}

impl SegmentLog {
    /// Opens the log in `dir`, and creates both if need be. Reads all of it: some
    /// seconds for each GiB.
    ///
    /// # Errors
    /// Every variant of [`LogError`]; the files are then as they were.
    pub fn open(dir: &Path, options: LogOptions) -> Result<Self, LogError> {
        fs::create_dir_all(dir).map_err(LogError::io("creating", dir))?;
        if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            segment::sync_dir(parent)?;
        }
        let lock = lock(dir)?;
        let Recovered {
            memory,
            active,
            live_end,
            sealed,
            recovery,
        } = recovery::recover(dir, options.must_exist)?;
        let state = memory.state.clone();
        let shared = Arc::new(Shared::new(memory));
        let writer = Writer {
            shared: Arc::clone(&shared),
            dir: dir.to_path_buf(),
            active,
            live_end,
            sealed,
            state,
            options,
            lock,
        };
        let thread = thread::Builder::new().name("log-writer".to_owned());
        let writer = thread.spawn(move || writer.run());
        let writer = Some(writer.map_err(LogError::io("starting the writer of", dir))?);
        let reader = LogReader::new(Arc::clone(&shared));
        Ok(Self {
            reader,
            shared,
            recovery,
            writer,
        })
    }

    /// What opening found.
    #[must_use]
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// A reader that goes on working when the log itself has been given to openraft.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        self.reader.clone()
    }
}

impl Drop for SegmentLog {
    fn drop(&mut self) {
        self.shared.close();
        if let Some(writer) = self.writer.take() {
            // An error is a panic of the writer, which has been reported as such already.
            let _ = writer.join();
        }
    }
}

impl fmt::Debug for SegmentLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SegmentLog")
            .field("reader", &self.reader)
            .finish_non_exhaustive()
    }
}

/// Makes sure that nobody else has `dir` open. The lock ends with the file, or with the process.
fn lock(dir: &Path) -> Result<File, LogError> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = file.map_err(LogError::io("opening", &path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LogError::InUse {
            path: dir.to_path_buf(),
        }),
        Err(TryLockError::Error(error)) => Err(LogError::io("locking", &path)(error)),
    }
}

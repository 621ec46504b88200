//! What openraft asks of a log. Everything is put in order in memory at once and queued for the
//! writer; only a vote is waited for.

use std::io;

use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogIdOptionExt as _, LogState, OptionalSend};

use super::super::types::{Entry, LogId, TypeConfig, Vote};
use super::{LogReader, SegmentLog};

impl RaftLogStorage<TypeConfig> for SegmentLog {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        Ok(self.shared.read(|log| LogState {
            last_purged_log_id: log.state.purged,
            last_log_id: log.state.last,
        }))
    }

    async fn get_log_reader(&mut self) -> LogReader {
        self.reader()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let saved = self.shared.save_vote(*vote)?;
        saved.await.map_err(io::Error::other)?
    }

    /// Only remembered: it goes to the disk with whatever is written next, or after the idle time,
    /// and costs no write of its own. Losing it costs a restart some time, nothing else.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.shared.save_committed(committed)
    }

    /// None if it lies beyond the log: it was written for a snapshot that then was not installed,
    /// and our own entries need not be the ones it speaks of.
    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.shared.read(|log| {
            let held = log.state.committed.next_index() <= log.state.last.next_index();
            log.state.committed.filter(|_| held)
        }))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.shared.append(entries.into_iter().collect(), callback)
    }

    /// Not waited for: it is in the file before any entry that is appended later, and until one is,
    /// the old entries may as well come back.
    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        self.shared.truncate_after(last_log_id)
    }

    /// Not waited for: until the mark is durable, no segment is deleted.
    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        self.shared.purge(log_id)
    }
}

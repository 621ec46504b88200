//! Reading the log: from memory, so nothing here can wait or fail.

use std::fmt;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;

use openraft::{OptionalSend, RaftLogReader};

use super::super::types::{Entry, LogId, TypeConfig, Vote};
use super::shared::Shared;

/// What one answer to replication weighs at most, bytes, if it holds more than one entry.
const REPLICATION_BYTES: u64 = 1 << 20;

/// A handle for reading the log. Cheap to clone; all clones see the same log.
#[derive(Clone)]
pub struct LogReader {
    shared: Arc<Shared>,
}

impl LogReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Weight of all entries that are not purged, bytes: payloads and about 128 bytes an entry.
    #[must_use]
    pub fn bytes_in_memory(&self) -> u64 {
        self.shared.read(|log| log.bytes_since(None))
    }

    /// Weight of the entries with an index above `index`, bytes. With the index a snapshot covers
    /// this is what the next one would save; `None` counts all entries.
    #[must_use]
    pub fn bytes_since(&self, index: Option<u64>) -> u64 {
        self.shared.read(|log| log.bytes_since(index))
    }

    /// The last entry, or the purge mark when there is none.
    #[must_use]
    pub fn last_log_id(&self) -> Option<LogId> {
        self.shared.read(|log| log.state.last)
    }

    /// The last vote, which may still be on its way to the disk.
    #[must_use]
    pub fn vote(&self) -> Option<Vote> {
        self.shared.read(|log| log.state.vote)
    }
}

impl fmt::Debug for LogReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reader = f.debug_struct("LogReader");
        self.shared
            .read(|log| reader.field("state", &log.state).finish_non_exhaustive())
    }
}

impl RaftLogReader<TypeConfig> for LogReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + fmt::Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        Ok(self.shared.read(|log| log.range(&range)))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.vote())
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        Ok(self
            .shared
            .read(|log| log.limited(start, end, REPLICATION_BYTES)))
    }
}

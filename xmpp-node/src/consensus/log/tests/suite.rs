//! openraft's own tests of a log store.

use std::io;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use openraft::entry::RaftEntry as _;
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use openraft::testing::log::{StoreBuilder, Suite};
use openraft::type_config::alias::{SnapshotOf, StoredMembershipOf};
use openraft::{OptionalSend, StorageError};
use tempfile::TempDir;

use super::super::super::types::{LogId, SnapshotMeta, TypeConfig};
use super::super::{LogOptions, SegmentLog};

type Snapshot = SnapshotOf<TypeConfig, Bytes>;

/// A state machine that knows only how far it has come.
#[derive(Clone, Default)]
struct Machine(Arc<Mutex<Progress>>);

#[derive(Default)]
struct Progress {
    applied: Option<LogId>,
    membership: StoredMembershipOf<TypeConfig>,
    snapshot: Option<Snapshot>,
}

impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let mut progress = self.0.lock().expect("not poisoned");
        let meta = SnapshotMeta {
            last_log_id: progress.applied,
            last_membership: progress.membership.clone(),
        };
        let snapshot = Snapshot {
            meta,
            snapshot: Bytes::from_static(b"state"),
        };
        progress.snapshot = Some(snapshot.clone());
        Ok(snapshot)
    }
}

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = Bytes;
    type SnapshotBuilder = Self;

    async fn applied_state(
        &mut self,
    ) -> Result<(Option<LogId>, StoredMembershipOf<TypeConfig>), io::Error> {
        let progress = self.0.lock().expect("not poisoned");
        Ok((progress.applied, progress.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        while let Some((entry, responder)) = entries.try_next().await? {
            let mut progress = self.0.lock().expect("not poisoned");
            progress.applied = Some(entry.log_id);
            if let Some(membership) = entry.get_membership() {
                progress.membership =
                    StoredMembershipOf::<TypeConfig>::new(Some(entry.log_id), membership);
            }
            if let Some(responder) = responder {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Bytes,
    ) -> Result<(), io::Error> {
        let mut progress = self.0.lock().expect("not poisoned");
        progress.applied = meta.last_log_id;
        progress.membership = meta.last_membership.clone();
        progress.snapshot = Some(Snapshot {
            meta: meta.clone(),
            snapshot,
        });
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.0.lock().expect("not poisoned").snapshot.clone())
    }
}

struct Builder {
    segment_bytes: u64,
}

impl StoreBuilder<TypeConfig, SegmentLog, Machine, TempDir> for Builder {
    async fn build(&self) -> Result<(TempDir, SegmentLog, Machine), StorageError<TypeConfig>> {
        let dir = TempDir::new().expect("a temporary directory");
        let options = LogOptions {
            segment_bytes: self.segment_bytes,
            ..LogOptions::default()
        };
        let log = SegmentLog::open(dir.path(), options).expect("a new log opens");
        Ok((dir, log, Machine::default()))
    }
}

#[tokio::test]
async fn openraft_accepts_the_log() {
    let builder = Builder {
        segment_bytes: 16 << 20,
    };
    Suite::test_all(builder)
        .await
        .expect("openraft's suite passes");
}

#[tokio::test]
async fn openraft_accepts_the_log_with_a_segment_for_each_group() {
    let builder = Builder { segment_bytes: 1 };
    Suite::test_all(builder)
        .await
        .expect("openraft's suite passes");
}

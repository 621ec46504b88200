//! The router as openraft's state machine: entries in, snapshots out and in.
//!
//! A snapshot is a clone of the router (queues and stanzas are shared with it), written beside `apply`, which it never stops.
//! It goes to disk and comes from there piece by piece: beside the state itself only its outline is ever in memory.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::type_config::alias::{SnapshotOf, StoredMembershipOf};
use openraft::{OptionalSend, RaftSnapshotBuilder};
use tracing::info;
use xmpp_core::router::Router;

use super::snapshot::{SnapshotData, SnapshotStore};
use super::types::{LogId, Payload, SnapshotMeta, TypeConfig};
use crate::applied::Applied;
use crate::ingress::Ingress;

/// The state machine. Clones share it.
#[derive(Clone, Debug)]
pub struct StateMachine {
    applied: Arc<Applied>,
    ingress: Arc<Ingress>,
    store: Arc<SnapshotStore>,
    last: Arc<Mutex<Last>>,
}

#[derive(Clone, Debug, Default)]
struct Last {
    log_id: Option<LogId>,
    membership: StoredMembershipOf<TypeConfig>,
}

impl StateMachine {
    /// Starts from the newest snapshot on disk, if there is one.
    ///
    /// # Errors
    /// If the snapshot is damaged: the node must not start with it.
    pub fn open(
        applied: Arc<Applied>,
        ingress: Arc<Ingress>,
        store: Arc<SnapshotStore>,
    ) -> io::Result<Self> {
        let mut last = Last::default();
        if let Some((meta, data)) = store.load()? {
            let router = Router::read_snapshot(&mut data.reader())?;
            applied.install(router, meta.last_log_id.as_ref().map_or(0, |id| id.index));
            last = Last {
                log_id: meta.last_log_id,
                membership: meta.last_membership,
            };
        }
        Ok(Self {
            applied,
            ingress,
            store,
            last: Arc::new(Mutex::new(last)),
        })
    }

    fn last(&self) -> Last {
        self.last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set_last(&self, change: impl FnOnce(&mut Last)) {
        change(&mut self.last.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(
        &mut self,
    ) -> io::Result<(Option<LogId>, StoredMembershipOf<TypeConfig>)> {
        let last = self.last();
        Ok((last.log_id, last.membership))
    }

    async fn apply<S>(&mut self, entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<TypeConfig>>> + Unpin + OptionalSend,
    {
        // Whatever openraft hands over at once is applied under one lock.
        let mut ready = entries.ready_chunks(64);
        while let Some(chunk) = ready.next().await {
            let chunk: Vec<_> = chunk.into_iter().collect::<io::Result<_>>()?;
            let batches = chunk.iter().map(|(entry, _)| {
                let batch = match &entry.payload {
                    Payload::Normal(batch) => Some(&batch.0),
                    Payload::Blank | Payload::Membership(_) => None,
                };
                (entry.log_id.index, batch)
            });
            let seen = self.applied.apply(batches).map_err(io::Error::other)?;
            self.ingress.applied(seen);
            self.set_last(|last| {
                for (entry, _) in &chunk {
                    last.log_id = Some(entry.log_id);
                    if let Payload::Membership(membership) = &entry.payload {
                        last.membership = StoredMembershipOf::<TypeConfig>::new(
                            Some(entry.log_id),
                            membership.clone(),
                        );
                    }
                }
            });
            for (_, responder) in chunk {
                if let Some(responder) = responder {
                    responder.send(());
                }
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        // openraft calls this between applies, so both halves belong together.
        let last = self.last();
        let router = self.applied.router().clone();
        Builder {
            applied: Arc::clone(&self.applied),
            store: Arc::clone(&self.store),
            last,
            router,
        }
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> io::Result<()> {
        let (store, saved) = (Arc::clone(&self.store), meta.clone());
        let bytes = snapshot.len();
        let router = run_blocking(move || {
            let router = Router::read_snapshot(&mut snapshot.reader())?;
            store.save(&saved, |out| {
                io::copy(&mut snapshot.reader(), out).map(drop)
            })?;
            Ok(router)
        })
        .await?;
        let index = meta.last_log_id.as_ref().map_or(0, |id| id.index);
        let seen = self.applied.install(router, index);
        info!(index, bytes, "caught up by a snapshot");
        self.ingress.applied(seen);
        self.set_last(|last| {
            *last = Last {
                log_id: meta.last_log_id,
                membership: meta.last_membership.clone(),
            };
        });
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<SnapshotOf<TypeConfig, SnapshotData>>> {
        let store = Arc::clone(&self.store);
        let loaded = run_blocking(move || Ok(store.load()?)).await?;
        Ok(loaded.map(|(meta, snapshot)| SnapshotOf::<TypeConfig, _> { meta, snapshot }))
    }
}

/// Writes one snapshot.
#[derive(Debug)]
pub struct Builder {
    applied: Arc<Applied>,
    store: Arc<SnapshotStore>,
    last: Last,
    router: Router,
}

impl RaftSnapshotBuilder<TypeConfig> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<SnapshotOf<TypeConfig, SnapshotData>> {
        let meta = SnapshotMeta {
            last_log_id: self.last.log_id,
            last_membership: self.last.membership.clone(),
        };
        let (router, saved) = (std::mem::take(&mut self.router), meta.clone());
        let (applied, store) = (Arc::clone(&self.applied), Arc::clone(&self.store));
        let snapshot = run_blocking(move || {
            let snapshot = store.save(&saved, |out| router.write_snapshot(out))?;
            // The log drops its entries up to here: what still waits in queues must not keep their memory.
            if let Some(log_id) = &saved.last_log_id {
                let sessions: Vec<_> = router.sessions().map(|(id, _)| id).collect();
                // A queue that is still shared would be copied.
                drop(router);
                for session in sessions {
                    applied.router().unpin(session, log_id.index);
                }
            }
            Ok(snapshot)
        })
        .await?;
        Ok(SnapshotOf::<TypeConfig, _> { meta, snapshot })
    }
}

/// Runs what waits for the disk beside the async tasks.
pub(super) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(io::Error::other)?
}

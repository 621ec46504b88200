//! A snapshot on its way to another member, from file to file in pieces, so that heartbeats pass between them.
//!
//! Bounds: pieces of [`PIECE_BYTES`], one of them in memory at each end; one snapshot at a time at the receiver, of at most
//! [`SNAPSHOT_BYTES`].

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use openraft::raft::SnapshotResponse;
use openraft::type_config::alias::SnapshotOf;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::StateMachine;
use super::rpc::{self, Unreadable};
use super::snapshot::{Incoming, SnapshotData, SnapshotStore};
use super::state_machine::run_blocking;
use super::types::{Raft, SnapshotMeta, TypeConfig, Vote};
use crate::peer::{Link, LinkError};

/// Bytes of one piece.
pub(super) const PIECE_BYTES: usize = 512 * 1024;
/// The largest snapshot that is taken.
pub(super) const SNAPSHOT_BYTES: u64 = 1 << 30;
/// How long the receiver may take for a piece; the last one includes the installation.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why a snapshot did not arrive.
#[derive(Debug, thiserror::Error)]
pub(super) enum TransferError {
    /// The link failed.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The receiver's answer cannot be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// The snapshot cannot be read.
    #[error("cannot read the snapshot: {0}")]
    Disk(#[from] io::Error),
    /// The receiver lost the beginning, or refused.
    #[error("the receiver did not take the snapshot")]
    Refused,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Head {
    vote: Vote,
    meta: SnapshotMeta,
    total: u64,
    offset: u64,
}

#[derive(Debug, Serialize, Deserialize)]
enum Taken {
    More,
    Refused,
    Done(SnapshotResponse<TypeConfig>),
}

/// Sends a snapshot.
pub(super) async fn send(
    link: &Link,
    vote: Vote,
    snapshot: SnapshotOf<TypeConfig, SnapshotData>,
) -> Result<SnapshotResponse<TypeConfig>, TransferError> {
    let (meta, data) = (snapshot.meta, snapshot.snapshot);
    let mut head = Head {
        vote,
        meta,
        total: data.len(),
        offset: 0,
    };
    loop {
        let (from, offset) = (data.clone(), head.offset);
        let piece = run_blocking(move || from.piece(offset, PIECE_BYTES)).await?;
        let next = head.offset + piece.len() as u64;
        let pieces = vec![rpc::encode(&head), piece];
        let answer = link.request(rpc::SNAPSHOT, pieces, PATIENCE).await?;
        match rpc::decode("answer to a snapshot", &answer)? {
            Taken::Done(done) => return Ok(done),
            Taken::More if next < data.len() => head.offset = next,
            Taken::More | Taken::Refused => return Err(TransferError::Refused),
        }
    }
}

/// Puts pieces together.
#[derive(Debug)]
pub(super) struct Receiver {
    store: Arc<SnapshotStore>,
    partial: Arc<Mutex<Option<Partial>>>,
}

#[derive(Debug)]
struct Partial {
    sender: u64,
    meta: SnapshotMeta,
    data: Incoming,
}

impl Receiver {
    /// A receiver that keeps what comes in the directory of `store`.
    pub(super) fn new(store: Arc<SnapshotStore>) -> Self {
        Self {
            store,
            partial: Arc::default(),
        }
    }

    /// Takes a piece from a member and answers it.
    pub(super) async fn take(&self, from: u64, body: Bytes, raft: &Raft<StateMachine>) -> Bytes {
        let (store, partial) = (Arc::clone(&self.store), Arc::clone(&self.partial));
        // The member that sends waits for the answer, so one piece at a time is in work.
        let collected = run_blocking(move || {
            let mut partial = partial.lock().unwrap_or_else(PoisonError::into_inner);
            collect(&store, &mut partial, from, &body)
        });
        let taken = match collected.await {
            Ok(Collected::More) => Taken::More,
            Ok(Collected::Whole(vote, snapshot)) => {
                match raft.install_full_snapshot(vote, snapshot).await {
                    Ok(done) => Taken::Done(done),
                    Err(_) => Taken::Refused,
                }
            }
            Ok(Collected::Misfit) => Taken::Refused,
            Err(error) => {
                warn!(%error, "cannot take a snapshot");
                Taken::Refused
            }
        };
        rpc::encode(&taken)
    }
}

enum Collected {
    More,
    Whole(Vote, SnapshotOf<TypeConfig, SnapshotData>),
    /// Unreadable, too large, or not what comes next.
    Misfit,
}

fn collect(
    store: &SnapshotStore,
    partial: &mut Option<Partial>,
    sender: u64,
    body: &[u8],
) -> io::Result<Collected> {
    let Ok((head, piece)) = postcard::take_from_bytes::<Head>(body) else {
        return Ok(Collected::Misfit);
    };
    let before = if head.offset == 0 {
        Some(Partial {
            sender,
            meta: head.meta.clone(),
            data: store.incoming()?,
        })
    } else {
        partial.take()
    };
    let fits = |partial: &Partial| {
        partial.sender == sender
            && partial.meta == head.meta
            && partial.data.len() == head.offset
            && head.offset + piece.len() as u64 <= head.total
            && head.total <= SNAPSHOT_BYTES
    };
    let Some(mut now) = before.filter(fits) else {
        return Ok(Collected::Misfit);
    };
    now.data.push(piece)?;
    if now.data.len() < head.total {
        *partial = Some(now);
        return Ok(Collected::More);
    }
    let snapshot = SnapshotOf::<TypeConfig, _> {
        meta: head.meta,
        snapshot: now.data.finish(),
    };
    Ok(Collected::Whole(head.vote, snapshot))
}

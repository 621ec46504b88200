//! A snapshot on its way to another member, in pieces, so that heartbeats pass between them.
//!
//! Bounds: pieces of [`PIECE_BYTES`], one snapshot at a time at the receiver, of at most [`SNAPSHOT_BYTES`].

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use openraft::raft::SnapshotResponse;
use openraft::type_config::alias::SnapshotOf;
use serde::{Deserialize, Serialize};

use super::StateMachine;
use super::rpc::{self, Unreadable};
use super::state_machine::SnapshotData;
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
        total: data.len() as u64,
        offset: 0,
    };
    loop {
        let from = usize::try_from(head.offset)
            .unwrap_or(usize::MAX)
            .min(data.len());
        let piece = data.slice(from..data.len().min(from + PIECE_BYTES));
        let pieces = vec![rpc::encode(&head), piece];
        let answer = link.request(rpc::SNAPSHOT, pieces, PATIENCE).await?;
        match rpc::decode("answer to a snapshot", &answer)? {
            Taken::Done(done) => return Ok(done),
            Taken::More if (from + PIECE_BYTES) < data.len() => {
                head.offset = (from + PIECE_BYTES) as u64
            }
            Taken::More | Taken::Refused => return Err(TransferError::Refused),
        }
    }
}

/// Puts pieces together.
#[derive(Debug, Default)]
pub(super) struct Receiver {
    partial: Mutex<Option<(u64, SnapshotMeta, BytesMut)>>,
}

impl Receiver {
    /// Takes a piece from a member and answers it.
    pub(super) async fn take(
        &self,
        from: u64,
        mut body: Bytes,
        raft: &Raft<StateMachine>,
    ) -> Bytes {
        let taken = match self.collect(from, &mut body) {
            None => Taken::Refused,
            Some((_, None)) => Taken::More,
            Some((head, Some(data))) => {
                let snapshot = SnapshotOf::<TypeConfig, _> {
                    meta: head.meta,
                    snapshot: data,
                };
                match raft.install_full_snapshot(head.vote, snapshot).await {
                    Ok(done) => Taken::Done(done),
                    Err(_) => Taken::Refused,
                }
            }
        };
        rpc::encode(&taken)
    }

    /// The head of the piece, and the whole snapshot once this piece was the last.
    fn collect(&self, from: u64, body: &mut Bytes) -> Option<(Head, Option<Bytes>)> {
        let (head, rest) = postcard::take_from_bytes::<Head>(body).ok()?;
        let piece = body.slice(body.len() - rest.len()..);
        if head.total > SNAPSHOT_BYTES {
            return None;
        }
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        if head.offset == 0 {
            *partial = Some((from, head.meta.clone(), BytesMut::new()));
        }
        let (sender, meta, data) = partial.as_mut()?;
        let fits = *sender == from
            && *meta == head.meta
            && data.len() as u64 == head.offset
            && head.offset + piece.len() as u64 <= head.total;
        if !fits {
            *partial = None;
            return None;
        }
        data.extend_from_slice(&piece);
        if (data.len() as u64) < head.total {
            return Some((head, None));
        }
        let whole = partial.take().map(|(_, _, data)| data.freeze());
        Some((head, whole))
    }
}

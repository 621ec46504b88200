//! What consensus says between nodes: kinds of frames, and their bodies.
//!
//! Bodies are postcard, except that the payload of an entry stands raw beside its header: it is never copied into a body, and
//! on the other side it is a slice of the frame.

use bytes::Bytes;
use openraft::raft::AppendEntriesRequest;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::encoding;
use super::types::{LogId, TypeConfig, Vote};

/// Request: [`openraft::raft::VoteRequest`].
pub(super) const VOTE: u8 = 1;
/// Request: the same, before an election (pre-vote).
pub(super) const PRE_VOTE: u8 = 2;
/// Request: [`openraft::raft::TransferLeaderRequest`].
pub(super) const TRANSFER: u8 = 3;
/// Request: one append, answered before the next.
pub(super) const APPEND: u8 = 4;
/// Request: a piece of a snapshot, see [`super::transfer`].
pub(super) const SNAPSHOT: u8 = 5;
/// Request: a read index of the leader, see [`super::confirm`].
pub(super) const CONFIRM: u8 = 6;
/// Request: whether the leader is gone for the other follower too, see [`super::failover`].
pub(super) const LOST: u8 = 7;
/// Request: whether an id is a member, see [`super::joining`].
pub(super) const MEMBER: u8 = 8;
/// Request: to become a member, see [`super::joining`].
pub(super) const JOIN: u8 = 9;
/// Message: a chunk of commands for the leader, see [`super::propose`].
pub(super) const CHUNK: u8 = 16;
/// Stream: appends in order, answered in order.
pub(super) const APPENDS: u8 = 0x80;
/// Stream: heartbeats, which must not wait behind appends. A link has one stream of a kind.
pub(super) const HEARTBEATS: u8 = 0x81;

/// A frame between nodes that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("unreadable {0}")]
pub(super) struct Unreadable(pub &'static str);

/// The postcard form of `value`; empty if it cannot be encoded, which no type here is.
pub(super) fn encode<T: Serialize>(value: &T) -> Bytes {
    postcard::to_stdvec(value)
        .map(Bytes::from)
        .unwrap_or_default()
}

/// Reads what [`encode`] wrote.
pub(super) fn decode<T: DeserializeOwned>(
    what: &'static str,
    body: &[u8],
) -> Result<T, Unreadable> {
    postcard::from_bytes(body).map_err(|_| Unreadable(what))
}

/// An append in pieces: headers and, untouched, payloads.
pub(super) fn encode_append(request: &AppendEntriesRequest<TypeConfig>) -> Vec<Bytes> {
    let head = (
        &request.vote,
        &request.prev_log_id,
        &request.leader_commit,
        request.entries.len(),
    );
    let mut header = postcard::to_stdvec(&head).unwrap_or_default();
    let mut pieces = Vec::with_capacity(2 * request.entries.len() + 1);
    for entry in &request.entries {
        encoding::encode_header(entry, &mut header);
        let payload = encoding::payload(entry);
        if !payload.is_empty() {
            pieces.push(Bytes::from(std::mem::take(&mut header)));
            pieces.push(payload);
        }
    }
    if !header.is_empty() {
        pieces.push(Bytes::from(header));
    }
    pieces
}

/// Reads what [`encode_append`] wrote.
pub(super) fn decode_append(
    mut body: Bytes,
) -> Result<AppendEntriesRequest<TypeConfig>, Unreadable> {
    const WHAT: Unreadable = Unreadable("append");
    let (vote, prev_log_id, leader_commit, count, rest) = {
        let (head, rest) =
            postcard::take_from_bytes::<(Vote, Option<LogId>, Option<LogId>, usize)>(&body)
                .map_err(|_| WHAT)?;
        (head.0, head.1, head.2, head.3, rest.len())
    };
    let mut body = body.split_off(body.len() - rest);
    // Each entry has at least one byte, so the count cannot make us reserve more than the frame is long.
    let mut entries = Vec::with_capacity(count.min(body.len()));
    for _ in 0..count {
        entries.push(encoding::decode(&mut body).map_err(|_| WHAT)?);
    }
    if !body.is_empty() {
        return Err(WHAT);
    }
    Ok(AppendEntriesRequest {
        vote,
        prev_log_id,
        entries,
        leader_commit,
    })
}

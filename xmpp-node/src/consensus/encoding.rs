//! How a log entry is written as bytes, in the log file and between nodes.
//!
//! ```text
//! version (1 byte) | header (postcard: log id, kind; kind holds the membership or the payload's length) | payload
//! ```
//!
//! The payload stands raw beside its header, so a writer hands [`payload`] to a vectored write as
//! it is, and [`decode`] cuts it out of a larger frame without copying: the entry then keeps that
//! frame alive. The version stands for the layout of the header; a reader refuses versions it does
//! not know.
//!
//! Nothing here checks integrity: log records carry a CRC, links run over TLS. Any input is decoded
//! or refused, never a panic, and allocation is bounded by the length of the input (plus postcard's
//! own cap of 1 MiB).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::types::{Batch, Entry, LogId, Membership, Payload};

/// Version of the header's layout.
const VERSION: u8 = 1;

/// Why bytes are not an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// There is no byte left where an entry should begin.
    #[error("no entry where one was expected")]
    Empty,
    /// Written by a version of this program that this one does not know.
    #[error("entry of unknown version {0}")]
    Version(u8),
    /// The header is not what postcard expects.
    #[error("malformed entry header")]
    Header,
    /// The index is `u64::MAX`, after which no log could go on.
    #[error("entry index out of range")]
    Index,
    /// A voter of the membership is not among its nodes, or it has no voters at all.
    #[error("entry with an impossible membership")]
    Membership,
    /// The payload runs past the end.
    #[error("entry payload of {expected} bytes cut off after {found}")]
    Payload {
        /// Bytes the header announced.
        expected: u64,
        /// Bytes that were there.
        found: usize,
    },
}

/// The header as it is read.
#[derive(Deserialize)]
struct Header {
    log_id: LogId,
    kind: Kind,
}

#[derive(Deserialize)]
enum Kind {
    Blank,
    Normal { payload_len: u64 },
    Membership(Membership),
}

/// The header as it is written: the same layout, borrowing.
#[derive(Serialize)]
struct HeaderRef<'a> {
    log_id: &'a LogId,
    kind: KindRef<'a>,
}

#[derive(Serialize)]
enum KindRef<'a> {
    Blank,
    Normal { payload_len: u64 },
    Membership(&'a Membership),
}

/// Appends everything of `entry` but its payload to `out`; the bytes of [`payload`] must follow
/// directly.
pub fn encode_header(entry: &Entry, out: &mut Vec<u8>) {
    let kind = match &entry.payload {
        Payload::Blank => KindRef::Blank,
        Payload::Normal(batch) => KindRef::Normal {
            payload_len: batch.0.len() as u64,
        },
        Payload::Membership(membership) => KindRef::Membership(membership),
    };
    let header = HeaderRef {
        log_id: &entry.log_id,
        kind,
    };
    out.push(VERSION);
    encode_value(&header, out);
}

/// Appends the postcard form of one of the plain values that the consensus module writes.
///
/// # Panics
/// For values that have no postcard form (maps and lists of unknown length); ours all have one.
pub(super) fn encode_value(value: &impl Serialize, out: &mut Vec<u8>) {
    // Writing into a Vec runs into no end, so the form of the value is all that could fail.
    postcard::to_extend(value, Appender(out)).expect("values written here have a postcard form");
}

/// The payload that follows the header of `entry`; empty for entries that carry no batch.
#[must_use]
pub fn payload(entry: &Entry) -> Bytes {
    match &entry.payload {
        Payload::Normal(batch) => batch.0.clone(),
        Payload::Blank | Payload::Membership(_) => Bytes::new(),
    }
}

/// Cuts one entry off the front of `buffer`, which is left as it was when this fails.
///
/// The entry's payload is a slice of `buffer`: it holds on to the whole allocation behind it.
///
/// # Errors
/// Every variant of [`DecodeError`], for what it says.
pub fn decode(buffer: &mut Bytes) -> Result<Entry, DecodeError> {
    let (&version, rest) = buffer.split_first().ok_or(DecodeError::Empty)?;
    if version != VERSION {
        return Err(DecodeError::Version(version));
    }
    let (header, rest) =
        postcard::take_from_bytes::<Header>(rest).map_err(|_| DecodeError::Header)?;
    if header.log_id.index == u64::MAX {
        return Err(DecodeError::Index);
    }
    let header_len = buffer.len() - rest.len();
    let (payload, payload_len) = match header.kind {
        Kind::Blank => (Payload::Blank, 0),
        Kind::Membership(membership) if is_possible(&membership) => {
            (Payload::Membership(membership), 0)
        }
        Kind::Membership(_) => return Err(DecodeError::Membership),
        Kind::Normal { payload_len } => {
            let found = rest.len();
            let len = usize::try_from(payload_len)
                .ok()
                .filter(|len| *len <= found)
                .ok_or(DecodeError::Payload {
                    expected: payload_len,
                    found,
                })?;
            (
                Payload::Normal(Batch(buffer.slice(header_len..header_len + len))),
                len,
            )
        }
    };
    let _ = buffer.split_to(header_len + payload_len);
    Ok(Entry {
        log_id: header.log_id,
        payload,
    })
}

/// openraft takes it for granted that every voter of a membership is among its nodes.
fn is_possible(membership: &Membership) -> bool {
    let configs = membership.get_joint_config();
    !configs.is_empty()
        && configs.iter().all(|voters| !voters.is_empty())
        && membership
            .voter_ids()
            .all(|id| membership.get_node(&id).is_some())
}

/// postcard wants `Extend` by value.
struct Appender<'a>(&'a mut Vec<u8>);

impl Extend<u8> for Appender<'_> {
    fn extend<I: IntoIterator<Item = u8>>(&mut self, bytes: I) {
        self.0.extend(bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use openraft::vote::leader_id_std::CommittedLeaderId;
    use proptest::prelude::*;

    use super::super::types::Member;
    use super::*;

    fn log_id(term: u64, index: u64) -> LogId {
        LogId {
            leader_id: CommittedLeaderId::new(term),
            index,
        }
    }

    fn encode(entry: &Entry) -> Vec<u8> {
        let mut out = Vec::new();
        encode_header(entry, &mut out);
        out.extend_from_slice(&payload(entry));
        out
    }

    fn any_entry() -> impl Strategy<Value = Entry> {
        let members =
            prop::collection::btree_map(any::<u64>(), ("[a-z0-9-]{0,8}", "[a-z.:0-9]{0,12}"), 1..5);
        let payload = prop_oneof![
            Just(Payload::Blank),
            prop::collection::vec(any::<u8>(), 0..300)
                .prop_map(|b| Payload::Normal(Batch(b.into()))),
            members.prop_map(|members| {
                let nodes: BTreeMap<_, _> = members
                    .into_iter()
                    .map(|(id, (name, peer))| (id, Member { name, peer }))
                    .collect();
                let voters: BTreeSet<_> = nodes.keys().copied().take(3).collect();
                Payload::Membership(
                    Membership::new(vec![voters], nodes).expect("voters are among the nodes"),
                )
            }),
        ];
        (any::<u64>(), 0..u64::MAX, payload).prop_map(|(term, index, payload)| Entry {
            log_id: log_id(term, index),
            payload,
        })
    }

    #[test]
    fn the_payload_is_cut_out_of_the_frame_without_copying() {
        let entry = Entry {
            log_id: log_id(3, 7),
            payload: Payload::Normal(Batch(vec![7; 500].into())),
        };
        let frame = Bytes::from(encode(&entry));
        let decoded = decode(&mut frame.clone()).expect("decodes");
        let offset = frame.len() - 500;
        assert_eq!(payload(&decoded).as_ptr(), frame[offset..].as_ptr());
    }

    #[test]
    fn a_voter_without_a_node_is_refused() {
        let bad = (
            log_id(1, 1),
            2_u32,
            vec![BTreeSet::from([1_u64])],
            BTreeMap::<u64, Member>::new(),
        );
        let mut bytes = vec![VERSION];
        bytes.extend(postcard::to_allocvec(&bad).expect("encodes"));
        assert_eq!(decode(&mut bytes.into()), Err(DecodeError::Membership));
    }

    #[test]
    fn an_unknown_version_is_refused() {
        assert_eq!(
            decode(&mut Bytes::from_static(&[2, 0, 0, 0])),
            Err(DecodeError::Version(2))
        );
    }

    proptest! {
        #[test]
        fn entries_come_back_one_after_the_other(entries in prop::collection::vec(any_entry(), 0..6)) {
            let mut frame: Bytes = entries.iter().flat_map(encode).collect::<Vec<_>>().into();
            for entry in &entries {
                prop_assert_eq!(&decode(&mut frame).expect("decodes"), entry);
            }
            prop_assert_eq!(decode(&mut frame), Err(DecodeError::Empty));
        }

        #[test]
        fn a_cut_entry_is_refused_and_the_buffer_left_alone(entry in any_entry(), cut in any::<prop::sample::Index>()) {
            let bytes = encode(&entry);
            let mut cut_off = Bytes::copy_from_slice(&bytes[..cut.index(bytes.len())]);
            let before = cut_off.clone();
            prop_assert!(decode(&mut cut_off).is_err());
            prop_assert_eq!(cut_off, before);
        }

        #[test]
        fn no_input_makes_the_decoder_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&mut Bytes::from(bytes));
        }

        #[test]
        fn no_damage_makes_the_decoder_panic(entry in any_entry(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = encode(&entry);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = decode(&mut Bytes::from(bytes));
        }
    }
}

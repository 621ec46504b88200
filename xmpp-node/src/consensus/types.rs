//! The types that openraft is instantiated with: what an entry carries, who a member is.
//!
//! Knows nothing of stanzas: a batch is opaque here and is given meaning only by the state machine.

use std::fmt;

use bytes::Bytes;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

openraft::declare_raft_types!(
    /// The one instantiation of openraft in this crate.
    ///
    /// `LeaderId` is the standard one (at most one leader in a term): with openraft's default
    /// several leaders may share a term, and a term alone would then not tell who wrote an entry.
    pub TypeConfig:
        D = Batch,
        R = (),
        NodeId = u64,
        Node = Member,
        Term = u64,
        LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
);

/// openraft's handle on this node's membership of the group, with `SM` as state machine.
pub type Raft<SM> = openraft::Raft<TypeConfig, SM>;
/// Place of an entry in the log: the term it was written in, and its index.
pub type LogId = openraft::type_config::alias::LogIdOf<TypeConfig>;
/// One entry of the log: a [`Batch`], a membership, or nothing (a new leader's first entry).
pub type Entry = openraft::type_config::alias::EntryOf<TypeConfig>;
/// What an [`Entry`] carries.
pub type Payload = openraft::type_config::alias::PayloadOf<TypeConfig>;
/// The vote of a node: for whom, in which term, and whether a quorum granted it.
pub type Vote = openraft::type_config::alias::VoteOf<TypeConfig>;
/// What a snapshot covers: the last log id in it and the membership at that point.
pub type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<TypeConfig>;
/// Voters and learners of the group, joint while it changes.
pub type Membership = openraft::Membership<u64, Member>;

/// The payload of one log entry: opaque bytes, aimed at no more than 64 KiB by those who propose.
///
/// Cloning shares the bytes. `Debug` and `Display` print the length only, so that no log line and
/// no error of openraft can show what a stanza said.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Batch(pub Bytes);

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} bytes)", self.0.len())
    }
}

impl fmt::Display for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Batch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_byte_buf(BatchVisitor)
    }
}

/// Accepts what the formats in use make of bytes: a slice, a buffer, or (JSON) a list of numbers.
struct BatchVisitor;

impl<'de> Visitor<'de> for BatchVisitor {
    type Value = Batch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes of a batch")
    }

    fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Batch, E> {
        Ok(Batch(Bytes::copy_from_slice(bytes)))
    }

    fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Batch, E> {
        Ok(Batch(bytes.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Batch, A::Error> {
        let mut bytes = Vec::new();
        while let Some(byte) = list.next_element::<u8>().map_err(A::Error::custom)? {
            bytes.push(byte);
        }
        Ok(Batch(bytes.into()))
    }
}

/// What the group knows of a member besides its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The member's configured name (pod name, or `node.name`); unique in the group, and kept when
    /// a lost volume gives the member a new id.
    pub name: String,
    /// `host:port` of its peer port, as the other members reach it.
    pub peer: String,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.name, self.peer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_prints_its_length_and_never_its_content() {
        let batch = Batch(Bytes::from_static(b"<message>secret</message>"));
        assert_eq!(format!("{batch:?} {batch}"), "Batch(25 bytes) 25 bytes");
    }

    #[test]
    fn a_batch_survives_postcard_and_json() {
        let batch = Batch(Bytes::from_static(b"\x00\xff<iq/>"));
        let compact = postcard::to_allocvec(&batch).expect("encodes");
        assert_eq!(compact.len(), 1 + batch.0.len());
        assert_eq!(
            postcard::from_bytes::<Batch>(&compact).expect("decodes"),
            batch
        );
        let text = serde_json::to_string(&batch).expect("encodes");
        assert_eq!(
            serde_json::from_str::<Batch>(&text).expect("decodes"),
            batch
        );
    }
}

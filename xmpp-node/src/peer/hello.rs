//! The first frame of each side: who it is, and why the other side may refuse it.
//!
//! Body: `u16` protocol version (big-endian), then postcard. The version comes first and apart, so
//! that a later protocol may change everything behind it and still be refused by name.

use serde::{Deserialize, Serialize};

use super::frame::MAX_HELLO_BYTES;

/// Version of the protocol between nodes; both sides must speak the same one.
pub const PROTOCOL_VERSION: u16 = 1;

/// A node as it introduces itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The cluster it belongs to for life; `None` before it was initialised or joined.
    pub cluster_id: Option<String>,
    /// Random number on its volume.
    pub node_id: u64,
    /// Its name, which its certificate must carry as role; at most 253 bytes.
    pub name: String,
    /// One higher at each start.
    pub incarnation: u64,
}

impl Hello {
    /// The frame's body; `wanted` is the id that the dialling side expects to find, if it knows
    /// one.
    pub(super) fn encode(&self, wanted: Option<u64>) -> Vec<u8> {
        let start = PROTOCOL_VERSION.to_be_bytes().to_vec();
        // Serialising a struct of strings and integers into a growing vector has no way to fail.
        postcard::to_extend(
            &Body {
                hello: self.clone(),
                wanted,
            },
            start,
        )
        .unwrap_or_default()
    }

    /// Reads a frame's body: the hello, and the id that the other side expects to find here.
    ///
    /// # Errors
    /// [`Refusal::Version`] and [`Refusal::Malformed`].
    pub(super) fn decode(body: &[u8]) -> Result<(Self, Option<u64>), Refusal> {
        let (version, rest) = body.split_first_chunk().ok_or(Refusal::Malformed)?;
        let theirs = u16::from_be_bytes(*version);
        if theirs != PROTOCOL_VERSION {
            return Err(Refusal::Version {
                ours: PROTOCOL_VERSION,
                theirs,
            });
        }
        let (body, rest) =
            postcard::take_from_bytes::<Body>(rest).map_err(|_| Refusal::Malformed)?;
        let well_formed = rest.is_empty() && (1..=MAX_NAME_BYTES).contains(&body.hello.name.len());
        if well_formed {
            Ok((body.hello, body.wanted))
        } else {
            Err(Refusal::Malformed)
        }
    }

    /// Whether `self` may talk to `other`, whose certificate carries the role `node/<certified>`.
    ///
    /// # Errors
    /// [`Refusal::Role`], [`Refusal::Cluster`] and [`Refusal::Myself`].
    pub(super) fn check(&self, other: &Self, certified: &str) -> Result<(), Refusal> {
        if other.name != certified {
            return Err(Refusal::Role {
                certified: certified.into(),
                claimed: other.name.clone(),
            });
        }
        if let (Some(ours), Some(theirs)) = (&self.cluster_id, &other.cluster_id)
            && ours != theirs
        {
            return Err(Refusal::Cluster {
                ours: ours.clone(),
                theirs: theirs.clone(),
            });
        }
        if other.node_id == self.node_id {
            return Err(Refusal::Myself);
        }
        Ok(())
    }
}

/// Why a node does not talk to another one; its text travels to the other side in a frame.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The protocols differ.
    #[error("protocol version {theirs} is not supported here, this node speaks {ours}")]
    Version {
        /// [`PROTOCOL_VERSION`].
        ours: u16,
        /// What the peer said.
        theirs: u16,
    },
    /// The hello cannot be read.
    #[error("the hello frame is malformed")]
    Malformed,
    /// The certificate has no node role.
    #[error("the certificate carries no node role")]
    NoRole,
    /// The certificate belongs to another node.
    #[error("the certificate is for node '{certified}', but the hello says '{claimed}'")]
    Role {
        /// Name in the certificate.
        certified: String,
        /// Name in the hello.
        claimed: String,
    },
    /// Another cluster.
    #[error("cluster id '{theirs}' is not this cluster ('{ours}')")]
    Cluster {
        /// Cluster of the refusing node.
        ours: String,
        /// Cluster of the refused node.
        theirs: String,
    },
    /// A node reached itself.
    #[error("both ends have the same node id")]
    Myself,
    /// The node at this address is not the one that was looked for.
    #[error("this is node {found} ('{name}'), not the wanted {wanted}")]
    NotWanted {
        /// The id found there.
        found: u64,
        /// Its name.
        name: String,
        /// The id, and for members the name, that was looked for.
        wanted: String,
    },
    /// A connection of a later start of this node exists.
    #[error("incarnation {theirs} is older than {known}")]
    Outdated {
        /// What the peer said.
        theirs: u64,
        /// What is connected.
        known: u64,
    },
    /// No more connections are taken.
    #[error("too many connections")]
    TooMany,
    /// The service does not admit it.
    #[error("{0}")]
    NotAdmitted(String),
}

impl Refusal {
    /// The text for the frame, cut to [`MAX_HELLO_BYTES`].
    pub(super) fn to_wire(&self) -> String {
        let mut text = self.to_string();
        text.truncate(text.floor_char_boundary(MAX_HELLO_BYTES));
        text
    }
}

#[derive(Serialize, Deserialize)]
struct Body {
    hello: Hello,
    wanted: Option<u64>,
}

/// Bound of a node name: that of a DNS name.
const MAX_NAME_BYTES: usize = 253;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hello(name: &str, id: u64, cluster: Option<&str>) -> Hello {
        Hello {
            cluster_id: cluster.map(Into::into),
            node_id: id,
            name: name.into(),
            incarnation: 3,
        }
    }

    #[test]
    fn a_hello_survives_the_wire() {
        let sent = hello("xmpp-0", u64::MAX, Some("c1"));
        assert_eq!(Hello::decode(&sent.encode(Some(9))), Ok((sent, Some(9))));
    }

    #[test]
    fn another_protocol_version_is_named_whatever_follows_it() {
        let refusal = Refusal::Version {
            ours: PROTOCOL_VERSION,
            theirs: 0x0200,
        };
        assert_eq!(Hello::decode(&[2, 0, 255, 255, 255]), Err(refusal));
    }

    #[test]
    fn cluster_ids_must_agree_only_when_both_have_one() {
        let ours = hello("a", 1, Some("c1"));
        assert_eq!(ours.check(&hello("b", 2, Some("c1")), "b"), Ok(()));
        assert_eq!(ours.check(&hello("b", 2, None), "b"), Ok(()));
        let refused = ours.check(&hello("b", 2, Some("c2")), "b");
        assert!(
            matches!(refused, Err(Refusal::Cluster { .. })),
            "{refused:?}"
        );
    }

    #[test]
    fn a_certificate_for_another_name_and_our_own_id_are_refused() {
        let ours = hello("a", 1, None);
        assert!(matches!(
            ours.check(&hello("b", 2, None), "c"),
            Err(Refusal::Role { .. })
        ));
        assert_eq!(ours.check(&hello("b", 1, None), "b"), Err(Refusal::Myself));
    }

    #[test]
    fn a_long_refusal_is_cut_at_a_character() {
        let text = Refusal::NotAdmitted("ü".repeat(MAX_HELLO_BYTES)).to_wire();
        assert_eq!(text.len(), MAX_HELLO_BYTES);
    }

    proptest! {
        #[test]
        fn no_bytes_make_decoding_panic(
            mut bytes in prop::collection::vec(any::<u8>(), 0..1024),
            valid in any::<bool>(),
        ) {
            if valid && bytes.len() >= 2 {
                bytes[..2].copy_from_slice(&PROTOCOL_VERSION.to_be_bytes());
            }
            let _ = Hello::decode(&bytes);
        }
    }
}

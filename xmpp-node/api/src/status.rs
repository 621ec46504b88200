//! What a node says about itself: one value that feeds the command line, the admin API, the operator and the demo.
//!
//! It is what this node knows; where a cluster has failed it says who is missing and since when.

use std::fmt;
use std::str::FromStr;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::address::HostPort;
use crate::time::Timestamp;

/// A node's Raft identity: random, made once on its volume. Written as 16 hexadecimal digits, as many JSON readers
/// round numbers of this size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let value = u64::from_str_radix(text, 16).map_err(|_| NodeIdError)?;
        if digits {
            Ok(Self(value))
        } else {
            Err(NodeIdError)
        }
    }
}

impl Serialize for NodeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for NodeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// The text is not 16 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeIdError;

impl fmt::Display for NodeIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a node id is 16 hexadecimal digits")
    }
}

impl std::error::Error for NodeIdError {}

/// Everything a node says about itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// Configured name of the node.
    pub name: String,
    /// Identity of the node.
    pub id: NodeId,
    /// Where other nodes reach it.
    pub address: HostPort,
    /// Id of the cluster it belongs to, for life; none before `initialize` or `join`.
    pub cluster_id: Option<String>,
    /// What it is in its group now.
    pub role: NodeRole,
    /// Raft term.
    pub term: u64,
    /// The leader it follows, itself included; none while there is no leader that a quorum confirms.
    pub leader: Option<Leader>,
    /// Index of the last log entry that its state contains; `applied <= committed`.
    pub applied: u64,
    /// Index of the last log entry known to be committed.
    pub committed: u64,
    /// Digest of the whole state at `applied`, in hexadecimal: equal on all nodes at equal `applied`.
    pub digest: String,
    /// Digest of bridges and users alone: equal on all nodes shows that all hold the same configuration.
    pub configuration_digest: String,
    /// Votes that a quorum needs, this node's own included.
    pub votes_needed: u32,
    /// Voters that this node sees now, itself included.
    pub votes_seen: u32,
    /// When role or leader last changed, as seen here.
    pub last_state_change: Timestamp,
    /// Whether it accepts stanzas now.
    pub ready: Readiness,
    /// Whether it was asked to serve nobody new.
    pub draining: bool,
    /// The other members, sorted by name.
    pub peers: Vec<PeerStatus>,
    /// The bridges, sorted by name.
    pub bridges: Vec<BridgeStatus>,
    /// Names that this node refused of late since no bridge has them, sorted; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strangers: Vec<StrangerStatus>,
    /// What became of every stanza accepted.
    pub ledger: Ledger,
    /// The certificate that components are shown.
    pub certificate: CertificateStatus,
    /// The certificate of the peer and admin ports.
    pub peer_certificate: CertificateStatus,
    /// Version of the program.
    pub version: String,
    /// Seconds since the process started.
    pub uptime_seconds: u64,
}

/// What a node is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeRole {
    /// Leads, as confirmed by a quorum.
    Leader,
    /// Follows a leader, or waits for one.
    Follower,
    /// Stands for election.
    Candidate,
    /// Follows, and may not vote.
    Learner,
    /// Belongs to no cluster yet.
    Uninitialized,
}

impl NodeRole {
    /// The word in capitals, as `xmpp cluster status` prints it.
    #[must_use]
    pub const fn shown(self) -> &'static str {
        match self {
            Self::Leader => "LEADER",
            Self::Follower => "FOLLOWER",
            Self::Candidate => "CANDIDATE",
            Self::Learner => "LEARNER",
            Self::Uninitialized => "UNINITIALIZED",
        }
    }
}

/// Who leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leader {
    /// Identity of the leader.
    pub id: NodeId,
    /// Name of the leader.
    pub name: String,
    /// Where other nodes reach it, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<HostPort>,
}

/// Whether a node accepts stanzas now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// It does.
    pub ok: bool,
    /// Why not; empty if it does.
    pub reason: String,
}

/// Another member, as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Name of the member.
    pub name: String,
    /// Identity of the member.
    pub id: NodeId,
    /// Where this node reaches it.
    pub address: HostPort,
    /// Whether it votes.
    pub role: MemberRole,
    /// It is the leader.
    pub leader: bool,
    /// It is heard of now.
    pub reachable: bool,
    /// Since when `reachable` is what it is.
    pub since: Timestamp,
    /// It holds the log to within a heartbeat's worth; only a leader knows, others say `None`.
    pub caught_up: Option<bool>,
}

/// Whether a member votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberRole {
    /// Counts for a quorum.
    Voter,
    /// Holds the log but does not count.
    Learner,
}

/// A bridge, as the replicated state has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeStatus {
    /// Name of the bridge.
    pub name: String,
    /// Its address: `<name>.<domain>`.
    pub jid: String,
    /// Where its stream is; none if it has none.
    pub attached: Option<Attachment>,
    /// State of its session.
    pub state: BridgeState,
    /// What waits for it.
    pub queue: QueueStatus,
    /// Generations of the secrets that it may use now, one or two, ascending.
    pub secret_generations: Vec<u64>,
    /// It answers no ping: what was written to it counts as delivered.
    pub unconfirmed: bool,
    /// The last time that this node refused somebody who named this bridge; none since it registered here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<RefusalStatus>,
}

/// Why, whence and how often somebody who named a bridge was refused: attempts that failed in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusalStatus {
    /// Why.
    pub reason: RefusalReason,
    /// Address that it came from, as limits count it: an IPv4 address, or an IPv6 network of 64 bits.
    pub from: String,
    /// The first of these attempts, by this node's clock.
    pub since: Timestamp,
    /// The last one.
    pub at: Timestamp,
    /// How many there were, those that came too early to be looked at included.
    pub count: u64,
}

/// Why somebody who named a bridge was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusalReason {
    /// Its secret is none of the bridge's.
    WrongSecret,
    /// Its secret is right, and it showed no certificate that is valid for the bridge's name (`component.client_ca`).
    WrongCertificate,
    /// No bridge has that name.
    UnknownBridge,
    /// The bridge is served by another stream, which is alive.
    Conflict,
    /// Too many before it failed, perhaps of others behind the same address: its secret was not looked at.
    TooManyFailures,
}

/// A name that no bridge has, and that was refused for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StrangerStatus {
    /// The name.
    pub name: String,
    /// Why, whence and how often.
    pub refusal: RefusalStatus,
}

/// Where a session's stream is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Name of the node.
    pub node: String,
    /// Since when.
    pub since: Timestamp,
}

/// State of a bridge's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BridgeState {
    /// Configured, never seen or expired: what is sent to it is answered with an error.
    Absent,
    /// It has a stream.
    Attached,
    /// It lost its stream; its queue waits for `timing.detach_timeout`.
    Detached,
}

/// What waits for a session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueStatus {
    /// Stanzas, those written but not confirmed included.
    pub stanzas: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What became of every stanza accepted: `accepted = delivered + bounced + expired + discarded + queued + unaccounted`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Committed and applied.
    pub accepted: u64,
    /// Confirmed by, or for plain components written to, the recipient.
    pub delivered: u64,
    /// Answered by one error at once.
    pub bounced: u64,
    /// Answered by one error when their recipient did not come back in time.
    pub expired: u64,
    /// Dropped by the RFC's own rule: only stanzas of type error or result.
    pub discarded: u64,
    /// Waiting.
    pub queued: u64,
    /// The difference; anything but 0 is a defect.
    pub unaccounted: i64,
}

/// A certificate in use, and the files it came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateStatus {
    /// Serial number in hexadecimal.
    pub serial: String,
    /// Last instant of its validity.
    pub not_after: Timestamp,
    /// Path of the certificate.
    pub certificate_file: String,
    /// Path of its key.
    pub key_file: String,
    /// Path of the certificates that peers are trusted by; none where no peer certificate is asked for.
    pub trust_bundle: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_id_survives_json_in_all_its_bits() {
        let id = NodeId(u64::MAX - 1);
        let json = serde_json::to_string(&id).expect("an id is a string");
        assert_eq!(json, "\"fffffffffffffffe\"");
        assert_eq!(
            serde_json::from_str::<NodeId>(&json).expect("what we wrote"),
            id
        );
        for text in [
            "",
            "1",
            "+ffffffffffffffe",
            "fffffffffffffffff",
            "zzzzzzzzzzzzzzzz",
        ] {
            assert_eq!(text.parse::<NodeId>(), Err(NodeIdError), "{text}");
        }
    }
}

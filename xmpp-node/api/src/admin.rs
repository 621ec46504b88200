//! What can be asked of a running node, and what it answers.
//!
//! On the wire a request is `POST /v1/<name>` with its fields as a JSON object, e.g. `POST /v1/initialize` with
//! `{"cluster_id":"c1"}`; the answer is the JSON of the value inside [`Response`], an error that of [`AdminError`].
//! Requests that change the cluster may be sent to any node; one that cannot reach the leader for the caller answers
//! [`ErrorCode::NotLeader`] with the leader's address. All requests may be repeated safely.

mod check;
mod error;

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

pub use self::check::{MAX_SECRET_BYTES, MAX_USER_BYTES, MAX_VOTERS};
pub use self::error::{AdminError, ErrorCode};
use crate::address::HostPort;
use crate::status::{NodeId, NodeStatus};

/// A request to a node. Externally tagged: the tag is the last part of the path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// What the node knows about itself and its cluster. Answers [`Response::Status`].
    Status {},
    /// Makes a cluster of this one empty node. Answers [`Response::Done`].
    Initialize {
        /// Id of the new cluster; see `cluster.id` of the configuration.
        cluster_id: String,
    },
    /// Lets this empty node join a cluster through one of its members. Answers [`Response::Done`] once it votes.
    Join {
        /// Peer address of a member; the port is 7222 where the command line is given none.
        address: HostPort,
    },
    /// Adds a member that receives the log but does not vote. Answers [`Response::Done`] once it has caught up.
    AddLearner {
        /// Identity of the new member.
        id: NodeId,
        /// Its name; an unreachable member of the same name is replaced.
        name: String,
        /// Its peer address.
        peer: HostPort,
    },
    /// Makes exactly these members the voters, in one joint change. Answers [`Response::Done`].
    ChangeVoters {
        /// The voters: at least one, each a member that has caught up. An even number is allowed but gains nothing.
        ids: BTreeSet<NodeId>,
    },
    /// Takes a member out for good; its identity will not be accepted again. Answers [`Response::Done`].
    RemoveMember {
        /// Who.
        member: Member,
    },
    /// Hands leadership over. Answers [`Response::Done`] once the other leads.
    TransferLeader {
        /// To whom; absent: to the voter with the longest log.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<Member>,
    },
    /// Whether a member may be stopped now without losing the quorum. Answers [`Response::Decision`].
    MayRestart {
        /// Name of the member.
        name: String,
    },
    /// Whether this node serves nobody new, and asks its streams to move. Answers [`Response::Done`].
    Drain {
        /// Begin (`true`) or end (`false`).
        on: bool,
    },
    /// Accepts a bridge. Answers [`Response::Bridge`] with its secret.
    PutBridge {
        /// Name of the bridge, the first label of its address.
        name: String,
        /// Its secret; absent: one is made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret: Option<Secret>,
    },
    /// Gives a bridge a new secret beside its present one. Answers [`Response::Bridge`] with the new secret.
    RotateBridge {
        /// Name of the bridge.
        name: String,
        /// The new secret; absent: one is made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        secret: Option<Secret>,
    },
    /// Ends the use of a bridge's older secret. Answers [`Response::Done`].
    RetireSecret {
        /// Name of the bridge.
        name: String,
        /// The generation that ends, as it must be the older of two.
        generation: u64,
    },
    /// Gives a bridge bounds of its own, in place of those that it had. Answers [`Response::Done`].
    LimitBridge {
        /// Name of the bridge.
        name: String,
        /// The bounds; those that are absent are the cluster's.
        #[serde(default)]
        limits: BridgeLimits,
    },
    /// Refuses a bridge from now on, closes its stream, answers what waits for it with errors. Answers
    /// [`Response::Done`].
    RemoveBridge {
        /// Name of the bridge.
        name: String,
    },
    /// The bridges and, if asked for, their secrets. Answers [`Response::Bridges`].
    ListBridges {
        /// Show the secrets.
        #[serde(default)]
        reveal: bool,
    },
    /// Accepts a user, or gives one a new password. Answers [`Response::Done`]. What is kept are salts and keys of SCRAM.
    PutUser {
        /// Name of the user, the part of the address before `@`.
        name: String,
        /// The password.
        password: Secret,
        /// Whether a user of this name gets the new password; else there must be none.
        #[serde(default)]
        replace: bool,
    },
    /// Removes a user, ends the user's streams, answers what waits for the user with errors. Answers [`Response::Done`].
    RemoveUser {
        /// Name of the user.
        name: String,
    },
    /// The users. Answers [`Response::Users`].
    ListUsers {},
    /// Reads certificates and keys again. Answers [`Response::Done`] if all are good.
    Reload {},
}

impl Request {
    /// Every name, the last part of the request's path.
    pub const NAMES: [&'static str; 19] = [
        "status",
        "initialize",
        "join",
        "add_learner",
        "change_voters",
        "remove_member",
        "transfer_leader",
        "may_restart",
        "drain",
        "put_bridge",
        "rotate_bridge",
        "retire_secret",
        "limit_bridge",
        "remove_bridge",
        "list_bridges",
        "put_user",
        "remove_user",
        "list_users",
        "reload",
    ];

    /// The last part of the request's path.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Status {} => "status",
            Self::Initialize { .. } => "initialize",
            Self::Join { .. } => "join",
            Self::AddLearner { .. } => "add_learner",
            Self::ChangeVoters { .. } => "change_voters",
            Self::RemoveMember { .. } => "remove_member",
            Self::TransferLeader { .. } => "transfer_leader",
            Self::MayRestart { .. } => "may_restart",
            Self::Drain { .. } => "drain",
            Self::PutBridge { .. } => "put_bridge",
            Self::RotateBridge { .. } => "rotate_bridge",
            Self::RetireSecret { .. } => "retire_secret",
            Self::LimitBridge { .. } => "limit_bridge",
            Self::RemoveBridge { .. } => "remove_bridge",
            Self::ListBridges { .. } => "list_bridges",
            Self::PutUser { .. } => "put_user",
            Self::RemoveUser { .. } => "remove_user",
            Self::ListUsers {} => "list_users",
            Self::Reload {} => "reload",
        }
    }

    /// Whether the request only reads, and shows no secret.
    #[must_use]
    pub const fn only_reads(&self) -> bool {
        matches!(
            self,
            Self::Status {}
                | Self::MayRestart { .. }
                | Self::ListBridges { reveal: false }
                | Self::ListUsers {}
        )
    }

    /// Reads the answer to this request.
    ///
    /// # Errors
    /// The value is not what this kind of request is answered with.
    pub fn read_response<'de, D: Deserializer<'de>>(
        &self,
        answer: D,
    ) -> Result<Response, D::Error> {
        match self {
            Self::Status {} => {
                NodeStatus::deserialize(answer).map(|s| Response::Status(Box::new(s)))
            }
            Self::MayRestart { .. } => Decision::deserialize(answer).map(Response::Decision),
            Self::PutBridge { .. } | Self::RotateBridge { .. } => {
                Bridge::deserialize(answer).map(Response::Bridge)
            }
            Self::ListBridges { .. } => Vec::deserialize(answer).map(Response::Bridges),
            Self::ListUsers {} => Vec::deserialize(answer).map(Response::Users),
            Self::Initialize { .. }
            | Self::Join { .. }
            | Self::AddLearner { .. }
            | Self::ChangeVoters { .. }
            | Self::RemoveMember { .. }
            | Self::TransferLeader { .. }
            | Self::Drain { .. }
            | Self::RetireSecret { .. }
            | Self::LimitBridge { .. }
            | Self::RemoveBridge { .. }
            | Self::PutUser { .. }
            | Self::RemoveUser { .. }
            | Self::Reload {} => Empty::deserialize(answer).map(|Empty {}| Response::Done {}),
        }
    }
}

/// A member, named or identified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Member {
    /// By its name.
    Name(String),
    /// By its identity.
    Id(NodeId),
}

/// The answer to a request. On the wire it is the inner value alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Response {
    /// It is done (committed and applied, where it concerns the cluster). `{}` on the wire.
    Done {},
    /// The node's status.
    Status(Box<NodeStatus>),
    /// Yes or no.
    Decision(Decision),
    /// One bridge.
    Bridge(Bridge),
    /// All bridges, sorted by name.
    Bridges(Vec<Bridge>),
    /// All users, sorted by name.
    Users(Vec<User>),
}

/// Whether something is allowed, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// It is.
    pub allowed: bool,
    /// Why, or why not.
    pub reason: String,
}

/// A bridge with its secrets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// Name of the bridge.
    pub name: String,
    /// The domain that it is under.
    pub domain: String,
    /// Its secrets, one or two, the newest last. In the answer to `put_bridge` and `rotate_bridge`: the new one.
    pub secrets: Vec<BridgeSecret>,
    /// Bounds of its own.
    #[serde(default, skip_serializing_if = "BridgeLimits::is_empty")]
    pub limits: BridgeLimits,
}

/// Bounds of one bridge; what is absent is as the cluster's configuration says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BridgeLimits {
    /// Stanzas that are taken from it a second; it waits beyond that, and nothing is refused. 1 to 1 000 000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stanzas_per_second: Option<u32>,
    /// Bytes of them. 1 024 to 1 073 741 824.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_second: Option<u64>,
    /// Stanzas that may wait for it; no more than `limits.session_queue_stanzas`. 1 to 1 000 000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_stanzas: Option<u32>,
    /// Bytes that may wait for it; no more than `limits.session_queue_bytes`. 65 536 to 268 435 456.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue_bytes: Option<u64>,
}

impl BridgeLimits {
    /// Whether the bridge has no bounds of its own.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A user.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// Name of the user.
    pub name: String,
    /// The address: `<name>@<domain>`.
    pub jid: String,
    /// The resources that are bound, those that may be resumed included.
    pub resources: Vec<String>,
    /// Stanzas that wait until a resource is available.
    pub waiting: u64,
}

/// One secret of a bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeSecret {
    /// Counts up with each new secret of this bridge, from 1.
    pub generation: u64,
    /// The secret; absent where it was not asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
}

/// A secret in clear, on its way between two ends that may both know it. Never printed by `Debug`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    #[must_use]
    pub const fn new(secret: String) -> Self {
        Self(secret)
    }

    /// The secret in clear; the caller shows it to nobody but its owner.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(REDACTED)")
    }
}

#[derive(Deserialize)]
struct Empty {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tag_of_every_request_is_its_name() {
        let name = || "xmpp1".to_owned();
        let address: HostPort = "xmpp1:7222".parse().expect("an address");
        let id = NodeId(7);
        let all = [
            Request::Status {},
            Request::Initialize { cluster_id: name() },
            Request::Join {
                address: address.clone(),
            },
            Request::AddLearner {
                id,
                name: name(),
                peer: address,
            },
            Request::ChangeVoters {
                ids: BTreeSet::from([id]),
            },
            Request::RemoveMember {
                member: Member::Id(id),
            },
            Request::TransferLeader { to: None },
            Request::MayRestart { name: name() },
            Request::Drain { on: true },
            Request::PutBridge {
                name: name(),
                secret: None,
            },
            Request::RotateBridge {
                name: name(),
                secret: Some(Secret::new("x".into())),
            },
            Request::RetireSecret {
                name: name(),
                generation: 1,
            },
            Request::LimitBridge {
                name: name(),
                limits: BridgeLimits::default(),
            },
            Request::RemoveBridge { name: name() },
            Request::ListBridges { reveal: true },
            Request::PutUser {
                name: name(),
                password: Secret::new("x".into()),
                replace: true,
            },
            Request::RemoveUser { name: name() },
            Request::ListUsers {},
            Request::Reload {},
        ];
        assert_eq!(all.each_ref().map(Request::name), Request::NAMES);
        for request in all {
            let json = serde_json::to_value(&request).expect("a request is plain data");
            assert_eq!(
                json.as_object()
                    .and_then(|o| o.keys().next())
                    .expect("a tag"),
                request.name()
            );
            assert_eq!(
                serde_json::from_value::<Request>(json).expect("what we wrote"),
                request
            );
        }
    }

    #[test]
    fn a_field_that_a_request_does_not_have_is_refused() {
        let error = serde_json::from_str::<Request>(r#"{"drain":{"on":true,"of":1}}"#);
        assert!(
            error
                .expect_err("of is no field")
                .to_string()
                .contains("unknown field `of`")
        );
    }

    #[test]
    fn answers_are_the_inner_value_and_are_read_back_by_the_request() {
        let request = Request::MayRestart {
            name: "xmpp1".into(),
        };
        let answer = Response::Decision(Decision {
            allowed: false,
            reason: "it leads".into(),
        });
        let json = serde_json::to_value(&answer).expect("an answer is plain data");
        assert_eq!(
            json,
            serde_json::json!({"allowed": false, "reason": "it leads"})
        );
        assert_eq!(request.read_response(json).expect("what we wrote"), answer);
        let done = serde_json::to_value(Response::Done {}).expect("an answer is plain data");
        assert_eq!(done, serde_json::json!({}));
        assert_eq!(
            Request::Reload {}.read_response(done).expect("done"),
            Response::Done {}
        );
    }

    #[test]
    fn debug_output_shows_no_secret() {
        let request = Request::PutBridge {
            name: "cb1".into(),
            secret: Some(Secret::new("s3cr3t".into())),
        };
        assert!(!format!("{request:?}").contains("s3cr3t"));
    }
}

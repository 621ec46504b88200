//! Failures of admin requests: a kind for programs, words for people, and what would help.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::status::Leader;

/// Why a request was not fulfilled, and what would help.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AdminError {
    /// The kind of failure, for programs.
    pub code: ErrorCode,
    /// The failure, for people.
    pub message: String,
    /// What to do about it, if we know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
    /// With [`ErrorCode::NotLeader`]: who leads, if anyone is known to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leader: Option<Leader>,
}

impl AdminError {
    /// A failure of this kind.
    #[must_use]
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            fix: None,
            leader: None,
        }
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn with_fix(self, fix: impl Into<String>) -> Self {
        Self {
            fix: Some(fix.into()),
            ..self
        }
    }

    /// This node is not the leader and could not reach it.
    #[must_use]
    pub fn not_leader(leader: Option<Leader>) -> Self {
        let message = match &leader {
            Some(leader) => format!("this node does not lead; {} does", leader.name),
            None => "the cluster has no leader at the moment".to_owned(),
        };
        Self {
            leader,
            ..Self::new(ErrorCode::NotLeader, message)
        }
    }
}

impl fmt::Display for AdminError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for AdminError {}

/// Kinds of failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Only the leader can do it; ask there, or again if there is none.
    NotLeader,
    /// The node belongs to no cluster yet.
    NotInitialized,
    /// The node belongs to a cluster already.
    AlreadyInitialized,
    /// No bridge has this name.
    UnknownBridge,
    /// A bridge of this name exists, with another secret.
    BridgeExists,
    /// No user has this name.
    UnknownUser,
    /// A user of this name exists.
    UserExists,
    /// No member has this name or id.
    UnknownMember,
    /// No request has this name.
    UnknownRequest,
    /// The request makes no sense as it is.
    Invalid,
    /// It contradicts what is, such as another change in progress or another cluster's id.
    Conflict,
    /// The caller may not do this.
    Forbidden,
    /// Not now: no quorum, no connection, or a limit is reached.
    Unavailable,
    /// It was not done in time; it may still happen.
    Timeout,
    /// The node is at fault.
    Internal,
}

impl ErrorCode {
    /// The HTTP status that goes with it.
    #[must_use]
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Invalid => 400,
            Self::Forbidden => 403,
            Self::UnknownBridge
            | Self::UnknownUser
            | Self::UnknownMember
            | Self::UnknownRequest => 404,
            Self::NotInitialized
            | Self::AlreadyInitialized
            | Self::BridgeExists
            | Self::UserExists
            | Self::Conflict => 409,
            Self::NotLeader => 421,
            Self::Internal => 500,
            Self::Unavailable => 503,
            Self::Timeout => 504,
        }
    }
}

//! Labels that say what happened: closed sets of words.

use prometheus_client::encoding::EncodeLabelSet;
use xmpp_core::error::StreamCondition;

/// Label `condition`: the element name of an RFC 6120 error condition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Condition {
    pub(super) condition: &'static str,
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamEnd {
    /// By an error of ours, label: its element name.
    Error(StreamCondition),
    /// The peer closed it in order: `none`.
    Closed,
    /// By an error that the peer sent: `peer-error`.
    PeerError,
    /// The connection broke: `lost`.
    Lost,
}

impl StreamEnd {
    pub(super) const fn label(self) -> Condition {
        Condition {
            condition: match self {
                Self::Error(condition) => condition.as_str(),
                Self::Closed => "none",
                Self::PeerError => "peer-error",
                Self::Lost => "lost",
            },
        }
    }
}

/// What became of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The peer knows a secret.
    Proved,
    /// It does not.
    Failed,
    /// Too many failed before: nobody looked.
    Throttled,
}

impl Outcome {
    pub(super) const fn label(self) -> OutcomeLabel {
        OutcomeLabel {
            outcome: match self {
                Self::Proved => "proved",
                Self::Failed => "failed",
                Self::Throttled => "throttled",
            },
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OutcomeLabel {
    pub(super) outcome: &'static str,
}

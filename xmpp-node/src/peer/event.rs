//! What happens to links, as values: who, which direction, up or down and why; and what is the case
//! now.

use std::sync::Arc;
use std::time::Duration;

/// One change of one link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkEvent {
    /// Id of the node at the other end.
    pub peer: u64,
    /// Its name.
    pub name: Arc<str>,
    /// Who dialled.
    pub direction: Direction,
    /// What it is now.
    pub state: LinkState,
}

/// Who dialled. Two nodes hold one connection in each direction; the end of either is equally
/// telling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// We dialled.
    Outgoing,
    /// The peer dialled.
    Incoming,
}

/// State of a link in one direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// Both sides accepted each other's hello.
    Up {
        /// Incarnation of the peer.
        incarnation: u64,
    },
    /// The last connection is gone, or a connection was refused.
    Down {
        /// Why.
        reason: DownReason,
    },
}

/// Why a link is down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownReason {
    /// Closed on purpose by either side, with a `bye` frame: never a lost node.
    Bye,
    /// The socket closed or failed, or what came was not our protocol.
    Closed,
    /// One side refused the other; sent once for each new reason, also when the link was never up.
    Refused(String),
    /// Nothing was heard for [`super::Settings::silent_after`]; callers that want to know earlier
    /// ask [`super::Peers::last_heard`].
    Silent,
}

/// State of one peer, both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Incarnation at the other end of our link while that is up.
    pub outgoing: Option<u64>,
    /// Incarnation at the other end of its connection to us while that is up.
    pub incoming: Option<u64>,
    /// Time since the last byte from it, on any connection; `None`: never heard.
    pub last_heard: Option<Duration>,
}

//! What happens to links, as values: who, which direction, up or down and why.

use std::sync::Arc;

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

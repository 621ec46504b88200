//! The stream machine of a connection, whichever kind it is.

use xmpp_core::error::StreamCondition;
use xmpp_core::stream::client::ClientStream;
use xmpp_core::stream::component::ComponentStream;
use xmpp_core::stream::{Action, Input};

#[derive(Debug)]
pub(super) enum Machine {
    Component(ComponentStream),
    Client(Box<ClientStream>),
}

impl Machine {
    pub(super) fn handle(&mut self, input: Input, out: &mut Vec<Action>) {
        match self {
            Self::Component(stream) => stream.handle(input, out),
            Self::Client(stream) => stream.handle(input, out),
        }
    }

    /// What a component's handshake is made of; clients have none.
    pub(super) fn id(&self) -> &str {
        match self {
            Self::Component(stream) => stream.id(),
            Self::Client(_) => "",
        }
    }

    pub(super) fn is_established(&self) -> bool {
        match self {
            Self::Component(stream) => stream.is_established(),
            Self::Client(stream) => stream.is_established(),
        }
    }

    pub(super) fn owes_answer(&self) -> bool {
        match self {
            Self::Component(stream) => stream.owes_answer(),
            Self::Client(stream) => stream.owes_answer(),
        }
    }

    /// Whether the peer knows who speaks, so that it may be sent elsewhere.
    pub(super) fn has_header(&self) -> bool {
        match self {
            Self::Component(stream) => stream.peer_domain().is_some(),
            Self::Client(stream) => stream.has_header(),
        }
    }

    /// The bridge that a component says it is; clients are none.
    pub(super) fn bridge(&self) -> Option<&str> {
        match self {
            Self::Component(stream) => stream.peer_domain(),
            Self::Client(_) => None,
        }
    }

    pub(super) fn error(&self) -> Option<StreamCondition> {
        match self {
            Self::Component(stream) => stream.error(),
            Self::Client(stream) => stream.error(),
        }
    }
}

//! Why a bridge is not registered, in words that name cause and place.

use std::io;
use std::sync::Arc;

use xmpp_core::error::{StreamCondition, StreamError};
use xmpp_core::framer::FrameError;

use crate::discovery::DiscoveryError;
use crate::session::AckError;

/// Why a connection attempt failed or a stream ended.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Failure {
    /// No server was found.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// TCP did not connect.
    #[error("cannot connect: {0}")]
    Connect(Arc<io::Error>),
    /// Without TLS only loopback addresses are connected to.
    #[error("address is not on loopback and TLS is off")]
    NotLoopback,
    /// The file of trusted CAs cannot be used.
    #[error("trusted CA file: {0}")]
    TrustedCa(Arc<io::Error>),
    /// The file of the secret cannot be used.
    #[error("secret file: {0}")]
    SecretFile(Arc<io::Error>),
    /// TLS failed: the certificate, most likely.
    #[error("TLS: {0}")]
    Tls(Arc<io::Error>),
    /// The server did not take name and secret.
    #[error("the server did not accept name and secret")]
    Authentication,
    /// A step of the negotiation took too long.
    #[error("no answer while {0}")]
    TimedOut(&'static str),
    /// The server ended the stream with this error.
    #[error("the server ended the stream: {0}")]
    Stream(StreamCondition),
    /// The server ended stream or connection without an error.
    #[error("the server closed the stream")]
    Closed,
    /// The connection broke.
    #[error("connection lost: {0}")]
    Broken(Arc<io::Error>),
    /// Nothing came from the server, though it was asked.
    #[error("the server fell silent")]
    Silent,
    /// The server sent what is not XMPP.
    #[error("the server sent no valid stream: {0}")]
    Frame(#[from] FrameError),
    /// The server sent something out of place.
    #[error("unexpected answer from the server: {0}")]
    Unexpected(&'static str),
    /// The server's acknowledgement cannot be.
    #[error(transparent)]
    Acknowledgement(#[from] AckError),
}

impl Failure {
    /// The cause in a few words, as in `failed to connect to <host> due to <reason>`.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Discovery(_) => "DNS error",
            Self::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                "connection refused"
            }
            Self::Connect(error) if error.kind() == io::ErrorKind::TimedOut => "connection timeout",
            Self::Connect(_) => "network error",
            Self::NotLoopback => "TLS required",
            Self::TrustedCa(_) => "unusable CA file",
            Self::SecretFile(_) => "unusable secret file",
            Self::Tls(_) => "TLS error",
            Self::Authentication | Self::Stream(StreamCondition::NotAuthorized) => {
                "authentication failure"
            }
            Self::TimedOut(_) => "no answer",
            Self::Stream(StreamCondition::Conflict) => "name in use",
            Self::Stream(StreamCondition::SystemShutdown) => "server shutdown",
            Self::Stream(condition) => condition.as_str(),
            Self::Closed => "connection closed",
            Self::Broken(_) => "connection lost",
            Self::Silent => "silence",
            Self::Frame(_) | Self::Unexpected(_) | Self::Acknowledgement(_) => "protocol error",
        }
    }

    /// The error to tell the server before the stream is closed, when the fault is its own.
    pub(crate) fn to_stream_error(&self) -> Option<StreamError> {
        match self {
            Self::Frame(error) => Some(StreamError::from(*error)),
            Self::Acknowledgement(error) => Some(
                StreamError::new(StreamCondition::UndefinedCondition)
                    .with_application(error.to_xml()),
            ),
            Self::Unexpected(_) => Some(StreamError::new(StreamCondition::UnsupportedStanzaType)),
            _ => None,
        }
    }

    /// Whether another server would most likely say the same, so that the round is not continued.
    pub(crate) fn is_final_for_round(&self) -> bool {
        matches!(
            self,
            Self::Authentication
                | Self::TrustedCa(_)
                | Self::SecretFile(_)
                | Self::Stream(
                    StreamCondition::Conflict
                        | StreamCondition::NotAuthorized
                        | StreamCondition::HostGone
                )
        )
    }

    /// Whether the server refused what we sent, so that sending it again would end the next stream too.
    pub(crate) fn blames_stanza(&self) -> bool {
        use StreamCondition as C;
        matches!(
            self,
            Self::Stream(
                C::BadFormat
                    | C::BadNamespacePrefix
                    | C::ImproperAddressing
                    | C::InvalidFrom
                    | C::InvalidNamespace
                    | C::NotWellFormed
                    | C::PolicyViolation
                    | C::RestrictedXml
                    | C::UnsupportedEncoding
                    | C::UnsupportedStanzaType
            )
        )
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Broken(Arc::new(error))
    }
}

/// The bridge was stopped, or its task is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bridge is stopped")]
pub struct Stopped;

/// Why a stanza was not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TrySendError {
    /// The window is full; the stanza is given back.
    #[error("the window of unaccepted stanzas is full")]
    Full(bytes::Bytes),
    /// The bridge is stopped.
    #[error("the bridge is stopped")]
    Stopped,
    /// Not one message, presence or iq; the stanza is given back.
    #[error("not a message, presence or iq")]
    NotAStanza(bytes::Bytes),
}

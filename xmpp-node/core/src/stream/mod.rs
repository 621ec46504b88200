//! One state machine a kind of stream, and what they share. Pure: frames and times in, actions out.
//!
//! | Module | Is |
//! |---|---|
//! | [`component`] | a component (XEP-0114) |
//! | [`starttls`] | a client before TLS (RFC 6120, 5) |
//! | [`client`] | a client inside TLS (RFC 6120, 6, 7) |
//! | `counting` | what a peer is told of what it sent (XEP-0198) |
//! | [`confirmation`] | what a peer proved to have read |

pub mod client;
pub mod component;
pub mod confirmation;
mod counting;
pub mod starttls;

use crate::error::{StanzaCondition, StreamCondition, StreamError};
use crate::framer::Frame;
use crate::jid::Jid;
use crate::ns;
use crate::router::{Refusal, SessionId};
use crate::scram::{Credentials, Password};
use crate::stanza::Stanza;

/// What happens to a stream.
#[derive(Debug)]
pub enum Input {
    /// The peer sent a frame.
    Frame(Frame),
    /// The handshake of a component matched the secret of this generation, or none.
    Verified(Option<u32>),
    /// What a client's user is checked with.
    Credentials(Box<Found>),
    /// A password was that of its user, whose credentials are of this generation, or it was not.
    Tried(Option<u32>),
    /// The session is served by this stream.
    Bound {
        /// The session.
        session: SessionId,
        /// What it serves.
        name: Jid,
        /// Stanzas taken from it so far.
        taken: u64,
        /// Stanzas that had been taken when its peer's counter was 0 (XEP-0198).
        counted: u64,
    },
    /// The client's stanzas are counted from here on (XEP-0198).
    Enabled {
        /// Stanzas taken from the session so far.
        taken: u64,
        /// Of those, the ones before its counter was 0.
        counted: u64,
    },
    /// The bind or resume was refused.
    Refused(Refusal),
    /// This many stanzas were taken from the session so far.
    Taken(u64),
    /// A question of the peer waited long enough: answer with what is taken.
    AnswerNow,
    /// We end the stream.
    Close(StreamError),
}

/// What there is of a user, or in place of one who does not exist.
#[derive(Debug)]
pub struct Found {
    /// Salts and keys; decoys if there is no such user.
    pub credentials: Credentials,
    /// Their generation; `None` if there is no such user.
    pub generation: Option<u32>,
}

/// What the caller must do, in order.
#[derive(Debug)]
pub enum Action {
    /// Write to the peer.
    Write(String),
    /// Compare the handshake with the secrets of the bridge of this domain, then say [`Input::Verified`].
    Verify {
        /// The bridge's domain.
        domain: String,
        /// The digest presented.
        presented: String,
    },
    /// Look for a user of this name, normalised, then say [`Input::Credentials`].
    Lookup {
        /// The user's name.
        user: String,
    },
    /// Compare a password with the credentials of the user of this name, normalised, then say [`Input::Tried`]. That costs
    /// a PBKDF2.
    Try {
        /// The user's name.
        user: String,
        /// As sent.
        password: Password,
    },
    /// Whether the client proved to be this user.
    Judged {
        /// The user's name.
        user: String,
        /// How, by the name that SASL has for it.
        mechanism: &'static str,
        /// It did.
        proved: bool,
    },
    /// The peer begins its stream anew: expect a header (RFC 6120, 4.3.3).
    Restart,
    /// Propose a bind with a new session id, then say [`Input::Bound`] or [`Input::Refused`].
    Bind {
        /// The bridge's domain.
        domain: String,
        /// Generation of the secret that was proved.
        generation: u32,
        /// Whether the peer acknowledges by XEP-0198.
        managed: bool,
    },
    /// Propose to bind a resource with a new session id, then say [`Input::Bound`] or [`Input::Refused`].
    BindResource {
        /// The user's name.
        user: String,
        /// Generation of the credentials that were proved.
        generation: u32,
        /// The resource, normalised; empty: any.
        resource: String,
    },
    /// Propose a resumption, then say [`Input::Bound`] or [`Input::Refused`].
    Resume {
        /// The bridge's domain, or the user's bare address.
        name: String,
        /// Generation of the secret that was proved.
        generation: u32,
        /// The session.
        session: SessionId,
        /// What the peer handled.
        h: u32,
    },
    /// Propose to count what follows, write no stanza until that is decided, then say [`Input::Enabled`].
    Enable,
    /// A stanza to be taken into the log.
    Submit {
        /// The stanza.
        stanza: Stanza,
        /// Domain that it is routed by; empty if `to` is malformed.
        to: String,
        /// The error that answers it instead.
        reject: Option<StanzaCondition>,
    },
    /// The peer answered our ping of this number.
    PingAnswered(u64),
    /// The peer acknowledged (XEP-0198).
    Acknowledged(u32),
    /// The stream is over: write what is left, then close the connection.
    Finish {
        /// The peer closed it in order: its session ends.
        closed_by_peer: bool,
    },
}

/// What a stream must know of its server.
#[derive(Debug, Clone)]
pub struct Server {
    /// The XMPP domain.
    pub domain: String,
    /// `max` of `<enabled/>`: seconds that a session waits for its stream.
    pub resume_seconds: u64,
    /// The longest stanza that is taken, bytes (XEP-0478).
    pub max_stanza_bytes: usize,
    /// Whether clients may send their password itself (PLAIN, RFC 4616), inside TLS.
    pub plain: bool,
}

/// The peer claims to have handled more than it was sent (XEP-0198, 4).
#[must_use]
pub fn handled_too_high(h: u32, sent: u32) -> StreamError {
    StreamError::new(StreamCondition::UndefinedCondition).with_application(format!(
        "<handled-count-too-high xmlns='{}' h='{h}' send-count='{sent}'/>",
        ns::SM
    ))
}

/// `h` of XEP-0198, an `xs:unsignedInt`: digits alone, at most 2^32 - 1.
fn handled(h: &str) -> Option<u32> {
    let digits = !h.is_empty() && h.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| h.parse().ok()).flatten()
}

/// The answer to a request of XEP-0198 that fails.
fn failed(condition: &str) -> String {
    format!(
        "<failed xmlns='{}'><{condition} xmlns='{}'/></failed>",
        ns::SM,
        ns::STANZA_ERRORS
    )
}

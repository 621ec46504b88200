//! A session: what outlives a stream. It serves one name, and one stream at a time serves it.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Limits;
use super::apply::Refusal;
use super::bridge::BridgeLimits;
use super::queue::Queue;
use crate::jid::Jid;
use crate::stanza::Routed;

/// Identity of a session, chosen at random by the node that binds it. Whoever knows it and the name's secret may resume
/// the session, so it is never logged or shown.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SessionId(pub u128);

impl SessionId {
    /// The form sent as `previd` (XEP-0198): 32 hexadecimal digits.
    #[must_use]
    pub fn previd(self) -> String {
        format!("{:032x}", self.0)
    }

    /// Reads what [`Self::previd`] wrote.
    #[must_use]
    pub fn from_previd(text: &str) -> Option<Self> {
        (text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .then(|| u128::from_str_radix(text, 16).ok().map(Self))?
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Eight digits tell sessions apart in a log and open none.
        write!(f, "session {:08x}..", (self.0 >> 96) as u32)
    }
}

/// Where a session's stream is: a node, and which start of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Attachment {
    /// The node's id.
    pub node: u64,
    /// The node's start.
    pub incarnation: u64,
}

/// Somebody who wants a name that is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Newcomer {
    /// The session that would be bound.
    pub session: SessionId,
    /// Where its stream is.
    pub at: Attachment,
    /// The number of its request.
    pub request: u64,
    /// Whether it uses XEP-0198.
    pub managed: bool,
}

/// A session. See the module documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// What it serves: a bridge's domain (`cb1.example.test`), or the full address of a client.
    pub name: Jid,
    /// Whether its peer acknowledges by XEP-0198 (and so may resume), or is followed by pings.
    pub managed: bool,
    /// Where the counters of XEP-0198 began.
    pub counted: Counted,
    /// Raised by each resumption: what the leader decided about an earlier stream is told by it.
    pub epoch: u32,
    /// Where its stream is, `None` while it waits for one.
    pub attached: Option<Attachment>,
    /// The stream there: the number of the request that bound or resumed the session.
    pub stream: u64,
    /// Since when it is attached, or detached: the stamp of that entry, milliseconds since 1970.
    pub since: u64,
    /// Stanzas taken from it.
    pub taken: u64,
    /// What waits for it.
    pub queue: Queue,
    /// Position up to which items were handed over from an earlier stream or session: those are repeats, or were delayed.
    pub carried: u64,
    /// Who waits for its name.
    pub newcomer: Option<Newcomer>,
    /// Its peer answers no ping, so delivery is counted when written.
    pub unconfirmed: bool,
    /// Whether a client said that it is available (RFC 6121, 4.2); bridges never do.
    pub availability: Option<Availability>,
    /// What it last said of that: what others are shown.
    pub presence: Option<Routed>,
    /// To whom beside its contacts it said that it is available.
    pub directed: BTreeSet<String>,
    /// It asked for its user's contact list, so it is told of changes.
    pub interested: bool,
    /// A bridge's own bounds, those of the bridge.
    pub limits: BridgeLimits,
}

/// Where a session stood when its peer enabled XEP-0198: both counters of the peer begin there, at 0. A component does so
/// before anything flows, a client when it likes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Stanzas that had been taken from it.
    pub taken: u64,
    /// Position in the queue up to which had been written to it.
    pub written: u64,
}

/// An available resource (RFC 6121, 4.2): what is sent to the user goes to the one of the highest priority, of several to the
/// one that said so last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Availability {
    /// Its priority; a resource below 0 gets only what is sent to its own address.
    pub priority: i8,
    /// Where in the log it said so: entry, and place in the entry.
    pub place: (u64, u32),
}

impl Session {
    /// Stanzas and bytes that may wait for it, where `limits` are those of the cluster.
    pub(super) fn room(&self, limits: &Limits) -> (u64, u64) {
        let (stanzas, bytes) = (u64::from(limits.queue_stanzas), limits.queue_bytes);
        let own = self.limits;
        (
            match u64::from(own.queue_stanzas) {
                0 => stanzas,
                own => own.min(stanzas),
            },
            match own.queue_bytes {
                0 => bytes,
                own => own.min(bytes),
            },
        )
    }

    /// Whether it is a client's; else it is a bridge's.
    #[must_use]
    pub fn is_client(&self) -> bool {
        self.name.local().is_some()
    }

    /// Whether the stream that request `stream` of `at` asked for is the one that serves this session now.
    #[must_use]
    pub fn is_served_by(&self, at: Attachment, stream: u64) -> bool {
        self.attached == Some(at) && self.stream == stream
    }

    /// The position in the queue that a peer means by `h` when it resumes.
    ///
    /// # Errors
    /// [`Refusal::HandledTooHigh`] if it was not sent so many; [`Refusal::ItemNotFound`] if it had confirmed more before,
    /// as what it lost since then is no longer there.
    pub(super) fn position(&self, h: u32) -> Result<u64, Refusal> {
        // What was written before the counters began has arrived, since the answer that began them did.
        let base = self.counted.written;
        let known = self.queue.confirmed().max(base);
        let (handled, sent) = (known - base, self.queue.end() - base);
        let ahead = h.wrapping_sub(handled as u32);
        let upto = handled + u64::from(ahead);
        if upto <= sent {
            return Ok(base + upto);
        }
        // Until the count has gone round, `h` is what it says. From then on, with queues far shorter than half of its range,
        // it is behind if that is the shorter way.
        let behind = match u32::try_from(sent) {
            Ok(_) => u64::from(h) < handled,
            Err(_) => ahead.cast_signed() < 0,
        };
        Err(if behind {
            Refusal::ItemNotFound
        } else {
            Refusal::HandledTooHigh {
                h,
                sent: sent as u32,
            }
        })
    }

    /// `h` for its peer (XEP-0198).
    #[must_use]
    pub fn handled(&self) -> u32 {
        (self.taken - self.counted.taken) as u32
    }
}

//! What the state is told: decisions, one after another in a chunk (see `batch`).

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Limits;
use super::bridge::BridgeLimits;
use super::session::SessionId;

/// One decision for the state to take. `apply` skips what is no longer true, so a command may always be sent again. A log
/// tells commands by their place here: new ones come last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command<'a> {
    /// The next stanzas of a session, `len` bytes packed by a [`super::StanzaPacker`].
    Stanzas {
        /// The sender.
        session: SessionId,
        /// The stream: the number of the request that bound or resumed the session.
        stream: u64,
        /// How many.
        count: u32,
        /// Bytes that follow the command.
        len: u32,
    },
    /// A stream proved a bridge's secret and wants its name.
    Bind {
        /// The new session's id.
        session: SessionId,
        /// The name's domain.
        domain: &'a str,
        /// Which secret it proved.
        generation: u32,
        /// Whether the peer uses XEP-0198.
        managed: bool,
    },
    /// A stream proved a bridge's secret and wants a session back (XEP-0198, 5).
    Resume {
        /// The session.
        session: SessionId,
        /// The name whose secret was proved: a bridge's domain, or a user's bare address.
        name: &'a str,
        /// Which secret it proved.
        generation: u32,
        /// What the peer handled, modulo 2^32.
        h: u32,
    },
    /// The stream is gone: the session waits for the next one, or, when the peer closed it, ends.
    Detach {
        /// The session.
        session: SessionId,
        /// The stream: the number of the request that bound or resumed the session.
        stream: u64,
        /// Whether the peer ended it with `</stream:stream>`: the name's queue waits, the session cannot be resumed.
        closed: bool,
    },
    /// The peer has everything up to a position of the session's queue.
    Acknowledge {
        /// The session.
        session: SessionId,
        /// The stream: the number of the request that bound or resumed the session.
        stream: u64,
        /// Position in the queue.
        upto: u64,
    },
    /// The peer of a plain session answers no pings (or does again).
    Unconfirmed {
        /// The session.
        session: SessionId,
        /// The stream: the number of the request that bound or resumed the session.
        stream: u64,
        /// Whether delivery is counted when written.
        on: bool,
    },
    /// The holder of a name answered its probe: the newcomer is refused.
    Keep {
        /// The holder.
        session: SessionId,
        /// The stream: the number of the request that bound or resumed the session.
        stream: u64,
    },
    /// The holder of a name did not answer: the newcomer takes the name.
    Evict {
        /// The holder.
        session: SessionId,
        /// The holder's epoch.
        epoch: u32,
        /// Who waits. Another one, that came later, has asked the holder anew.
        newcomer: SessionId,
    },
    /// A detached session waited for `detachTimeout`.
    Expire {
        /// The session.
        session: SessionId,
        /// Its epoch.
        epoch: u32,
    },
    /// A node started. Any chunk of a new incarnation means this too.
    NodeUp,
    /// A node is gone: its sessions wait for their next stream.
    NodeDown {
        /// The node's id.
        node: u64,
        /// The start of it that is gone.
        incarnation: u64,
    },
    /// A member was removed: its record goes.
    ForgetNode {
        /// The node's id.
        node: u64,
    },
    /// What the cluster is. `expected` is the generation that it replaces, 0 for the first.
    Configure {
        /// The cluster's id, fixed by the first.
        cluster: &'a str,
        /// The XMPP domain, fixed by the first.
        domain: &'a str,
        /// Bounds.
        limits: Limits,
        /// Generation of the configuration that is replaced.
        expected: u64,
    },
    /// A new bridge.
    PutBridge {
        /// Its domain.
        domain: &'a str,
        /// Its first secret, sealed.
        sealed: &'a [u8],
    },
    /// A further secret for a bridge; the one before stays valid until it is retired or the next rotation.
    RotateSecret {
        /// The bridge's domain.
        domain: &'a str,
        /// The generation that is the newest now.
        expected: u32,
        /// The new secret, sealed.
        sealed: &'a [u8],
    },
    /// The older secret of a bridge ends.
    RetireSecret {
        /// The bridge's domain.
        domain: &'a str,
        /// The generation that ends; never the newest.
        generation: u32,
    },
    /// A bridge, its session and what waits for it go.
    RemoveBridge {
        /// The bridge's domain.
        domain: &'a str,
    },
    /// New credentials of a user: of a new one, or in place of those that there are.
    PutAccount {
        /// The user's name, the localpart of the address.
        name: &'a str,
        /// The generation that is the newest now; 0: there is no such user.
        expected: u32,
        /// Salts and keys, sealed.
        sealed: &'a [u8],
        /// Users that there may be.
        most: u32,
    },
    /// A user, the user's sessions and what waits for them go.
    RemoveAccount {
        /// The user's name.
        name: &'a str,
    },
    /// A client proved a user's password and wants a resource (RFC 6120, 7).
    BindResource {
        /// The new session's id.
        session: SessionId,
        /// The user's name.
        account: &'a str,
        /// Which credentials it proved.
        generation: u32,
        /// The resource that it asks for, normalised; empty: any.
        resource: &'a str,
        /// If that is served already.
        on_conflict: OnConflict,
        /// Resources that a user may have at once.
        most: u32,
    },
    /// A client asks for XEP-0198 from here on.
    Enable {
        /// The session.
        session: SessionId,
        /// The stream: the number of the request that bound or resumed the session.
        stream: u64,
        /// Position in the queue up to which was written before the answer.
        written: u64,
    },
    /// Bounds of a bridge, in place of those that it had.
    LimitBridge {
        /// The bridge's domain.
        domain: &'a str,
        /// All of them.
        limits: BridgeLimits,
    },
}

/// What becomes of a resource that is served when another stream asks for it (RFC 6120, 7.7.2.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnConflict {
    /// The newcomer gets it, the older stream ends with `conflict`.
    #[default]
    Replace,
    /// The newcomer is refused.
    Refuse,
    /// The newcomer gets another resource.
    Rename,
}

impl Command<'_> {
    /// Encodes a command that has no raw bytes behind it.
    ///
    /// # Panics
    /// Never: postcard refuses only types that cannot be encoded, and this one can.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        Bytes::from(postcard::to_stdvec(self).expect("every command can be encoded"))
    }
}

/// An entry that this version cannot read. Entries come from our own nodes, so this is fatal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed log entry: {0}")]
pub struct Malformed(pub &'static str);

/// Takes the next command from the front of `commands`.
pub(super) fn next_command<'a>(
    commands: &mut &'a [u8],
) -> Result<(Command<'a>, &'a [u8]), Malformed> {
    let (command, rest) = postcard::take_from_bytes::<Command<'a>>(commands)
        .map_err(|_| Malformed("unknown command"))?;
    let len = match command {
        Command::Stanzas { len, .. } => len as usize,
        _ => 0,
    };
    let (raw, rest) = rest
        .split_at_checked(len)
        .ok_or(Malformed("stanzas cut short"))?;
    *commands = rest;
    Ok((command, raw))
}

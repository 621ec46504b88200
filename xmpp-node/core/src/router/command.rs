//! What a log entry holds: a batch of chunks, each the next commands of one node, in order.
//!
//! ```text
//! batch   = version u8, stamp u64 (milliseconds since 1970), chunk*
//! chunk   = node u64, incarnation u64, first u64 (request number of the first command), count u32, length u32, command*
//! command = postcard of `Command`; `Stanzas` is followed by `length` raw bytes, see `packing`
//! ```
//! Integers of batch and chunk are little-endian.

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::Limits;
use super::session::SessionId;

/// Version of the encoding, the first byte of every batch.
const VERSION: u8 = 1;
const BATCH_HEADER: usize = 9;
const CHUNK_HEADER: usize = 32;

/// One decision for the state to take. `apply` skips what is no longer true, so a command may always be sent again.
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
        /// The name whose secret was proved.
        domain: &'a str,
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

/// Which commands a chunk holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkHeader {
    /// The node that proposes.
    pub node: u64,
    /// Its start.
    pub incarnation: u64,
    /// Request number of the first command.
    pub first: u64,
    /// How many commands.
    pub count: u32,
}

/// Puts chunks together to one entry.
#[derive(Debug)]
pub struct BatchBuilder {
    out: BytesMut,
}

impl BatchBuilder {
    /// An empty batch with room for `capacity` bytes, stamped with the leader's clock.
    #[must_use]
    pub fn new(stamp: u64, capacity: usize) -> Self {
        let mut out = BytesMut::with_capacity(BATCH_HEADER + capacity);
        out.put_u8(VERSION);
        out.put_u64_le(stamp);
        Self { out }
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether no chunk was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.out.len() <= BATCH_HEADER
    }

    /// Adds the header and the commands of a chunk, given in pieces.
    pub fn chunk(&mut self, header: ChunkHeader, pieces: &[Bytes]) {
        let len: usize = pieces.iter().map(Bytes::len).sum();
        self.out.extend_from_slice(&header.encode(len));
        for piece in pieces {
            self.out.extend_from_slice(piece);
        }
    }

    /// Adds a chunk that is encoded already, header and commands.
    pub fn encoded(&mut self, chunk: &[u8]) {
        self.out.extend_from_slice(chunk);
    }

    /// The entry.
    #[must_use]
    pub fn finish(self) -> Bytes {
        self.out.freeze()
    }
}

impl ChunkHeader {
    /// Request number of the last command; below `first` if there is none.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.first
            .saturating_add(u64::from(self.count))
            .saturating_sub(1)
    }

    /// The header of a chunk whose commands are `len` bytes long.
    #[must_use]
    pub fn encode(&self, len: usize) -> [u8; CHUNK_HEADER] {
        let mut out = [0; CHUNK_HEADER];
        out[0..8].copy_from_slice(&self.node.to_le_bytes());
        out[8..16].copy_from_slice(&self.incarnation.to_le_bytes());
        out[16..24].copy_from_slice(&self.first.to_le_bytes());
        out[24..28].copy_from_slice(&self.count.to_le_bytes());
        out[28..32].copy_from_slice(&(len as u32).to_le_bytes());
        out
    }

    /// Reads one whole chunk from the front of `bytes`: the header, and the bytes of its commands.
    ///
    /// # Errors
    /// [`Malformed`] if it is cut short.
    pub fn split(bytes: &[u8]) -> Result<(Self, &[u8], &[u8]), Malformed> {
        let (head, rest) = bytes
            .split_at_checked(CHUNK_HEADER)
            .ok_or(Malformed("chunk header cut short"))?;
        let len = read_u32(head, 28) as usize;
        let (commands, rest) = rest
            .split_at_checked(len)
            .ok_or(Malformed("chunk cut short"))?;
        let header = Self {
            node: read_u64(head, 0),
            incarnation: read_u64(head, 8),
            first: read_u64(head, 16),
            count: read_u32(head, 24),
        };
        Ok((header, commands, rest))
    }
}

/// Splits a batch into its stamp and its chunks.
pub(super) fn open_batch(batch: &[u8]) -> Result<(u64, &[u8]), Malformed> {
    let (head, chunks) = batch
        .split_at_checked(BATCH_HEADER)
        .ok_or(Malformed("batch header cut short"))?;
    if head[0] != VERSION {
        return Err(Malformed("unknown version"));
    }
    Ok((read_u64(head, 1), chunks))
}

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

pub(super) fn read_u32(bytes: &[u8], at: usize) -> u32 {
    bytes
        .get(at..at + 4)
        .and_then(|four| four.try_into().ok())
        .map_or(0, u32::from_le_bytes)
}

fn read_u64(bytes: &[u8], at: usize) -> u64 {
    bytes
        .get(at..at + 8)
        .and_then(|eight| eight.try_into().ok())
        .map_or(0, u64::from_le_bytes)
}

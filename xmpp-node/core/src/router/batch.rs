//! What a log entry holds: a batch of chunks, each the next commands of one node, in order.
//!
//! ```text
//! batch   = version u8, stamp u64 (milliseconds since 1970), chunk*
//! chunk   = node u64, incarnation u64, first u64 (request number of the first command), count u32, length u32, command*
//! command = postcard of `Command`; `Stanzas` is followed by `length` raw bytes, see `packing`
//! ```
//! Integers of batch and chunk are little-endian.

use bytes::{BufMut, Bytes, BytesMut};

use super::command::{Command, Malformed, next_command};
use super::packing::next_stanza;

/// Version of the encoding, the first byte of every batch.
const VERSION: u8 = 1;
const BATCH_HEADER: usize = 9;
const CHUNK_HEADER: usize = 32;

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

/// Reads a chunk to its end as apply will, and changes nothing. A leader asks before it proposes what another node sent: an
/// entry that cannot be read would stop every node.
///
/// # Errors
/// [`Malformed`] if apply would not be able to read it.
pub fn check_chunk(chunk: &Bytes) -> Result<ChunkHeader, Malformed> {
    let (header, mut commands, rest) = ChunkHeader::split(chunk)?;
    for _ in 0..header.count {
        let (command, mut raw) = next_command(&mut commands)?;
        if let Command::Stanzas { count, .. } = command {
            for _ in 0..count {
                next_stanza(chunk, &mut raw)?;
            }
            if !raw.is_empty() {
                return Err(Malformed("stanzas have a tail"));
            }
        }
    }
    if !commands.is_empty() || !rest.is_empty() {
        return Err(Malformed("chunk has a tail"));
    }
    Ok(header)
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

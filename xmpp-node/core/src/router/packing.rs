//! Stanzas in an entry: raw bytes, sliced out by apply and never encoded.
//!
//! ```text
//! stanza = length u32, tag length u32, flags u8, reject u8, `to` length u16, `to`, text
//! flags  = kind (bits 0 and 1), answerable (2), rejected (3)
//! ```
//! Integers are little-endian. `to` is the domain that the stanza is routed by.

use bytes::{BufMut, Bytes, BytesMut};

use super::batch::read_u32;
use super::command::{Command, Malformed};
use super::session::SessionId;
use crate::error::StanzaCondition;
use crate::stanza::{Kind, Routed, Stanza};

const STANZA_HEADER: usize = 12;

/// Collects stanzas of one session for one [`Command::Stanzas`].
#[derive(Debug, Default)]
pub struct StanzaPacker {
    out: BytesMut,
    count: u32,
}

impl StanzaPacker {
    /// Adds a stanza: `to` is the domain it is routed by, `reject` the error that answers it instead.
    pub fn push(&mut self, stanza: &Stanza, to: &str, reject: Option<StanzaCondition>) {
        let head = self.out.len();
        // A domain has at most 1023 bytes (RFC 7622, 3.2).
        self.out.put_bytes(0, STANZA_HEADER);
        self.out.extend_from_slice(to.as_bytes());
        let text = self.out.len();
        let tag_len = stanza.write_to(&mut self.out);
        self.out.extend_from_slice(stanza.content());
        let len = (self.out.len() - text) as u32;
        let out = &mut self.out[head..head + STANZA_HEADER];
        out[0..4].copy_from_slice(&len.to_le_bytes());
        out[4..8].copy_from_slice(&tag_len.to_le_bytes());
        out[8] =
            stanza.kind as u8 | u8::from(stanza.answerable) << 2 | u8::from(reject.is_some()) << 3;
        out[9] = reject.map_or(0, StanzaCondition::code);
        out[10..12].copy_from_slice(&(to.len() as u16).to_le_bytes());
        self.count += 1;
    }

    /// Stanzas so far.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.out.len()
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The command and its raw bytes; the packer is empty again.
    pub fn finish(&mut self, session: SessionId, stream: u64) -> (Bytes, Bytes) {
        let packed = self.out.split().freeze();
        let count = std::mem::take(&mut self.count);
        (
            Command::Stanzas {
                session,
                stream,
                count,
                len: packed.len() as u32,
            }
            .encode(),
            packed,
        )
    }
}

/// A stanza as packed in an entry.
pub(super) struct Packed<'a> {
    pub(super) to: &'a str,
    pub(super) reject: Option<StanzaCondition>,
    pub(super) stanza: Routed,
}

/// Takes the next stanza from the front of `packed`, a slice of `batch`.
pub(super) fn next_stanza<'a>(
    batch: &Bytes,
    packed: &mut &'a [u8],
) -> Result<Packed<'a>, Malformed> {
    let (head, rest) = packed
        .split_at_checked(STANZA_HEADER)
        .ok_or(Malformed("stanza header cut short"))?;
    let len = read_u32(head, 0) as usize;
    let to_len = u16::from_le_bytes([head[10], head[11]]) as usize;
    let (to, rest) = rest
        .split_at_checked(to_len)
        .ok_or(Malformed("stanza address cut short"))?;
    let (text, rest) = rest
        .split_at_checked(len)
        .ok_or(Malformed("stanza cut short"))?;
    *packed = rest;
    let tag_len = read_u32(head, 4);
    let flags = head[8];
    let kind = Kind::from_code(flags & 3).ok_or(Malformed("unknown kind of stanza"))?;
    if tag_len as usize > len {
        return Err(Malformed("start tag longer than its stanza"));
    }
    let reject = match flags & 8 {
        0 => None,
        _ => Some(StanzaCondition::from_code(head[9]).ok_or(Malformed("unknown stanza error"))?),
    };
    let to = std::str::from_utf8(to).map_err(|_| Malformed("address is not UTF-8"))?;
    let stanza = Routed {
        kind,
        answerable: flags & 4 != 0,
        tag_len,
        bytes: batch.slice_ref(text),
    };
    Ok(Packed { to, reject, stanza })
}

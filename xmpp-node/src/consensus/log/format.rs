//! Bytes of a segment: its head, groups, records. Reading and writing of them, without any file.
//!
//! All integers are little-endian; the layout is drawn in the module above. Checksums are CRC-32
//! started from the segment's salt, so that nothing left behind by another segment, and nothing a
//! stanza contains, passes for a group; a record's also from its place, so that a block written to
//! the wrong place does not pass either.

use std::io::IoSlice;

use bytes::Bytes;
use crc32fast::Hasher;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::encoding;
use super::super::types::{Entry, LogId, Vote};
use super::error::Damage;
use super::state::State;

/// First bytes of every segment; the last of them is the version of everything below.
const MAGIC: [u8; 8] = *b"xmpplog\x01";
/// First bytes of every group.
const GROUP_MAGIC: [u8; 4] = [0xC7, b'g', b'r', b'p'];
/// Length of a segment's head, bytes.
pub(super) const HEAD_BYTES: usize = 32;
/// Length of a group's header, bytes.
pub(super) const GROUP_HEADER_BYTES: usize = 32;
/// Length of a record before its body, bytes.
const RECORD_HEADER_BYTES: usize = 9;
/// Shorter payloads are copied beside their header: cheaper than one more slice to write, bytes.
const COPY_BELOW: usize = 1024;

/// Flag of a group: the segment ends here, the next one exists and is durable.
pub(super) const SEAL: u32 = 1;
/// Flag of a group: the log was closed here.
pub(super) const CLEAN_END: u32 = 2;

const ENTRY: u8 = 1;
const VOTE: u8 = 2;
const COMMITTED: u8 = 3;
const TRUNCATE_AFTER: u8 = 4;
const PURGE: u8 = 5;
const STATE: u8 = 6;

/// The first bytes of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    /// The segment's number, as in its file name.
    pub(super) number: u64,
    /// Where the segment before it ends, not counting that one's seal: all of it was durable.
    pub(super) previous_end: u64,
    /// Start of all checksums in this segment.
    pub(super) salt: u32,
}

impl Head {
    pub(super) fn to_bytes(self) -> [u8; HEAD_BYTES] {
        let mut bytes = [0; HEAD_BYTES];
        bytes[..8].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.previous_end.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32fast::hash(&bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn parse(segment: &[u8]) -> Result<Self, Damage> {
        let head = segment.get(..HEAD_BYTES).ok_or(Damage::Head)?;
        if head[..7] != MAGIC[..7] || u32_at(head, 28) != crc32fast::hash(&head[..28]) {
            return Err(Damage::Head);
        }
        if head[7] != MAGIC[7] {
            return Err(Damage::Version(head[7]));
        }
        Ok(Self {
            number: u64_at(head, 8),
            previous_end: u64_at(head, 16),
            salt: u32_at(head, 24),
        })
    }
}

/// One group while it is put together; its memory is used again for the next one.
#[derive(Debug, Default)]
pub(super) struct Group {
    salt: u32,
    start: u64,
    durable: u64,
    len: u64,
    scratch: Vec<u8>,
    payloads: Vec<(usize, Bytes)>,
}

impl Group {
    /// Starts a group at `start` in the segment, of which everything before `durable` is synced.
    pub(super) fn begin(&mut self, salt: u32, start: u64, durable: u64) {
        self.salt = salt;
        self.start = start;
        self.durable = durable;
        self.len = GROUP_HEADER_BYTES as u64;
        self.scratch.clear();
        self.scratch.resize(GROUP_HEADER_BYTES, 0);
        self.payloads.clear();
    }

    /// Length of the group as it stands, bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    pub(super) fn entry(&mut self, entry: &Entry) {
        let payload = encoding::payload(entry);
        self.record(ENTRY, payload, |out| encoding::encode_header(entry, out));
    }

    pub(super) fn vote(&mut self, vote: &Vote) {
        self.value(VOTE, vote);
    }

    pub(super) fn committed(&mut self, committed: &Option<LogId>) {
        self.value(COMMITTED, committed);
    }

    pub(super) fn truncate_after(&mut self, after: &Option<LogId>) {
        self.value(TRUNCATE_AFTER, after);
    }

    pub(super) fn purge(&mut self, upto: &LogId) {
        self.value(PURGE, upto);
    }

    pub(super) fn state(&mut self, state: &State) {
        self.value(STATE, state);
    }

    /// Completes the header. Nothing may be added afterwards.
    pub(super) fn finish(&mut self, flags: u32) {
        let body = self.len - GROUP_HEADER_BYTES as u64;
        // A group is at most one append beyond its cap, and an append is limited to 1 GiB.
        let body = u32::try_from(body).expect("a group stays below 4 GiB");
        let header = &mut self.scratch[..GROUP_HEADER_BYTES];
        header[..4].copy_from_slice(&GROUP_MAGIC);
        header[8..16].copy_from_slice(&self.start.to_le_bytes());
        header[16..24].copy_from_slice(&self.durable.to_le_bytes());
        header[24..28].copy_from_slice(&body.to_le_bytes());
        header[28..32].copy_from_slice(&flags.to_le_bytes());
        let crc = checksum(self.salt, &[&header[8..]]);
        header[4..8].copy_from_slice(&crc.to_le_bytes());
    }

    /// The group for one vectored write.
    pub(super) fn slices(&self) -> Vec<IoSlice<'_>> {
        let mut slices = Vec::with_capacity(2 * self.payloads.len() + 1);
        let mut from = 0;
        for (at, payload) in &self.payloads {
            slices.push(IoSlice::new(&self.scratch[from..*at]));
            slices.push(IoSlice::new(payload));
            from = *at;
        }
        if from < self.scratch.len() {
            slices.push(IoSlice::new(&self.scratch[from..]));
        }
        slices
    }

    pub(super) fn value(&mut self, kind: u8, value: &impl Serialize) {
        self.record(kind, Bytes::new(), |out| {
            encoding::encode_value(value, out);
        });
    }

    fn record(&mut self, kind: u8, payload: Bytes, body: impl FnOnce(&mut Vec<u8>)) {
        let at = self.scratch.len();
        self.scratch
            .extend_from_slice(&[0; RECORD_HEADER_BYTES - 1]);
        self.scratch.push(kind);
        body(&mut self.scratch);
        let len = self.scratch.len() - at - RECORD_HEADER_BYTES + payload.len();
        // An append is limited to 1 GiB, and so is everything in it.
        let len = u32::try_from(len).expect("a record stays below 4 GiB");
        self.scratch[at + 4..at + 8].copy_from_slice(&len.to_le_bytes());
        let salt = record_salt(self.salt, self.start + self.len);
        let crc = checksum(salt, &[&self.scratch[at + 4..], &payload]);
        self.scratch[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        self.len += (RECORD_HEADER_BYTES as u64) + u64::from(len);
        if payload.len() < COPY_BELOW {
            self.scratch.extend_from_slice(&payload);
        } else {
            self.payloads.push((self.scratch.len(), payload));
        }
    }
}

/// One record as it is read.
#[derive(Debug, PartialEq)]
pub(super) enum Record {
    Entry(Entry),
    Vote(Vote),
    Committed(Option<LogId>),
    TruncateAfter(Option<LogId>),
    Purge(LogId),
    State(State),
}

/// A group that checks.
#[derive(Debug)]
pub(super) struct Read {
    /// Offset behind the group.
    pub(super) end: usize,
    /// Everything before this offset was synced when the group was written.
    pub(super) durable: u64,
    /// [`SEAL`], [`CLEAN_END`].
    pub(super) flags: u32,
    /// The records with their offsets.
    pub(super) records: Vec<(u64, Record)>,
}

/// Something that does not check, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) offset: u64,
    pub(super) damage: Damage,
}

/// Reads the group at `at`; entries share the segment's memory.
pub(super) fn read_group(segment: &Bytes, at: usize, salt: u32) -> Result<Read, Fault> {
    let fault = |offset: usize, damage| Fault {
        offset: offset as u64,
        damage,
    };
    let header = group_header(segment, at, salt).ok_or_else(|| fault(at, Damage::Group))?;
    let mut offset = at + GROUP_HEADER_BYTES;
    let end = offset + header.body;
    if end > segment.len() {
        return Err(fault(at, Damage::Record));
    }
    let mut records = Vec::new();
    while offset < end {
        let (next, record) =
            read_record(segment, offset, end, salt).map_err(|damage| fault(offset, damage))?;
        records.push((offset as u64, record));
        offset = next;
    }
    Ok(Read {
        end,
        durable: header.durable,
        flags: header.flags,
        records,
    })
}

/// Whether a group behind `at` says that the byte at `at` had been synced before it was written.
pub(super) fn was_durable(segment: &[u8], at: usize, salt: u32) -> bool {
    (at + 1..segment.len())
        .filter(|&next| segment[next] == GROUP_MAGIC[0])
        .filter_map(|next| group_header(segment, next, salt))
        .any(|header| header.durable > at as u64)
}

struct GroupHeader {
    durable: u64,
    body: usize,
    flags: u32,
}

fn group_header(segment: &[u8], at: usize, salt: u32) -> Option<GroupHeader> {
    let header = segment.get(at..at.checked_add(GROUP_HEADER_BYTES)?)?;
    let checks = header[..4] == GROUP_MAGIC
        && u32_at(header, 4) == checksum(salt, &[&header[8..]])
        && u64_at(header, 8) == at as u64;
    checks.then(|| GroupHeader {
        durable: u64_at(header, 16),
        body: u32_at(header, 24) as usize,
        flags: u32_at(header, 28),
    })
}

/// Reads the record at `at`, which must end at `limit` or before; returns where it ends.
fn read_record(
    segment: &Bytes,
    at: usize,
    limit: usize,
    salt: u32,
) -> Result<(usize, Record), Damage> {
    let body = at + RECORD_HEADER_BYTES;
    if body > limit {
        return Err(Damage::Record);
    }
    let end = body + u32_at(segment, at + 4) as usize;
    if end > limit {
        return Err(Damage::Record);
    }
    let crc = checksum(record_salt(salt, at as u64), &[&segment[at + 4..end]]);
    if u32_at(segment, at) != crc {
        return Err(Damage::Record);
    }
    let mut body = segment.slice(body..end);
    let record = match segment[at + 8] {
        ENTRY => {
            let entry = encoding::decode(&mut body)?;
            if !body.is_empty() {
                return Err(Damage::Content);
            }
            Record::Entry(entry)
        }
        VOTE => Record::Vote(read_value(&body)?),
        COMMITTED => Record::Committed(read_value(&body)?),
        TRUNCATE_AFTER => Record::TruncateAfter(read_value(&body)?),
        PURGE => Record::Purge(read_value(&body)?),
        STATE => Record::State(read_value(&body)?),
        kind => return Err(Damage::Kind(kind)),
    };
    Ok((end, record))
}

fn read_value<T: DeserializeOwned>(body: &[u8]) -> Result<T, Damage> {
    match postcard::take_from_bytes(body) {
        Ok((value, [])) => Ok(value),
        Ok(_) | Err(_) => Err(Damage::Content),
    }
}

/// A record's checksum starts from its segment and its place in it; wrapping is all right.
fn record_salt(salt: u32, offset: u64) -> u32 {
    salt ^ (offset as u32).wrapping_mul(0x9E37_79B1)
}

fn checksum(salt: u32, parts: &[&[u8]]) -> u32 {
    let mut hasher = Hasher::new_with_initial(salt);
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

/// `at + 4` must lie within `bytes`.
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut value = [0; 4];
    value.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(value)
}

/// `at + 8` must lie within `bytes`.
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut value = [0; 8];
    value.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(value)
}

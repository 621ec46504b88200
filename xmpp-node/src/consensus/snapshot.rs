//! The one snapshot of the state machine, as a file that is always whole.
//!
//! ```text
//! "xmppsnap" | version u8 | crc u32 | length of the meta u32 | meta (postcard) | data
//! ```
//! Integers are little-endian; the checksum covers everything behind it. A new snapshot is written
//! beside the old one, synced and renamed over it, so a crash leaves one of the two. Damage is
//! never mistaken for a missing snapshot: the log in front of it may be purged.
//!
//! Bounds: [`BUFFER_BYTES`] of memory to write or read one, however large it is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::encoding::encode_value;
use super::types::SnapshotMeta;

mod error;

pub use error::StoreError;

const MAGIC: [u8; 8] = *b"xmppsnap";
/// Version of the layout above.
const VERSION: u8 = 1;
/// Magic, version, checksum.
const CRC_END: usize = 13;
/// All of that and the length of the meta.
const HEADER_BYTES: usize = 17;
/// Held of a snapshot while it is written or read.
const BUFFER_BYTES: usize = 64 * 1024;

/// The data of a snapshot: a part of an open file, which stays readable when a newer one takes its name. Every call blocks
/// on the disk.
#[derive(Debug, Clone)]
pub struct SnapshotData {
    file: Arc<File>,
    at: u64,
    len: u64,
}

impl SnapshotData {
    /// Bytes.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "it never is")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// At most `bytes` from `offset` on, fewer only at the end.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn piece(&self, offset: u64, bytes: usize) -> io::Result<Bytes> {
        let left = self.len.saturating_sub(offset);
        let mut piece = vec![0; usize::try_from(left).map_or(bytes, |left| left.min(bytes))];
        self.file.read_exact_at(&mut piece, self.at + offset)?;
        Ok(piece.into())
    }

    /// All of it, from the beginning.
    #[must_use]
    pub fn reader(&self) -> impl Read + use<> {
        BufReader::with_capacity(
            BUFFER_BYTES,
            Cursor {
                data: self.clone(),
                position: 0,
            },
        )
    }
}

/// Reads a [`SnapshotData`] by a position of its own.
struct Cursor {
    data: SnapshotData,
    position: u64,
}

impl Read for Cursor {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.data.len - self.position;
        let bytes = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let at = self.data.at + self.position;
        let read = self.data.file.read_at(&mut buffer[..bytes], at)?;
        self.position += read as u64;
        Ok(read)
    }
}

/// A snapshot that comes in pieces. Its file has no name, so that nothing of it outlives this.
#[derive(Debug)]
pub struct Incoming {
    file: File,
    len: u64,
}

impl Incoming {
    /// Adds what comes next.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn push(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all_at(piece, self.len)?;
        self.len += piece.len() as u64;
        Ok(())
    }

    /// Bytes so far.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// The whole.
    #[must_use]
    pub fn finish(self) -> SnapshotData {
        SnapshotData {
            file: Arc::new(self.file),
            at: 0,
            len: self.len,
        }
    }
}

/// Keeps one snapshot in a directory. Every call blocks on the disk: not for an async task.
#[derive(Debug)]
pub struct SnapshotStore {
    dir: PathBuf,
    /// One save at a time: all use the same temporary name.
    saving: Mutex<()>,
}

impl SnapshotStore {
    /// Opens the store in `dir`, creating it if need be, and deletes what an interrupted save left.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        let store = Self {
            dir: dir.to_path_buf(),
            saving: Mutex::new(()),
        };
        let failed = |action| {
            move |source| StoreError::Io {
                action,
                path: dir.to_path_buf(),
                source,
            }
        };
        fs::create_dir_all(dir).map_err(failed("creating"))?;
        match fs::remove_file(store.unfinished()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("deleting the unfinished snapshot in")(error));
            }
            Ok(()) | Err(_) => {}
        }
        Ok(store)
    }

    /// Where the snapshot stands.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.dir.join("state.snapshot")
    }

    /// Replaces the snapshot by what `write` writes. It is durable when this returns; until then the old one stays.
    ///
    /// # Errors
    /// [`StoreError::Io`]; the old snapshot is then still there, unless syncing the directory was what failed: then it is
    /// one or the other.
    pub fn save(
        &self,
        meta: &SnapshotMeta,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<SnapshotData, StoreError> {
        self.write(meta, write).map_err(|source| StoreError::Io {
            action: "writing",
            path: self.unfinished(),
            source,
        })
    }

    fn write(
        &self,
        meta: &SnapshotMeta,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<SnapshotData> {
        let mut encoded = Vec::with_capacity(256);
        encode_value(meta, &mut encoded);
        let meta_len = u32::try_from(encoded.len())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "membership too large"))?;

        // A save that panicked left at most a file that the next one overwrites.
        let _one = self
            .saving
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut out = Checked {
            out: BufWriter::with_capacity(BUFFER_BYTES, create(&self.unfinished())?),
            crc: crc32fast::Hasher::new(),
            len: 0,
        };
        // Nothing is taken for a snapshot before its checksum stands at the end of this.
        out.out.write_all(&[0; CRC_END])?;
        out.write_all(&meta_len.to_le_bytes())?;
        out.write_all(&encoded)?;
        let before = out.len;
        write(&mut out)?;
        let (len, crc) = (out.len - before, out.crc.finalize());
        let file = out
            .out
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        let mut start = [0; CRC_END];
        start[..MAGIC.len()].copy_from_slice(&MAGIC);
        start[MAGIC.len()] = VERSION;
        start[MAGIC.len() + 1..].copy_from_slice(&crc.to_le_bytes());
        file.write_all_at(&start, 0)?;
        file.sync_all()?;
        fs::rename(self.unfinished(), self.path())?;
        File::open(&self.dir)?.sync_all()?;
        Ok(SnapshotData {
            file: Arc::new(file),
            at: CRC_END as u64 + before,
            len,
        })
    }

    /// Opens the snapshot, if there is one, and checks every byte of it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if a single bit is not as it was written, [`StoreError::Version`]
    /// after a downgrade, [`StoreError::Io`].
    pub fn load(&self) -> Result<Option<(SnapshotMeta, SnapshotData)>, StoreError> {
        let path = self.path();
        let failed = |source| StoreError::Io {
            action: "reading",
            path: path.clone(),
            source,
        };
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(failed(source)),
        };
        let damaged = || StoreError::Damaged { path: path.clone() };
        let len = file.metadata().map_err(failed)?.len();
        if len < HEADER_BYTES as u64 {
            return Err(damaged());
        }
        let mut header = [0; HEADER_BYTES];
        file.read_exact_at(&mut header, 0).map_err(failed)?;
        let [magic @ .., version, c0, c1, c2, c3, l0, l1, l2, l3] = header;
        if magic != MAGIC {
            return Err(damaged());
        }
        if version != VERSION {
            return Err(StoreError::Version { path, version });
        }
        let file = Arc::new(file);
        let part = |at: u64| SnapshotData {
            file: Arc::clone(&file),
            at,
            len: len - at,
        };
        let crc = checksum(part(CRC_END as u64).reader()).map_err(failed)?;
        let data_at = HEADER_BYTES as u64 + u64::from(u32::from_le_bytes([l0, l1, l2, l3]));
        if crc != u32::from_le_bytes([c0, c1, c2, c3]) || data_at > len {
            return Err(damaged());
        }
        let meta_len = data_at as usize - HEADER_BYTES;
        let meta = part(HEADER_BYTES as u64)
            .piece(0, meta_len)
            .map_err(failed)?;
        match postcard::take_from_bytes(&meta) {
            Ok((meta, [])) => Ok(Some((meta, part(data_at)))),
            Ok(_) | Err(_) => Err(damaged()),
        }
    }

    /// Room for a snapshot that comes in pieces.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn incoming(&self) -> io::Result<Incoming> {
        let path = self.dir.join("incoming.tmp");
        let file = create(&path)?;
        fs::remove_file(&path)?;
        Ok(Incoming { file, len: 0 })
    }

    fn unfinished(&self) -> PathBuf {
        self.dir.join("state.tmp")
    }
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(path)
}

/// Counts and sums up what is written.
struct Checked {
    out: BufWriter<File>,
    crc: crc32fast::Hasher,
    len: u64,
}

impl Write for Checked {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write_all(bytes)?;
        self.crc.update(bytes);
        self.len += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn checksum(mut reader: impl Read) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(hasher.finalize()),
            read => hasher.update(&buffer[..read]),
        }
    }
}

#[cfg(test)]
mod tests;

//! The one snapshot of the state machine, as a file that is always whole.
//!
//! ```text
//! "xmppsnap" | version u8 | crc u32 | length of the meta u32 | meta (postcard) | data
//! ```
//! Integers are little-endian; the checksum covers everything behind it. A new snapshot is written
//! beside the old one, synced and renamed over it, so a crash leaves one of the two. Damage is
//! never mistaken for a missing snapshot: the log in front of it may be purged.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bytes::Bytes;

use super::encoding::encode_value;
use super::types::SnapshotMeta;

const MAGIC: [u8; 8] = *b"xmppsnap";
/// Version of the layout above.
const VERSION: u8 = 1;
/// Magic, version, checksum.
const CRC_END: usize = 13;
/// All of that and the length of the meta.
const HEADER_BYTES: usize = 17;

/// Why the snapshot could not be read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused a file operation.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried, as a participle: "reading".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is not as it was written.
    #[error("snapshot {} is damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a version of this program that this one does not know.
    #[error("snapshot {} has unknown version {version}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it carries.
        version: u8,
    },
}

/// Keeps one snapshot in a directory. Both calls block on the disk: not for an async task.
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

    /// Replaces the snapshot. It is durable when this returns; until then the old one stays.
    ///
    /// # Errors
    /// What the operating system says; the old snapshot is then still there, unless syncing the
    /// directory was what failed: then it is one or the other.
    pub fn save(&self, meta: &SnapshotMeta, data: &[u8]) -> io::Result<()> {
        let mut header = Vec::with_capacity(256);
        header.extend_from_slice(&MAGIC);
        header.push(VERSION);
        header.resize(HEADER_BYTES, 0);
        encode_value(meta, &mut header);
        let meta_len = u32::try_from(header.len() - HEADER_BYTES)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "membership too large"))?;
        header[CRC_END..HEADER_BYTES].copy_from_slice(&meta_len.to_le_bytes());
        let crc = checksum(&[&header[CRC_END..], data]);
        header[CRC_END - 4..CRC_END].copy_from_slice(&crc.to_le_bytes());

        // A save that panicked left at most a file that the next one overwrites.
        let _one = self
            .saving
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut file = File::create(self.unfinished())?;
        file.write_all(&header)?;
        file.write_all(data)?;
        file.sync_all()?;
        fs::rename(self.unfinished(), self.path())?;
        File::open(&self.dir)?.sync_all()
    }

    /// Reads the snapshot, if there is one. The data is a slice of the file as read.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if a single bit is not as it was written, [`StoreError::Version`]
    /// after a downgrade, [`StoreError::Io`].
    pub fn load(&self) -> Result<Option<(SnapshotMeta, Bytes)>, StoreError> {
        let path = self.path();
        let file = match fs::read(&path) {
            Ok(file) => Bytes::from(file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => {
                return Err(StoreError::Io {
                    action: "reading",
                    path,
                    source,
                });
            }
        };
        if file.len() < HEADER_BYTES || file[..8] != MAGIC {
            return Err(StoreError::Damaged { path });
        }
        let [.., version, c0, c1, c2, c3, l0, l1, l2, l3] = file[..HEADER_BYTES] else {
            return Err(StoreError::Damaged { path });
        };
        if version != VERSION {
            return Err(StoreError::Version { path, version });
        }
        if checksum(&[&file[CRC_END..]]) != u32::from_le_bytes([c0, c1, c2, c3]) {
            return Err(StoreError::Damaged { path });
        }
        let data_at = HEADER_BYTES + u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        match file
            .get(HEADER_BYTES..data_at)
            .map(postcard::take_from_bytes)
        {
            Some(Ok((meta, []))) => Ok(Some((meta, file.slice(data_at..)))),
            Some(_) | None => Err(StoreError::Damaged { path }),
        }
    }

    fn unfinished(&self) -> PathBuf {
        self.dir.join("state.tmp")
    }
}

fn checksum(parts: &[&[u8]]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use openraft::testing::log_id;
    use openraft::type_config::alias::StoredMembershipOf;
    use tempfile::TempDir;

    use super::super::types::{Member, Membership, TypeConfig};
    use super::*;

    fn meta(index: u64) -> SnapshotMeta {
        let member = Member {
            name: "xmpp-0".to_owned(),
            peer: "xmpp-0.peers:7222".to_owned(),
        };
        let members = BTreeMap::from([(7, member)]);
        let membership = Membership::new(vec![BTreeSet::from([7])], members).expect("has its node");
        SnapshotMeta {
            last_log_id: Some(log_id::<TypeConfig>(2, 7, index)),
            last_membership: StoredMembershipOf::<TypeConfig>::new(
                Some(log_id::<TypeConfig>(1, 7, 1)),
                membership,
            ),
        }
    }

    #[test]
    fn the_last_snapshot_saved_is_the_one_loaded() {
        let dir = TempDir::new().expect("a temporary directory");
        let store = SnapshotStore::open(dir.path()).expect("opens");
        assert_eq!(store.load().expect("reads"), None);
        store.save(&meta(5), b"five").expect("saves");
        store.save(&meta(9), b"").expect("saves");
        let store = SnapshotStore::open(dir.path()).expect("opens again");
        assert_eq!(store.load().expect("reads"), Some((meta(9), Bytes::new())));
        assert_eq!(fs::read_dir(dir.path()).expect("lists").count(), 1);
    }

    #[test]
    fn an_interrupted_save_leaves_the_old_snapshot() {
        let dir = TempDir::new().expect("a temporary directory");
        let store = SnapshotStore::open(dir.path()).expect("opens");
        store.save(&meta(5), b"five").expect("saves");
        fs::write(store.unfinished(), b"xmppsnap half of").expect("writes");
        let store = SnapshotStore::open(dir.path()).expect("opens again");
        let data = Bytes::from_static(b"five");
        assert_eq!(store.load().expect("reads"), Some((meta(5), data)));
        assert!(!store.unfinished().exists());
    }

    #[test]
    fn damage_to_any_byte_and_any_cut_is_an_error_that_names_the_file() {
        let dir = TempDir::new().expect("a temporary directory");
        let store = SnapshotStore::open(dir.path()).expect("opens");
        store.save(&meta(5), b"some state").expect("saves");
        let good = fs::read(store.path()).expect("reads");
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            for bad in [&bad[..], &good[..at]] {
                fs::write(store.path(), bad).expect("writes");
                let error = store.load().expect_err("is refused").to_string();
                assert!(error.contains("state.snapshot"), "{error}");
            }
        }
    }
}

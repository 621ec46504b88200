//! Who this node is, on its volume: a random id, how often it started, and the cluster it belongs to for life.
//!
//! `identity.json` and `sealing.key` are written atomically and synced. A lock file keeps a second process out of the
//! directory. A node that was removed from its cluster leaves a tombstone, loses log, snapshots and id, and is new.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::sealing::{self, SealingKey};

/// What the volume says. See the module documentation.
#[derive(Debug)]
pub struct Identity {
    dir: PathBuf,
    stored: Stored,
    _lock: File,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    /// Hexadecimal, as people see it.
    id: String,
    incarnation: u64,
    cluster_id: Option<String>,
    /// Through whom the node joins, as long as it does not vote.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    joining: Option<String>,
}

/// The volume cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Another process runs in the directory.
    #[error("{0} is used by another process")]
    InUse(PathBuf),
    /// A file cannot be read or written.
    #[error("{path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A file is not what this node writes.
    #[error("{0} is damaged; restore it, or remove the directory to start as a new member")]
    Damaged(PathBuf),
    /// The system gave no random numbers.
    #[error(transparent)]
    Random(#[from] sealing::SealingError),
}

impl Identity {
    /// Opens the directory, made if need be, and counts this start.
    ///
    /// # Errors
    /// All of [`IdentityError`].
    pub fn open(dir: &Path) -> Result<Self, IdentityError> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |error| IdentityError::Io { path, error }
        };
        fs::create_dir_all(dir).map_err(at(dir))?;
        let lock_path = dir.join("lock");
        let lock = File::create(&lock_path).map_err(at(&lock_path))?;
        lock.try_lock()
            .map_err(|_| IdentityError::InUse(dir.to_owned()))?;
        let path = dir.join("identity.json");
        let stored = match fs::read(&path) {
            Ok(text) => {
                let stored: Stored = serde_json::from_slice(&text)
                    .map_err(|_| IdentityError::Damaged(path.clone()))?;
                parse_id(&stored.id).ok_or_else(|| IdentityError::Damaged(path.clone()))?;
                Stored {
                    incarnation: stored.incarnation + 1,
                    ..stored
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let id = u64::from_le_bytes(sealing::random()?);
                Stored {
                    id: format!("{id:016x}"),
                    incarnation: 1,
                    cluster_id: None,
                    joining: None,
                }
            }
            Err(error) => return Err(IdentityError::Io { path, error }),
        };
        let identity = Self {
            dir: dir.to_owned(),
            stored,
            _lock: lock,
        };
        identity.store()?;
        Ok(identity)
    }

    /// The node's id.
    #[must_use]
    pub fn id(&self) -> u64 {
        parse_id(&self.stored.id).unwrap_or_default()
    }

    /// The node's start, from 1.
    #[must_use]
    pub fn incarnation(&self) -> u64 {
        self.stored.incarnation
    }

    /// The cluster it belongs to.
    #[must_use]
    pub fn cluster_id(&self) -> Option<&str> {
        self.stored.cluster_id.as_deref()
    }

    /// The node belongs to this cluster from now on.
    ///
    /// # Errors
    /// [`IdentityError::Io`].
    pub fn set_cluster_id(&mut self, cluster_id: &str) -> Result<(), IdentityError> {
        self.stored.cluster_id = Some(cluster_id.to_owned());
        self.store()
    }

    /// Through whom the node joins, if it did not vote yet when it was last seen.
    #[must_use]
    pub fn joining(&self) -> Option<&str> {
        self.stored.joining.as_deref()
    }

    /// The node joins through this address from now on, or does not any more.
    ///
    /// # Errors
    /// [`IdentityError::Io`].
    pub fn set_joining(&mut self, address: Option<&str>) -> Result<(), IdentityError> {
        if self.joining() == address {
            return Ok(());
        }
        self.stored.joining = address.map(str::to_owned);
        self.store()
    }

    /// The sealing key on the volume.
    ///
    /// # Errors
    /// [`IdentityError::Damaged`], [`IdentityError::Io`].
    pub fn sealing_key(&self) -> Result<Option<SealingKey>, IdentityError> {
        let path = self.dir.join("sealing.key");
        match fs::read(&path) {
            Ok(key) => SealingKey::new(&key)
                .map(Some)
                .map_err(|_| IdentityError::Damaged(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(IdentityError::Io { path, error }),
        }
    }

    /// Keeps the sealing key on the volume, readable by this user alone.
    ///
    /// # Errors
    /// [`IdentityError::Io`].
    pub fn set_sealing_key(&self, key: &SealingKey) -> Result<(), IdentityError> {
        write_atomically(&self.dir, "sealing.key", key.expose())
    }

    /// The id was removed from the cluster: leaves a tombstone and forgets everything.
    ///
    /// # Errors
    /// [`IdentityError::Io`].
    pub fn bury(self) -> Result<(), IdentityError> {
        write_atomically(
            &self.dir,
            &format!("removed-{}", self.stored.id),
            b"removed from its cluster\n",
        )?;
        for name in ["log", "snapshots"] {
            let path = self.dir.join(name);
            match fs::remove_dir_all(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(IdentityError::Io { path, error });
                }
                _ => {}
            }
        }
        let path = self.dir.join("identity.json");
        fs::remove_file(&path).map_err(|error| IdentityError::Io { path, error })
    }

    fn store(&self) -> Result<(), IdentityError> {
        let text = serde_json::to_vec_pretty(&self.stored).unwrap_or_default();
        write_atomically(&self.dir, "identity.json", &text)
    }
}

fn parse_id(text: &str) -> Option<u64> {
    (text.len() == 16).then(|| u64::from_str_radix(text, 16).ok())?
}

fn write_atomically(dir: &Path, name: &str, content: &[u8]) -> Result<(), IdentityError> {
    let path = dir.join(name);
    let write = || {
        let part = dir.join(format!("{name}.part"));
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&part, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|error| IdentityError::Io {
        path: path.clone(),
        error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_stays_and_starts_are_counted() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut first = Identity::open(dir.path()).expect("opens");
        assert!(matches!(
            Identity::open(dir.path()),
            Err(IdentityError::InUse(_))
        ));
        first.set_cluster_id("c1").expect("written");
        first.set_joining(Some("xmpp1:7222")).expect("written");
        let (id, incarnation) = (first.id(), first.incarnation());
        drop(first);
        let mut second = Identity::open(dir.path()).expect("opens");
        assert_eq!((second.id(), second.incarnation()), (id, incarnation + 1));
        assert_eq!(second.cluster_id(), Some("c1"));
        assert_eq!(second.joining(), Some("xmpp1:7222"));
        second.set_joining(None).expect("written");
        drop(second);
        let second = Identity::open(dir.path()).expect("opens");
        assert_eq!(second.joining(), None);
        second.bury().expect("written");
        let third = Identity::open(dir.path()).expect("opens");
        assert_ne!(third.id(), id);
        assert_eq!(third.cluster_id(), None);
    }

    #[test]
    fn a_damaged_identity_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("identity.json"), "{}").expect("written");
        let error = Identity::open(dir.path()).expect_err("damaged").to_string();
        assert!(error.contains("identity.json is damaged"), "{error}");
    }
}

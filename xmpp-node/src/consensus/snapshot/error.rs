//! What can be wrong with a snapshot, told by file.

use std::io;
use std::path::PathBuf;

use super::super::advice;

/// Why the snapshot could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused a file operation.
    #[error("{action} {}: {source}{}", path.display(), advice::on(source))]
    Io {
        /// What was tried, as a participle: "reading".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The file is not as it was written.
    #[error("snapshot {} is damaged; {}", path.display(), advice::DAMAGED)]
    Damaged {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a version of this program that this one does not know.
    #[error("snapshot {} has unknown version {version}: a newer program wrote it, start that one", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it carries.
        version: u8,
    },
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> Self {
        Self::other(error)
    }
}

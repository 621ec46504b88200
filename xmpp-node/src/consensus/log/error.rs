//! What can be wrong with a log directory, told by file and offset.

use std::io;
use std::path::{Path, PathBuf};

use super::super::advice;
use super::super::encoding::DecodeError;

/// Why the log could not be opened, or could not go on.
///
/// Every variant is fatal: a node whose log fails must not vote or acknowledge anything any more.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The operating system refused a file operation.
    #[error("{action} {}: {source}{}", path.display(), advice::on(source))]
    Io {
        /// What was tried, as a participle: "writing".
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process, or another log of this one, has the directory open.
    #[error("log directory {} is in use by another process", path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// Bytes that had been durable are not what was written.
    #[error("log segment {} is damaged at byte {offset}: {damage}; {}", path.display(), advice::DAMAGED)]
    Damaged {
        /// The segment.
        path: PathBuf,
        /// Offset in the segment of the first group or record that does not check, bytes.
        offset: u64,
        /// What is wrong there.
        damage: Damage,
    },
    /// A segment that must exist does not.
    #[error("log segment {} is missing; {}", path.display(), advice::DAMAGED)]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
}

impl LogError {
    /// For `map_err`: names the file an operating system error belongs to.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            action,
            path: path.to_path_buf(),
            source,
        }
    }
}

/// What is wrong at the offset that [`LogError::Damaged`] names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// The head of the segment is cut off or fails its checksum.
    #[error("the segment's head does not check")]
    Head,
    /// The segment has a format that this version of the program does not know.
    #[error("unknown log format {0}")]
    Version(u8),
    /// The segment's head carries another number than its file name.
    #[error("the segment says that it is number {0}")]
    Number(u64),
    /// The header of a group is cut off or fails its checksum.
    #[error("a group's header does not check")]
    Group,
    /// A record, or the group around it, is cut off or fails its checksum.
    #[error("a record does not check")]
    Record,
    /// A record of a kind that this version of the program does not know.
    #[error("unknown kind of record {0}")]
    Kind(u8),
    /// A record that checks, but does not hold what its kind says.
    #[error("a record holds something else than its kind says")]
    Content,
    /// An entry that checks, but cannot be decoded.
    #[error(transparent)]
    Entry(#[from] DecodeError),
    /// An entry that does not follow the one before it.
    #[error("entry {found} stands where {expected} should be")]
    Gap {
        /// Index that should come next.
        expected: u64,
        /// Index that was found.
        found: u64,
    },
    /// A segment does not begin with the state that the one before it ended with.
    #[error("the segment does not continue the one before it")]
    State,
    /// A segment ends elsewhere than the one after it says.
    #[error("the segment ends here, not at byte {0}")]
    Length(u64),
}

impl Damage {
    /// Whether an interrupted write can look like this. What passes its checksum was written as it
    /// is.
    pub(super) fn may_be_torn(self) -> bool {
        matches!(self, Self::Group | Self::Record)
    }
}

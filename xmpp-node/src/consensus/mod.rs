//! The replicated log. openraft and its types stay inside this folder.
//!
//! In reading order:
//! - [`types`]: what openraft is instantiated with: entry, member, vote.
//! - [`encoding`]: an entry as bytes, in the log file and between nodes.
//! - [`log`]: the log on disk, and all of it that is not purged in memory.
//! - [`snapshot`]: the one snapshot, as a file.

pub mod encoding;
pub mod log;
pub mod snapshot;
pub mod types;

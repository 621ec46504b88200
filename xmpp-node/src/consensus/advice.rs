//! What to do when the disk fails a node: the end of the messages of log and snapshot.

use std::io;

/// For bytes that are not what was written.
pub(super) const DAMAGED: &str = "while a majority of the other members runs, remove this node's directory and start it \
    again: it joins them as a new member";

/// For what the operating system refused; empty where its own words must do.
pub(super) fn on(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "; make room there or enlarge the volume, and start the node again: nothing accepted is lost"
        }
        io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::PermissionDenied => {
            "; let the node write there, and start it again"
        }
        _ => "",
    }
}

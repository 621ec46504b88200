//! Why a demo cannot go on, in words that name the port, file or node, with the end of that node's log.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitStatus;

use xmpp_node_client::admin::ClientError;

/// Why a demo cluster does not run.
#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    /// A port cannot be opened; the machine, or another program on it, is at fault.
    #[error(
        "{address} ({what}) cannot be used: {source}; stop what uses it, or move every port with --port-offset N"
    )]
    Port {
        /// Address and port.
        address: SocketAddr,
        /// Whose it would be, such as `component port of xmpp2`.
        what: String,
        /// What the system says.
        source: io::Error,
    },
    /// The offset moves a port out of range.
    #[error(
        "with an offset of {offset} a port would be above 65535; the offset may be at most {most}"
    )]
    Offset {
        /// The offset asked for.
        offset: u16,
        /// The largest one.
        most: u16,
    },
    /// The server's binary is not there.
    #[error("{}: {reason}; build it with `cargo build --bin xmpp-node`, or name it with --xmpp-node PATH", path.display())]
    Binary {
        /// Where it was looked for.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The directory holds something already.
    #[error("--dir {}: is not empty; name a directory that is, or that does not exist yet", .0.display())]
    NotEmpty(PathBuf),
    /// A file or directory cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A certificate cannot be made.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A node ended by itself.
    #[error("{name} died ({status}); the end of {}:\n{tail}", log.display())]
    NodeDied {
        /// Name of the node.
        name: String,
        /// How it ended.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// A node, or the cluster, was not where it should be in time.
    #[error("{what} within {seconds} s: {reason}{}", tail_of(.tail))]
    Late {
        /// What was waited for, such as `xmpp1 did not answer`.
        what: String,
        /// How long was waited.
        seconds: u64,
        /// What was seen last.
        reason: String,
        /// The end of the log of the node at fault; empty if it is no single one's.
        tail: String,
    },
    /// A node refused a request.
    #[error("{name}: {source}")]
    Admin {
        /// Name of the node.
        name: String,
        /// What it said.
        source: Box<ClientError>,
    },
    /// A bridge cannot be set up as configured.
    #[error("bridge {name}: {source}")]
    Bridge {
        /// Name of the bridge.
        name: String,
        /// The field at fault.
        source: Box<callbridge::config::ConfigError>,
    },
    /// A bridge is not registered in time.
    #[error("bridge {name} is not registered after {seconds} s: {line}")]
    Unregistered {
        /// Name of the bridge.
        name: String,
        /// How long was waited.
        seconds: u64,
        /// Its status line.
        line: String,
    },
    /// It was told to stop before it was up.
    #[error("stopped before the cluster was up")]
    Interrupted,
    /// It was told twice to stop.
    #[error("stopped at once; the nodes were killed")]
    Aborted,
    /// Something the system does not give: signals, random numbers.
    #[error("{0}")]
    System(String),
}

impl DemoError {
    /// A fault of this file.
    pub(super) fn file(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { path, source }
    }
}

fn tail_of(tail: &str) -> String {
    if tail.is_empty() {
        String::new()
    } else {
        format!("; the end of its log:\n{tail}")
    }
}

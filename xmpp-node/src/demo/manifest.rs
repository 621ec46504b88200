//! `demo.json`: where everything of a running demo is, for other programs.
//!
//! The file is replaced in one step whenever a node restarts, ends or leads, so whoever reads it sees a whole one. It
//! holds secrets and is for its owner alone.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::error::DemoError;
use super::pki::write_private;

/// The content of `demo.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The XMPP domain.
    pub domain: String,
    /// PEM file of the CA that components trust servers by.
    pub ca: PathBuf,
    /// The DNS server.
    pub dns: SocketAddr,
    /// The nodes, by number.
    pub nodes: Vec<ManifestNode>,
    /// All bridges, those that nobody uses included.
    pub bridges: Vec<ManifestBridge>,
}

/// One node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestNode {
    /// Name of the node.
    pub name: String,
    /// Process id; that of the last process while `role` is `down`.
    pub pid: u32,
    /// `leader`, `follower`, `candidate`, `learner`, `uninitialized`; `down` while there is no process, `silent`
    /// while it does not answer.
    pub role: String,
    /// State directory.
    pub dir: PathBuf,
    /// Client port, STARTTLS.
    pub client: SocketAddr,
    /// Client port, direct TLS.
    pub client_direct: SocketAddr,
    /// Component port.
    pub component: SocketAddr,
    /// Peer port.
    pub peer: SocketAddr,
    /// Admin port.
    pub admin: SocketAddr,
    /// Metrics port.
    pub metrics: SocketAddr,
    /// Unix socket of the admin API.
    pub socket: PathBuf,
}

/// One bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ManifestBridge {
    /// Name of the bridge.
    pub name: String,
    /// Its secret.
    pub secret: String,
}

impl Manifest {
    /// Name of the file in the demo's directory.
    pub const FILE: &str = "demo.json";

    /// Replaces the file in `dir`.
    ///
    /// # Errors
    /// [`DemoError::File`].
    pub fn write(&self, dir: &Path) -> Result<(), DemoError> {
        let path = dir.join(Self::FILE);
        let json = serde_json::to_string_pretty(self)
            .map_err(std::io::Error::from)
            .map_err(DemoError::file(&path))?;
        write_private(&path, &(json + "\n"))
    }

    /// Reads the file in `dir`.
    ///
    /// # Errors
    /// [`DemoError::File`].
    pub fn read(dir: &Path) -> Result<Self, DemoError> {
        let path = dir.join(Self::FILE);
        std::fs::read(&path)
            .and_then(|json| serde_json::from_slice(&json).map_err(Into::into))
            .map_err(DemoError::file(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::site::{Ports, Site};
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_file_has_exactly_the_documented_keys_and_is_read_back() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let ports = Ports::shifted(0).expect("no offset");
        let site = Site::new(0, &ports, Path::new("/d"));
        let manifest = Manifest {
            domain: "example.test".to_owned(),
            ca: "/d/pki/public-ca.crt".into(),
            dns: ports.dns_address(),
            nodes: vec![site.entry(7, "leader")],
            bridges: vec![ManifestBridge {
                name: "cb1".to_owned(),
                secret: "s".to_owned(),
            }],
        };
        manifest.write(dir.path()).expect("the directory is ours");
        let path = dir.path().join("demo.json");
        let json: serde_json::Value =
            serde_json::from_slice(&std::fs::read(&path).expect("written")).expect("JSON");
        assert_eq!(
            json,
            serde_json::json!({
                "domain": "example.test",
                "ca": "/d/pki/public-ca.crt",
                "dns": "127.0.0.1:5300",
                "nodes": [{
                    "name": "xmpp1", "pid": 7, "role": "leader", "dir": "/d/xmpp1",
                    "client": "127.0.0.1:5222", "client_direct": "127.0.0.1:5221",
                    "component": "127.0.0.1:5223", "peer": "127.0.0.1:7222",
                    "admin": "127.0.0.1:8443", "metrics": "127.0.0.1:9090",
                    "socket": "/d/xmpp1/admin.sock",
                }],
                "bridges": [{"name": "cb1", "secret": "s"}],
            })
        );
        assert_eq!(Manifest::read(dir.path()).expect("what we wrote"), manifest);
        let mode = std::fs::metadata(&path).expect("written").permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let files = std::fs::read_dir(dir.path()).expect("ours").count();
        assert_eq!(files, 1, "nothing half-written is left");
    }
}

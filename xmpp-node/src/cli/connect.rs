//! Which node to speak with: its unix socket, or its admin port with a certificate.

use std::path::{Path, PathBuf};

use clap::Args;
use xmpp_node_api::address::HostPort;

use super::Failure;
use crate::tls::{PeerFiles, TlsClient};
use xmpp_node_client::admin::{AdminClient, Endpoint};

/// Where the node is. Without any of these, the socket in the usual place.
#[derive(Debug, Args)]
pub(super) struct Target {
    /// Unix socket of the node.
    #[arg(long, global = true, value_name = "PATH", conflicts_with_all = ["node", "admin"])]
    socket: Option<PathBuf>,
    /// State directory of the node, which holds its socket.
    #[arg(long, global = true, value_name = "DIR", conflicts_with = "admin")]
    node: Option<PathBuf>,
    /// Admin port of the node; needs --certificate, --key and --ca.
    #[arg(long, global = true, value_name = "HOST[:PORT]", value_parser = admin_address)]
    admin: Option<HostPort>,
    /// Certificate of the role `admin` or `operator`, PEM.
    #[arg(long, global = true, value_name = "FILE")]
    certificate: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, global = true, value_name = "FILE")]
    key: Option<PathBuf>,
    /// The cluster's internal CA, PEM.
    #[arg(long, global = true, value_name = "FILE")]
    ca: Option<PathBuf>,
}

impl Target {
    pub(super) fn client(&self) -> Result<AdminClient, Failure> {
        let endpoint = match &self.admin {
            Some(address) => self.admin_port(address)?,
            None => Endpoint::Socket(self.socket_path()),
        };
        Ok(AdminClient::new(endpoint))
    }

    fn socket_path(&self) -> PathBuf {
        match (&self.socket, &self.node) {
            (Some(socket), _) => socket.clone(),
            (None, dir) => dir
                .as_deref()
                .unwrap_or_else(|| Path::new(USUAL_DIR))
                .join("admin.sock"),
        }
    }

    fn admin_port(&self, address: &HostPort) -> Result<Endpoint, Failure> {
        let needed = |file: &Option<PathBuf>, flag: &str| {
            let missing = || Failure::Usage(format!("--admin needs {flag} FILE"));
            file.clone().ok_or_else(missing)
        };
        let files = PeerFiles {
            certificate: needed(&self.certificate, "--certificate")?,
            key: needed(&self.key, "--key")?,
            ca: needed(&self.ca, "--ca")?,
            role: None,
        };
        let client = TlsClient::load(&files).map_err(|faults| {
            let faults = faults
                .iter()
                .map(|fault| format!("--{fault}"))
                .collect::<Vec<_>>();
            Failure::Usage(faults.join("\n"))
        })?;
        Ok(Endpoint::Tls {
            address: address.clone(),
            config: client.config(None),
        })
    }
}

fn admin_address(text: &str) -> Result<HostPort, String> {
    HostPort::parse_or_port(text, 8443).map_err(|error| error.to_string())
}

/// Where images and packages keep a node's state.
const USUAL_DIR: &str = "/var/lib/xmpp";

//! The node's configuration: one TOML file, typed, unknown keys refused.
//!
//! A file names at least the node, the domain and the certificates; everything else has a default:
//! ```toml
//! [node]
//! name = "xmpp1"
//! dir = "/var/lib/xmpp"
//!
//! [xmpp]
//! domain = "example.test"
//!
//! [component]
//! certificate = "component.crt"
//! key = "component.key"
//!
//! [peer]
//! advertise = "xmpp1.example.test:7222"
//! certificate = "peer.crt"
//! key = "peer.key"
//! ca = "ca.crt"
//! ```
//! Relative paths are relative to the directory of the file. Durations are strings such as `"150ms"` or `"30s"`.
//! No field holds a secret: keys are named by their files, and bridge secrets are in the replicated state.
//! [`Config::faults`] checks everything that needs no file; the node's `Settings` checks the rest.

mod check;
mod limits;
mod timing;

use std::net::{Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use self::check::{Bounds, Fault, bounds, cluster_id_fault, domain_fault, name_fault};
pub use self::limits::Limits;
pub use self::timing::Timing;
use crate::address::HostPort;

/// A node's whole configuration file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Which node this is and where it keeps its state.
    pub node: Node,
    /// What is served.
    pub xmpp: Xmpp,
    /// Where components (Call Bridges) connect.
    pub component: Component,
    /// Where clients connect; absent: nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<Clients>,
    /// Where other nodes connect.
    pub peer: Peer,
    /// Where the operator and the command line connect.
    #[serde(default)]
    pub admin: Admin,
    /// Where health and metrics are read.
    #[serde(default)]
    pub metrics: Metrics,
    /// Which cluster this node is meant for.
    #[serde(default)]
    pub cluster: Cluster,
    /// Bounds of everything that grows.
    #[serde(default)]
    pub limits: Limits,
    /// Timeouts.
    #[serde(default)]
    pub timing: Timing,
}

/// `[node]`: which node this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// Name of the node, unique in the cluster and kept for life: 1 to 63 bytes of `a-z`, `0-9`, `-` and `.`, the
    /// first and last a letter or digit. No default. The peer certificate must bear it as `xmpp-cluster:node/<name>`.
    pub name: String,
    /// Directory of log, snapshots and identity; made at start if its parent exists. No default.
    pub dir: PathBuf,
}

/// `[xmpp]`: what is served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Xmpp {
    /// The XMPP domain, under which bridges are `<bridge>.<domain>`: a DNS name in lower case, in its ASCII form,
    /// at most 253 bytes. No default. The component certificate must be valid for it.
    pub domain: String,
}

/// `[component]`: the XEP-0114 listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    /// Address and port of the direct TLS listener. Default `[::]:5223`.
    #[serde(default = "component_listen")]
    pub listen: SocketAddr,
    /// PEM file with the certificate that components are shown, followed by intermediates if there are any.
    /// No default. Read again when its content changes.
    pub certificate: PathBuf,
    /// PEM file with the certificate's private key. No default. Read again when its content changes.
    pub key: PathBuf,
    /// PEM file with the issuing CAs, intermediates first, shown after the certificate. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<PathBuf>,
    /// Address and port of a second listener without TLS; must be a loopback address. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plain_listen: Option<SocketAddr>,
    /// PEM file with the CAs of bridges' certificates. With it a bridge must show, beside its secret, a certificate of
    /// theirs that is valid for its own name, such as `cb1.example.test`. Default none: no certificate is asked for. Read
    /// again when its content changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
}

/// `[clients]`: the listeners for XMPP clients, which are off without this section. They show the component certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Clients {
    /// Address and port of the listener where clients ask for TLS (STARTTLS), or `"off"`. Default `[::]:5222`.
    #[serde(with = "listen_or_off")]
    pub listen: Option<SocketAddr>,
    /// Address and port of the direct TLS listener (XEP-0368), or `"off"`. Default `[::]:5221`.
    #[serde(with = "listen_or_off")]
    pub direct_listen: Option<SocketAddr>,
    /// What becomes of a resource that is served when another stream asks for it: `replace` ends the older stream, `refuse`
    /// refuses the newer one, `rename` gives it another resource. Default `replace`.
    pub on_conflict: OnConflict,
    /// Resources that a user may have at once. Default 16; 1 to 1 000.
    pub resources: u32,
    /// Users that this node adds to the cluster at most. Default 10 000; 1 to 1 000 000.
    pub users: u32,
    /// Whether a client may send its password itself (PLAIN, inside TLS), which costs this node milliseconds a login. Default
    /// `false`.
    pub plain: bool,
    /// PEM file with the CAs of users' certificates. Who shows one of theirs with a user's address in it (`id-on-xmppAddr`)
    /// needs no password (EXTERNAL). Default none: no certificate is asked for. Read again when its content changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
}

/// What becomes of a resource that is served when another stream asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnConflict {
    /// The older stream ends with `conflict`.
    #[default]
    Replace,
    /// The newer one gets no resource.
    Refuse,
    /// The newer one gets another resource.
    Rename,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            listen: Some(any(5222)),
            direct_listen: Some(any(5221)),
            on_conflict: OnConflict::default(),
            resources: 16,
            users: 10_000,
            plain: false,
            client_ca: None,
        }
    }
}

/// `[peer]`: the mutual TLS listener for other nodes, and this node's own internal certificate, which the admin
/// port uses too.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// Address and port of the listener. Default `[::]:7222`.
    #[serde(default = "peer_listen")]
    pub listen: SocketAddr,
    /// Host and port at which the other nodes reach this one. No default.
    pub advertise: HostPort,
    /// PEM file with the node's certificate from the cluster's internal CA, for server and client use, with the
    /// URI name `xmpp-cluster:node/<name>`. No default. Read again when its content changes.
    pub certificate: PathBuf,
    /// PEM file with the certificate's private key. No default. Read again when its content changes.
    pub key: PathBuf,
    /// PEM file with the cluster's internal CA; several certificates while a CA is being replaced. No default.
    /// Read again when its content changes.
    pub ca: PathBuf,
}

/// `[admin]`: the admin API, by mutual TLS and by a unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Admin {
    /// Address and port of the mutual TLS listener, or `"off"`. Default `[::]:8443`.
    #[serde(with = "listen_or_off")]
    pub listen: Option<SocketAddr>,
    /// Path of the unix socket, at most 100 bytes; only the node's own user may open it.
    /// Default `admin.sock` in `node.dir`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket: Option<PathBuf>,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: Some(any(8443)),
            socket: None,
        }
    }
}

/// `[metrics]`: plain HTTP for `/metrics`, `/livez` and `/readyz`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Address and port of the listener, or `"off"`. Default `[::]:9090`.
    #[serde(with = "listen_or_off")]
    pub listen: Option<SocketAddr>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            listen: Some(any(9090)),
        }
    }
}

/// `[cluster]`: which cluster this node is meant for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cluster {
    /// Cluster id that this node expects: 1 to 64 bytes of letters, digits, `-`, `_` and `.`. A node refuses to
    /// initialise or join a cluster of another id. Default none: it takes the first one it is given, for life.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// Peer addresses (`host:7222`) through which an empty node asks to join, at most 16. Default none: it waits
    /// for `initialize` or `join`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub seeds: Vec<HostPort>,
    /// File with the key that secrets are sealed under in log and snapshots: 32 bytes, raw or as 64 hexadecimal
    /// digits. Default none: `initialize` makes one, `join` hands it over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealing_key: Option<PathBuf>,
}

const fn any(port: u16) -> SocketAddr {
    SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::UNSPECIFIED), port)
}

const fn component_listen() -> SocketAddr {
    any(5223)
}

const fn peer_listen() -> SocketAddr {
    any(7222)
}

/// A listener that can be switched off by the word `off`, as TOML has no null.
mod listen_or_off {
    use super::SocketAddr;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        value: &Option<SocketAddr>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match value {
            Some(address) => serializer.collect_str(address),
            None => serializer.serialize_str("off"),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SocketAddr>, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "off" {
            return Ok(None);
        }
        text.parse().map(Some).map_err(|_| {
            D::Error::custom("not an IP address and port such as \"[::]:8443\", nor \"off\"")
        })
    }
}

#[cfg(test)]
mod tests;

//! What the transport needs from TLS: configurations, and the node name that a certificate stands
//! for.

use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ServerConfig};

/// Keys, trust and roles of this node. Configurations are asked for at each handshake, so a reload
/// needs no restart.
pub trait PeerTls: Send + Sync + 'static {
    /// For connections that come in. Must ask for a client certificate and verify it.
    fn server(&self) -> Arc<ServerConfig>;

    /// For connections that we dial, to the node of that name where it is known. Must verify the
    /// server's certificate and present ours.
    fn client(&self, node: Option<&str>) -> Arc<ClientConfig>;

    /// The name in the role `node/<name>` of the peer's verified chain, its own certificate first;
    /// `None`: no node.
    fn node_name(&self, chain: &[CertificateDer<'_>]) -> Option<String>;

    /// The name to ask for when dialling `host` (a DNS name or an IP address). What proves a peer
    /// is its role, so verifiers may ignore it.
    fn server_name(&self, host: &str) -> Option<ServerName<'static>> {
        ServerName::try_from(host.to_owned()).ok()
    }
}

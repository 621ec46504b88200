//! TLS: the one cryptographic provider, the configurations of the three TLS ports, and their reload.
//!
//! | Port | Shows | Asks for | Versions |
//! |---|---|---|---|
//! | component 5223 | the component certificate | nothing, or a certificate of `component.client_ca` | 1.2, 1.3 |
//! | clients 5222 | the same | nothing, or one of `clients.client_ca` if the client has one | 1.2, 1.3 |
//! | clients 5221 | the same, with the ALPN `xmpp-client` for who asks (XEP-0368) | as 5222 | 1.2, 1.3 |
//! | peer 7222 | the peer certificate | a certificate of the internal CA with the role `node/<name>` | 1.3 |
//! | admin 8443 | the peer certificate | a certificate of the internal CA with any role | 1.3 |
//!
//! What `[component]` names concerns only what bridges and clients see; the internal CA alone opens the other two
//! ports, by the role in its certificates ([`PeerIdentity`]). No port resumes TLS sessions, so a replaced CA is in force at once. [`Tls`] holds what is in force; [`Tls::reload`] replaces it whole or not at all, and open connections live on.

mod asking;
mod material;
mod reload;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use xmpp_node_api::config::Fault;
use xmpp_node_api::status::CertificateStatus;
pub use xmpp_node_client::identity::{IdentityError, PeerIdentity, Role};
pub use xmpp_node_client::tls::{install_provider, provider, unchecked_name};

use self::asking::Asking;
pub use self::asking::{addresses, is_valid_for};
use self::material::{Material, PeerMaterial};
pub use self::reload::watch;
use self::verify::RoleVerifier;

/// Which files hold certificates and keys, and what they must be good for.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The component certificate and its key.
    pub component: ComponentFiles,
    /// The CAs of users' certificates, if any are trusted.
    pub users: Option<PathBuf>,
    /// The node's internal certificate, its key and the CA.
    pub peer: PeerFiles,
}

/// Files of the component port.
#[derive(Clone, Debug)]
pub struct ComponentFiles {
    /// The certificate, perhaps with intermediates.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// More intermediates.
    pub chain: Option<PathBuf>,
    /// The CAs of bridges' certificates, if bridges must have some.
    pub client_ca: Option<PathBuf>,
    /// The domain that the certificate must be valid for.
    pub domain: String,
}

/// Files of one end of an internal connection.
#[derive(Clone, Debug)]
pub struct PeerFiles {
    /// The certificate, perhaps with intermediates.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The internal CA.
    pub ca: PathBuf,
    /// The role that the certificate must bear; `None`: any.
    pub role: Option<PeerIdentity>,
}

/// The certificates in force, and the rustls configurations made of them.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    component: Arc<Swapped>,
    component_server: Arc<ServerConfig>,
    starttls_server: Arc<ServerConfig>,
    client_server: Arc<ServerConfig>,
    bridges: Arc<Asking>,
    users: Arc<Asking>,
    peer: ArcSwap<PeerTls>,
    component_status: ArcSwap<CertificateStatus>,
    contents: ArcSwapOption<material::Digest>,
    failures: AtomicU64,
}

impl Tls {
    /// Reads and checks all files.
    ///
    /// # Errors
    /// Every fault found, each with the configuration key of its file.
    pub fn load(files: TlsFiles) -> Result<Self, Vec<Fault>> {
        let material = Material::read(&files)?;
        let component = Arc::new(Swapped(ArcSwap::new(material.component.key)));
        let bridges = Arc::new(Asking::new(material.bridges));
        let users = Arc::new(Asking::new(material.users));
        Ok(Self {
            component_server: Arc::new(stream_server(&component, &bridges)),
            starttls_server: Arc::new(stream_server(&component, &users)),
            client_server: Arc::new(direct_server(&component, &users)),
            bridges,
            users,
            component,
            peer: ArcSwap::from_pointee(PeerTls::new(material.peer)?),
            component_status: ArcSwap::from_pointee(material.component.status),
            contents: ArcSwapOption::from_pointee(material.digest),
            failures: AtomicU64::new(0),
            files,
        })
    }

    /// The component port's configuration. It stays good for ever: each handshake takes the certificate in force.
    #[must_use]
    pub fn component_server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.component_server)
    }

    /// The configuration of the port where clients ask for TLS; as that of the component port.
    #[must_use]
    pub fn starttls_server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.starttls_server)
    }

    /// The configuration of the clients' direct TLS port; as that of the component port.
    #[must_use]
    pub fn client_server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.client_server)
    }

    /// The peer port's configuration in force. To be taken anew for each connection.
    #[must_use]
    pub fn peer_server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.peer.load().peer_server)
    }

    /// The admin port's configuration in force. To be taken anew for each connection.
    #[must_use]
    pub fn admin_server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.peer.load().admin_server)
    }

    /// Configuration for a connection to the peer or admin port of the node of that name. To be taken anew for each
    /// connection, with [`unchecked_name`] as the server's name.
    #[must_use]
    pub fn peer_client(&self, node: &str) -> Arc<ClientConfig> {
        Arc::new(self.peer.load().client(Some(node)))
    }

    /// Like [`Self::peer_client`], for whichever node answers: the caller judges the name that its certificate carries.
    #[must_use]
    pub fn peer_client_any(&self) -> Arc<ClientConfig> {
        Arc::new(self.peer.load().client(None))
    }

    /// Reads all files again and puts them in force if all are good; else everything stays as it is.
    ///
    /// Returns whether anything had changed.
    ///
    /// # Errors
    /// Every fault found; the failure is counted.
    pub fn reload(&self) -> Result<bool, Vec<Fault>> {
        self.replace().inspect_err(|_| {
            self.failures.fetch_add(1, Ordering::Relaxed);
        })
    }

    /// How often a reload failed since the start.
    #[must_use]
    pub fn reload_failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// The component certificate in force.
    #[must_use]
    pub fn component_status(&self) -> CertificateStatus {
        CertificateStatus::clone(&self.component_status.load())
    }

    /// The peer certificate in force.
    #[must_use]
    pub fn peer_status(&self) -> CertificateStatus {
        self.peer.load().status.clone()
    }

    fn replace(&self) -> Result<bool, Vec<Fault>> {
        let digest = material::digest(&self.files)?;
        if self.contents.load().as_deref() == Some(&digest) {
            return Ok(false);
        }
        let material = Material::read(&self.files)?;
        let peer = PeerTls::new(material.peer)?;
        // Nothing below can fail, so the two ports never disagree for longer than these lines take.
        self.component.0.store(material.component.key);
        self.bridges.replace(material.bridges);
        self.users.replace(material.users);
        self.component_status
            .store(Arc::new(material.component.status));
        self.peer.store(Arc::new(peer));
        self.contents.store(Some(Arc::new(material.digest)));
        Ok(true)
    }
}

/// A client's certificate for internal ports, without a server's: what the command line has.
#[derive(Debug)]
pub struct TlsClient(PeerTls);

impl TlsClient {
    /// Reads and checks certificate, key and CA.
    ///
    /// # Errors
    /// Every fault found, under the keys `certificate`, `key` and `ca`.
    pub fn load(files: &PeerFiles) -> Result<Self, Vec<Fault>> {
        Ok(Self(PeerTls::new(PeerMaterial::read(
            files,
            "",
            material::Use::Client,
        )?)?))
    }

    /// Configuration for a connection to a node: the one of that name, or any.
    #[must_use]
    pub fn config(&self, node: Option<&str>) -> Arc<ClientConfig> {
        Arc::new(self.0.client(node))
    }
}

/// What one set of internal certificate, key and CA gives.
#[derive(Debug)]
struct PeerTls {
    peer_server: Arc<ServerConfig>,
    admin_server: Arc<ServerConfig>,
    key: Arc<CertifiedKey>,
    roots: Arc<RootCertStore>,
    status: CertificateStatus,
}

impl PeerTls {
    fn new(material: PeerMaterial) -> Result<Self, Vec<Fault>> {
        let PeerMaterial {
            key,
            roots,
            status,
            ca_key,
        } = material;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), provider())
            .build()
            .map_err(|error| vec![Fault::new(ca_key, error.to_string())])?;
        let server = |accepts: fn(Role) -> bool| {
            let verifier = RoleVerifier::new(verifier.clone(), accepts);
            let mut config = ServerConfig::builder_with_provider(provider())
                .with_protocol_versions(&[&TLS13])
                .expect("the provider has cipher suites of TLS 1.3")
                .with_client_cert_verifier(Arc::new(verifier))
                .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(&key))));
            config.send_tls13_tickets = 0;
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config
        };
        let mut admin_server = server(Role::may_open_admin_port);
        admin_server.alpn_protocols = vec![b"http/1.1".to_vec()];
        let peer_server = Arc::new(server(Role::may_open_peer_port));
        Ok(Self {
            peer_server,
            admin_server: Arc::new(admin_server),
            key,
            roots,
            status,
        })
    }

    fn client(&self, node: Option<&str>) -> ClientConfig {
        let (roots, key) = (Arc::clone(&self.roots), Arc::clone(&self.key));
        xmpp_node_client::tls::client_config(roots, key, node)
    }
}

/// Without resumption of TLS sessions: it would need keys that all nodes share, since who comes back comes to another node.
fn stream_server(key: &Arc<Swapped>, asking: &Arc<Asking>) -> ServerConfig {
    let (key, asking) = (Arc::clone(key), Arc::clone(asking));
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider has cipher suites of TLS 1.2 and 1.3")
        .with_client_cert_verifier(asking)
        .with_cert_resolver(key);
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config
}

fn direct_server(key: &Arc<Swapped>, asking: &Arc<Asking>) -> ServerConfig {
    let mut config = stream_server(key, asking);
    config.alpn_protocols = vec![b"xmpp-client".to_vec()];
    config
}

/// Gives each handshake the certificate in force.
#[derive(Debug)]
struct Swapped(ArcSwap<CertifiedKey>);

impl ResolvesServerCert for Swapped {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

#[cfg(test)]
pub(crate) mod test_pki;
#[cfg(test)]
mod tests;

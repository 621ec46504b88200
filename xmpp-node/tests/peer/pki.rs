//! A certificate authority in memory, and the node certificates it gives out.

use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use xmpp_node::peer::PeerTls;

/// Signs node certificates.
pub(crate) struct Authority {
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).expect("a CA certificate");
        Self {
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// TLS of a node whose certificate carries the role `node/<name>`.
    pub(crate) fn node(&self, name: &str) -> Arc<NodeTls> {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(["127.0.0.1", "127.0.0.2"].map(str::to_owned))
            .expect("parameters");
        let role = format!("{ROLE}{name}").try_into().expect("an ASCII name");
        params.subject_alt_names.push(SanType::URI(role));
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let chain = vec![certificate.der().clone()];
        let secret = || PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));

        let mut roots = RootCertStore::empty();
        roots
            .add(self.certificate.clone())
            .expect("a CA certificate");
        let roots = Arc::new(roots);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone())
            .build()
            .expect("a verifier");
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), secret())
            .expect("a key that fits");
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS versions")
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, secret())
            .expect("a key that fits");
        Arc::new(NodeTls {
            server: Arc::new(server),
            client: Arc::new(client),
        })
    }
}

/// One node's configurations.
pub(crate) struct NodeTls {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl PeerTls for NodeTls {
    fn server(&self) -> Arc<ServerConfig> {
        self.server.clone()
    }

    fn client(&self, _node: Option<&str>) -> Arc<ClientConfig> {
        self.client.clone()
    }

    fn node_name(&self, chain: &[CertificateDer<'_>]) -> Option<String> {
        let (_, certificate) = x509_parser::parse_x509_certificate(chain.first()?).ok()?;
        let names = certificate.subject_alternative_name().ok()??;
        names
            .value
            .general_names
            .iter()
            .find_map(|name| match name {
                x509_parser::extensions::GeneralName::URI(uri) => {
                    uri.strip_prefix(ROLE).map(Into::into)
                }
                _ => None,
            })
    }
}

const ROLE: &str = "xmpp-cluster:node/";

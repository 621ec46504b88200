//! Connections to a node's internal ports: who answers is checked by the role in its certificate.
//!
//! Neither side looks at DNS names or addresses. A node is who its certificate says (`node/<name>`, given out by a CA
//! that issues nothing else), not where it is reached: pods change address, a by-hand cluster may be joined by IP
//! literal, and a name in DNS is proof of nothing to a private CA. The chain, validity, key usage and handshake
//! signature are checked by webpki as ever. TLS 1.3 only, and no session is resumed, so that a replaced CA is in
//! force at once.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::version::TLS13;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use thiserror::Error;

use crate::identity::{IdentityError, PeerIdentity, Role};
use crate::issue::Pair;

/// The cryptographic provider of all programs. Nothing else names one.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Makes [`provider`] the default of libraries that ask for one. To be called first thing in `main`; later calls
/// change nothing.
pub fn install_provider() {
    // An error says that one is installed, and this program has no other.
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// The name to give rustls when connecting to a node: it is neither sent nor checked, as nodes are known by their role.
#[must_use]
pub fn unchecked_name() -> ServerName<'static> {
    IpAddr::V4(Ipv4Addr::UNSPECIFIED).into()
}

/// Configuration for a connection that shows `key` and expects the node of that name, or any node.
#[must_use]
pub fn client_config(
    roots: Arc<RootCertStore>,
    key: Arc<CertifiedKey>,
    node: Option<&str>,
) -> ClientConfig {
    let verifier = NodeVerifier::new(roots, provider(), node);
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has cipher suites of TLS 1.3")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(key)));
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    config
}

/// A caller's certificate and the CA that it trusts, in memory.
#[derive(Clone, Debug)]
pub struct Caller {
    roots: Arc<RootCertStore>,
    key: Arc<CertifiedKey>,
}

impl Caller {
    /// From PEM.
    ///
    /// # Errors
    /// What is wrong with certificate, key or CA.
    pub fn new(pair: &Pair, ca: &str) -> Result<Self, Error> {
        let unreadable = |what: &str| Error::General(format!("{what} is not PEM"));
        let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|_| unreadable("the certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes())
            .map_err(|_| unreadable("the key"))?;
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(ca.as_bytes()) {
            roots.add(certificate.map_err(|_| unreadable("the CA"))?)?;
        }
        Ok(Self {
            roots: Arc::new(roots),
            key: Arc::new(CertifiedKey::from_der(chain, key, &provider())?),
        })
    }

    /// Configuration for a connection to the node of that name.
    #[must_use]
    pub fn config(&self, node: &str) -> Arc<ClientConfig> {
        let (roots, key) = (Arc::clone(&self.roots), Arc::clone(&self.key));
        Arc::new(client_config(roots, key, Some(node)))
    }
}

/// Accepts servers of our CA that are nodes, or the one node expected.
#[derive(Debug)]
pub struct NodeVerifier {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    expected: Option<String>,
}

impl NodeVerifier {
    /// Trusts what `roots` signed for the node of that name, or for any node.
    #[must_use]
    pub fn new(
        roots: Arc<RootCertStore>,
        provider: Arc<CryptoProvider>,
        node: Option<&str>,
    ) -> Self {
        Self {
            roots,
            provider,
            expected: node.map(str::to_owned),
        }
    }
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let parsed = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &parsed,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )?;
        let identity = PeerIdentity::of_certificate(end_entity).map_err(RoleError::Identity)?;
        let expected = self
            .expected
            .as_ref()
            .is_none_or(|name| *name == identity.name);
        if identity.role != Role::Node || !expected {
            return Err(RoleError::Refused(identity.uri()).into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(
            message,
            cert,
            dss,
            &self.provider.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// A certificate of our CA that does not open this port, or is not the node we wanted.
#[derive(Debug, Error)]
pub enum RoleError {
    /// It bears no role that we know.
    #[error(transparent)]
    Identity(IdentityError),
    /// It bears another role, or another node's name.
    #[error("a certificate of {0} is not accepted here")]
    Refused(String),
}

impl From<RoleError> for Error {
    fn from(error: RoleError) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
    }
}

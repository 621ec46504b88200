//! Verifiers of internal connections: the chain by webpki, and on top the role.
//!
//! Neither side looks at DNS names or addresses. A node is who its certificate says (`node/<name>`, given out by a CA
//! that issues nothing else), not where it is reached: pods change address, a by-hand cluster may be joined by IP
//! literal, and a name in DNS is proof of nothing to a private CA. The chain, validity, key usage and handshake
//! signature are checked by webpki as ever.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use thiserror::Error;

use super::identity::{IdentityError, PeerIdentity, Role};

/// Lets in clients of our CA whose role the port accepts.
#[derive(Debug)]
pub(super) struct RoleVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    accepts: fn(Role) -> bool,
}

impl RoleVerifier {
    pub(super) fn new(chain: Arc<dyn ClientCertVerifier>, accepts: fn(Role) -> bool) -> Self {
        Self { chain, accepts }
    }
}

impl ClientCertVerifier for RoleVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // The name of the internal CA is nobody's business.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .chain
            .verify_client_cert(end_entity, intermediates, now)?;
        let identity = PeerIdentity::of_certificate(end_entity).map_err(RoleError::Identity)?;
        if !(self.accepts)(identity.role) {
            return Err(RoleError::Refused(identity.uri()).into());
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Accepts servers of our CA that are nodes, or the one node expected.
#[derive(Debug)]
pub(super) struct NodeVerifier {
    roots: Arc<RootCertStore>,
    provider: Arc<CryptoProvider>,
    expected: Option<String>,
}

impl NodeVerifier {
    pub(super) fn new(
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
enum RoleError {
    #[error(transparent)]
    Identity(IdentityError),
    #[error("a certificate of {0} is not accepted here")]
    Refused(String),
}

impl From<RoleError> for Error {
    fn from(error: RoleError) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
    }
}

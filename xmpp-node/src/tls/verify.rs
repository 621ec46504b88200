//! Verifier of the internal ports: the chain by webpki, and on top the role. The other end is in [`xmpp_node_client::tls`].

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use xmpp_node_client::identity::{PeerIdentity, Role};
use xmpp_node_client::tls::RoleError;

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

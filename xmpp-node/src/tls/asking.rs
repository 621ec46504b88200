//! Certificates of bridges and of users: whether the ports for streams ask for them, and what stands in them.
//!
//! A port asks only where CAs are configured, and nobody must have a certificate to open a connection: what it is good for is
//! judged when the peer says who it is. One of another CA ends the handshake.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::client::verify_server_name;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
};
use x509_parser::der_parser::asn1_rs::{Any, FromDer as _};
use x509_parser::extensions::GeneralName;
use x509_parser::oid_registry::{Oid, asn1_rs::oid};
use x509_parser::prelude::X509Certificate;
use xmpp_core::jid::Jid;

use super::provider;

/// `id-on-xmppAddr` (RFC 6120, 13.7.1.4).
const XMPP_ADDRESS: Oid<'static> = oid!(1.3.6.1.5.5.7.8.5);

/// Asks for certificates of some CAs, which may be replaced, or for none.
#[derive(Debug)]
pub(super) struct Asking(ArcSwapOption<Arc<dyn ClientCertVerifier>>);

/// Verifies chains up to some CAs.
pub(super) type Chains = Arc<dyn ClientCertVerifier>;

/// A verifier of chains up to these CAs.
///
/// # Errors
/// Why they can be used for none.
pub(super) fn chains(roots: Arc<RootCertStore>) -> Result<Chains, String> {
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    let built = builder.allow_unauthenticated().build();
    built.map_err(|error| error.to_string())
}

impl Asking {
    pub(super) fn new(chains: Option<Chains>) -> Self {
        Self(ArcSwapOption::new(chains.map(Arc::new)))
    }

    pub(super) fn replace(&self, chains: Option<Chains>) {
        self.0.store(chains.map(Arc::new));
    }

    fn current(&self) -> Result<Arc<Chains>, Error> {
        let nobody = CertificateError::UnknownIssuer;
        self.0.load_full().ok_or_else(|| nobody.into())
    }
}

impl ClientCertVerifier for Asking {
    fn offer_client_auth(&self) -> bool {
        self.0.load().is_some()
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // Empty: whichever the peer has.
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.current()?
            .verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current()?.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current()?.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// The XMPP addresses in a verified certificate; what is no address is left out.
#[must_use]
pub fn addresses(certificate: &CertificateDer<'_>) -> Vec<Jid> {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return Vec::new();
    };
    let names = parsed.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|names| &names.value.general_names);
    let texts = names.filter_map(|name| match name {
        // A UTF8String, in an explicit tag.
        GeneralName::OtherName(oid, value) if *oid == XMPP_ADDRESS => {
            let (_, tagged) = Any::from_der(value).ok()?;
            let (_, text) = Any::from_der(tagged.data).ok()?;
            str::from_utf8(text.data).ok()
        }
        _ => None,
    });
    texts.filter_map(|text| Jid::parse(text).ok()).collect()
}

/// Whether a verified certificate is valid for a DNS name.
#[must_use]
pub fn is_valid_for(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let Ok(name) = ServerName::try_from(name) else {
        return false;
    };
    ParsedCertificate::try_from(certificate)
        .is_ok_and(|parsed| verify_server_name(&parsed, &name).is_ok())
}

//! The bridge's TLS: version 1.2 or later, ring, roots from a file, the name checked is the XMPP domain (RFC 6120, 13.7.2).

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::config::ConfigError;

/// Trusted CAs of one PEM file, read again when the file changes.
#[derive(Debug, Default)]
pub(crate) struct Roots {
    pem: Vec<u8>,
    config: Option<Arc<ClientConfig>>,
}

impl Roots {
    /// A connector that trusts what the file holds now. Sessions are resumed while the file stays the same.
    pub(crate) async fn connector(&mut self, path: &Path) -> io::Result<TlsConnector> {
        let pem = tokio::fs::read(path).await.map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })?;
        let config = match &self.config {
            Some(config) if self.pem == pem => config.clone(),
            _ => {
                let config = Arc::new(client_config(&pem).map_err(|what| {
                    io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("{}: {what}", path.display()),
                    )
                })?);
                self.pem = pem;
                self.config.insert(config).clone()
            }
        };
        Ok(TlsConnector::from(config))
    }
}

/// The name to verify.
pub(crate) fn server_name(domain: &str) -> Result<ServerName<'static>, ConfigError> {
    ServerName::try_from(domain.to_owned())
        .map_err(|_| ConfigError::CertificateName(domain.to_owned()))
}

fn client_config(pem: &[u8]) -> Result<ClientConfig, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    if roots.is_empty() {
        return Err("no certificate in it".to_owned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_without_certificates_is_refused_by_name() {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        let error = Roots::default()
            .connector(file.path())
            .await
            .err()
            .expect("an error");
        assert!(
            error
                .to_string()
                .contains(&file.path().display().to_string()),
            "{error}"
        );
        assert!(error.to_string().contains("no certificate"), "{error}");
    }
}

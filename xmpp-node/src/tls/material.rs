//! From files to checked certificates and keys: readable, paired, in date, and good for what they are there for.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore};
use x509_parser::prelude::{FromDer, X509Certificate};
use xmpp_node_api::config::Fault;
use xmpp_node_api::status::CertificateStatus;
use xmpp_node_api::time::Timestamp;
use zeroize::Zeroizing;

use super::asking::{Chains, chains, is_valid_for};
use super::{ComponentFiles, PeerFiles, PeerIdentity, TlsFiles, provider};

/// SHA-256 over the content of all files.
pub(super) type Digest = [u8; 32];

/// Everything a node's TLS ports need.
pub(super) struct Material {
    pub(super) component: ComponentMaterial,
    /// Judges certificates of bridges, if any are asked for.
    pub(super) bridges: Option<Chains>,
    /// Judges certificates of users, if any are asked for.
    pub(super) users: Option<Chains>,
    pub(super) peer: PeerMaterial,
    pub(super) digest: Digest,
}

/// The component certificate with its key.
pub(super) struct ComponentMaterial {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) status: CertificateStatus,
}

/// An internal certificate with its key and CA.
pub(super) struct PeerMaterial {
    pub(super) key: Arc<CertifiedKey>,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) status: CertificateStatus,
    /// The configuration key of the CA file, for errors found later.
    pub(super) ca_key: String,
}

/// What an internal certificate is used for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Both ends, as a node does.
    Both,
    /// Connecting only.
    Client,
}

impl Material {
    /// Reads all files, and reports the faults of all of them.
    pub(super) fn read(files: &TlsFiles) -> Result<Self, Vec<Fault>> {
        // Before the content: if a file changes in between, the next look sees another digest and reads again.
        let digest = digest(files);
        let component = ComponentMaterial::read(&files.component);
        let peer = PeerMaterial::read(&files.peer, "peer.", Use::Both);
        let bridges = trusted("component.client_ca", files.component.client_ca.as_deref());
        let users = trusted("clients.client_ca", files.users.as_deref());
        let streams = merge(bridges, users, |bridges, users| (bridges, users));
        let certificates = merge(component, peer, |component, peer| (component, peer));
        let ((component, peer), (bridges, users)) =
            merge(certificates, streams, |certificates, streams| {
                (certificates, streams)
            })?;
        Ok(Self {
            component,
            bridges,
            users,
            peer,
            digest: digest?,
        })
    }
}

impl ComponentMaterial {
    fn read(files: &ComponentFiles) -> Result<Self, Vec<Fault>> {
        let keys = ("component.certificate", "component.key");
        let mut chain = certificates(keys.0, &files.certificate);
        if let Some(bundle) = &files.chain {
            chain = merge(
                chain,
                certificates("component.chain", bundle),
                |mut chain, more| {
                    // A bundle that repeats the certificate would make an odd chain.
                    chain.extend(
                        more.into_iter()
                            .filter(|one| !chain.contains(one))
                            .collect::<Vec<_>>(),
                    );
                    chain
                },
            );
        }
        let key = private_key(keys.1, &files.key);
        let key = merge(chain, key, |chain, key| pair(keys, &files.key, chain, key))
            .and_then(|pair| pair)?;
        let status = status(keys.0, &files.certificate, &files.key, None, &key.cert[0])?;
        if !is_valid_for(&key.cert[0], &files.domain) {
            let reason = format!(
                "{}: is not valid for the domain {}",
                files.certificate.display(),
                files.domain
            );
            return Err(vec![Fault::new(keys.0, reason)]);
        }
        Ok(Self {
            key: Arc::new(key),
            status,
        })
    }
}

impl PeerMaterial {
    /// Reads an internal certificate; `section` (`peer.` or nothing) stands before the keys in faults.
    pub(super) fn read(files: &PeerFiles, section: &str, usage: Use) -> Result<Self, Vec<Fault>> {
        let name = |key: &str| format!("{section}{key}");
        let (cert_key, key_key, ca_key) = (name("certificate"), name("key"), name("ca"));
        let keys = (cert_key.as_str(), key_key.as_str());
        let chain = certificates(keys.0, &files.certificate);
        let key = private_key(keys.1, &files.key);
        let key = merge(chain, key, |chain, key| pair(keys, &files.key, chain, key))
            .and_then(|pair| pair);
        let roots =
            certificates(&ca_key, &files.ca).and_then(|ca| authorities(&ca_key, &files.ca, ca));
        let (key, roots) = merge(key, roots, |key, roots| (key, roots))?;
        let status = status(
            keys.0,
            &files.certificate,
            &files.key,
            Some(&files.ca),
            &key.cert[0],
        )?;
        let fault = |reason: String| {
            vec![Fault::new(
                keys.0,
                format!("{}: {reason}", files.certificate.display()),
            )]
        };
        verify_chain(&key, &roots, usage).map_err(|error| {
            fault(format!(
                "is not accepted by the CA in {}: {error}",
                files.ca.display()
            ))
        })?;
        let identity =
            PeerIdentity::of_certificate(&key.cert[0]).map_err(|error| fault(error.to_string()))?;
        match &files.role {
            Some(role) if *role != identity => Err(fault(format!(
                "bears {}, not {}",
                identity.uri(),
                role.uri()
            ))),
            _ => Ok(Self {
                key: Arc::new(key),
                roots,
                status,
                ca_key,
            }),
        }
    }
}

/// The digest that tells whether any file changed.
pub(super) fn digest(files: &TlsFiles) -> Result<Digest, Vec<Fault>> {
    let TlsFiles {
        component,
        users,
        peer,
    } = files;
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    let paths = [
        ("component.certificate", Some(&component.certificate)),
        ("component.key", Some(&component.key)),
        ("component.chain", component.chain.as_ref()),
        ("component.client_ca", component.client_ca.as_ref()),
        ("clients.client_ca", users.as_ref()),
        ("peer.certificate", Some(&peer.certificate)),
        ("peer.key", Some(&peer.key)),
        ("peer.ca", Some(&peer.ca)),
    ];
    for (key, path) in paths {
        let Some(path) = path else { continue };
        let content = read(key, path)?;
        context.update(&(content.len() as u64).to_be_bytes());
        context.update(&content);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    Ok(digest)
}

fn read(key: &str, path: &Path) -> Result<Zeroizing<Vec<u8>>, Vec<Fault>> {
    let reason = |reason: String| vec![Fault::new(key, format!("{}: {reason}", path.display()))];
    let size = std::fs::metadata(path)
        .map_err(|e| reason(format!("cannot be read: {e}")))?
        .len();
    if size > MAX_FILE_BYTES {
        return Err(reason(format!("is larger than {MAX_FILE_BYTES} bytes")));
    }
    std::fs::read(path)
        .map(Zeroizing::new)
        .map_err(|e| reason(format!("cannot be read: {e}")))
}

fn certificates(key: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, Vec<Fault>> {
    let content = read(key, path)?;
    let reason = |reason: String| vec![Fault::new(key, format!("{}: {reason}", path.display()))];
    let found = CertificateDer::pem_slice_iter(&content)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| reason(format!("is not PEM: {error}")))?;
    if found.is_empty() {
        return Err(reason(
            "holds no certificate (PEM, BEGIN CERTIFICATE)".to_owned(),
        ));
    }
    Ok(found)
}

fn private_key(key: &str, path: &Path) -> Result<PrivateKeyDer<'static>, Vec<Fault>> {
    let content = read(key, path)?;
    PrivateKeyDer::from_pem_slice(&content).map_err(|error| {
        vec![Fault::new(
            key,
            format!("{}: holds no private key in PEM: {error}", path.display()),
        )]
    })
}

fn pair(
    keys: (&str, &str),
    key_path: &Path,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<CertifiedKey, Vec<Fault>> {
    CertifiedKey::from_der(chain, key, &provider()).map_err(|error| {
        let (at, reason) = match error {
            Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
                (keys.1, "does not match the certificate".to_owned())
            }
            Error::InvalidCertificate(error) => {
                (keys.0, format!("the certificate is malformed: {error}"))
            }
            other => (keys.1, format!("cannot be used: {other}")),
        };
        vec![Fault::new(at, format!("{}: {reason}", key_path.display()))]
    })
}

/// Facts for people, and whether today is within the certificate's validity.
fn status(
    cert_key: &str,
    certificate_file: &Path,
    key_file: &Path,
    trust: Option<&Path>,
    certificate: &CertificateDer<'_>,
) -> Result<CertificateStatus, Vec<Fault>> {
    let fault = |reason: String| {
        vec![Fault::new(
            cert_key,
            format!("{}: {reason}", certificate_file.display()),
        )]
    };
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|error| fault(format!("the certificate is malformed: {error}")))?;
    let instant = |seconds: i64| {
        Timestamp::from_unix_ms(u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000))
    };
    let not_before = instant(parsed.validity().not_before.timestamp());
    let not_after = instant(parsed.validity().not_after.timestamp());
    let now = Timestamp::from(SystemTime::now());
    if now < not_before {
        return Err(fault(format!("is not valid before {not_before}")));
    }
    if now > not_after {
        return Err(fault(format!("expired at {not_after}")));
    }
    Ok(CertificateStatus {
        serial: parsed
            .raw_serial()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect(),
        not_after,
        certificate_file: certificate_file.display().to_string(),
        key_file: key_file.display().to_string(),
        trust_bundle: trust.map(|path| path.display().to_string()),
    })
}

/// What judges certificates of the CAs in a file.
fn trusted(key: &str, file: Option<&Path>) -> Result<Option<Chains>, Vec<Fault>> {
    let Some(file) = file else { return Ok(None) };
    let roots = certificates(key, file).and_then(|ca| authorities(key, file, ca))?;
    let reason = |error| vec![Fault::new(key, format!("{}: {error}", file.display()))];
    chains(roots).map(Some).map_err(reason)
}

fn authorities(
    key: &str,
    path: &Path,
    certificates: Vec<CertificateDer<'static>>,
) -> Result<Arc<RootCertStore>, Vec<Fault>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        roots.add(certificate).map_err(|error| {
            vec![Fault::new(
                key,
                format!("{}: holds an unusable certificate: {error}", path.display()),
            )]
        })?;
    }
    Ok(Arc::new(roots))
}

fn verify_chain(key: &CertifiedKey, roots: &Arc<RootCertStore>, usage: Use) -> Result<(), Error> {
    let now = UnixTime::since_unix_epoch(
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default(),
    );
    let (leaf, intermediates) = key
        .cert
        .split_first()
        .ok_or(Error::NoCertificatesPresented)?;
    if usage == Use::Both {
        let parsed = ParsedCertificate::try_from(leaf)?;
        let provider = provider();
        let algorithms = provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms)?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), provider())
        .build()
        .map_err(|error| Error::General(error.to_string()))?
        .verify_client_cert(leaf, intermediates, now)
        .map(drop)
}

/// Both values, or the faults of both.
fn merge<A, B, C>(
    a: Result<A, Vec<Fault>>,
    b: Result<B, Vec<Fault>>,
    join: impl FnOnce(A, B) -> C,
) -> Result<C, Vec<Fault>> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok(join(a, b)),
        (a, b) => Err([a.err(), b.err()].into_iter().flatten().flatten().collect()),
    }
}

/// A bundle of some hundred certificates; more is another kind of file.
const MAX_FILE_BYTES: u64 = 1 << 20;

//! A throw-away CA and certificates, for tests only.

use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use tempfile::TempDir;

use super::{ComponentFiles, PeerFiles, PeerIdentity, TlsFiles};

/// A directory of PEM files under one CA.
pub(crate) struct TestPki {
    dir: TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
}

/// What to put into a certificate.
#[derive(Default)]
pub(crate) struct Leaf<'a> {
    /// DNS names.
    pub(crate) dns: &'a [&'a str],
    /// URI names.
    pub(crate) uris: &'a [&'a str],
    /// The year of its end; 0: far away.
    pub(crate) until: i32,
    /// Usable by clients only.
    pub(crate) client_only: bool,
}

impl TestPki {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let ca = authority("internal");
        let pki = Self { dir, ca };
        pki.write("ca.crt", &pki.ca.pem());
        pki
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    pub(crate) fn write(&self, file: &str, content: &str) {
        std::fs::write(self.path(file), content).expect("the directory is ours");
    }

    /// Writes `<name>.crt` and `<name>.key`, signed by the CA.
    pub(crate) fn issue(&self, name: &str, leaf: &Leaf<'_>) {
        self.issue_by(&self.ca, name, leaf);
    }

    /// The same, signed by a CA that nobody knows.
    pub(crate) fn issue_foreign(&self, name: &str, leaf: &Leaf<'_>) {
        self.issue_by(&authority("foreign"), name, leaf);
    }

    /// Writes `<name>.crt` and `<name>.key` for an identity.
    pub(crate) fn issue_role(&self, name: &str, identity: &PeerIdentity) {
        self.issue(
            name,
            &Leaf {
                uris: &[&identity.uri()],
                ..Leaf::default()
            },
        );
    }

    /// The files of a node of that name, all issued.
    pub(crate) fn node(&self, name: &str, domain: &str) -> TlsFiles {
        let component = format!("{name}-component");
        self.issue(
            &component,
            &Leaf {
                dns: &[domain],
                ..Leaf::default()
            },
        );
        self.issue_role(name, &PeerIdentity::node(name));
        TlsFiles {
            component: ComponentFiles {
                certificate: self.path(&format!("{component}.crt")),
                key: self.path(&format!("{component}.key")),
                chain: None,
                client_ca: None,
                domain: domain.to_owned(),
            },
            users: None,
            peer: PeerFiles {
                role: Some(PeerIdentity::node(name)),
                ..self.client(name)
            },
        }
    }

    /// The files of an internal client, issued before under that name.
    pub(crate) fn client(&self, name: &str) -> PeerFiles {
        PeerFiles {
            certificate: self.path(&format!("{name}.crt")),
            key: self.path(&format!("{name}.key")),
            ca: self.path("ca.crt"),
            role: None,
        }
    }

    fn issue_by(&self, ca: &CertifiedIssuer<'static, KeyPair>, name: &str, leaf: &Leaf<'_>) {
        let key = KeyPair::generate().expect("a key");
        let dns = leaf
            .dns
            .iter()
            .map(|&name| name.to_owned())
            .collect::<Vec<_>>();
        let mut params = CertificateParams::new(dns).expect("names in ASCII");
        for &uri in leaf.uris {
            params
                .subject_alt_names
                .push(SanType::URI(uri.try_into().expect("a URI in ASCII")));
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if !leaf.client_only {
            params
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        if leaf.until != 0 {
            params.not_after = rcgen::date_time_ymd(leaf.until, 1, 1);
        }
        let certificate = params.signed_by(&key, ca).expect("the CA signs");
        self.write(&format!("{name}.crt"), &certificate.pem());
        self.write(&format!("{name}.key"), &key.serialize_pem());
    }
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().expect("a key");
    CertifiedIssuer::self_signed(params, key).expect("a CA signs itself")
}

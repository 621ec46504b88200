//! The demo's certificates: an internal CA for peer and admin ports, and a "public" one for what components are shown.
//!
//! As in a real deployment the two have nothing to do with each other. The keys of the CAs stay in memory; every file is
//! for its owner alone (0600) and replaced in one step, so a node that looks for new certificates never sees half a file.

use std::io::Write;
use std::net::IpAddr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use xmpp_node_client::issue::{Authority, Pair};

use super::error::DemoError;
use crate::tls::{PeerFiles, PeerIdentity, Role};

/// Both CAs, and the directory of what they issued.
pub struct Pki {
    dir: PathBuf,
    internal: Authority,
    public: Authority,
}

impl Pki {
    /// Makes both CAs and the directory, which must not exist; writes `ca.crt` (internal) and `public-ca.crt`.
    ///
    /// # Errors
    /// [`DemoError::File`], [`DemoError::Certificate`].
    pub fn create(dir: &Path) -> Result<Self, DemoError> {
        make_private_dir(dir)?;
        let pki = Self {
            dir: dir.to_owned(),
            internal: authority("xmpp demo internal CA")?,
            public: authority("xmpp demo public CA")?,
        };
        write_private(&pki.path("ca.crt"), pki.internal.certificate())?;
        write_private(&pki.public_ca(), pki.public.certificate())?;
        Ok(pki)
    }

    /// A file of the directory.
    #[must_use]
    pub fn path(&self, file: &str) -> PathBuf {
        self.dir.join(file)
    }

    /// The CA that components trust servers by, PEM.
    #[must_use]
    pub fn public_ca(&self) -> PathBuf {
        self.path("public-ca.crt")
    }

    /// Issues `<name>.crt` and `<name>.key` for the peer and admin ports of a node.
    ///
    /// # Errors
    /// [`DemoError::File`], [`DemoError::Certificate`].
    pub fn issue_node(&self, name: &str) -> Result<PeerFiles, DemoError> {
        self.issue_internal(name, &PeerIdentity::node(name))
    }

    /// Issues `admin.crt` and `admin.key` for a person with the command line.
    ///
    /// # Errors
    /// [`DemoError::File`], [`DemoError::Certificate`].
    pub fn issue_admin(&self) -> Result<PeerFiles, DemoError> {
        let admin = PeerIdentity {
            role: Role::Admin,
            name: "admin".to_owned(),
        };
        self.issue_internal("admin", &admin)
    }

    /// Issues `component.crt` and `component.key`, by the public CA, for these names and addresses; the first name is
    /// the domain. Called again it replaces them, as a renewal does.
    ///
    /// # Errors
    /// [`DemoError::File`], [`DemoError::Certificate`].
    pub fn issue_component(&self, names: &[String], ips: &[IpAddr]) -> Result<(), DemoError> {
        let issued = self
            .public
            .issue_server(names, ips, Timestamp::now(), DAYS)?;
        self.write("component", &issued)
    }

    fn issue_internal(&self, name: &str, identity: &PeerIdentity) -> Result<PeerFiles, DemoError> {
        let issued = self.internal.issue_role(identity, Timestamp::now(), DAYS)?;
        self.write(name, &issued)?;
        Ok(PeerFiles {
            certificate: self.path(&format!("{name}.crt")),
            key: self.path(&format!("{name}.key")),
            ca: self.path("ca.crt"),
            role: None,
        })
    }

    fn write(&self, name: &str, issued: &Pair) -> Result<(), DemoError> {
        write_private(&self.path(&format!("{name}.key")), &issued.key)?;
        write_private(&self.path(&format!("{name}.crt")), &issued.certificate)
    }
}

/// Makes a directory that only its owner may enter, with its parents.
pub(super) fn make_private_dir(dir: &Path) -> Result<(), DemoError> {
    let made = std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir);
    made.map_err(DemoError::file(dir))
}

/// Writes a file of mode 0600 in one step: readers see the old content or the new.
pub(super) fn write_private(path: &Path, content: &str) -> Result<(), DemoError> {
    let parent = path.parent().unwrap_or_else(|| Path::new("."));
    let write = || {
        let mut file = tempfile::Builder::new()
            .permissions(std::fs::Permissions::from_mode(0o600))
            .tempfile_in(parent)?;
        file.write_all(content.as_bytes())?;
        file.persist(path).map_err(|error| error.error)
    };
    write().map(drop).map_err(DemoError::file(path))
}

fn authority(name: &str) -> Result<Authority, DemoError> {
    let made = Authority::create(name, Timestamp::now(), DAYS)?;
    Ok(Authority::load(&made)?)
}

/// A demo does not last longer.
const DAYS: i64 = 365;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::{ComponentFiles, PeerIdentity, Tls, TlsClient, TlsFiles};

    fn made() -> (tempfile::TempDir, Pki) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let pki = Pki::create(&dir.path().join("pki")).expect("both CAs");
        pki.issue_component(
            &["example.test".to_owned(), "xmpp1.example.test".to_owned()],
            &["127.0.0.1".parse().expect("an address")],
        )
        .expect("a component certificate");
        (dir, pki)
    }

    fn component(pki: &Pki) -> ComponentFiles {
        ComponentFiles {
            certificate: pki.path("component.crt"),
            key: pki.path("component.key"),
            chain: None,
            client_ca: None,
            domain: "example.test".to_owned(),
        }
    }

    #[test]
    fn a_node_accepts_what_is_issued_for_it() {
        let (_dir, pki) = made();
        let peer = PeerFiles {
            role: Some(PeerIdentity::node("xmpp1")),
            ..pki.issue_node("xmpp1").expect("a node certificate")
        };
        let files = TlsFiles {
            component: component(&pki),
            users: None,
            peer,
        };
        Tls::load(files).expect("the node takes them");
        let admin = pki.issue_admin().expect("an admin certificate");
        TlsClient::load(&admin).expect("the command line takes them");
    }

    #[test]
    fn the_public_certificate_is_no_identity_inside() {
        let (_dir, pki) = made();
        let peer = PeerFiles {
            certificate: pki.path("component.crt"),
            key: pki.path("component.key"),
            ca: pki.path("ca.crt"),
            role: Some(PeerIdentity::node("xmpp1")),
        };
        let files = TlsFiles {
            component: component(&pki),
            users: None,
            peer,
        };
        let faults = Tls::load(files).expect_err("the internal CA knows it not");
        assert_eq!(faults[0].key, "peer.certificate");
    }

    #[test]
    fn every_file_is_for_its_owner_alone() {
        let (_dir, pki) = made();
        pki.issue_node("xmpp1").expect("a node certificate");
        let mode = |path: &Path| {
            let found = std::fs::metadata(path).expect("it exists");
            found.permissions().mode() & 0o777
        };
        assert_eq!(mode(&pki.dir), 0o700);
        let files: Vec<_> = std::fs::read_dir(&pki.dir)
            .expect("the directory is ours")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        assert_eq!(files.len(), 6, "{files:?}");
        for file in files {
            assert_eq!(mode(&file), 0o600, "{}", file.display());
        }
    }
}

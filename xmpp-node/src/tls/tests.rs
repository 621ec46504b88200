//! Handshakes over a pipe in memory: who opens which port, and what a reload changes.

use std::sync::Arc;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_pem::certificates_of;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::test_pki::{Leaf, TestPki};
use super::*;
use xmpp_node_client::tls::NodeVerifier;

const DOMAIN: &str = "example.test";

/// Shakes hands, sends one byte each way; the server's view of the client's certificates.
async fn meet(
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    name: ServerName<'static>,
) -> Result<Option<PeerIdentity>, String> {
    let (near, far) = duplex(16 * 1024);
    let serve = async {
        let mut stream = TlsAcceptor::from(server)
            .accept(near)
            .await
            .map_err(|e| e.to_string())?;
        stream.write_all(b"s").await.map_err(|e| e.to_string())?;
        let read = stream.read_u8().await.map_err(|e| e.to_string())?;
        assert_eq!(read, b'c');
        Ok(PeerIdentity::of_peer(stream.get_ref().1.peer_certificates()).ok())
    };
    let connect = async {
        let mut stream = TlsConnector::from(client)
            .connect(name, far)
            .await
            .map_err(|e| e.to_string())?;
        // In TLS 1.3 a client learns only by reading whether its certificate was accepted.
        stream.read_u8().await.map_err(|e| e.to_string())?;
        stream.write_all(b"c").await.map_err(|e| e.to_string())
    };
    let (served, connected) = tokio::join!(serve, connect);
    connected.and(served)
}

async fn open(
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
) -> Result<Option<PeerIdentity>, String> {
    meet(server, client, unchecked_name()).await
}

/// A client that trusts any of our nodes and shows what `name` was issued, whatever that is.
fn client_of(pki: &TestPki, name: &str) -> Arc<ClientConfig> {
    let files = pki.client(name);
    let roots = Arc::new(certificates_of(&files.ca).into_iter().fold(
        RootCertStore::empty(),
        |mut roots, one| {
            roots.add(one).expect("a CA");
            roots
        },
    ));
    let key = rustls_pki_pem::key_of(&files.key);
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("safe defaults")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(NodeVerifier::new(roots, provider(), None)))
        .with_client_auth_cert(certificates_of(&files.certificate), key)
        .expect("certificate and key match");
    Arc::new(config)
}

mod rustls_pki_pem {
    use std::path::Path;

    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};

    pub(super) fn certificates_of(path: &Path) -> Vec<CertificateDer<'static>> {
        let all = CertificateDer::pem_file_iter(path).expect("the file is ours");
        all.collect::<Result<_, _>>().expect("PEM")
    }

    pub(super) fn key_of(path: &Path) -> PrivateKeyDer<'static> {
        PrivateKeyDer::from_pem_file(path).expect("the file is ours")
    }
}

#[tokio::test]
async fn nodes_meet_on_the_peer_port_under_their_names() {
    let pki = TestPki::new();
    let (one, two) = (
        Tls::load(pki.node("xmpp1", DOMAIN)),
        Tls::load(pki.node("xmpp2", DOMAIN)),
    );
    let (one, two) = (one.expect("good files"), two.expect("good files"));
    let seen = open(one.peer_server(), two.peer_client("xmpp1")).await;
    assert_eq!(seen, Ok(Some(PeerIdentity::node("xmpp2"))));
    let error = open(one.peer_server(), two.peer_client("xmpp3"))
        .await
        .expect_err("it is xmpp1");
    assert!(error.contains("xmpp-cluster:node/xmpp1"), "{error}");
}

#[tokio::test]
async fn operator_and_admin_open_the_admin_port_only() {
    let pki = TestPki::new();
    let tls = Tls::load(pki.node("xmpp1", DOMAIN)).expect("good files");
    for role in [Role::Operator, Role::Admin] {
        let identity = PeerIdentity {
            role,
            name: format!("{role:?}").to_lowercase(),
        };
        pki.issue_role("client", &identity);
        assert_eq!(
            open(tls.admin_server(), client_of(&pki, "client")).await,
            Ok(Some(identity))
        );
        open(tls.peer_server(), client_of(&pki, "client"))
            .await
            .expect_err("not a node");
    }
    pki.issue_role("client", &PeerIdentity::node("xmpp2"));
    assert!(
        open(tls.admin_server(), client_of(&pki, "client"))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_bridges_or_public_certificate_opens_neither_internal_port() {
    let pki = TestPki::new();
    let tls = Tls::load(pki.node("xmpp1", DOMAIN)).expect("good files");
    let node = PeerIdentity::node("xmpp2").uri();
    let operator = "xmpp-cluster:operator";
    let dns = &["xmpp2.example.test"];
    pki.issue(
        "no-role",
        &Leaf {
            dns,
            ..Leaf::default()
        },
    );
    pki.issue(
        "foreign-uri",
        &Leaf {
            dns,
            uris: &["spiffe://cluster/node/xmpp2"],
            ..Leaf::default()
        },
    );
    pki.issue(
        "unknown-role",
        &Leaf {
            uris: &["xmpp-cluster:bridge/cb1"],
            ..Leaf::default()
        },
    );
    pki.issue(
        "bad-name",
        &Leaf {
            uris: &["xmpp-cluster:node/"],
            ..Leaf::default()
        },
    );
    pki.issue(
        "two-roles",
        &Leaf {
            uris: &[&node, operator],
            ..Leaf::default()
        },
    );
    pki.issue(
        "expired",
        &Leaf {
            uris: &[&node],
            until: 2000,
            ..Leaf::default()
        },
    );
    pki.issue_foreign(
        "other-ca",
        &Leaf {
            uris: &[&node],
            ..Leaf::default()
        },
    );
    for name in [
        "no-role",
        "foreign-uri",
        "unknown-role",
        "bad-name",
        "two-roles",
        "expired",
        "other-ca",
    ] {
        for server in [tls.peer_server(), tls.admin_server()] {
            open(server, client_of(&pki, name)).await.expect_err(name);
        }
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_opens_neither_internal_port() {
    let pki = TestPki::new();
    let tls = Tls::load(pki.node("xmpp1", DOMAIN)).expect("good files");
    let roots = Arc::clone(&tls.peer.load().roots);
    let client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("safe defaults")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(NodeVerifier::new(roots, provider(), None)))
        .with_no_client_auth();
    let client = Arc::new(client);
    for server in [tls.peer_server(), tls.admin_server()] {
        open(server, Arc::clone(&client))
            .await
            .expect_err("no certificate");
    }
}

#[tokio::test]
async fn a_node_talks_to_no_server_that_is_not_a_node_of_its_ca() {
    let pki = TestPki::new();
    let mut files = pki.node("xmpp1", DOMAIN);
    let tls = Tls::load(files.clone()).expect("good files");
    pki.issue_role(
        "operator",
        &PeerIdentity {
            role: Role::Operator,
            name: "operator".to_owned(),
        },
    );
    files.peer = pki.client("operator");
    let operator = Tls::load(files).expect("good files");
    open(operator.admin_server(), tls.peer_client("operator"))
        .await
        .expect_err("not a node");
    let other = TestPki::new();
    let foreign = Tls::load(other.node("xmpp1", DOMAIN)).expect("good files");
    open(foreign.peer_server(), tls.peer_client("xmpp1"))
        .await
        .expect_err("another CA");
}

#[tokio::test]
async fn components_see_the_new_certificate_after_a_reload_and_the_old_one_after_a_failed_reload() {
    let pki = TestPki::new();
    let tls = Tls::load(pki.node("xmpp1", DOMAIN)).expect("good files");
    let server = tls.component_server();
    let mut roots = RootCertStore::empty();
    roots
        .add(certificates_of(&pki.path("ca.crt")).remove(0))
        .expect("a CA");
    let client = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("safe defaults")
        .with_root_certificates(roots)
        .with_no_client_auth();
    let client = Arc::new(client);
    let name = || ServerName::try_from(DOMAIN).expect("a name");
    assert_eq!(
        meet(Arc::clone(&server), Arc::clone(&client), name()).await,
        Ok(None)
    );
    assert_eq!(tls.reload(), Ok(false));

    let before = tls.component_status();
    pki.issue(
        "xmpp1-component",
        &Leaf {
            dns: &["*.example.test", DOMAIN],
            ..Leaf::default()
        },
    );
    assert_eq!(tls.reload(), Ok(true));
    let after = tls.component_status();
    assert_ne!(before.serial, after.serial);
    assert_eq!(
        meet(Arc::clone(&server), Arc::clone(&client), name()).await,
        Ok(None)
    );

    pki.issue(
        "xmpp1-component",
        &Leaf {
            dns: &["other.test"],
            ..Leaf::default()
        },
    );
    let faults = tls.reload().expect_err("not valid for the domain");
    assert_eq!(faults[0].key, "component.certificate");
    assert_eq!(tls.reload_failures(), 1);
    assert_eq!(tls.component_status(), after);
    assert_eq!(meet(server, client, name()).await, Ok(None));
}

#[tokio::test]
async fn a_replaced_ca_is_in_force_for_the_next_connection() {
    let pki = TestPki::new();
    let tls = Tls::load(pki.node("xmpp1", DOMAIN)).expect("good files");
    pki.issue_role("old", &PeerIdentity::node("xmpp2"));
    let old = client_of(&pki, "old");
    assert!(open(tls.peer_server(), Arc::clone(&old)).await.is_ok());

    let next = TestPki::new();
    next.node("xmpp1", DOMAIN);
    next.issue_role("new", &PeerIdentity::node("xmpp2"));
    for file in ["ca.crt", "xmpp1.crt", "xmpp1.key"] {
        pki.write(
            file,
            &std::fs::read_to_string(next.path(file)).expect("issued"),
        );
    }
    assert_eq!(tls.reload(), Ok(true));
    open(tls.peer_server(), old)
        .await
        .expect_err("its CA is gone");
    assert!(
        open(tls.peer_server(), client_of(&next, "new"))
            .await
            .is_ok()
    );
}

#[test]
fn a_certificate_that_serves_clients_only_is_refused_for_a_node() {
    let pki = TestPki::new();
    let files = pki.node("xmpp1", DOMAIN);
    let uri = PeerIdentity::node("xmpp1").uri();
    pki.issue(
        "xmpp1",
        &Leaf {
            uris: &[&uri],
            client_only: true,
            ..Leaf::default()
        },
    );
    let faults = Tls::load(files).expect_err("a node is a server too");
    assert_eq!(faults[0].key, "peer.certificate");
    assert!(TlsClient::load(&pki.client("xmpp1")).is_ok());
}

#[test]
fn a_ca_of_bridges_or_users_that_is_none_is_named_by_its_key() {
    let pki = TestPki::new();
    pki.write("nothing.crt", "no certificate");
    let mut files = pki.node("xmpp1", DOMAIN);
    files.users = Some(pki.path("nothing.crt"));
    files.component.client_ca = Some(pki.path("missing.crt"));
    let faults = Tls::load(files).expect_err("neither is one");
    let keys: Vec<_> = faults.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(keys, ["component.client_ca", "clients.client_ca"]);
}

#[test]
fn a_ca_of_users_is_taken_up_when_its_file_changes() {
    let pki = TestPki::new();
    pki.write(
        "users.crt",
        &std::fs::read_to_string(pki.path("ca.crt")).expect("a CA"),
    );
    let mut files = pki.node("xmpp1", DOMAIN);
    files.users = Some(pki.path("users.crt"));
    let tls = Tls::load(files).expect("good files");
    assert!(!tls.reload().expect("nothing changed"));
    let other = TestPki::new();
    let ca = std::fs::read_to_string(other.path("ca.crt")).expect("a CA");
    pki.write("users.crt", &ca);
    assert!(tls.reload().expect("another CA is as good"));
}

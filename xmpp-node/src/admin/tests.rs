//! The whole way: client, wire, server, control; and what is refused or bounded.

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixStream};
use tokio::task::JoinHandle;
use xmpp_node_api::address::HostPort;
use xmpp_node_api::admin::{ErrorCode, Member, Secret};
use xmpp_node_api::status::NodeId;

use super::test_control::{TestControl, status};
use super::*;
use crate::tls::test_pki::{Leaf, TestPki};
use crate::tls::{PeerIdentity, Role, TlsClient};
use xmpp_node_client::admin::{AdminClient, ClientError, Endpoint};

struct OnSocket {
    dir: tempfile::TempDir,
    control: Arc<TestControl>,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl OnSocket {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let listener = listen::socket(&dir.path().join("admin.sock"))
            .await
            .expect("a free path");
        let (control, stop) = (Arc::new(TestControl::default()), CancellationToken::new());
        let task = tokio::spawn(serve_socket(listener, control.clone(), stop.clone()));
        Self {
            dir,
            control,
            stop,
            task,
        }
    }

    fn client(&self) -> AdminClient {
        AdminClient::new(Endpoint::Socket(self.dir.path().join("admin.sock")))
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.dir.path().join("admin.sock"))
            .await
            .expect("it listens")
    }

    async fn raw(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream
            .write_all(request.as_bytes())
            .await
            .expect("it reads");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .await
            .expect("it answers and closes");
        answer
    }

    async fn post(&self, path: &str, body: &str) -> String {
        let length = body.len();
        self.raw(&format!(
            "POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
        .await
    }
}

#[tokio::test]
async fn every_request_reaches_the_control_and_its_answer_comes_back() {
    let server = OnSocket::start().await;
    let client = server.client();
    let name = || "cb1".to_owned();
    let requests = [
        Request::Status {},
        Request::Initialize {
            cluster_id: "c1".into(),
        },
        Request::AddLearner {
            id: NodeId(9),
            name: name(),
            peer: status().address,
        },
        Request::ChangeVoters {
            ids: [NodeId(1), NodeId(u64::MAX)].into(),
        },
        Request::RemoveMember {
            member: Member::Name("xmpp2".into()),
        },
        Request::MayRestart {
            name: "xmpp2".into(),
        },
        Request::Drain { on: true },
        Request::PutBridge {
            name: name(),
            secret: Some(Secret::new("mine".into())),
        },
        Request::RotateBridge {
            name: name(),
            secret: None,
        },
        Request::RetireSecret {
            name: name(),
            generation: 1,
        },
        Request::RemoveBridge { name: name() },
        Request::ListBridges { reveal: true },
        Request::Reload {},
    ];
    for request in &requests {
        let answer = client.call(request).await.expect("the control says yes");
        let direct = TestControl::default().call(request.clone()).await;
        assert_eq!(Ok(answer), direct, "{request:?}");
    }
    assert_eq!(
        *server.control.asked.lock().expect("nobody panicked"),
        requests
    );
    assert_eq!(
        client.status().await.expect("the control says yes"),
        status()
    );
}

#[tokio::test]
async fn a_refusal_comes_back_with_code_fix_and_leader() {
    let server = OnSocket::start().await;
    let refused = server
        .client()
        .call(&Request::TransferLeader { to: None })
        .await;
    let Err(ClientError::Refused(error)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(error.code, ErrorCode::NotLeader);
    assert_eq!(error.leader.expect("it is known").name, "xmpp1");
    assert_eq!(error.fix.as_deref(), Some("ask xmpp1"));
}

#[tokio::test]
async fn curl_may_get_the_status_and_post_nothing_for_a_request_without_fields() {
    let server = OnSocket::start().await;
    let got = server
        .raw("GET /v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{got}");
    assert!(got.contains("cache-control: no-store"), "{got}");
    assert!(got.contains(r#""cluster_id":"c1""#), "{got}");
    let posted = server.post("/v1/reload", "").await;
    assert!(posted.ends_with("\r\n\r\n{}"), "{posted}");
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_its_reason() {
    let server = OnSocket::start().await;
    for (path, body, status, reason) in [
        ("/v1/explode", "{}", 404, "no request is named"),
        ("/v2/status", "{}", 404, "no such path"),
        ("/v1/drain", "{", 400, "not JSON"),
        ("/v1/drain", "{},\"reload\":{}", 400, "not JSON"),
        ("/v1/drain", "{}", 400, r#":"on: is missing"#),
        ("/v1/drain", "", 400, r#":"on: is missing"#),
        ("/v1/drain", r#"{"on":1}"#, 400, r#":"on: invalid type"#),
        (
            "/v1/drain",
            r#"{"on":true,"on":false}"#,
            400,
            r#":"on: is there twice"#,
        ),
        (
            "/v1/drain",
            r#"{"on":true,"force":true}"#,
            400,
            r#":"force: unknown field"#,
        ),
        ("/v1/drain", "[]", 400, "must be an object"),
        (
            "/v1/remove_member",
            r#"{"member":{"id":7}}"#,
            400,
            r#":"member.id: invalid type"#,
        ),
        (
            "/v1/change_voters",
            r#"{"ids":[1]}"#,
            400,
            r#":"ids[0]: invalid type"#,
        ),
        (
            "/v1/put_bridge",
            &format!(r#"{{"name":"{}"}}"#, "x".repeat(70_000)),
            400,
            "larger than 65536",
        ),
    ] {
        let answer = server.post(path, body).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{path}: {answer}"
        );
        assert!(answer.contains(reason), "{path}: {answer}");
    }
    assert!(
        server
            .control
            .asked
            .lock()
            .expect("nobody panicked")
            .is_empty()
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_never_fulfilled_times_out() {
    let control: Arc<dyn Control> = Arc::new(TestControl::default());
    let (near, mut far) = tokio::io::duplex(4096);
    let serving = hyper::server::conn::http1::Builder::new().serve_connection(
        hyper_util::rt::TokioIo::new(near),
        hyper_util::service::TowerToHyperService::new(
            routes::router(control).layer(axum::Extension(Caller::Socket)),
        ),
    );
    let asking = async {
        let body = r#"{"address":"xmpp1:7222"}"#;
        let head = "POST /v1/join HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
        let text = format!("{head}content-length: {}\r\n\r\n{body}", body.len());
        far.write_all(text.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        far.read_to_string(&mut answer).await.expect("it answers");
        answer
    };
    let (_, answer) = tokio::join!(serving, asking);
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    assert!(answer.contains(r#""code":"timeout""#), "{answer}");
}

#[tokio::test]
async fn the_socket_is_for_its_owner_and_replaces_a_dead_one_only() {
    let server = OnSocket::start().await;
    let path = server.dir.path().join("admin.sock");
    let mode = std::fs::metadata(&path)
        .expect("it exists")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let error = listen::socket(&path).await.expect_err("someone listens");
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    server.stop.cancel();
    server.task.await.expect("it ends by itself");
    assert!(
        listen::socket(&path).await.is_ok(),
        "the socket left behind is replaced"
    );
    std::fs::write(server.dir.path().join("file"), "").expect("the directory is ours");
    assert!(
        listen::socket(&server.dir.path().join("file"))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn those_who_only_hold_connections_keep_nobody_out() {
    let server = OnSocket::start().await;
    let mut held = Vec::new();
    // Half of them never say anything, half of them go on after an answer.
    for number in 0..2 * http::MAX_CONNECTIONS {
        let mut stream = server.connect().await;
        if number % 2 == 0 {
            let request = b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n";
            stream.write_all(request).await.expect("it reads");
            let mut first = [0; 12];
            stream.read_exact(&mut first).await.expect("it answers");
        }
        held.push(stream);
    }
    for _ in 0..3 {
        server.client().status().await.expect("it is served");
    }
    let mut ended = Vec::new();
    held[1]
        .read_to_end(&mut ended)
        .await
        .expect("it gave its place up");
}

#[tokio::test]
async fn a_stop_ends_idle_connections_and_the_listener() {
    let server = OnSocket::start().await;
    let mut idle = server.connect().await;
    idle.write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .expect("it reads");
    let mut first = [0; 12];
    idle.read_exact(&mut first).await.expect("it answers");
    server.stop.cancel();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.expect("it closes");
    let client = server.client();
    server.task.await.expect("it ends by itself");
    assert!(matches!(
        client.status().await,
        Err(ClientError::Unreachable { .. })
    ));
}

#[tokio::test]
async fn over_tls_each_role_is_served_and_nobody_else() {
    let pki = TestPki::new();
    let tls = Arc::new(Tls::load(pki.node("xmpp1", "example.test")).expect("good files"));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener
        .local_addr()
        .expect("it is bound")
        .to_string()
        .parse()
        .expect("an address");
    let stop = CancellationToken::new();
    let control = Arc::new(TestControl::default());
    tokio::spawn(serve_tls(listener, Arc::clone(&tls), control, stop.clone()));
    let ask = |config| {
        let client = AdminClient::new(Endpoint::Tls {
            address: HostPort::clone(&address),
            config,
        });
        async move { client.status().await }
    };
    for role in [Role::Operator, Role::Admin, Role::Node] {
        let name = format!("{role:?}").to_lowercase();
        pki.issue_role("client", &PeerIdentity { role, name });
        let client = TlsClient::load(&pki.client("client")).expect("a good certificate");
        assert_eq!(
            ask(client.config(Some("xmpp1")))
                .await
                .expect("the role is good"),
            status()
        );
        assert!(ask(client.config(None)).await.is_ok());
        let error = ask(client.config(Some("xmpp2")))
            .await
            .expect_err("it is xmpp1");
        assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    }
    pki.issue(
        "bridge",
        &Leaf {
            dns: &["cb1.example.test"],
            ..Leaf::default()
        },
    );
    let faults = TlsClient::load(&pki.client("bridge")).expect_err("it bears no role");
    assert_eq!(faults[0].key, "certificate");
    stop.cancel();
}

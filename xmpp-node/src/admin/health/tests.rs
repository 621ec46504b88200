//! The metrics port over the wire.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

#[tokio::test]
async fn health_is_told_without_tls() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let (ready, readiness) = tokio::sync::watch::channel(Readiness {
        ok: true,
        reason: String::new(),
    });
    let health = Health {
        ready: Arc::new(move || readiness.borrow().clone()),
        metrics: Arc::new(|| "# EOF\n".to_owned()),
    };
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve(listener, health, stop.clone()));
    let get = async |path: &str| {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        let text = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(text.as_bytes()).await.expect("it reads");
        let mut answer = String::new();
        stream
            .read_to_string(&mut answer)
            .await
            .expect("it answers");
        answer
    };
    assert!(get("/livez").await.starts_with("HTTP/1.1 200 "));
    assert!(get("/readyz").await.starts_with("HTTP/1.1 200 "));
    ready.send_replace(Readiness {
        ok: false,
        reason: "no quorum: 1 of 2 votes".to_owned(),
    });
    let answer = get("/readyz").await;
    assert!(
        answer.starts_with("HTTP/1.1 503 ") && answer.ends_with("no quorum: 1 of 2 votes\n"),
        "{answer}"
    );
    let metrics = get("/metrics").await;
    assert!(
        metrics.contains("application/openmetrics-text; version=1.0.0"),
        "{metrics}"
    );
    assert!(get("/v1/status").await.starts_with("HTTP/1.1 404 "));
    stop.cancel();
    task.await.expect("it ends by itself");
}

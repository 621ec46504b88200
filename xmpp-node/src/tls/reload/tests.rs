//! Files that change while a node runs.

use super::*;
use crate::tls::test_pki::{Leaf, TestPki};

const DOMAIN: &str = "example.test";

#[tokio::test(start_paused = true)]
async fn a_renewed_certificate_is_found_by_looking_again() {
    let pki = TestPki::new();
    let tls = Arc::new(Tls::load(pki.node("xmpp1", DOMAIN)).expect("good files"));
    let (looked, mut looks) = tokio::sync::mpsc::unbounded_channel();
    let stop = CancellationToken::new();
    let report = move |tls: &Tls| {
        let _ = looked.send((tls.component_status().serial, tls.reload_failures()));
    };
    let watching = tokio::spawn(watch(Arc::clone(&tls), report, stop.clone()));
    let first = looks.recv().await.expect("it looks at once");

    pki.write("xmpp1.key", "?");
    assert_eq!(
        looks.recv().await,
        Some((first.0.clone(), 1)),
        "the old one stays, the failure is counted"
    );

    pki.node("xmpp1", DOMAIN);
    let renewed = looks.recv().await.expect("it looks on");
    assert_ne!(renewed.0, first.0);
    assert_eq!(renewed.1, 1);
    stop.cancel();
    watching
        .await
        .expect("it does not panic")
        .expect("it ends by itself");
}

/// As a kubelet does it: the files of a volume are links through `..data`, and that link is replaced by another one.
#[test]
fn files_behind_a_link_that_was_swapped_are_found() {
    use std::os::unix::fs::symlink;
    let pki = TestPki::new();
    let issued = pki.node("xmpp1", DOMAIN);
    let publish = |version: &str| {
        let dir = pki.path(version);
        std::fs::create_dir(&dir).expect("a directory");
        std::fs::copy(&issued.component.certificate, dir.join("tls.crt")).expect("a copy");
        std::fs::copy(&issued.component.key, dir.join("tls.key")).expect("a copy");
        symlink(version, pki.path("..new")).expect("a link");
        std::fs::rename(pki.path("..new"), pki.path("..data")).expect("swapped");
    };
    publish("first");
    for file in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{file}"), pki.path(file)).expect("a link");
    }
    let mut mounted = issued.clone();
    mounted.component.certificate = pki.path("tls.crt");
    mounted.component.key = pki.path("tls.key");
    let tls = Tls::load(mounted).expect("good files");
    let before = tls.component_status().serial;
    let leaf = Leaf {
        dns: &[DOMAIN],
        ..Leaf::default()
    };
    pki.issue("xmpp1-component", &leaf);
    assert_eq!(tls.reload(), Ok(false), "it is not published yet");
    publish("second");
    assert_eq!(tls.reload(), Ok(true));
    assert_ne!(tls.component_status().serial, before);
}

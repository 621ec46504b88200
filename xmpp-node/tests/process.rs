//! The two binaries as processes: what they print and how they exit.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};

fn node(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xmpp-node"));
    command
        .args(arguments)
        .env_remove("XMPP_CONFIG")
        .output()
        .expect("the binary was built")
}

fn xmpp(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xmpp"));
    command
        .args(arguments)
        .output()
        .expect("the binary was built")
}

/// A directory with a good configuration, `node.toml`.
fn good() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"));
    let ca = ca.expect("a CA signs itself");
    write(dir.path(), "ca.crt", &ca.pem());
    let uri = "xmpp-cluster:node/xmpp1"
        .try_into()
        .expect("a URI in ASCII");
    let names = [
        (
            "component",
            SanType::DnsName("example.test".try_into().expect("a name in ASCII")),
        ),
        ("peer", SanType::URI(uri)),
    ];
    for (file, name) in names {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::default();
        params.subject_alt_names.push(name);
        let certificate = params.signed_by(&key, &ca).expect("the CA signs");
        write(dir.path(), &format!("{file}.crt"), &certificate.pem());
        write(dir.path(), &format!("{file}.key"), &key.serialize_pem());
    }
    write(dir.path(), "node.toml", CONFIG);
    dir
}

fn write(dir: &Path, file: &str, content: &str) {
    std::fs::write(dir.join(file), content).expect("the directory is ours");
}

fn path(dir: &tempfile::TempDir) -> String {
    dir.path().join("node.toml").display().to_string()
}

#[test]
fn check_says_that_a_good_configuration_is_valid_and_changes_nothing() {
    let dir = good();
    let output = node(&["--check", "--config", &path(&dir)]);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "configuration is valid\n"
    );
    assert_eq!(output.status.code(), Some(0));
    assert!(!dir.path().join("data").exists());
}

#[test]
fn check_tells_every_fault_with_file_key_and_reason() {
    let dir = good();
    let config = CONFIG.replace("example.test\"", "example.com\"") + "[limits]\nmax_depth = 1\n";
    write(dir.path(), "node.toml", &config);
    write(dir.path(), "peer.key", "?");
    let output = node(&["--check", "--config", &path(&dir)]);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let keys = [
        "limits.max_depth: 1 is out of bounds",
        "component.certificate: ",
        "peer.key: ",
    ];
    for (line, key) in told.lines().zip(keys) {
        assert!(
            line.starts_with(&format!("{}: {key}", path(&dir))),
            "{key} in\n{told}"
        );
    }
    assert_eq!(told.lines().count(), keys.len(), "{told}");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_node_stops_when_whoever_started_it_is_gone() {
    let dir = good();
    let ports = "[admin]\nlisten = \"off\"\n[metrics]\nlisten = \"off\"\n";
    let config = CONFIG
        .replace("[component]", "[component]\nlisten = \"127.0.0.1:0\"")
        .replace("[peer]", "[peer]\nlisten = \"127.0.0.1:0\"");
    write(dir.path(), "node.toml", &(config + ports));
    let mut node = Command::new(env!("CARGO_BIN_EXE_xmpp-node"))
        .args(["--exit-with-parent", "--config", &path(&dir)])
        .env_remove("XMPP_CONFIG")
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built");
    let mut log = BufReader::new(node.stderr.take().expect("a pipe")).lines();
    let mut line = || log.next().expect("it goes on").expect("text");
    // Its first line: it runs, and its input is open.
    while !line().contains("name=\"xmpp1\"") {}
    assert!(node.try_wait().expect("it is ours").is_none());
    drop(node.stdin.take());
    while !line().contains("standard input ended: stopping") {}
    let status = node.wait().expect("it is ours");
    assert_eq!(status.code(), Some(0));
}

#[test]
fn bad_usage_exits_with_2_and_version_with_0() {
    assert_eq!(node(&[]).status.code(), Some(2));
    assert_eq!(
        node(&["--config", "x", "--log-filter", "=,="])
            .status
            .code(),
        Some(2)
    );
    assert_eq!(xmpp(&["cluster", "explode"]).status.code(), Some(2));
    for output in [node(&["--version"]), xmpp(&["--version"])] {
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8_lossy(&output.stdout).contains(env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn a_node_that_is_not_there_exits_with_3() {
    let output = xmpp(&["--socket", "/nonexistent/admin.sock", "cluster", "status"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("Error: cannot reach the node"));
}

const CONFIG: &str = r#"
[node]
name = "xmpp1"
dir = "data"
[xmpp]
domain = "example.test"
[component]
certificate = "component.crt"
key = "component.key"
[peer]
advertise = "xmpp1:7222"
certificate = "peer.crt"
key = "peer.key"
ca = "ca.crt"
"#;

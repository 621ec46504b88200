//! A good configuration loads; each bad one is refused with its key and reason.
//!
//! Length: one table of bad configurations.

use crate::tls::Role;
use crate::tls::test_pki::{Leaf, TestPki};

use secrecy::ExposeSecret;

use super::*;

const GOOD: &str = r#"
[node]
name = "xmpp1"
dir = "data"

[xmpp]
domain = "example.test"

[component]
certificate = "xmpp1-component.crt"
key = "xmpp1-component.key"

[peer]
advertise = "xmpp1.example.test:7222"
certificate = "xmpp1.crt"
key = "xmpp1.key"
ca = "ca.crt"
"#;

fn pki() -> TestPki {
    let pki = TestPki::new();
    pki.node("xmpp1", "example.test");
    pki
}

fn load(pki: &TestPki, text: &str) -> Result<Settings, SettingsError> {
    pki.write("node.toml", text);
    Settings::load(&pki.path("node.toml"))
}

/// Appends a key to a section, which is made if it does not exist yet.
fn with(section: &str, line: &str) -> String {
    let header = format!("[{section}]\n");
    match GOOD.contains(&header) {
        true => GOOD.replace(&header, &format!("{header}{line}\n")),
        false => format!("{GOOD}\n{header}{line}\n"),
    }
}

/// Replaces the value of a key that is in the good file.
fn instead(old: &str, new: &str) -> String {
    assert!(GOOD.contains(old), "{old}");
    GOOD.replacen(old, new, 1)
}

#[test]
fn a_good_file_gives_settings_with_paths_beside_it() {
    let pki = pki();
    let settings = load(&pki, GOOD).expect("the file is good");
    assert_eq!(settings.name, "xmpp1");
    assert_eq!(settings.dir, pki.path("data"));
    assert_eq!(settings.listen.socket, pki.path("data/admin.sock"));
    assert!(!settings.dir.exists(), "checking makes nothing");
}

#[test]
fn the_sealing_key_is_read_raw_or_in_hexadecimal_and_never_printed() {
    let pki = pki();
    pki.write("raw", &"k".repeat(32));
    pki.write("hex", &format!("{}\n", "6B".repeat(32)));
    for file in ["raw", "hex"] {
        let line = format!("sealing_key = \"{file}\"");
        let settings = load(&pki, &with("cluster", &line)).expect("the key is good");
        assert!(!format!("{settings:?}").contains("107, 107"), "{file}");
        let key = settings.sealing_key.expect("a key was named");
        assert_eq!(key.expose_secret(), &[b'k'; 32]);
    }
}

#[test]
fn each_bad_value_is_refused_with_its_key_and_reason() {
    let pki = pki();
    pki.write("empty", "");
    pki.write("short", "not a key");
    let table = [
        (
            with("node", "colour = 1"),
            "node.colour",
            "unknown field `colour`",
        ),
        (
            with("limits", "max_stanza = 1"),
            "limits.max_stanza",
            "unknown field `max_stanza`",
        ),
        (
            format!("{GOOD}\n[federation]\n"),
            "federation",
            "unknown field `federation`",
        ),
        (
            instead("name = \"xmpp1\"\n", ""),
            "node",
            "missing field `name`",
        ),
        (
            instead("ca = \"ca.crt\"\n", ""),
            "peer",
            "missing field `ca`",
        ),
        (
            instead("\"xmpp1\"\ndir", "\"Xmpp_1\"\ndir"),
            "node.name",
            "1 to 63 bytes",
        ),
        (
            instead("\"xmpp1\"\ndir", "7\ndir"),
            "node.name",
            "invalid type: integer",
        ),
        (
            instead("\"data\"", "\"ca.crt\""),
            "node.dir",
            "is not a directory",
        ),
        (
            instead("\"data\"", "\"no/such/data\""),
            "node.dir",
            "parent directory does not exist",
        ),
        (
            instead("\"example.test\"", "\"example..test\""),
            "xmpp.domain",
            "must be a DNS name",
        ),
        (
            instead("\"example.test\"", "\"192.0.2.1\""),
            "xmpp.domain",
            "not an IP address",
        ),
        (
            with("component", "listen = \"5223\""),
            "component.listen",
            "invalid socket address",
        ),
        (
            with("component", "plain_listen = \"0.0.0.0:5275\""),
            "component.plain_listen",
            "loopback",
        ),
        (
            with("component", "chain = \"empty\""),
            "component.chain",
            "holds no certificate",
        ),
        (
            with("component", "chain = \"absent\""),
            "component.chain",
            "cannot be read",
        ),
        (
            with("peer", "listen = \"[::]:5223\""),
            "peer.listen",
            "taken by component.listen",
        ),
        (
            instead("test:7222", "test"),
            "peer.advertise",
            "the port is missing",
        ),
        (
            with("admin", "listen = \"on\""),
            "admin.listen",
            "nor \"off\"",
        ),
        (
            with("admin", &format!("socket = \"{}\"", "s".repeat(101))),
            "admin.socket",
            "longer than 100",
        ),
        (
            with("cluster", "id = \"a b\""),
            "cluster.id",
            "1 to 64 bytes",
        ),
        (
            with("cluster", "seeds = [\"xmpp2:0\"]"),
            "cluster.seeds",
            "1 to 65535",
        ),
        (
            with("cluster", "sealing_key = \"short\""),
            "cluster.sealing_key",
            "neither 32 bytes",
        ),
        (
            with("cluster", "sealing_key = \"absent\""),
            "cluster.sealing_key",
            "cannot be read",
        ),
        (
            with("limits", "max_stanza_bytes = 9999"),
            "limits.max_stanza_bytes",
            "10000 to 4194304",
        ),
        (
            with("limits", "max_depth = -1"),
            "limits.max_depth",
            "invalid value",
        ),
        (
            with("limits", "connections = 10"),
            "limits.unauthenticated",
            "at most limits.connections",
        ),
        (
            with("limits", "handshake_timeout = 10"),
            "limits.handshake_timeout",
            "invalid type",
        ),
        (
            with("timing", "heartbeat = \"50\""),
            "timing.heartbeat",
            "not a duration",
        ),
        (
            with("timing", "heartbeat = \"1ms\""),
            "timing.heartbeat",
            "must be 10ms to 5s",
        ),
        (
            with("timing", "election_min = \"300ms\""),
            "timing.election_max",
            "above timing.election_min",
        ),
        ("[node\n".to_owned(), "(file)", "line 1"),
    ];
    for (text, key, reason) in table {
        let error = load(&pki, &text).expect_err(reason);
        let found = error
            .faults
            .iter()
            .any(|fault| fault.key == key && fault.reason.contains(reason));
        assert!(found, "wanted {key} ({reason}), got {error}");
        let printed = error.to_string();
        assert!(
            printed.starts_with(&format!("{}: ", pki.path("node.toml").display())),
            "{printed}"
        );
    }
}

#[test]
fn each_bad_certificate_is_refused_with_its_key_and_reason() {
    let node = PeerIdentity::node("xmpp1").uri();
    let other = PeerIdentity::node("xmpp2").uri();
    let operator = PeerIdentity {
        role: Role::Operator,
        name: "operator".to_owned(),
    }
    .uri();
    let dns: &[&str] = &["example.test"];
    type Spoil<'a> = &'a dyn Fn(&TestPki);
    let copy = |pki: &TestPki, from: &str, to: &str| {
        std::fs::copy(pki.path(from), pki.path(to)).expect("both are ours");
    };
    let table: [(Spoil<'_>, &str, &str); 11] = [
        (
            &|p| copy(p, "xmpp1.key", "xmpp1-component.key"),
            "component.key",
            "does not match",
        ),
        (
            &|p| copy(p, "xmpp1-component.key", "xmpp1.key"),
            "peer.key",
            "does not match",
        ),
        (
            &|p| p.write("xmpp1.key", "?"),
            "peer.key",
            "holds no private key",
        ),
        (
            &|p| p.write("ca.crt", "?"),
            "peer.ca",
            "holds no certificate",
        ),
        (
            &|p| {
                p.issue(
                    "xmpp1-component",
                    &Leaf {
                        dns,
                        until: 2000,
                        ..Leaf::default()
                    },
                )
            },
            "component.certificate",
            "expired at 2000-01-01",
        ),
        (
            &|p| {
                p.issue(
                    "xmpp1-component",
                    &Leaf {
                        dns: &["other.test"],
                        ..Leaf::default()
                    },
                )
            },
            "component.certificate",
            "not valid for the domain example.test",
        ),
        (
            &|p| {
                p.issue(
                    "xmpp1",
                    &Leaf {
                        uris: &[&node],
                        until: 2000,
                        ..Leaf::default()
                    },
                )
            },
            "peer.certificate",
            "expired at",
        ),
        (
            &|p| {
                p.issue(
                    "xmpp1",
                    &Leaf {
                        dns,
                        ..Leaf::default()
                    },
                )
            },
            "peer.certificate",
            "bears no role",
        ),
        (
            &|p| {
                p.issue(
                    "xmpp1",
                    &Leaf {
                        uris: &[&other],
                        ..Leaf::default()
                    },
                )
            },
            "peer.certificate",
            "bears xmpp-cluster:node/xmpp2, not xmpp-cluster:node/xmpp1",
        ),
        (
            &|p| {
                p.issue(
                    "xmpp1",
                    &Leaf {
                        uris: &[&operator],
                        ..Leaf::default()
                    },
                )
            },
            "peer.certificate",
            "bears xmpp-cluster:operator",
        ),
        (
            &|p| {
                p.issue_foreign(
                    "xmpp1",
                    &Leaf {
                        uris: &[&node],
                        ..Leaf::default()
                    },
                )
            },
            "peer.certificate",
            "is not accepted by the CA",
        ),
    ];
    for (spoil, key, reason) in table {
        let pki = pki();
        spoil(&pki);
        let error = load(&pki, GOOD).expect_err(reason);
        let found = error
            .faults
            .iter()
            .any(|fault| fault.key == key && fault.reason.contains(reason));
        assert!(found, "wanted {key} ({reason}), got {error}");
    }
}

#[test]
fn all_faults_are_told_at_once() {
    let pki = pki();
    pki.write("xmpp1.key", "?");
    let text = with("limits", "max_depth = 1\nconnections = 0");
    let error = load(&pki, &text).expect_err("three faults at least");
    let keys = error
        .faults
        .iter()
        .map(|fault| fault.key.as_str())
        .collect::<Vec<_>>();
    for key in ["limits.max_depth", "limits.connections", "peer.key"] {
        assert!(keys.contains(&key), "{key} in {keys:?}");
    }
}

#[test]
fn a_file_that_is_not_there_is_told_by_its_name() {
    let error = Settings::load(Path::new("/nonexistent/node.toml")).expect_err("no such file");
    assert!(
        error
            .to_string()
            .starts_with("/nonexistent/node.toml: (file): cannot be read"),
        "{error}"
    );
}

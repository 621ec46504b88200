//! Defaults are within their own bounds; files are read strictly and written back alike.

use std::time::Duration;

use super::*;

const SMALL: &str = r#"
[node]
name = "xmpp1"
dir = "/var/lib/xmpp"
[xmpp]
domain = "example.test"
[component]
certificate = "component.crt"
key = "component.key"
[peer]
advertise = "xmpp1.example.test:7222"
certificate = "peer.crt"
key = "peer.key"
ca = "ca.crt"
"#;

fn small() -> Config {
    toml::from_str(SMALL).expect("the small file is complete")
}

#[test]
fn the_smallest_file_gets_the_documented_defaults_and_has_no_fault() {
    let config = small();
    assert_eq!(config.faults(), []);
    assert_eq!(config.component.listen.to_string(), "[::]:5223");
    assert_eq!(config.peer.listen.to_string(), "[::]:7222");
    assert_eq!(config.admin.listen, Some(any(8443)));
    assert_eq!(config.metrics.listen, Some(any(9090)));
    assert_eq!(config.limits.max_stanza_bytes, 262_144);
    assert_eq!(config.timing.heartbeat.as_millis(), 50);
}

#[test]
fn what_is_written_is_read_back_alike() {
    let mut config = small();
    config.admin.listen = None;
    config.component.plain_listen = Some("127.0.0.1:5275".parse().expect("an address"));
    config.cluster.seeds = vec!["xmpp2:7222".parse().expect("an address")];
    let text = toml::to_string(&config).expect("a configuration is plain data");
    assert!(text.contains("detach_timeout = \"30s\""), "{text}");
    assert!(text.contains("listen = \"off\""), "{text}");
    assert_eq!(
        toml::from_str::<Config>(&text).expect("what we wrote"),
        config
    );
}

#[test]
fn unknown_keys_are_refused_in_every_section() {
    for section in [
        "component",
        "peer",
        "admin",
        "metrics",
        "cluster",
        "limits",
        "timing",
    ] {
        let header = format!("[{section}]\n");
        let text = match SMALL.contains(&header) {
            true => SMALL.replace(&header, &format!("{header}colour = 1\n")),
            false => format!("{SMALL}{header}colour = 1\n"),
        };
        let error = toml::from_str::<Config>(&text).expect_err("colour is no key");
        assert!(
            error.message().contains("unknown field `colour`"),
            "{section}: {error}"
        );
    }
}

#[test]
fn each_bound_and_each_rule_is_found() {
    let with = |change: &dyn Fn(&mut Config)| {
        let mut config = small();
        change(&mut config);
        config
            .faults()
            .into_iter()
            .map(|fault| fault.key)
            .collect::<Vec<_>>()
    };
    let ms = Duration::from_millis;
    assert_eq!(
        with(&|c| c.limits.max_stanza_bytes = 9_999),
        ["limits.max_stanza_bytes"]
    );
    assert_eq!(
        with(&|c| c.limits.unauthenticated = 10_001),
        ["limits.unauthenticated"]
    );
    assert_eq!(
        with(&|c| c.limits.session_window_bytes = 20_000),
        ["limits.session_window_bytes"]
    );
    assert_eq!(
        with(&|c| c.limits.state_bytes = 2 << 20),
        ["limits.state_bytes"]
    );
    assert_eq!(
        with(&|c| c.timing.heartbeat = ms(80)),
        ["timing.election_min"]
    );
    assert_eq!(
        with(&|c| c.timing.election_max = ms(150)),
        ["timing.election_max"]
    );
    assert_eq!(with(&|c| c.timing.silence = ms(140)), ["timing.silence"]);
    assert_eq!(
        with(&|c| c.timing.quorum_grace = ms(1_000)),
        ["timing.quorum_grace"]
    );
    assert_eq!(
        with(&|c| c.timing.detach_timeout = ms(2_000)),
        ["timing.detach_timeout"]
    );
    assert_eq!(with(&|c| c.node.name = "Xmpp1".into()), ["node.name"]);
    assert_eq!(with(&|c| c.xmpp.domain = "-x.test".into()), ["xmpp.domain"]);
    assert_eq!(with(&|c| c.cluster.id = Some("a b".into())), ["cluster.id"]);
    assert_eq!(
        with(&|c| c.metrics.listen = Some(any(7222))),
        ["metrics.listen"]
    );
    assert_eq!(
        with(&|c| c.component.plain_listen = Some(any(5275))),
        ["component.plain_listen"]
    );
    assert_eq!(
        with(&|c| {
            c.component.plain_listen = Some(([127, 0, 0, 1], 5275).into());
            c.component.client_ca = Some("ca.crt".into());
        }),
        ["component.client_ca"]
    );
}

//! The members' configuration: one file a member, named for its pod, in one ConfigMap.

use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Map, Value, json};
use xmpp_node_api::config::{
    Admin, Clients, Component, Config, Limits, Metrics, Node, Peer, Timing, Xmpp,
};

use super::pods::{CERTIFICATE_DIR, DATA_DIR, NODE_CERTIFICATE_DIR};
use crate::cluster::Cluster;
use crate::names::{ADMIN_PORT, COMPONENT_PORT, METRICS_PORT, MOST_MEMBERS, PEER_PORT};

/// The ConfigMap, with a file for each member that there can ever be.
pub(super) fn config_map(cluster: &Cluster) -> anyhow::Result<Value> {
    let mut files = Map::new();
    for ordinal in 0..MOST_MEMBERS {
        let pod = cluster.names.pod(ordinal);
        let text = toml::to_string(&node(cluster, &pod)?)?;
        files.insert(format!("{pod}.toml"), text.into());
    }
    Ok(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": cluster.meta(&cluster.names.config()),
        "data": files,
    }))
}

/// A member's configuration.
pub(super) fn node(cluster: &Cluster, pod: &str) -> anyhow::Result<Config> {
    let listen = |port| (std::net::Ipv6Addr::UNSPECIFIED, port).into();
    let advertise = cluster.names.address(pod, PEER_PORT);
    let (limits, timing) = limits(cluster);
    Ok(Config {
        node: Node {
            name: pod.to_owned(),
            dir: format!("{DATA_DIR}/node").into(),
        },
        xmpp: Xmpp {
            domain: cluster.spec.domain.clone(),
        },
        clients: cluster.spec.serves_clients().then(Clients::default),
        component: Component {
            listen: listen(COMPONENT_PORT),
            certificate: format!("{CERTIFICATE_DIR}/tls.crt").into(),
            key: format!("{CERTIFICATE_DIR}/tls.key").into(),
            chain: None,
            plain_listen: None,
            client_ca: None,
        },
        peer: Peer {
            listen: listen(PEER_PORT),
            advertise: advertise.context("metadata.name: the member's name is too long for DNS")?,
            certificate: format!("{NODE_CERTIFICATE_DIR}/{pod}.crt").into(),
            key: format!("{NODE_CERTIFICATE_DIR}/{pod}.key").into(),
            ca: format!("{NODE_CERTIFICATE_DIR}/ca.crt").into(),
        },
        admin: Admin {
            listen: Some(listen(ADMIN_PORT)),
            socket: None,
        },
        metrics: Metrics {
            listen: Some(listen(METRICS_PORT)),
        },
        // Neither seeds nor id: members join when the operator says so, and an empty one takes the id that it is given.
        cluster: xmpp_node_api::config::Cluster::default(),
        limits,
        timing,
    })
}

fn limits(cluster: &Cluster) -> (Limits, Timing) {
    let (mut limits, mut timing) = (Limits::default(), Timing::default());
    let Some(asked) = &cluster.spec.limits else {
        return (limits, timing);
    };
    let set = |value: &mut usize, asked: Option<i64>| {
        // What does not fit is out of the CRD's bounds anyway.
        if let Some(asked) = asked.and_then(|asked| usize::try_from(asked).ok()) {
            *value = asked;
        }
    };
    set(&mut limits.max_stanza_bytes, asked.max_stanza_bytes);
    set(&mut limits.connections, asked.connections);
    set(
        &mut limits.session_queue_stanzas,
        asked.session_queue_stanzas,
    );
    set(&mut limits.session_queue_bytes, asked.session_queue_bytes);
    if let Some(seconds) = asked
        .detach_timeout_seconds
        .and_then(|s| u64::try_from(s).ok())
    {
        timing.detach_timeout = Duration::from_secs(seconds);
    }
    (limits, timing)
}

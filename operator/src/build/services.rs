//! Services: one by which members find each other, one that bridges look up, and one a member for bridges outside.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::crd::Expose;
use crate::names::{
    ADMIN_PORT, COMPONENT_PORT, COMPONENT_PORT_NAME, METRICS_PORT, PEER_PORT, SERVING,
};

/// The governing Service: names for pods, ready or not, since members must find each other to become ready.
pub(super) fn governing(cluster: &Cluster) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": cluster.meta(&cluster.names.governing()),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": true,
            "selector": cluster.names.selector(),
            "ports": [
                port("xmpp-peer", PEER_PORT),
                port("admin", ADMIN_PORT),
                port("metrics", METRICS_PORT),
            ],
        },
    })
}

/// The Service that bridges look up: SRV records of members that are ready. Headless, as a bridge chooses itself, and a
/// second choice must be another member.
pub(super) fn clients(cluster: &Cluster) -> Value {
    let mut selector = cluster.names.selector();
    selector.insert(SERVING.to_owned(), "true".to_owned());
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": cluster.meta(cluster.names.cluster()),
        "spec": {
            "clusterIP": "None",
            "selector": selector,
            "ports": [port(COMPONENT_PORT_NAME, COMPONENT_PORT)],
        },
    })
}

/// A Service for each member, if bridges outside are to reach them.
pub(super) fn outside(cluster: &Cluster, replicas: i32) -> Vec<Value> {
    let kind = match cluster.spec.exposed() {
        Expose::None => return Vec::new(),
        Expose::NodePort => "NodePort",
        Expose::LoadBalancer => "LoadBalancer",
    };
    let annotations = cluster
        .spec
        .expose
        .as_ref()
        .map(|expose| &expose.annotations);
    (0..replicas)
        .map(|ordinal| {
            let mut selector = cluster.names.selector();
            selector.insert(
                "statefulset.kubernetes.io/pod-name".to_owned(),
                cluster.names.pod(ordinal),
            );
            selector.insert(SERVING.to_owned(), "true".to_owned());
            let mut meta = cluster.meta(&cluster.names.outside(ordinal));
            if let Some(annotations) = annotations.filter(|annotations| !annotations.is_empty()) {
                meta["annotations"] = json!(annotations);
            }
            json!({
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": meta,
                "spec": {
                    "type": kind,
                    // Limits count addresses, so a member must see them; and one hop less.
                    "externalTrafficPolicy": "Local",
                    "selector": selector,
                    "ports": [port(COMPONENT_PORT_NAME, COMPONENT_PORT)],
                },
            })
        })
        .collect()
}

/// Lines for the zone of the XMPP domain: SRV records to the members' addresses outside, or to the Service inside.
#[must_use]
pub fn zone_lines(cluster: &Cluster, outside: &[(String, String, u16)]) -> Vec<String> {
    let domain = &cluster.spec.domain;
    let owner = format!("_{COMPONENT_PORT_NAME}._tcp.{domain}.");
    if cluster.spec.exposed() == Expose::None {
        return vec![format!("{owner} 60 IN CNAME {}.", cluster.names.srv())];
    }
    let mut lines = Vec::new();
    for (pod, host, port) in outside {
        let target = match host.parse::<std::net::IpAddr>() {
            Err(_) => host.trim_end_matches('.').to_owned(),
            Ok(ip) => {
                let target = format!("{pod}.{domain}");
                let kind = if ip.is_ipv4() { "A" } else { "AAAA" };
                lines.push(format!("{target}. 60 IN {kind} {ip}"));
                target
            }
        };
        lines.push(format!("{owner} 60 IN SRV 10 10 {port} {target}."));
    }
    lines
}

fn port(name: &str, number: u16) -> Value {
    json!({ "name": name, "port": number, "protocol": "TCP", "targetPort": number })
}

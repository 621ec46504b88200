//! Services: one by which members find each other, one that bridges and clients look up, and one a member for those outside.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::crd::Expose;
use crate::dns::Outside;
use crate::names::{ADMIN_PORT, METRICS_PORT, PEER_PORT, SERVING};

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
            "ports": public_ports(cluster),
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
                    "ports": public_ports(cluster),
                },
            })
        })
        .collect()
}

/// Lines for the zone of the XMPP domain: SRV records to the members' addresses outside, or to the Service inside.
#[must_use]
pub fn zone_lines(cluster: &Cluster, outside: &[Outside]) -> Vec<String> {
    let domain = &cluster.spec.domain;
    let ports = cluster.public_ports();
    let owner = |port: &str| format!("_{port}._tcp.{domain}.");
    if cluster.spec.exposed() == Expose::None {
        let line = |(port, _): &(&str, u16)| {
            format!(
                "{} 60 IN CNAME {}.",
                owner(port),
                cluster.names.srv_of(port)
            )
        };
        return ports.iter().map(line).collect();
    }
    let mut lines = Vec::new();
    for member in outside {
        let target = match member.host.parse::<std::net::IpAddr>() {
            Err(_) => member.host.trim_end_matches('.').to_owned(),
            Ok(ip) => {
                let target = format!("{}.{domain}", member.pod);
                let kind = if ip.is_ipv4() { "A" } else { "AAAA" };
                lines.push(format!("{target}. 60 IN {kind} {ip}"));
                target
            }
        };
        for (port, _) in &ports {
            if let Some(number) = member.port(port) {
                lines.push(format!(
                    "{} 60 IN SRV 10 10 {number} {target}.",
                    owner(port)
                ));
            }
        }
    }
    lines
}

fn public_ports(cluster: &Cluster) -> Vec<Value> {
    let ports = cluster.public_ports().into_iter();
    ports.map(|(name, number)| port(name, number)).collect()
}

fn port(name: &str, number: u16) -> Value {
    json!({ "name": name, "port": number, "protocol": "TCP", "targetPort": number })
}

//! Who may connect to whom: bridges and clients to their ports, members to each other, the operator to the admin port,
//! scrapers to the metrics port; members look names up, and connect to nobody else.
//!
//! Only a network plugin that enforces policies makes this true. Mutual TLS guards the two internal ports in any case.

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::names::{ADMIN_PORT, METRICS_PORT, PEER_PORT};

/// The policy of the members' pods.
pub(super) fn policy(cluster: &Cluster) -> Value {
    let members = json!([{ "podSelector": { "matchLabels": cluster.names.selector() } }]);
    let operator = json!([{
        "namespaceSelector": {
            "matchLabels": { "kubernetes.io/metadata.name": cluster.settings.namespace },
        },
        "podSelector": { "matchLabels": { "app.kubernetes.io/name": "xmpp-operator" } },
    }]);
    let public: Vec<Value> = cluster
        .public_ports()
        .into_iter()
        .map(|(_, number)| port(number))
        .collect();
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": cluster.meta(cluster.names.cluster()),
        "spec": {
            "podSelector": { "matchLabels": cluster.names.selector() },
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [
                { "ports": public },
                { "ports": [port(METRICS_PORT)] },
                { "ports": [port(PEER_PORT)], "from": members },
                { "ports": [port(ADMIN_PORT)], "from": operator },
            ],
            "egress": [
                { "ports": [port(PEER_PORT)], "to": members },
                { "ports": [port(53), { "protocol": "UDP", "port": 53 }] },
            ],
        },
    })
}

fn port(number: u16) -> Value {
    json!({ "protocol": "TCP", "port": number })
}

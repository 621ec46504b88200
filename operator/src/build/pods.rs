//! The StatefulSet and its disruption budget.
//!
//! `Parallel`, as members need each other to become ready and must come back together after a loss of all; `OnDelete`,
//! as only [`crate::plan`] knows which pod may go. The template names nothing that changes while members run: files in
//! volumes are read again by the node itself.

use serde_json::{Value, json};

use super::Facts;
use crate::cluster::Cluster;
use crate::crd::{PullPolicy, Quantities, Retention};
use crate::names::{ADMIN_PORT, METRICS_PORT, PEER_PORT, SERVING};

/// Where a member keeps its state.
pub(super) const DATA_DIR: &str = "/var/lib/xmpp";
/// Where its configuration is.
const CONFIG_DIR: &str = "/etc/xmpp/config";
/// Where the certificate is that bridges are shown.
pub(super) const CERTIFICATE_DIR: &str = "/etc/xmpp/certificate";
/// Where its internal certificate is.
pub(super) const NODE_CERTIFICATE_DIR: &str = "/etc/xmpp/node-certificates";
/// Hash of the configuration that a pod was made for.
const CONFIGURATION: &str = "xmppcluster.dev/configuration";
/// The user of the image; any that is not root would do.
const USER: i64 = 65532;
/// A planned stop takes `timing.stop_timeout`, 10 s; three times that before the process is killed.
const GRACE_SECONDS: i64 = 30;

/// At most one member is evicted at a time. One that is not ready may always go: readiness means a good member, so a
/// broken one holds up no drain.
pub(super) fn disruption_budget(cluster: &Cluster) -> Value {
    json!({
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": cluster.meta(cluster.names.cluster()),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": { "matchLabels": cluster.names.selector() },
        },
    })
}

/// The StatefulSet.
pub(super) fn stateful_set(cluster: &Cluster, facts: &Facts, configuration: &str) -> Value {
    let names = &cluster.names;
    let retained = match cluster.spec.retention() {
        Retention::Retain => "Retain",
        Retention::Delete => "Delete",
    };
    json!({
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": cluster.meta(names.cluster()),
        "spec": {
            "replicas": facts.replicas,
            "serviceName": names.governing(),
            "podManagementPolicy": "Parallel",
            "updateStrategy": { "type": "OnDelete" },
            // A member that left for good left its identity too: its volume is of no use any more.
            "persistentVolumeClaimRetentionPolicy": { "whenDeleted": retained, "whenScaled": "Delete" },
            "selector": { "matchLabels": names.selector() },
            "template": template(cluster, configuration),
            "volumeClaimTemplates": [claim(cluster, facts)],
        },
    })
}

fn claim(cluster: &Cluster, facts: &Facts) -> Value {
    let size = facts
        .claim_size
        .as_deref()
        .unwrap_or_else(|| cluster.spec.volume_size());
    let mut claim = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": { "name": "data", "labels": cluster.names.selector() },
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": { "requests": { "storage": size } },
        },
    });
    let storage = cluster.spec.storage.as_ref();
    if let Some(class) = storage.and_then(|storage| storage.storage_class_name.as_deref()) {
        claim["spec"]["storageClassName"] = class.into();
    }
    claim
}

fn template(cluster: &Cluster, configuration: &str) -> Value {
    let names = &cluster.names;
    let mut labels = names.labels();
    labels.insert(SERVING.to_owned(), "true".to_owned());
    let spread = |key: &str| {
        json!({
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": { "matchLabels": names.selector() },
        })
    };
    json!({
        // A node reads its configuration at its start alone, so another one makes the pod outdated.
        "metadata": { "labels": labels, "annotations": { CONFIGURATION: configuration } },
        "spec": {
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": USER,
                "runAsGroup": USER,
                "fsGroup": USER,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "topologySpreadConstraints": [
                spread("kubernetes.io/hostname"),
                spread("topology.kubernetes.io/zone"),
            ],
            "containers": [container(cluster)],
            "volumes": [
                { "name": "config", "configMap": { "name": names.config() } },
                {
                    "name": "certificate",
                    "secret": {
                        "secretName": names.certificate(),
                        "defaultMode": 0o440,
                    },
                },
                {
                    "name": "node-certificates",
                    "secret": { "secretName": names.node_certificates(), "defaultMode": 0o440 },
                },
            ],
        },
    })
}

fn container(cluster: &Cluster) -> Value {
    let probe = |path: &str, period: i32, failures: i32| {
        json!({
            "httpGet": { "path": path, "port": "metrics" },
            "periodSeconds": period,
            "timeoutSeconds": 2,
            "failureThreshold": failures,
        })
    };
    let port = |name: &str, number: u16| json!({ "name": name, "containerPort": number, "protocol": "TCP" });
    let mut ports: Vec<Value> = cluster
        .public_ports()
        .into_iter()
        .map(|(name, number)| port(name, number))
        .collect();
    ports.extend([
        port("xmpp-peer", PEER_PORT),
        port("admin", ADMIN_PORT),
        port("metrics", METRICS_PORT),
    ]);
    let mount =
        |name: &str, path: &str| json!({ "name": name, "mountPath": path, "readOnly": true });
    let pull = match cluster.spec.image_pull_policy {
        Some(PullPolicy::Always) => "Always",
        Some(PullPolicy::Never) => "Never",
        Some(PullPolicy::IfNotPresent) | None => "IfNotPresent",
    };
    json!({
        "name": "xmpp-node",
        "image": cluster.image(),
        "imagePullPolicy": pull,
        // What a node says before it ends is shown in the status.
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "args": ["--config", format!("{CONFIG_DIR}/$(POD_NAME).toml")],
        "env": [{ "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }],
        "ports": ports,
        "startupProbe": probe("/livez", 1, 60),
        "livenessProbe": probe("/livez", 5, 6),
        "readinessProbe": probe("/readyz", 1, 2),
        "resources": resources(cluster),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        },
        "volumeMounts": [
            { "name": "data", "mountPath": DATA_DIR },
            mount("config", CONFIG_DIR),
            mount("certificate", CERTIFICATE_DIR),
            mount("node-certificates", NODE_CERTIFICATE_DIR),
        ],
    })
}

fn resources(cluster: &Cluster) -> Value {
    let asked = cluster.spec.resources.clone().unwrap_or_default();
    let quantities = |asked: Option<Quantities>, cpu: Option<&str>, memory: &str| {
        let asked = asked.unwrap_or_default();
        let mut given = json!({ "memory": asked.memory.as_deref().unwrap_or(memory) });
        if let Some(cpu) = asked.cpu.as_deref().or(cpu) {
            given["cpu"] = cpu.into();
        }
        given
    };
    // No limit of CPU unless asked for: throttled, a member would miss heartbeats.
    json!({
        "requests": quantities(asked.requests, Some("100m"), "128Mi"),
        "limits": quantities(asked.limits, None, "1Gi"),
    })
}

//! What the operator may do at the API server, as the chart's Roles grant it.

/// A right: API group, resource, verbs.
pub type Right = (&'static str, &'static str, &'static [&'static str]);

/// In the namespaces that are watched.
pub const RIGHTS: &[Right] = &[
    ("xmppcluster.dev", "xmppclusters", &["list", "watch"]),
    ("xmppcluster.dev", "xmppclusters/status", &["patch"]),
    (
        "",
        "configmaps",
        &["create", "get", "list", "patch", "watch"],
    ),
    (
        "",
        "secrets",
        &["create", "delete", "get", "list", "patch", "watch"],
    ),
    (
        "",
        "services",
        &["create", "delete", "get", "list", "patch", "watch"],
    ),
    ("", "pods", &["delete", "get", "list", "patch", "watch"]),
    ("", "persistentvolumeclaims", &["delete", "list", "patch"]),
    (
        "apps",
        "statefulsets",
        &["create", "get", "list", "patch", "watch"],
    ),
    (
        "policy",
        "poddisruptionbudgets",
        &["create", "get", "list", "patch", "watch"],
    ),
    (
        "networking.k8s.io",
        "networkpolicies",
        &["create", "get", "list", "patch", "watch"],
    ),
    ("events.k8s.io", "events", &["create", "list", "patch"]),
];

/// In the namespace of the operator itself.
pub const OWN_RIGHTS: &[Right] = &[(
    "coordination.k8s.io",
    "leases",
    &["create", "get", "update"],
)];

/// Kinds that are read and written as plain data: kind, group, version, plural.
pub const KINDS: &[(&str, &str, &str, &str)] = &[
    ("ConfigMap", "", "v1", "configmaps"),
    ("Secret", "", "v1", "secrets"),
    ("Service", "", "v1", "services"),
    ("PersistentVolumeClaim", "", "v1", "persistentvolumeclaims"),
    ("StatefulSet", "apps", "v1", "statefulsets"),
    (
        "PodDisruptionBudget",
        "policy",
        "v1",
        "poddisruptionbudgets",
    ),
    (
        "NetworkPolicy",
        "networking.k8s.io",
        "v1",
        "networkpolicies",
    ),
];

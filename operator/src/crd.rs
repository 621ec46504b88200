//! The resource `XmppCluster`: what a user asks for ([`XmppClusterSpec`]), and what is ([`status`]).
//!
//! Whatever the API server can check it does: each string, list and number has bounds, and rules in CEL say what may
//! not change. What needs other objects is checked in a pass over the resource ([`crate::pass`]). The CRD is made of these types by `crdgen`.

mod bounds;
pub mod status;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::bounds::{BridgeLimitsSpec, LimitsSpec, Quantities, ResourcesSpec};

pub use self::status::XmppClusterStatus;

/// A resilient XMPP cluster for Call Bridges.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[kube(
    group = "xmppcluster.dev",
    version = "v1alpha1",
    kind = "XmppCluster",
    namespaced,
    status = "XmppClusterStatus",
    derive = "PartialEq",
    shortname = "xmc",
    category = "xmpp",
    selectable = ".spec.domain",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Domain", type_ = "string", json_path = ".spec.domain"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "Members", type_ = "string", json_path = ".status.votes"),
    printcolumn(name = "Leader", type_ = "string", json_path = ".status.leader"),
    printcolumn(name = "Bridges", type_ = "string", json_path = ".status.registered"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        priority = 1,
        json_path = ".status.conditions[?(@.type==\"Ready\")].message"
    ),
    validation = Rule::new("self.metadata.name.size() <= 40").message("metadata.name must have at most 40 characters, as names of pods and labels are made of it"),
    validation = Rule::new("!self.metadata.name.contains('.')").message("metadata.name must not contain '.', as it becomes a label of DNS names")
)]
#[cfg_attr(test, kube(cel))]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(
    validation = Rule::new("!has(oldSelf.storage) || !has(oldSelf.storage.storageClassName) || (has(self.storage) && has(self.storage.storageClassName) && self.storage.storageClassName == oldSelf.storage.storageClassName)").message("storage.storageClassName is immutable: volumes do not move between classes").field_path(".storage"),
    validation = Rule::new("quantity(has(self.storage) && has(self.storage.size) ? self.storage.size : '1Gi').compareTo(quantity(has(oldSelf.storage) && has(oldSelf.storage.size) ? oldSelf.storage.size : '1Gi')) >= 0").message("storage.size must not shrink: volumes only grow").field_path(".storage")
)]
pub struct XmppClusterSpec {
    /// The XMPP domain; a bridge's address is `<bridge>.<domain>`. A DNS name in lower case and ASCII form. Immutable.
    #[schemars(
        length(min = 1, max = 200),
        regex(
            pattern = r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$"
        )
    )]
    #[x_kube(
        validation = Rule::new("self == oldSelf").message("domain is immutable: certificates, addresses and the log are made for it; create another XmppCluster instead"),
        validation = Rule::new("!self.matches('^[0-9.]+$')").message("domain must be a DNS name, not an IP address")
    )]
    pub domain: String,

    /// Members: 1 (survives no failure), 3, 5 or 7. Default 3.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 7))]
    #[x_kube(validation = Rule::new("self in [1, 3, 5, 7]").message("replicas must be 1, 3, 5 or 7: an even number survives no more failures than the odd one below"))]
    pub replicas: i32,

    /// The bridges that may register; at most 256. Names are unique.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub bridges: Vec<BridgeSpec>,

    /// The members' volumes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<StorageSpec>,

    /// The certificate that bridges are shown. Default: one from a CA of the operator's own making.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec>,

    /// Whether bridges outside the cluster's network can connect. Default: no.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expose: Option<ExposeSpec>,

    /// XMPP clients beside the bridges. Default: none are served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<ClientsSpec>,

    /// CPU and memory of a member. Default: requests of 100m and 128Mi, a memory limit of 1Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourcesSpec>,

    /// Image of the members. Default: the one that belongs to the operator's version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub image: Option<String>,

    /// When the image is pulled. Default: `IfNotPresent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image_pull_policy: Option<PullPolicy>,

    /// Bounds of what grows; the same for all members. Defaults are the node's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsSpec>,

    /// Stops the operator from changing anything of this cluster; status goes on. The cluster runs on. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
}

/// A bridge that may register.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BridgeSpec {
    /// Name of the bridge, the first label of its address: `a-z`, `0-9` and `-`, at most 40 characters.
    #[schemars(
        length(min = 1, max = 40),
        regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$")
    )]
    pub name: String,

    /// A Secret of yours with the bridge's secret. Default: the operator makes the Secret `<cluster>-bridge-<name>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretKeyRef>,

    /// Bounds of this bridge beside those of the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<BridgeLimitsSpec>,
}

/// A key of a Secret in the same namespace. The operator reads it and never changes it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,
    /// Key in the Secret; its value has 1 to 1024 bytes. Default `secret`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: Option<String>,
}

/// A member's volume.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StorageSpec {
    /// Size; may grow where the storage class allows it, never shrink. Default `1Gi`, at least `64Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 32),
        regex(pattern = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$")
    )]
    #[x_kube(validation = Rule::new("quantity(self).compareTo(quantity('64Mi')) >= 0").message("storage.size must be at least 64Mi"))]
    pub size: Option<String>,
    /// Storage class; immutable. Default: the Kubernetes cluster's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub storage_class_name: Option<String>,
    /// What becomes of volumes, CA and sealing key when this resource is deleted. Default `Retain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub when_deleted: Option<Retention>,
}

/// What becomes of data.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Retention {
    /// It stays; a new resource of the same name continues with it.
    #[default]
    Retain,
    /// It goes.
    Delete,
}

/// Where the certificate that bridges are shown comes from: exactly one of the fields.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("has(self.generated) != has(self.secretRef)").message("tls must have exactly one of generated and secretRef"))]
pub struct TlsSpec {
    /// From a CA of the operator's own making, renewed in time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generated: Option<Generated>,
    /// From a Secret of type `kubernetes.io/tls`, such as cert-manager writes: `tls.crt`, `tls.key` and, for the
    /// Secrets of bridges, `ca.crt`. Read again when it changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<SecretRef>,
}

/// The operator's own CA; nothing to be said of it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
pub struct Generated {}

/// A Secret in the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(
        length(min = 1, max = 253),
        regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
    )]
    pub name: String,
}

/// XMPP clients; their users are made by `xmpp user add` in a member's pod.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientsSpec {
    /// Whether members serve clients: by STARTTLS on 5222, by TLS from the first byte on 5221, and wherever bridges are exposed.
    pub enabled: bool,
}

/// How bridges outside the cluster's network reach the members.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExposeSpec {
    /// One Service a member, of this type.
    #[serde(rename = "type")]
    pub kind: Expose,
    /// Annotations of those Services, such as a cloud's load balancer wants; at most 16.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub annotations: std::collections::BTreeMap<String, String>,
}

/// Kind of the Service of a member.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum Expose {
    /// None.
    None,
    /// A port of each Kubernetes node; the status gives the address of the one where the member runs.
    NodePort,
    /// A load balancer.
    LoadBalancer,
}

/// When an image is pulled.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum PullPolicy {
    /// At each start.
    Always,
    /// When the machine has it not.
    IfNotPresent,
    /// Never.
    Never,
}

impl XmppClusterSpec {
    /// Size of a member's volume.
    #[must_use]
    pub fn volume_size(&self) -> &str {
        let size = self
            .storage
            .as_ref()
            .and_then(|storage| storage.size.as_deref());
        size.unwrap_or("1Gi")
    }

    /// What becomes of data when the resource is deleted.
    #[must_use]
    pub fn retention(&self) -> Retention {
        let asked = self
            .storage
            .as_ref()
            .and_then(|storage| storage.when_deleted);
        asked.unwrap_or_default()
    }

    /// The user's own certificate, if there is one.
    #[must_use]
    pub fn tls_secret(&self) -> Option<&str> {
        let given = self.tls.as_ref()?.secret_ref.as_ref()?;
        Some(&given.name)
    }

    /// Whether members serve XMPP clients.
    #[must_use]
    pub fn serves_clients(&self) -> bool {
        self.clients.as_ref().is_some_and(|clients| clients.enabled)
    }

    /// How members are reached from outside.
    #[must_use]
    pub fn exposed(&self) -> Expose {
        self.expose
            .as_ref()
            .map_or(Expose::None, |expose| expose.kind)
    }
}

const fn three() -> i32 {
    3
}

#[cfg(test)]
mod tests;

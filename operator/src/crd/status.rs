//! What is: the status of an `XmppCluster`. All of it can be found out anew; nothing depends on what it says.
//!
//! No figure moves by itself (those are metrics), so a cluster at rest causes no writes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase", default)]
pub struct XmppClusterStatus {
    /// Generation of the spec that this status is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Pods that there should be now; differs from `spec.replicas` while members come or go.
    pub replicas: i32,
    /// Label selector of the members' pods.
    pub selector: String,
    /// Voters that are ready, of those wanted: `3/3`.
    pub votes: String,
    /// Name of the pod that leads; none without a quorum.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub leader: Option<String>,
    /// Bridges that are registered, of those wanted: `2/2`.
    pub registered: String,
    /// Id of the cluster, for life.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// What is true of the cluster; see the documentation of each type.
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// The next step of the operator, or what it waits for, and the evidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<PlanStatus>,
    /// The members, in the order of their ordinals.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<MemberStatus>,
    /// The bridges, sorted by name.
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bridges: Vec<BridgeStatus>,
    /// How bridges find the members.
    pub dns: DnsStatus,
}

/// The operator's next step.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct PlanStatus {
    /// The step, or `Wait`.
    pub step: String,
    /// Why, or what for.
    pub message: String,
}

/// A member.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct MemberStatus {
    /// Name of its pod.
    pub name: String,
    /// Raft identity, 16 hexadecimal digits; none if it does not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `Leader`, `Follower`, `Learner`, `Candidate`, `Uninitialized`, or `Unreachable`.
    pub role: String,
    /// It holds the log nearly to its end, as the leader says.
    pub caught_up: bool,
    /// It accepts stanzas.
    pub ready: bool,
    /// Version of its program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Serial number of the certificate that bridges are shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_serial: Option<String>,
    /// Serial number of the internal certificate in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer_certificate_serial: Option<String>,
    /// Address for bridges outside, `host:port`, if exposed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Why it is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A bridge.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct BridgeStatus {
    /// Its name.
    pub name: String,
    /// The Secret with what it needs to register.
    pub secret_name: String,
    /// `Registered`, `Detached` (its queue waits), `Absent`, or `Pending` (the cluster does not know it yet).
    pub state: String,
    /// The member that its stream is on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub registered_on: Option<String>,
    /// Since when.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Generation of its newest secret in the cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_generation: Option<i64>,
    /// Since when an older secret is accepted beside it; ends ten minutes later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotating_since: Option<String>,
    /// What is wrong with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// How bridges find the members.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", default)]
pub struct DnsStatus {
    /// Owner name of the SRV records inside the Kubernetes cluster.
    pub srv: String,
    /// Lines for the zone of the XMPP domain, for bridges that know only the domain.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub zone: Vec<String>,
}

/// The type of Kubernetes' own API has no schema; this is the one of its documentation.
fn conditions(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({
        "type": "array",
        "description": "What is true of the cluster.",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["lastTransitionTime", "message", "reason", "status", "type"],
            "properties": {
                "lastTransitionTime": { "type": "string", "format": "date-time" },
                "message": { "type": "string", "maxLength": 32768 },
                "observedGeneration": { "type": "integer", "format": "int64", "minimum": 0 },
                "reason": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 1024,
                    "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
                },
                "status": { "type": "string", "enum": ["True", "False", "Unknown"] },
                "type": { "type": "string", "maxLength": 316 },
            },
        },
    })
}

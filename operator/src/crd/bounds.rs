//! Bounds in the resource: of members, of what grows in them, of one bridge.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use xmpp_node_api::admin::BridgeLimits;

use super::BridgeSpec;

/// CPU and memory of a member, as Kubernetes quantities.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourcesSpec {
    /// What is reserved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Quantities>,
    /// What is not exceeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Quantities>,
}

/// CPU and memory.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct Quantities {
    /// CPU, such as `500m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[0-9]+(\.[0-9]+)?m?$"))]
    pub cpu: Option<String>,
    /// Memory, such as `256Mi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 32),
        regex(pattern = r"^[0-9]+(\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$")
    )]
    pub memory: Option<String>,
}

/// Bounds of what grows. See the node's configuration for what each means.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[x_kube(validation = Rule::new("(has(self.sessionQueueBytes) ? self.sessionQueueBytes : 16777216) >= 2 * (has(self.maxStanzaBytes) ? self.maxStanzaBytes : 262144)").message("limits.sessionQueueBytes must be at least twice limits.maxStanzaBytes"))]
pub struct LimitsSpec {
    /// Largest stanza in bytes. Default 262144.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 10_000, max = 1_048_576))]
    pub max_stanza_bytes: Option<i64>,
    /// Streams of all kinds at once, a member. Default 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1_000, max = 1_000_000))]
    pub connections: Option<i64>,
    /// Stanzas that wait for one bridge. Default 10000.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub session_queue_stanzas: Option<i64>,
    /// Bytes that wait for one bridge. Default 16777216.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 65_536, max = 268_435_456))]
    pub session_queue_bytes: Option<i64>,
    /// Seconds that a bridge without stream keeps its queue before its stanzas become errors. Default 30.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 5, max = 3_600))]
    pub detach_timeout_seconds: Option<i64>,
}

/// Bounds of one bridge.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BridgeLimitsSpec {
    /// Stanzas that are taken from it a second; it waits beyond that, and nothing is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub stanzas_per_second: Option<i64>,
    /// Bytes that are taken from it a second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1024, max = 1_073_741_824))]
    pub bytes_per_second: Option<i64>,
    /// Stanzas that may wait for it; no more than `limits.sessionQueueStanzas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub queue_stanzas: Option<i64>,
    /// Bytes that may wait for it; no more than `limits.sessionQueueBytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 65_536, max = 268_435_456))]
    pub queue_bytes: Option<i64>,
}

impl BridgeSpec {
    /// Its bounds, as members take them; what is out of the CRD's bounds counts as absent.
    #[must_use]
    pub fn bounds(&self) -> BridgeLimits {
        let Some(limits) = &self.limits else {
            return BridgeLimits::default();
        };
        let few = |value: Option<i64>| u32::try_from(value?).ok();
        let many = |value: Option<i64>| u64::try_from(value?).ok();
        BridgeLimits {
            stanzas_per_second: few(limits.stanzas_per_second),
            bytes_per_second: many(limits.bytes_per_second),
            queue_stanzas: few(limits.queue_stanzas),
            queue_bytes: many(limits.queue_bytes),
        }
    }
}

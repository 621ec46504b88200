//! From a cluster to the objects that it needs, as plain data. Pure: the same input gives the same output.
//!
//! [`objects`] gives them in the order in which they are applied: what pods mount comes before the pods. Secrets are in
//! [`crate::keyring`], as they need random numbers and the time.

mod config;
mod network;
mod pods;
mod services;

use serde_json::{Value, json};

use crate::api::hash;
use crate::cluster::Cluster;

pub use self::services::zone_lines;

/// What else the objects depend on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Pods that there should be now.
    pub replicas: i32,
    /// Size in the claim template of the StatefulSet that exists; it cannot be changed there.
    pub claim_size: Option<String>,
    /// The CA that bridges trust, PEM, if it is known.
    pub trust: Option<String>,
}

/// All objects but Secrets, in the order of their application.
///
/// # Errors
/// The configuration of a node cannot be written; names and limits that pass validation rule it out.
pub fn objects(cluster: &Cluster, facts: &Facts) -> anyhow::Result<Vec<Value>> {
    let config = config::config_map(cluster)?;
    let configuration = hash(&config["data"]);
    let mut objects = vec![config];
    objects.extend(facts.trust.as_ref().map(|trust| {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": cluster.meta(&cluster.names.trust()),
            "data": { "ca.crt": trust },
        })
    }));
    objects.push(services::governing(cluster));
    objects.push(services::clients(cluster));
    objects.extend(services::outside(cluster, facts.replicas));
    objects.push(network::policy(cluster));
    objects.push(pods::disruption_budget(cluster));
    objects.push(pods::stateful_set(cluster, facts, &configuration));
    Ok(objects)
}

#[cfg(test)]
pub(crate) mod tests;

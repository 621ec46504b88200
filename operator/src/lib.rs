//! The operator: an `XmppCluster` becomes a running, resilient XMPP cluster.
//!
//! In reading order: [`crd`] is what a user asks for; [`names`] and [`cluster`] are what everything else is told;
//! [`view`] is what a pass found out; [`plan`] decides the one next step; [`build`], [`keyring`] and [`bridges`] say what
//! there should be; [`trouble`], [`refusals`] and [`dns`] say what stands in the way, [`report`] all that is. These are pure,
//! but for the question that [`dns`] asks.
//!
//! The rest acts: [`api`] is the only way to the API server, [`nodes`] to the members; [`observe`] reads, [`pass`] is one
//! round from reading to reporting, [`controller`] says when there is one, [`lease`] which replica makes it.

pub mod api;
pub mod bridges;
pub mod build;
pub mod cluster;
pub mod controller;
#[expect(
    unreachable_pub,
    reason = "KubeSchema repeats each type inside a function"
)]
pub mod crd;
pub mod dns;
pub mod keyring;
pub mod lease;
pub mod metrics;
pub mod names;
pub mod nodes;
pub mod observe;
pub mod pass;
pub mod plan;
pub mod refusals;
pub mod report;
pub mod trouble;
pub mod view;

use kube::CustomResourceExt as _;

/// The CRD as YAML.
///
/// # Errors
/// It cannot be written, which a test rules out.
pub fn crd_yaml() -> anyhow::Result<String> {
    Ok(serde_saphyr::to_string(&crd::XmppCluster::crd())?)
}

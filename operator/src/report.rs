//! The status of a resource, made of what a pass found, and what is told of it by events. Pure; nothing in it moves by itself.

use std::collections::BTreeMap;

use jiff::Timestamp;
use xmpp_node_api::status::{BridgeState, NodeRole, NodeStatus};

use crate::build::zone_lines;
use crate::cluster::Cluster;
use crate::crd::status::{BridgeStatus, DnsStatus, MemberStatus, PlanStatus, XmppClusterStatus};
use crate::dns::{Finding, Outside};
use crate::keyring;
use crate::plan::Plan;
use crate::refusals::Refused;
use crate::view::{Group, Pod, View};

/// What a status is made of.
#[derive(Clone, Copy, Debug)]
pub struct Findings<'a> {
    /// The resource.
    pub cluster: &'a Cluster,
    /// What is known of its members.
    pub view: &'a View,
    /// The next step.
    pub plan: &'a Plan,
    /// What is wrong with the certificate that bridges are shown: reason and message.
    pub certificate: Option<&'a (&'static str, String)>,
    /// That this certificate ends soon.
    pub certificate_ends: Option<&'a String>,
    /// What keeps the cluster from accepting bridges, by name.
    pub bridges: &'a BTreeMap<String, String>,
    /// Bridges that members refuse, by name.
    pub refused: &'a BTreeMap<String, Refused>,
    /// What is wrong with volumes: reason and message.
    pub volumes: Option<&'a (&'static str, String)>,
    /// What DNS says, if it was asked.
    pub dns: Option<&'a Finding>,
    /// Since when two secrets of a bridge are accepted.
    pub rotating: &'a BTreeMap<String, Timestamp>,
    /// Where members are reached from outside.
    pub outside: &'a [Outside],
    /// The time, for conditions that change.
    pub now: Timestamp,
}

/// The status.
#[must_use]
pub fn status(found: &Findings<'_>, before: Option<&XmppClusterStatus>) -> XmppClusterStatus {
    let group = found.view.group();
    let leader = leader(found.view, group.as_ref());
    let members = members(found, group.as_ref());
    let bridges = bridges(found, leader);
    let good = members
        .iter()
        .filter(|member| member.ready && votes(&member.role))
        .count();
    let registered = bridges
        .iter()
        .filter(|bridge| bridge.state == "Registered")
        .count();
    let names = &found.cluster.names;
    XmppClusterStatus {
        observed_generation: Some(found.cluster.generation),
        replicas: found.plan.replicas,
        selector: names.selector_text(),
        votes: format!("{good}/{}", found.cluster.spec.replicas),
        leader: group.as_ref().map(|group| group.leader.clone()),
        registered: format!("{registered}/{}", found.cluster.spec.bridges.len()),
        cluster_id: found.view.record.id().map(str::to_owned),
        conditions: conditions::all(found, group.as_ref(), good, before),
        plan: Some(PlanStatus {
            step: found.plan.step.name().to_owned(),
            message: found.plan.why.clone(),
        }),
        members,
        bridges,
        dns: DnsStatus {
            srv: names.srv(),
            zone: zone_lines(found.cluster, found.outside),
        },
    }
}

/// The status of a pass that failed before it knew more: what was known stays, and a condition says why.
#[must_use]
pub fn failed(
    cluster: &Cluster,
    reason: &str,
    message: &str,
    before: Option<&XmppClusterStatus>,
    now: Timestamp,
) -> XmppClusterStatus {
    let mut status = before.cloned().unwrap_or_default();
    status.observed_generation = Some(cluster.generation);
    status.conditions = conditions::of_failure(cluster.generation, now, reason, message, before);
    status
}

/// What the leader says; bridges and members are told of by it alone, so that no two answers mix.
fn leader<'a>(view: &'a View, group: Option<&Group>) -> Option<&'a NodeStatus> {
    view.named(&group?.leader)?.node.as_ref()
}

fn votes(role: &str) -> bool {
    matches!(role, "Leader" | "Follower" | "Candidate")
}

fn members(found: &Findings<'_>, group: Option<&Group>) -> Vec<MemberStatus> {
    let last = found.plan.replicas.max(found.view.replicas);
    let member = |ordinal: i32| {
        let name = found.cluster.names.pod(ordinal);
        let pod = found.view.pod(ordinal);
        let node = pod.and_then(|pod| pod.node.as_ref());
        let role = match node.map(|node| node.role) {
            Some(NodeRole::Leader) => "Leader",
            Some(NodeRole::Follower) => "Follower",
            Some(NodeRole::Candidate) => "Candidate",
            Some(NodeRole::Learner) => "Learner",
            Some(NodeRole::Uninitialized) => "Uninitialized",
            None => "Unreachable",
        };
        let known = group.and_then(|group| group.member(&name));
        let address = found.outside.iter().find(|member| member.pod == name);
        MemberStatus {
            id: node.map(|node| node.id.to_string()),
            role: role.to_owned(),
            caught_up: known.is_some_and(|member| member.caught_up),
            ready: node.is_some_and(|node| node.ready.ok),
            version: node.map(|node| node.version.clone()),
            certificate_serial: node.map(|node| node.certificate.serial.clone()),
            peer_certificate_serial: node.map(|node| node.peer_certificate.serial.clone()),
            address: address
                .and_then(|member| Some(format!("{}:{}", member.host, member.component()?))),
            message: why_not_ready(pod),
            name,
        }
    };
    (0..last).map(member).collect()
}

fn why_not_ready(pod: Option<&Pod>) -> Option<String> {
    let Some(pod) = pod else {
        return Some("its pod is not there".to_owned());
    };
    if let Some(trouble) = &pod.trouble {
        return Some(format!("{}: {}", trouble.reason, trouble.message));
    }
    match &pod.node {
        Some(node) if node.ready.ok => None,
        Some(node) => Some(node.ready.reason.clone()),
        // Why exactly changes from try to try.
        None => Some("it does not answer".to_owned()),
    }
}

fn bridges(found: &Findings<'_>, leader: Option<&NodeStatus>) -> Vec<BridgeStatus> {
    let mut bridges: Vec<BridgeStatus> = found
        .cluster
        .spec
        .bridges
        .iter()
        .map(|spec| {
            let known =
                leader.and_then(|node| node.bridges.iter().find(|bridge| bridge.name == spec.name));
            let attached = known.and_then(|bridge| bridge.attached.as_ref());
            let generation = known.and_then(|bridge| bridge.secret_generations.last());
            BridgeStatus {
                name: spec.name.clone(),
                secret_name: keyring::secret_name(found.cluster, spec),
                state: match known.map(|bridge| bridge.state) {
                    None => "Pending",
                    Some(BridgeState::Attached) => "Registered",
                    Some(BridgeState::Detached) => "Detached",
                    Some(BridgeState::Absent) => "Absent",
                }
                .to_owned(),
                registered_on: attached.map(|at| at.node.clone()),
                since: attached.map(|at| at.since.to_string()),
                secret_generation: generation
                    .and_then(|generation| i64::try_from(*generation).ok()),
                rotating_since: found.rotating.get(&spec.name).map(ToString::to_string),
                last_error: match (found.bridges.get(&spec.name), found.refused.get(&spec.name)) {
                    (Some(fault), _) => Some(fault.clone()),
                    (None, refused) => refused.map(|refused| refused.message.clone()),
                },
            }
        })
        .collect();
    bridges.sort_by(|a, b| a.name.cmp(&b.name));
    bridges
}

mod conditions;
mod notices;
#[cfg(test)]
mod tests;

pub use self::notices::notices;

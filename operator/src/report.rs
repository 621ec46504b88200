//! The status of a resource, made of what a pass found. Pure; nothing in it moves by itself.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use xmpp_node_api::status::{BridgeState, NodeRole, NodeStatus};

use crate::build::zone_lines;
use crate::cluster::Cluster;
use crate::crd::status::{BridgeStatus, DnsStatus, MemberStatus, PlanStatus, XmppClusterStatus};
use crate::keyring;
use crate::plan::{Plan, Step, Waiting};
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
    /// What is wrong with bridges, by name.
    pub bridges: &'a BTreeMap<String, String>,
    /// Since when two secrets of a bridge are accepted.
    pub rotating: &'a BTreeMap<String, Timestamp>,
    /// Where members are reached from outside.
    pub outside: &'a [(String, String, u16)],
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
        conditions: conditions(found, group.as_ref(), good, before),
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
    let known = before
        .map(|before| before.conditions.clone())
        .unwrap_or_default();
    let mut conditions = Conditions {
        generation: cluster.generation,
        now,
        before,
        made: Vec::new(),
    };
    conditions.set("Reconciled", Some(false), reason, message);
    for kind in [
        "Ready",
        "Available",
        "Progressing",
        "Degraded",
        "CertificatesReady",
        "BridgesReady",
    ] {
        if !known.iter().any(|condition| condition.type_ == kind) {
            conditions.set(
                kind,
                None,
                "NotKnown",
                "the first pass over this resource failed",
            );
        }
    }
    let made = conditions.made;
    status
        .conditions
        .retain(|old| !made.iter().any(|new| new.type_ == old.type_));
    status.conditions.extend(made);
    status.conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
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
        let address = found.outside.iter().find(|(pod, ..)| *pod == name);
        MemberStatus {
            id: node.map(|node| node.id.to_string()),
            role: role.to_owned(),
            caught_up: known.is_some_and(|member| member.caught_up),
            ready: node.is_some_and(|node| node.ready.ok),
            version: node.map(|node| node.version.clone()),
            certificate_serial: node.map(|node| node.certificate.serial.clone()),
            peer_certificate_serial: node.map(|node| node.peer_certificate.serial.clone()),
            address: address.map(|(_, host, port)| format!("{host}:{port}")),
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
                last_error: found.bridges.get(&spec.name).cloned(),
            }
        })
        .collect();
    bridges.sort_by(|a, b| a.name.cmp(&b.name));
    bridges
}

fn conditions(
    found: &Findings<'_>,
    group: Option<&Group>,
    good: usize,
    before: Option<&XmppClusterStatus>,
) -> Vec<Condition> {
    let mut conditions = Conditions {
        generation: found.cluster.generation,
        now: found.now,
        before,
        made: Vec::new(),
    };
    let wanted = found.cluster.spec.replicas;
    let all_good = i32::try_from(good).is_ok_and(|good| good == wanted);
    let why = found.plan.why.as_str();
    let troubled = found
        .view
        .pods
        .iter()
        .find_map(|pod| Some((pod, pod.trouble.as_ref()?)));
    let (progress, reason) = match &found.plan.step {
        Step::Rest => (false, "AsDesired"),
        Step::Wait(waiting) => (*waiting != Waiting::Paused, waiting_reason(*waiting)),
        step => (true, step.name()),
    };
    conditions.set(
        "Reconciled",
        Some(true),
        "Reconciled",
        "the last pass ended without an error",
    );
    conditions.set("Progressing", Some(progress), reason, why);
    match group {
        Some(group) => {
            let message = format!("{} leads, a majority follows", group.leader);
            conditions.set("Available", Some(true), "QuorumHolds", &message);
        }
        None => conditions.set("Available", Some(false), "NoQuorum", why),
    }
    match found.certificate {
        Some((reason, message)) => {
            conditions.set("CertificatesReady", Some(false), reason, message)
        }
        None => conditions.set(
            "CertificatesReady",
            Some(true),
            "Valid",
            "certificates are valid for their use",
        ),
    }
    match found.bridges.iter().next() {
        Some((_, message)) => conditions.set("BridgesReady", Some(false), "BridgeFaulty", message),
        None if group.is_none() => conditions.set(
            "BridgesReady",
            None,
            "NoQuorum",
            "the cluster has no leader",
        ),
        None => conditions.set(
            "BridgesReady",
            Some(true),
            "Accepted",
            "the cluster accepts every bridge of the spec",
        ),
    }
    let lost = matches!(
        found.plan.step,
        Step::Wait(Waiting::Confirmation | Waiting::ForeignVolume | Waiting::Quorum)
    );
    match troubled {
        Some((pod, trouble)) => {
            let message = format!("{}: {}", pod.name, trouble.message);
            conditions.set("Degraded", Some(true), &trouble.reason, &message);
        }
        None if lost => conditions.set("Degraded", Some(true), reason, why),
        None => conditions.set(
            "Degraded",
            Some(false),
            "NoTrouble",
            "no member is in trouble",
        ),
    }
    let first_fault = found
        .certificate
        .map(|(reason, message)| (*reason, message.as_str()));
    let fault = first_fault
        .or_else(|| {
            found
                .bridges
                .values()
                .next()
                .map(|message| ("BridgeFaulty", message.as_str()))
        })
        .or_else(|| {
            troubled.map(|(_, trouble)| (trouble.reason.as_str(), trouble.message.as_str()))
        });
    match (fault, &found.plan.step) {
        (Some((reason, message)), _) => conditions.set("Ready", Some(false), reason, message),
        (None, Step::Rest | Step::Wait(Waiting::Paused)) if all_good => {
            let message = format!("all {wanted} members vote and accept stanzas");
            conditions.set("Ready", Some(true), "AllMembersReady", &message);
        }
        (None, Step::Rest) => {
            conditions.set(
                "Ready",
                Some(false),
                "MembersNotReady",
                &format!("{good} of {wanted} members are ready"),
            );
        }
        (None, _) => conditions.set("Ready", Some(false), reason, why),
    }
    conditions.made.sort_by(|a, b| a.type_.cmp(&b.type_));
    conditions.made
}

const fn waiting_reason(waiting: Waiting) -> &'static str {
    match waiting {
        Waiting::Paused => "Paused",
        Waiting::Pods => "WaitingForPods",
        Waiting::Quorum => "NoQuorum",
        Waiting::Members => "WaitingForMembers",
        Waiting::Confirmation => "AllVolumesEmpty",
        Waiting::ForeignVolume => "ForeignVolume",
    }
}

struct Conditions<'a> {
    generation: i64,
    now: Timestamp,
    before: Option<&'a XmppClusterStatus>,
    made: Vec<Condition>,
}

impl Conditions<'_> {
    /// `None` is unknown. The time changes only when the status does.
    fn set(&mut self, kind: &str, holds: Option<bool>, reason: &str, message: &str) {
        let status = match holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let old = self
            .before
            .and_then(|before| before.conditions.iter().find(|old| old.type_ == kind));
        let same = old.filter(|old| old.status == status);
        // A reason is one word; the API server takes no other.
        let word: String = reason.chars().filter(char::is_ascii_alphanumeric).collect();
        self.made.push(Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: if word.is_empty() {
                "Unknown".to_owned()
            } else {
                word
            },
            message: message.chars().take(2_000).collect(),
            observed_generation: Some(self.generation),
            last_transition_time: same
                .map_or(Time(self.now), |old| old.last_transition_time.clone()),
        });
    }
}

//! What is true of a cluster, as conditions: each with a reason of one word, and a message that names what to mend.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::Findings;
use crate::crd::status::XmppClusterStatus;
use crate::plan::{Step, Waiting};
use crate::view::Group;

/// Every type there is, but `Reconciled`, which says whether the others are of now.
const TYPES: [&str; 8] = [
    "Ready",
    "Available",
    "Progressing",
    "Degraded",
    "CertificatesReady",
    "BridgesReady",
    "VolumesReady",
    "DnsPublished",
];

/// All conditions, sorted by type; `good` members are ready and vote.
pub(super) fn all(
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
    conditions.set(
        "Reconciled",
        Some(true),
        "Reconciled",
        "the last pass ended without an error",
    );
    let (progress, reason) = progress(&found.plan.step);
    let why = found.plan.why.as_str();
    conditions.set("Progressing", Some(progress), reason, why);
    match group {
        Some(group) => {
            let message = format!("{} leads, a majority follows", group.leader);
            conditions.set("Available", Some(true), "QuorumHolds", &message);
        }
        None => conditions.set("Available", Some(false), "NoQuorum", why),
    }
    certificates(found, &mut conditions);
    bridges(found, group, &mut conditions);
    volumes(found, &mut conditions);
    dns(found, &mut conditions);
    let trouble = trouble(found);
    match &trouble {
        Some((reason, message)) => conditions.set("Degraded", Some(true), reason, message),
        None => conditions.set(
            "Degraded",
            Some(false),
            "NoTrouble",
            "no member is in trouble",
        ),
    }
    ready(found, good, trouble, &mut conditions);
    conditions.made.sort_by(|a, b| a.type_.cmp(&b.type_));
    conditions.made
}

/// The conditions of a pass that failed: what was known stays.
pub(super) fn of_failure(
    generation: i64,
    now: Timestamp,
    reason: &str,
    message: &str,
    before: Option<&XmppClusterStatus>,
) -> Vec<Condition> {
    let mut conditions = Conditions {
        generation,
        now,
        before,
        made: Vec::new(),
    };
    conditions.set("Reconciled", Some(false), reason, message);
    for kind in TYPES {
        let old = before.and_then(|before| before.conditions.iter().find(|old| old.type_ == kind));
        match old {
            Some(old) => conditions.made.push(old.clone()),
            None => conditions.set(
                kind,
                None,
                "NotKnown",
                "the first pass over this resource failed",
            ),
        }
    }
    conditions.made.sort_by(|a, b| a.type_.cmp(&b.type_));
    conditions.made
}

fn progress(step: &Step) -> (bool, &'static str) {
    match step {
        Step::Rest => (false, "AsDesired"),
        Step::Wait(Waiting::Paused) => (false, "Paused"),
        Step::Wait(waiting) => (true, waiting_reason(*waiting)),
        step => (true, step.name()),
    }
}

const fn waiting_reason(waiting: Waiting) -> &'static str {
    match waiting {
        Waiting::Paused => "Paused",
        Waiting::Template => "WaitingForControllers",
        Waiting::Pods => "WaitingForPods",
        Waiting::Quorum => "NoQuorum",
        Waiting::Members => "WaitingForMembers",
        Waiting::Drain => "Draining",
        Waiting::Confirmation => "AllVolumesEmpty",
        Waiting::ForeignVolume => "ForeignVolume",
    }
}

fn certificates(found: &Findings<'_>, conditions: &mut Conditions<'_>) {
    let (holds, reason, message) = match (found.certificate, found.certificate_ends) {
        (Some((reason, message)), _) => (false, *reason, message.as_str()),
        (None, Some(message)) => (true, "ExpiresSoon", message.as_str()),
        (None, None) => (true, "Valid", "certificates are valid for their use"),
    };
    conditions.set("CertificatesReady", Some(holds), reason, message);
}

fn bridges(found: &Findings<'_>, group: Option<&Group>, conditions: &mut Conditions<'_>) {
    let refused = found
        .refused
        .iter()
        .find(|(_, refused)| refused.stands_in_the_way);
    let (holds, reason, message) = match (found.bridges.values().next(), refused) {
        (Some(fault), _) => (Some(false), "BridgeFaulty", fault.clone()),
        _ if group.is_none() => {
            let message = "the cluster has no leader";
            (None, "NoQuorum", message.to_owned())
        }
        (None, Some((name, refused))) => {
            let message = format!("bridge {name}: {}", refused.message);
            (Some(false), refused.reason, message)
        }
        (None, None) => {
            let message = "the cluster accepts every bridge of the spec, and refuses none";
            (Some(true), "Accepted", message.to_owned())
        }
    };
    conditions.set("BridgesReady", holds, reason, &message);
}

fn volumes(found: &Findings<'_>, conditions: &mut Conditions<'_>) {
    match found.volumes {
        Some((reason, message)) => conditions.set("VolumesReady", Some(false), reason, message),
        None => conditions.set(
            "VolumesReady",
            Some(true),
            "AsDesired",
            "every volume is there, and as large as wanted",
        ),
    }
}

/// DNS is asked while the cluster is at rest; meanwhile what was said last stays, unless it was of another owner.
fn dns(found: &Findings<'_>, conditions: &mut Conditions<'_>) {
    let kind = "DnsPublished";
    let old = conditions.old(kind).cloned();
    match (found.dns, old) {
        (Some(dns), Some(old)) if dns.holds.is_none() && old.status != "Unknown" => {
            // One answer that did not come says nothing of the records.
            conditions.made.push(old);
        }
        (Some(dns), _) => conditions.set(kind, dns.holds, dns.reason, &dns.message),
        (None, Some(old)) => conditions.made.push(old),
        (None, None) => conditions.set(
            kind,
            None,
            "NotAsked",
            "DNS is asked once the cluster is at rest",
        ),
    }
}

/// What is wrong with members: of one pod, of those that are not made, of all together.
fn trouble(found: &Findings<'_>) -> Option<(String, String)> {
    let pods = found.view.pods.iter();
    let of_pod = pods
        .filter_map(|pod| Some((pod, pod.trouble.as_ref()?)))
        .next();
    if let Some((pod, trouble)) = of_pod {
        let message = format!("{}: {}", pod.name, trouble.message);
        return Some((trouble.reason.clone(), message));
    }
    if let Some(trouble) = &found.view.unmade {
        let message = format!(
            "StatefulSet {}: {}",
            found.cluster.names.cluster(),
            trouble.message
        );
        return Some((trouble.reason.clone(), message));
    }
    match &found.plan.step {
        Step::Wait(
            waiting @ (Waiting::Confirmation | Waiting::ForeignVolume | Waiting::Quorum),
        ) => Some((waiting_reason(*waiting).to_owned(), found.plan.why.clone())),
        _ => None,
    }
}

fn ready(
    found: &Findings<'_>,
    good: usize,
    trouble: Option<(String, String)>,
    conditions: &mut Conditions<'_>,
) {
    let wanted = found.cluster.spec.replicas;
    let all_good = i32::try_from(good).is_ok_and(|good| good == wanted);
    let certificate = found
        .certificate
        .map(|(reason, message)| ((*reason).to_owned(), message.clone()));
    let bridge = found.bridges.values().next();
    let fault = certificate
        .or_else(|| bridge.map(|message| ("BridgeFaulty".to_owned(), message.clone())))
        .or(trouble);
    let (holds, reason, message) = match (fault, &found.plan.step) {
        (Some((reason, message)), _) => (false, reason, message),
        (None, Step::Rest | Step::Wait(Waiting::Paused)) if all_good => {
            let message = format!("all {wanted} members vote and accept stanzas");
            (true, "AllMembersReady".to_owned(), message)
        }
        (None, Step::Rest) => {
            let message = format!("{good} of {wanted} members are ready");
            (false, "MembersNotReady".to_owned(), message)
        }
        (None, step) => {
            let (_, reason) = progress(step);
            (false, reason.to_owned(), found.plan.why.clone())
        }
    };
    conditions.set("Ready", Some(holds), &reason, &message);
}

struct Conditions<'a> {
    generation: i64,
    now: Timestamp,
    before: Option<&'a XmppClusterStatus>,
    made: Vec<Condition>,
}

impl Conditions<'_> {
    fn old(&self, kind: &str) -> Option<&Condition> {
        let mut known = self.before?.conditions.iter();
        known.find(|old| old.type_ == kind)
    }

    /// `None` is unknown. The time changes only when the status does.
    fn set(&mut self, kind: &str, holds: Option<bool>, reason: &str, message: &str) {
        let status = match holds {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let same = self.old(kind).filter(|old| old.status == status);
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

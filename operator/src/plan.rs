//! The next step: at most one, from what members say of themselves. Pure.
//!
//! | Order | When | Step |
//! |---|---|---|
//! | 1 | paused | none |
//! | 2 | a pod that is not as it should be does not run anyway | restart it |
//! | 3 | nothing was ever initialised | initialise ordinal 0, alone, and record it |
//! | 4 | all volumes are empty, though there was a cluster | wait for a typed confirmation |
//! | 5 | no leader | wait |
//! | 6 | a member without a pod that could be its own | remove it |
//! | 7 | a pod that does not vote yet | let it join: learner first, then voter; one at a time |
//! | 8 | members too many | leader away, one joint change, remove, and only then fewer pods |
//! | 9 | a replacement was asked for | remove the member, throw its volume and pod away |
//! | 10 | a pod is not as it should be | restart it: followers first, the highest ordinal first; the leader last, once another leads |
//!
//! What every step keeps: a majority of voters that are reachable and have caught up, wherever there was one; at most one
//! member down by our hand; a voter leaves the group before its pod goes. Joining keeps it too: with each voter more both
//! the majority and those alive grow, so from 3 over 4 to 5 never fewer failures are survived than before.

use std::collections::BTreeSet;

use xmpp_node_api::status::NodeId;

use crate::names::Names;
use crate::view::{Group, Member, Pod, Record, View};

/// What to do now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Pods that there should be now.
    pub replicas: i32,
    /// The one step.
    pub step: Step,
    /// Why, or what is waited for: for people.
    pub why: String,
}

/// A step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing is to be done.
    Rest,
    /// Something has to happen first that is not in our hands.
    Wait(Waiting),
    /// Make the cluster of this one empty member.
    Initialize {
        /// Its pod.
        pod: String,
    },
    /// Record that the cluster of this id has been started.
    Record {
        /// The id.
        id: String,
    },
    /// Record a new id, as everything that the old one stood for is lost, and accepted to be.
    StartAnew,
    /// Let an empty or half-joined member become a voter.
    Join {
        /// Its pod.
        pod: String,
        /// The member through which it joins.
        through: String,
    },
    /// Take a member out of the group for good. Asked of the leader.
    Remove {
        /// Its name, for people.
        name: String,
        /// Its identity.
        id: NodeId,
    },
    /// Make exactly these members the voters. Asked of the leader.
    ChangeVoters {
        /// The identities.
        ids: BTreeSet<NodeId>,
    },
    /// Hand leadership over. Asked of the leader.
    Transfer {
        /// To whom.
        to: String,
    },
    /// Tell the StatefulSet of fewer pods. All that go have left the group.
    Shrink,
    /// Delete a pod; the StatefulSet makes it anew.
    Restart {
        /// The pod.
        pod: String,
        /// Which pod of that name.
        uid: String,
        /// It runs, so the leader is asked once more whether it may stop.
        ask: bool,
    },
    /// Delete a pod with its volume, and let its member join anew.
    Replace {
        /// The pod.
        pod: String,
        /// Which pod of that name.
        uid: String,
    },
}

/// What a cluster waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// The resource says so.
    Paused,
    /// Pods that are not there yet, or do not answer.
    Pods,
    /// A leader, which needs a majority.
    Quorum,
    /// Members that cannot be reached or have not caught up.
    Members,
    /// All volumes are empty; a person must say what this means.
    Confirmation,
    /// A pod holds a volume of another cluster.
    ForeignVolume,
}

impl Step {
    /// The step in one word.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Rest => "Rest",
            Self::Wait(_) => "Wait",
            Self::Initialize { .. } => "Initialize",
            Self::Record { .. } => "Record",
            Self::StartAnew => "StartAnew",
            Self::Join { .. } => "Join",
            Self::Remove { .. } => "RemoveMember",
            Self::ChangeVoters { .. } => "ChangeVoters",
            Self::Transfer { .. } => "TransferLeader",
            Self::Shrink => "Shrink",
            Self::Restart { .. } => "RestartPod",
            Self::Replace { .. } => "ReplaceMember",
        }
    }
}

/// The next step.
#[must_use]
pub fn plan(names: &Names, view: &View) -> Plan {
    // Pods beyond what is wanted stay until the group has let them go.
    let keep = view.replicas.max(view.wanted);
    let (step, why) = next(names, view);
    let replicas = match step {
        Step::Wait(Waiting::Paused) if view.replicas > 0 => view.replicas,
        Step::Shrink => view.wanted,
        _ => keep,
    };
    Plan {
        replicas,
        step,
        why,
    }
}

type Next = (Step, String);

fn next(names: &Names, view: &View) -> Next {
    if view.paused {
        return wait(
            Waiting::Paused,
            "spec.paused is true: nothing is changed until it is false",
        );
    }
    if let Some(broken) = broken(view) {
        return broken;
    }
    if let Some(foreign) = foreign(view) {
        return foreign;
    }
    let id = match &view.record {
        Record::Started(id) => id,
        Record::New(id) => return first_start(view, id),
        Record::Lost => return recover_record(view),
    };
    let Some(group) = view.group() else {
        return leaderless(view, id);
    };
    let steps = [remove_ghost, join, scale_down, replace, roll];
    let found = steps.iter().find_map(|step| step(names, view, &group));
    found.unwrap_or_else(|| (Step::Rest, "the cluster is as it should be".to_owned()))
}

fn wait(what: Waiting, why: impl Into<String>) -> Next {
    (Step::Wait(what), why.into())
}

/// A pod that does not run holds nothing up by going, whatever the others do. So a mended image or resource gets through.
fn broken(view: &View) -> Option<Next> {
    let dead = |pod: &&Pod| pod.outdated && !pod.running && !pod.leaving && pod.node.is_none();
    let pod = view.pods.iter().find(dead)?;
    let trouble = pod
        .trouble
        .as_ref()
        .map_or("it does not run", |trouble| &trouble.reason);
    Some((
        Step::Restart {
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
            ask: false,
        },
        format!(
            "{} is not as it should be, and does not run ({trouble})",
            pod.name
        ),
    ))
}

fn foreign(view: &View) -> Option<Next> {
    let id = view.record.id()?;
    let stranger = |pod: &&Pod| pod.cluster_id().is_some_and(|found| found != id);
    let pod = view.pods.iter().find(stranger)?;
    let found = pod.cluster_id().unwrap_or_default();
    Some(wait(
        Waiting::ForeignVolume,
        format!(
            "the volume of {} belongs to cluster {found}, not {id}: give the pod its own volume back, or have it \
             replaced with `kubectl annotate pod {} xmppcluster.dev/replace=volume`",
            pod.name, pod.name
        ),
    ))
    // A replacement that was asked for goes on.
    .filter(|_| !pod.replace)
}

fn first_start(view: &View, id: &str) -> Next {
    if let Some(pod) = view.pods.iter().find(|pod| pod.cluster_id() == Some(id)) {
        return (
            Step::Record { id: id.to_owned() },
            format!("{} says that the cluster has been started", pod.name),
        );
    }
    match view.pod(0) {
        Some(pod) if pod.is_empty() => (
            Step::Initialize {
                pod: pod.name.clone(),
            },
            format!(
                "cluster {id} was never started; {} is empty and answers",
                pod.name
            ),
        ),
        Some(pod) => wait(Waiting::Pods, format!("{} {}", pod.name, trouble(pod))),
        None => wait(Waiting::Pods, "the first pod is not there yet"),
    }
}

/// The record is gone. What members say restores it; that all are empty is believed only if all say so.
fn recover_record(view: &View) -> Next {
    if let Some(id) = view.pods.iter().find_map(Pod::cluster_id) {
        return (
            Step::Record { id: id.to_owned() },
            "the record was lost; a member's volume tells the cluster's id".to_owned(),
        );
    }
    if all_empty(view) {
        return (
            Step::StartAnew,
            "there is no record, and every volume is empty".to_owned(),
        );
    }
    wait(
        Waiting::Pods,
        "the record was lost, and not every member answers yet",
    )
}

fn all_empty(view: &View) -> bool {
    let pods = (0..view.wanted.max(view.replicas)).map(|ordinal| view.pod(ordinal));
    let mut pods = pods.peekable();
    pods.peek().is_some() && pods.all(|pod| pod.is_some_and(Pod::is_empty))
}

fn leaderless(view: &View, id: &str) -> Next {
    if all_empty(view) {
        if view.start_empty {
            return (
                Step::StartAnew,
                format!("every volume is empty, and the loss of cluster {id} was confirmed"),
            );
        }
        return wait(
            Waiting::Confirmation,
            format!(
                "every volume of cluster {id} is empty: bring a volume back, or accept that all is lost with `kubectl \
                 annotate xmppcluster NAME xmppcluster.dev/start-empty={id}`"
            ),
        );
    }
    let silent: Vec<String> = view
        .pods
        .iter()
        .filter(|pod| pod.node.is_none())
        .map(|pod| format!("{} {}", pod.name, trouble(pod)))
        .collect();
    if silent.is_empty() {
        wait(Waiting::Quorum, "no leader at the moment")
    } else {
        wait(Waiting::Quorum, format!("no leader: {}", silent.join("; ")))
    }
}

/// A member whose name no pod can have, or has again under another id while the old one is gone.
fn remove_ghost(names: &Names, view: &View, group: &Group) -> Option<Next> {
    let last = view.wanted.max(view.replicas);
    let ghost = group.members.iter().find(|member| {
        let ordinal = names.ordinal(&member.name);
        ordinal.is_none_or(|ordinal| ordinal >= last) && !member.reachable
    })?;
    Some((
        Step::Remove {
            name: ghost.name.clone(),
            id: ghost.id,
        },
        format!("no pod can be {}, and it is not reachable", ghost.name),
    ))
}

/// The lowest pod that is wanted and does not vote.
fn join(_: &Names, view: &View, group: &Group) -> Option<Next> {
    let mut absent = None;
    for ordinal in 0..view.wanted {
        if view.pod(ordinal).is_some_and(|pod| pod.replace) {
            continue;
        }
        let Some(pod) = view.pod(ordinal) else {
            absent = absent.or_else(|| Some(format!("pod {ordinal} is not there yet")));
            continue;
        };
        let Some(node) = pod.node.as_ref().filter(|_| !pod.leaving) else {
            // It votes and is away for a moment, or has never joined.
            if group.member(&pod.name).is_none_or(|member| !member.votes) {
                absent = absent.or_else(|| Some(format!("{} {}", pod.name, trouble(pod))));
            }
            continue;
        };
        let member = group.members.iter().find(|member| member.id == node.id);
        if member.is_some_and(|member| member.votes) {
            continue;
        }
        let why = match group.member(&pod.name) {
            Some(old) if old.id != node.id => {
                format!(
                    "{} comes back with an empty volume and takes its old place",
                    pod.name
                )
            }
            _ => format!("{} does not vote yet", pod.name),
        };
        return Some((
            Step::Join {
                pod: pod.name.clone(),
                through: group.leader.clone(),
            },
            why,
        ));
    }
    absent.map(|why| wait(Waiting::Pods, why))
}

/// Members beyond those wanted leave: the leader's office first, then their votes, then they, then their pods.
fn scale_down(names: &Names, view: &View, group: &Group) -> Option<Next> {
    if view.replicas <= view.wanted {
        return None;
    }
    let goes = |member: &Member| {
        names
            .ordinal(&member.name)
            .is_none_or(|ordinal| ordinal >= view.wanted)
    };
    let stay: Vec<&Member> = group.voters().filter(|member| !goes(member)).collect();
    if group.voters().any(goes) {
        let enough = i32::try_from(stay.len()).is_ok_and(|count| count == view.wanted);
        if let Some(weak) = stay.iter().find(|member| !member.is_good()) {
            return Some(wait(
                Waiting::Members,
                format!(
                    "{} stays, but is not reachable or has not caught up",
                    weak.name
                ),
            ));
        }
        if !enough {
            return Some(wait(Waiting::Members, "not all members that stay vote yet"));
        }
        if group.member(&group.leader).is_some_and(goes) {
            let to = stay.first()?.name.clone();
            let why = format!("{} leads, and is one of those that go", group.leader);
            return Some((Step::Transfer { to }, why));
        }
        return Some((
            Step::ChangeVoters {
                ids: stay.iter().map(|member| member.id).collect(),
            },
            format!("{} members are wanted", view.wanted),
        ));
    }
    if let Some(member) = group.members.iter().find(|member| goes(member)) {
        return Some((
            Step::Remove {
                name: member.name.clone(),
                id: member.id,
            },
            format!("{} has no vote any more, and goes", member.name),
        ));
    }
    Some((
        Step::Shrink,
        "all members that go have left the group".to_owned(),
    ))
}

fn replace(_: &Names, view: &View, group: &Group) -> Option<Next> {
    let pod = view.pods.iter().find(|pod| pod.replace && !pod.leaving)?;
    let Some(member) = group.member(&pod.name) else {
        return Some((
            Step::Replace {
                pod: pod.name.clone(),
                uid: pod.uid.clone(),
            },
            format!(
                "{} is no member, and its volume was asked to be thrown away",
                pod.name
            ),
        ));
    };
    let asked = format!("{} was asked to be replaced", pod.name);
    if member.votes && group.voters().count() == 1 {
        return Some(wait(
            Waiting::Members,
            format!("{asked}, but it is the only voter"),
        ));
    }
    if member.votes && !group.others_are_good(&pod.name) {
        return Some(wait(
            Waiting::Members,
            format!("{asked}, but not all others are reachable and have caught up"),
        ));
    }
    if group.leader == pod.name {
        return Some(transfer_from(group, &asked));
    }
    Some((
        Step::Remove {
            name: member.name.clone(),
            id: member.id,
        },
        asked,
    ))
}

/// Pods that are not as they should be, one at a time.
fn roll(_: &Names, view: &View, group: &Group) -> Option<Next> {
    let mut outdated: Vec<&Pod> = view.pods.iter().filter(|pod| pod.outdated).collect();
    if outdated.is_empty() {
        return None;
    }
    // One that does not answer first, the leader last, else from the highest ordinal down.
    outdated.sort_by_key(|pod| (pod.node.is_some(), pod.name == group.leader, -pod.ordinal));
    let pod = *outdated.first()?;
    if let Some(leaving) = view.pods.iter().find(|pod| pod.leaving) {
        return Some(wait(
            Waiting::Pods,
            format!("{} is on its way out", leaving.name),
        ));
    }
    if !group.others_are_good(&pod.name) {
        let weak = group
            .voters()
            .find(|member| member.name != pod.name && !member.is_good())?;
        return Some(wait(
            Waiting::Members,
            format!(
                "{} is to be restarted, but {} is not reachable or has not caught up",
                pod.name, weak.name
            ),
        ));
    }
    let unready = view.pods.iter().find(|other| {
        let ready = other.node.as_ref().is_some_and(|node| node.ready.ok);
        other.name != pod.name && !ready
    });
    if let Some(unready) = unready {
        return Some(wait(
            Waiting::Members,
            format!(
                "{} is to be restarted, but {} is not ready",
                pod.name, unready.name
            ),
        ));
    }
    if pod.name == group.leader && group.voters().count() > 1 {
        return Some(transfer_from(
            group,
            &format!("{} is the last to be restarted, and leads", pod.name),
        ));
    }
    Some((
        Step::Restart {
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
            ask: true,
        },
        format!("{} is not as it should be; all others are good", pod.name),
    ))
}

fn transfer_from(group: &Group, why: &str) -> Next {
    let other = group
        .voters()
        .find(|member| member.name != group.leader && member.is_good());
    match other {
        Some(to) => (
            Step::Transfer {
                to: to.name.clone(),
            },
            why.to_owned(),
        ),
        None => wait(Waiting::Members, format!("{why}, but nobody can take over")),
    }
}

fn trouble(pod: &Pod) -> String {
    match (&pod.trouble, &pod.silence) {
        (Some(trouble), _) => format!("does not run: {}: {}", trouble.reason, trouble.message),
        (None, Some(silence)) => format!("does not answer: {silence}"),
        (None, None) => "does not answer".to_owned(),
    }
}

#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;

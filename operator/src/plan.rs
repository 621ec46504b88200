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
//! | 8 | members too many | drain their pods, leader away, one joint change, remove, and only then fewer pods |
//! | 9 | a replacement was asked for | drain the pod, remove the member, throw its volume and pod away |
//! | 10 | a pod is not as it should be | drain and restart it: followers first, the highest ordinal first; the leader last, once another leads |
//! | 11 | a pod was drained and stays after all | let it serve again |
//!
//! To drain a pod is to take it out of the Services, and to wait until the name servers have forgotten it; its streams go
//! elsewhere when it ends. The last pod that serves is not drained: nobody could go elsewhere.
//!
//! What every step keeps: a majority of voters that are reachable and have caught up, wherever there was one; at most one
//! member down by our hand; a voter leaves the group before its pod goes. Joining keeps it too: with each voter more both
//! the majority and those alive grow, so from 3 over 4 to 5 never fewer failures are survived than before.

use crate::names::Names;
use crate::view::{Pod, Record, View};

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

/// Why there is no rest yet when objects have just been written.
pub const UNSEEN: &str = "what was written last has not been taken up yet";

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
    let steps = [
        group::remove_ghost,
        group::join,
        group::scale_down,
        group::replace,
        group::roll,
        group::serve,
    ];
    // What can be done goes before what has to wait, or two that wait for each other would do so for ever.
    let mut waits = None;
    for step in steps {
        match step(names, view, &group) {
            Some((Step::Wait(what), why)) => waits = waits.or(Some((Step::Wait(what), why))),
            Some(found) => return found,
            None => {}
        }
    }
    waits.unwrap_or_else(|| match view.unseen {
        true => wait(Waiting::Template, UNSEEN),
        false => (Step::Rest, "the cluster is as it should be".to_owned()),
    })
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

fn trouble(pod: &Pod) -> String {
    match (&pod.trouble, &pod.silence) {
        (Some(trouble), _) => format!("does not run: {}: {}", trouble.reason, trouble.message),
        (None, Some(silence)) => format!("does not answer: {silence}"),
        (None, None) => "does not answer".to_owned(),
    }
}

mod group;
#[cfg(test)]
mod simulation;
mod step;
#[cfg(test)]
pub(crate) mod tests;

pub use self::step::{Plan, Step, Waiting};

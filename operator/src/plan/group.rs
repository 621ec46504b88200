//! Steps in a group that has a leader: who comes, who goes, who is restarted.

use super::{Next, Step, Waiting, trouble, wait};
use crate::names::Names;
use crate::view::{Group, Member, Pod, View};

/// A member whose name no pod can have, or has again under another id while the old one is gone.
pub(super) fn remove_ghost(names: &Names, view: &View, group: &Group) -> Option<Next> {
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
pub(super) fn join(_: &Names, view: &View, group: &Group) -> Option<Next> {
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
pub(super) fn scale_down(names: &Names, view: &View, group: &Group) -> Option<Next> {
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
        let leaving: Vec<&Pod> = view
            .pods
            .iter()
            .filter(|pod| pod.ordinal >= view.wanted)
            .collect();
        if let Some(drain) = drain(view, &leaving) {
            return Some(drain);
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

pub(super) fn replace(_: &Names, view: &View, group: &Group) -> Option<Next> {
    let asked = || view.pods.iter().filter(|pod| pod.replace && !pod.leaving);
    // One whose volume holds no member first, whatever the others do: nobody misses it, and until it is there again as a
    // voter no other one may go.
    let is_member = |id| group.members.iter().any(|member| member.id == id);
    let stranger = asked().find(|pod| pod.node.as_ref().is_some_and(|node| !is_member(node.id)));
    let pod = match stranger {
        Some(pod) => pod,
        None => asked().min_by_key(|pod| group.member(&pod.name).is_some_and(Member::is_good))?,
    };
    let member = group.member(&pod.name).filter(|_| stranger.is_none());
    let Some(member) = member else {
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
    if let Some(drain) = drain(view, &[pod]) {
        return Some(drain);
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
pub(super) fn roll(names: &Names, view: &View, group: &Group) -> Option<Next> {
    let mut outdated: Vec<&Pod> = view.pods.iter().filter(|pod| pod.outdated).collect();
    if outdated.is_empty() {
        return None;
    }
    // While somebody is still to join there are fewer voters than there should be; `join` says what is waited for.
    let votes = |ordinal| {
        group
            .member(&names.pod(ordinal))
            .is_some_and(|member| member.votes)
    };
    if !(0..view.wanted).all(votes) {
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
    if let Some(drain) = drain(view, &[pod]) {
        return Some(drain);
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

/// A pod that was drained, and that nothing is to be done with any more.
pub(super) fn serve(_: &Names, view: &View, _: &Group) -> Option<Next> {
    let stays = |pod: &&Pod| {
        let goes = pod.outdated || pod.replace || pod.leaving || pod.ordinal >= view.wanted;
        !pod.serving && !goes
    };
    let pod = view.pods.iter().find(stays)?;
    Some((
        Step::Serve {
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
        },
        format!("{} stays, and bridges do not find it", pod.name),
    ))
}

/// What is to be done before pods that live may go: nothing if they are drained, or if nobody else serves.
fn drain(view: &View, going: &[&Pod]) -> Option<Next> {
    let goes = |pod: &Pod| going.iter().any(|going| going.name == pod.name);
    let serves = |pod: &Pod| pod.serving && pod.node.as_ref().is_some_and(|node| node.ready.ok);
    if !view.pods.iter().any(|pod| !goes(pod) && serves(pod)) {
        return None;
    }
    if let Some(pod) = going.iter().find(|pod| serves(pod)) {
        return Some((
            Step::Drain {
                pod: pod.name.clone(),
                uid: pod.uid.clone(),
            },
            format!("{} is about to go, and bridges still find it", pod.name),
        ));
    }
    let fresh = |pod: &&&Pod| !pod.serving && !pod.drained && pod.node.is_some();
    let pod = going.iter().find(fresh)?;
    let why = format!(
        "{} is about to go; name servers may still name it",
        pod.name
    );
    Some(wait(Waiting::Drain, why))
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

//! Why a member's pod does not do its work, where the API server knows: in one word, and in words that name what to mend.
//! Pure.
//!
//! A trouble stands still while it lasts: texts that alternate or count are brought into one form, or each of them would be
//! written into the status anew.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateTerminated, ContainerStatus, Pod as KubePod, PodStatus,
};

use crate::api::{Object, Said};
use crate::view::Trouble;

/// Longest text of somebody else that is passed on, characters.
const LONGEST: usize = 500;
/// A container that runs for longer, and whose node does not answer, is in trouble.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);
/// A pod that is still there so long after it should have ended is not going to by itself.
const OVERDUE: SignedDuration = SignedDuration::from_secs(60);
/// The kubelet waits at most five minutes between restarts; after twice that a crash is history.
const CRASH_LASTS: SignedDuration = SignedDuration::from_secs(600);

/// What is wrong with a pod; `claim` is that of its volume, `said` the events of that claim, `answers` whether its node does.
#[must_use]
pub fn of_pod(
    pod: &KubePod,
    claim: Option<&Object>,
    said: &[Said],
    answers: bool,
    now: Timestamp,
) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    overdue(pod, now)
        .or_else(|| unscheduled(status, claim, said))
        .or_else(|| container(status.container_statuses.as_ref()?.first()?, now))
        .or_else(|| silent(pod, status, now).filter(|_| !answers))
}

/// Why the StatefulSet's controller makes no pod, as its events say.
#[must_use]
pub fn of_creation(said: &[Said]) -> Option<Trouble> {
    let failed = said.iter().find(|said| said.reason == "FailedCreate")?;
    Some(trouble("FailedCreate", short(&failed.note)))
}

fn trouble(reason: &str, message: String) -> Trouble {
    Trouble {
        reason: reason.to_owned(),
        message,
    }
}

fn short(text: &str) -> String {
    text.trim().chars().take(LONGEST).collect()
}

fn machine(pod: &KubePod) -> &str {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.node_name.as_deref())
        .unwrap_or("its machine")
}

/// Its deletion time is that of the request and the grace together.
fn overdue(pod: &KubePod, now: Timestamp) -> Option<Trouble> {
    let end = pod.metadata.deletion_timestamp.as_ref()?.0;
    (now.duration_since(end) >= OVERDUE).then(|| {
        let machine = machine(pod);
        trouble(
            "StuckTerminating",
            format!(
                "it should have ended at {end}, and {machine} does not confirm that it did: bring {machine} back; if it is gone \
                 for good, delete its Node, or taint it node.kubernetes.io/out-of-service=nodeshutdown:NoExecute"
            ),
        )
    })
}

fn unscheduled(status: &PodStatus, claim: Option<&Object>, said: &[Said]) -> Option<Trouble> {
    let mut conditions = status.conditions.iter().flatten();
    let found = conditions.find(|one| one.type_ == "PodScheduled" && one.status == "False")?;
    if let Some(trouble) = claim.and_then(|claim| unbound(claim, said)) {
        return Some(trouble);
    }
    let reason = found.reason.as_deref().unwrap_or("Unschedulable");
    let message = found.message.as_deref().unwrap_or_default();
    Some(trouble(reason, short(message)))
}

/// A claim that gets no volume, and why.
fn unbound(claim: &Object, said: &[Said]) -> Option<Trouble> {
    let phase = claim.0["status"]["phase"].as_str();
    let name = claim.name();
    if phase == Some("Lost") {
        let message = format!(
            "the volume of claim {name} is gone: bring it back, or delete the claim and the pod, so that the member \
             starts with an empty one and takes its old place"
        );
        return Some(trouble("VolumeLost", message));
    }
    if phase == Some("Bound") {
        return None;
    }
    // These are the way to every volume.
    const USUAL: [&str; 4] = [
        "WaitForFirstConsumer",
        "WaitForPodScheduled",
        "Provisioning",
        "ExternalProvisioning",
    ];
    let telling = said
        .iter()
        .find(|said| !USUAL.contains(&said.reason.as_str()));
    let message = match (claim.0["spec"]["storageClassName"].as_str(), telling) {
        (None | Some(""), _) => format!(
            "claim {name} gets no volume: it names no storage class, and the Kubernetes cluster has no default one: make \
             a class the default (its claims follow by themselves), or make the XmppCluster anew with \
             spec.storage.storageClassName, which is immutable"
        ),
        (Some(class), Some(telling)) => format!(
            "claim {name} gets no volume of storage class {class}: {}: mend or make the class {class}, or make the \
             XmppCluster anew with another spec.storage.storageClassName, which is immutable",
            short(&telling.note)
        ),
        (Some(_), None) => return None,
    };
    Some(trouble("VolumePending", message))
}

fn container(status: &ContainerStatus, now: Timestamp) -> Option<Trouble> {
    let state = status.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        let text = waiting.message.as_deref().unwrap_or_default();
        return match reason {
            // These are the way to every running container.
            "" | "ContainerCreating" | "PodInitializing" => crashed(status, now),
            // The kubelet alternates between the two.
            "ErrImagePull" | "ImagePullBackOff" => Some(trouble(
                "ImagePullBackOff",
                format!(
                    "image {} cannot be pulled: {}: mend spec.image, or what the registry asks for",
                    status.image,
                    pull_failure(text)
                ),
            )),
            "CrashLoopBackOff" => {
                crashed(status, now).or_else(|| Some(trouble(reason, short(text))))
            }
            other => Some(trouble(other, short(text))),
        };
    }
    if let Some(ended) = &state.terminated {
        return Some(crash(ended));
    }
    // It runs, for now: one that came up again and is not ready may be about to end once more.
    (!status.ready).then(|| crashed(status, now)).flatten()
}

/// Without what the kubelet puts before the cause when it waits for its next try.
fn pull_failure(text: &str) -> String {
    let cause = text
        .strip_prefix("Back-off pulling image ")
        .and_then(|rest| rest.split_once(": "))
        .map_or(text, |(_, cause)| cause);
    let cause = cause.strip_prefix("ErrImagePull: ").unwrap_or(cause);
    short(cause)
}

fn crashed(status: &ContainerStatus, now: Timestamp) -> Option<Trouble> {
    let last: &ContainerState = status.last_state.as_ref()?;
    let ended = last.terminated.as_ref()?;
    let finished = ended.finished_at.as_ref()?.0;
    (now.duration_since(finished) < CRASH_LASTS).then(|| crash(ended))
}

fn crash(ended: &ContainerStateTerminated) -> Trouble {
    if ended.reason.as_deref() == Some("OOMKilled") {
        return trouble(
            "OOMKilled",
            "it used more memory than spec.resources.limits.memory: raise that, or lower spec.limits".to_owned(),
        );
    }
    let said = ended.message.as_deref().unwrap_or_default();
    let message = if said.trim().is_empty() {
        format!(
            "it ended with exit code {} and said nothing: see `kubectl logs --previous`",
            ended.exit_code
        )
    } else {
        // Times in its words would make each crash another one; what it said last is the cause.
        let last = said.trim().lines().next_back().unwrap_or_default();
        format!(
            "it ended with exit code {}: {}",
            ended.exit_code,
            short(last)
        )
    };
    trouble("CrashLoopBackOff", message)
}

fn silent(pod: &KubePod, status: &PodStatus, now: Timestamp) -> Option<Trouble> {
    // One that is on its way out stops answering before it ends.
    if pod.metadata.deletion_timestamp.is_some() {
        return None;
    }
    let container = status.container_statuses.as_ref()?.first()?;
    let running = container.state.as_ref()?.running.as_ref()?;
    let since = running.started_at.as_ref()?.0;
    (now.duration_since(since) >= PATIENCE).then(|| {
        trouble(
            "NotAnswering",
            format!(
                "its container runs since {since} and does not answer: see its log, and whether {} is up and reachable",
                machine(pod)
            ),
        )
    })
}

#[cfg(test)]
mod tests;

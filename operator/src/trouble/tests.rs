//! Pods as the API server shows them, and what is said of each.

use serde_json::{Value, json};

use super::*;

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().expect("a time")
}

fn pod(status: Value) -> KubePod {
    serde_json::from_value(json!({
        "metadata": { "name": "xmpp-0" },
        "spec": { "nodeName": "worker-2", "containers": [] },
        "status": status,
    }))
    .expect("a pod")
}

fn container(state: Value, last: Value, ready: bool) -> KubePod {
    let status = json!({
        "name": "xmpp-node", "image": "registry.test/xmpp-node:2", "imageID": "", "ready": ready, "restartCount": 1,
        "state": state, "lastState": last,
    });
    pod(json!({ "containerStatuses": [status] }))
}

fn said(reason: &str, note: &str) -> Vec<Said> {
    vec![Said {
        reason: reason.to_owned(),
        note: note.to_owned(),
        at: now(),
    }]
}

fn told(pod: &KubePod, claim: Option<&Object>, said: &[Said]) -> Option<(String, String)> {
    of_pod(pod, claim, said, true, now()).map(|trouble| (trouble.reason, trouble.message))
}

fn unscheduled() -> KubePod {
    pod(json!({ "conditions": [{
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available",
    }] }))
}

#[test]
fn a_claim_without_volume_is_named_with_its_class_and_the_fix() {
    let claim = |class: Value, phase: &str| {
        Object(json!({
            "metadata": { "name": "data-xmpp-0" },
            "spec": { "storageClassName": class },
            "status": { "phase": phase },
        }))
    };
    let absent = said(
        "ProvisioningFailed",
        "storageclass.storage.k8s.io \"fast\" not found",
    );
    let (reason, message) = told(
        &unscheduled(),
        Some(&claim(json!("fast"), "Pending")),
        &absent,
    )
    .expect("no class of that name");
    assert_eq!(reason, "VolumePending");
    for word in [
        "data-xmpp-0",
        "fast\" not found",
        "spec.storage.storageClassName",
    ] {
        assert!(message.contains(word), "{message}");
    }
    let (reason, message) =
        told(&unscheduled(), Some(&claim(Value::Null, "Pending")), &[]).expect("no class at all");
    assert_eq!(reason, "VolumePending");
    assert!(message.contains("no default one"), "{message}");
    let (reason, _) = told(&unscheduled(), Some(&claim(json!("fast"), "Lost")), &[]).expect("lost");
    assert_eq!(reason, "VolumeLost");
    // A volume that comes once the pod has its place is no cause; where it has none is.
    let waits = said("WaitForFirstConsumer", "waiting");
    for claim in [
        claim(json!("fast"), "Pending"),
        claim(json!("fast"), "Bound"),
    ] {
        let found = told(&unscheduled(), Some(&claim), &waits).expect("it has no place");
        assert_eq!(found.0, "Unschedulable");
        assert_eq!(found.1, "0/3 nodes are available");
    }
}

#[test]
fn an_image_that_cannot_be_pulled_is_one_trouble_whatever_the_kubelet_does_now() {
    let cause = "rpc error: registry.test/xmpp-node:2: not found";
    let first = json!({ "waiting": { "reason": "ErrImagePull", "message": cause } });
    let text =
        format!("Back-off pulling image \"registry.test/xmpp-node:2\": ErrImagePull: {cause}");
    let then = json!({ "waiting": { "reason": "ImagePullBackOff", "message": text } });
    let first = told(&container(first, Value::Null, false), None, &[]).expect("a cause");
    let then = told(&container(then, Value::Null, false), None, &[]).expect("a cause");
    assert_eq!(first, then);
    assert!(
        first.1.contains("spec.image") && first.1.contains("not found"),
        "{first:?}"
    );
}

#[test]
fn a_crash_is_told_while_it_may_come_again_and_not_after() {
    let last = |finished: &str| {
        json!({ "terminated": {
            "exitCode": 1, "reason": "Error", "finishedAt": finished,
            "message": "12:00 starting\ncomponent.listen: cannot listen\n",
        } })
    };
    let waiting = json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off 20s restarting" } });
    let running = json!({ "running": { "startedAt": "2026-03-01T11:59:50Z" } });
    let recent = last("2026-03-01T11:59:40Z");
    let told_once = told(&container(waiting, recent.clone(), false), None, &[]).expect("a cause");
    assert_eq!(told_once.0, "CrashLoopBackOff");
    assert!(
        told_once
            .1
            .contains("exit code 1: component.listen: cannot listen")
    );
    let again = told(
        &container(running.clone(), recent.clone(), false),
        None,
        &[],
    );
    assert_eq!(again, Some(told_once));
    assert_eq!(
        told(&container(running.clone(), recent, true), None, &[]),
        None
    );
    let old = last("2026-03-01T11:00:00Z");
    assert_eq!(told(&container(running, old, false), None, &[]), None);
    let killed = json!({ "terminated": { "exitCode": 137, "reason": "OOMKilled" } });
    let found = told(&container(killed, Value::Null, false), None, &[]).expect("a cause");
    assert!(found.0 == "OOMKilled" && found.1.contains("spec.resources.limits.memory"));
}

#[test]
fn what_a_lost_machine_leaves_behind_is_named() {
    let running = json!({ "running": { "startedAt": "2026-03-01T11:00:00Z" } });
    let mut lost = container(running, Value::Null, true);
    let found = of_pod(&lost, None, &[], false, now()).expect("it is silent");
    assert!(found.reason == "NotAnswering" && found.message.contains("worker-2"));
    let at = |text: &str| {
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
            text.parse().expect("a time"),
        ))
    };
    lost.metadata.deletion_timestamp = at("2026-03-01T11:59:30Z");
    assert_eq!(of_pod(&lost, None, &[], true, now()), None);
    lost.metadata.deletion_timestamp = at("2026-03-01T11:58:30Z");
    let found = of_pod(&lost, None, &[], true, now()).expect("overdue");
    assert!(found.reason == "StuckTerminating" && found.message.contains("out-of-service"));
}

#[test]
fn pods_that_are_not_made_are_told_of() {
    let events = said(
        "FailedCreate",
        "pods \"xmpp-0\" is forbidden: exceeded quota",
    );
    let found = of_creation(&events).expect("a cause");
    assert!(found.reason == "FailedCreate" && found.message.contains("quota"));
    assert_eq!(of_creation(&said("SuccessfulCreate", "made")), None);
}

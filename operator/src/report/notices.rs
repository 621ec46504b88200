//! What is told by events: what is wrong now and was not, or not so, in the status before.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use super::Findings;
use crate::api::Notice;
use crate::crd::status::XmppClusterStatus;

/// Conditions whose change for the worse is told of, and the status that is the worse one. Of `Reconciled` a failed pass
/// tells, of `Progressing` each step.
const TOLD: [(&str, &str); 5] = [
    ("Available", "False"),
    ("CertificatesReady", "False"),
    ("Degraded", "True"),
    ("DnsPublished", "False"),
    ("VolumesReady", "False"),
];

/// What to tell once `after` is written in the place of `before`.
#[must_use]
pub fn notices(
    found: &Findings<'_>,
    before: Option<&XmppClusterStatus>,
    after: &XmppClusterStatus,
) -> Vec<Notice> {
    let mut notices = Vec::new();
    for (kind, worse) in TOLD {
        let of = |status: &XmppClusterStatus| -> Option<Condition> {
            let mut all = status.conditions.iter();
            all.find(|one| one.type_ == kind).cloned()
        };
        let Some(new) = of(after).filter(|new| new.status == worse) else {
            continue;
        };
        let old = before.and_then(of);
        // A new cluster has no majority and no records yet; that is no fault.
        let young = old.is_none() && (kind == "Available" || kind == "DnsPublished");
        let same = old.is_some_and(|old| {
            // Why there is no majority is told of member by member, and changes all the time.
            let loss = kind == "Available" && old.status == new.status;
            loss || (old.status, old.reason, old.message)
                == (new.status.clone(), new.reason.clone(), new.message.clone())
        });
        if !same && !young {
            let pod = new.message.split(':').next().unwrap_or_default();
            let pod = found.view.named(pod).map(|pod| pod.name.clone());
            notices.push(Notice {
                warning: true,
                reason: new.reason,
                subject: pod.unwrap_or_default(),
                note: new.message,
            });
        }
    }
    for bridge in &after.bridges {
        let old = before.and_then(|before| {
            let mut all = before.bridges.iter();
            all.find(|old| old.name == bridge.name)
        });
        let Some(error) = &bridge.last_error else {
            continue;
        };
        if old.is_some_and(|old| old.last_error.as_ref() == Some(error)) {
            continue;
        }
        let (reason, note) = match found.bridges.get(&bridge.name) {
            // These name the bridge themselves.
            Some(_) => ("BridgeFaulty", error.clone()),
            None => {
                let refused = found.refused.get(&bridge.name);
                let reason = refused.map_or("BridgeRefused", |refused| refused.reason);
                (reason, format!("bridge {}: {error}", bridge.name))
            }
        };
        notices.push(Notice {
            warning: true,
            reason: reason.to_owned(),
            subject: bridge.name.clone(),
            note,
        });
    }
    notices
}

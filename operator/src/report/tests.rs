//! Conditions and events of a cluster in each kind of trouble.

use std::collections::BTreeMap;

use super::*;
use crate::build::tests::cluster;
use crate::plan::tests::{node, pod};
use crate::plan::{Plan, Step, Waiting};
use crate::view::{Record, Trouble};

fn now() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().expect("a time")
}

/// Three members that are good, but for what a test changes.
struct World {
    cluster: Cluster,
    view: View,
    plan: Plan,
    certificate: Option<(&'static str, String)>,
    ends: Option<String>,
    bridges: BTreeMap<String, String>,
    refused: BTreeMap<String, Refused>,
    volumes: Option<(&'static str, String)>,
    dns: Option<Finding>,
}

impl World {
    fn good() -> Self {
        let peers: Vec<_> = (1..3)
            .map(|n| (format!("xmpp-{n}"), n as u64 + 1, true, true, true))
            .collect();
        let pods = (0..3).map(|n| Pod {
            node: Some(node(
                &format!("xmpp-{n}"),
                n as u64 + 1,
                true,
                n == 0,
                if n == 0 { &peers } else { &[] },
            )),
            ..pod(n)
        });
        Self {
            cluster: cluster("small"),
            view: View {
                wanted: 3,
                replicas: 3,
                record: Record::Started("c1".to_owned()),
                pods: pods.collect(),
                ..View::default()
            },
            plan: Plan {
                replicas: 3,
                step: Step::Rest,
                why: "the cluster is as it should be".to_owned(),
            },
            certificate: None,
            ends: None,
            bridges: BTreeMap::new(),
            refused: BTreeMap::new(),
            volumes: None,
            dns: Some(Finding {
                holds: Some(true),
                reason: "Published",
                message: String::new(),
            }),
        }
    }

    fn with<T>(&self, look: impl FnOnce(&Findings<'_>) -> T) -> T {
        look(&Findings {
            cluster: &self.cluster,
            view: &self.view,
            plan: &self.plan,
            certificate: self.certificate.as_ref(),
            certificate_ends: self.ends.as_ref(),
            bridges: &self.bridges,
            refused: &self.refused,
            volumes: self.volumes.as_ref(),
            dns: self.dns.as_ref(),
            rotating: &BTreeMap::new(),
            outside: &[],
            now: now(),
        })
    }

    fn status(&self, before: Option<&XmppClusterStatus>) -> XmppClusterStatus {
        self.with(|found| status(found, before))
    }

    /// Reasons of the events that this brings to a cluster that was good, each with its subject.
    fn told(&self) -> Vec<String> {
        let before = Self::good().status(None);
        let after = self.status(Some(&before));
        let notices = self.with(|found| notices(found, Some(&before), &after));
        // What was told once is not told again.
        let again = self.with(|found| notices_of_same(found, &after));
        assert_eq!(again, 0);
        let one = |notice: &crate::api::Notice| format!("{} {}", notice.reason, notice.subject);
        notices.iter().map(one).collect()
    }
}

fn notices_of_same(found: &Findings<'_>, after: &XmppClusterStatus) -> usize {
    notices(found, Some(after), &status(found, Some(after))).len()
}

/// Status and reason of a condition.
fn condition(status: &XmppClusterStatus, kind: &str) -> (String, String) {
    let found = status.conditions.iter().find(|one| one.type_ == kind);
    let found = found.unwrap_or_else(|| panic!("no condition {kind}"));
    (found.status.clone(), found.reason.clone())
}

fn is(status: &XmppClusterStatus, kind: &str, holds: &str, reason: &str) {
    let found = condition(status, kind);
    assert_eq!(found, (holds.to_owned(), reason.to_owned()), "{kind}");
}

#[test]
fn a_good_cluster_is_ready_in_every_way_and_nothing_is_told() {
    let world = World::good();
    let status = world.status(None);
    is(&status, "Ready", "True", "AllMembersReady");
    is(&status, "Available", "True", "QuorumHolds");
    is(&status, "Degraded", "False", "NoTrouble");
    is(&status, "CertificatesReady", "True", "Valid");
    is(&status, "BridgesReady", "True", "Accepted");
    is(&status, "VolumesReady", "True", "AsDesired");
    is(&status, "DnsPublished", "True", "Published");
    is(&status, "Progressing", "False", "AsDesired");
    is(&status, "Reconciled", "True", "Reconciled");
    assert_eq!(world.told(), [""; 0]);
    assert_eq!(world.status(Some(&status)), status);
}

#[test]
fn each_fault_has_its_condition_and_one_event() {
    let mut world = World::good();
    world.certificate = Some(("KeyMismatch", "Secret calls-tls: ...".to_owned()));
    let status = world.status(None);
    is(&status, "CertificatesReady", "False", "KeyMismatch");
    is(&status, "Ready", "False", "KeyMismatch");
    is(&status, "Available", "True", "QuorumHolds");
    assert_eq!(world.told(), ["KeyMismatch "]);

    let mut world = World::good();
    world.ends = Some("soon".to_owned());
    is(
        &world.status(None),
        "CertificatesReady",
        "True",
        "ExpiresSoon",
    );

    let mut world = World::good();
    world.view.pods[1].trouble = Some(Trouble {
        reason: "ImagePullBackOff".to_owned(),
        message: "image x cannot be pulled".to_owned(),
    });
    let status = world.status(None);
    is(&status, "Degraded", "True", "ImagePullBackOff");
    is(&status, "Ready", "False", "ImagePullBackOff");
    assert_eq!(world.told(), ["ImagePullBackOff xmpp-1"]);

    let mut world = World::good();
    world.volumes = Some(("VolumeNotGrown", "claim data-xmpp-0 stays".to_owned()));
    let status = world.status(None);
    is(&status, "VolumesReady", "False", "VolumeNotGrown");
    is(&status, "Ready", "True", "AllMembersReady");
    assert_eq!(world.told(), ["VolumeNotGrown "]);

    let mut world = World::good();
    world
        .bridges
        .insert("cb1".to_owned(), "bridge cb1: no key".to_owned());
    let status = world.status(None);
    is(&status, "BridgesReady", "False", "BridgeFaulty");
    is(&status, "Ready", "False", "BridgeFaulty");
    assert_eq!(world.told(), ["BridgeFaulty cb1"]);
}

#[test]
fn a_refused_bridge_is_told_of_and_takes_no_readiness_away() {
    let mut world = World::good();
    let mut refused = Refused {
        reason: "BridgeWrongSecret",
        message: "refused since ...".to_owned(),
        stands_in_the_way: true,
    };
    world.refused.insert("cb2".to_owned(), refused.clone());
    let status = world.status(None);
    is(&status, "BridgesReady", "False", "BridgeWrongSecret");
    is(&status, "Ready", "True", "AllMembersReady");
    let told = status.bridges.iter().find(|bridge| bridge.name == "cb2");
    let told = told.and_then(|bridge| bridge.last_error.as_deref());
    assert_eq!(told, Some("refused since ..."));
    assert_eq!(world.told(), ["BridgeWrongSecret cb2"]);
    // A second stream of one that is registered harms nobody.
    refused.stands_in_the_way = false;
    world.refused.insert("cb2".to_owned(), refused);
    is(&world.status(None), "BridgesReady", "True", "Accepted");
}

#[test]
fn dns_that_does_not_answer_takes_back_nothing_that_it_said() {
    let mut world = World::good();
    let good = world.status(None);
    let mut finding = Finding {
        holds: None,
        reason: "NotAnswered",
        message: String::new(),
    };
    world.dns = Some(finding.clone());
    is(
        &world.status(None),
        "DnsPublished",
        "Unknown",
        "NotAnswered",
    );
    is(
        &world.status(Some(&good)),
        "DnsPublished",
        "True",
        "Published",
    );
    world.dns = None;
    is(&world.status(None), "DnsPublished", "Unknown", "NotAsked");
    is(
        &world.status(Some(&good)),
        "DnsPublished",
        "True",
        "Published",
    );
    (finding.holds, finding.reason) = (Some(false), "SrvMissing");
    world.dns = Some(finding);
    let status = world.status(Some(&good));
    is(&status, "DnsPublished", "False", "SrvMissing");
    is(&status, "Ready", "True", "AllMembersReady");
    assert_eq!(world.told(), ["SrvMissing "]);
}

#[test]
fn pods_that_are_not_made_and_a_lost_majority_are_named() {
    let mut world = World::good();
    world.view.pods.clear();
    world.view.unmade = Some(Trouble {
        reason: "FailedCreate".to_owned(),
        message: "exceeded quota".to_owned(),
    });
    world.plan.step = Step::Wait(Waiting::Quorum);
    let status = world.status(None);
    is(&status, "Degraded", "True", "FailedCreate");
    is(&status, "Available", "False", "NoQuorum");
    assert_eq!(world.told(), ["NoQuorum ", "FailedCreate "]);
}

#[test]
fn a_failed_pass_keeps_what_was_known() {
    let world = World::good();
    let good = world.status(None);
    let after = failed(
        &world.cluster,
        "Forbidden",
        "list secrets",
        Some(&good),
        now(),
    );
    is(&after, "Reconciled", "False", "Forbidden");
    is(&after, "Ready", "True", "AllMembersReady");
    let first = failed(&world.cluster, "Forbidden", "list secrets", None, now());
    for condition in &first.conditions {
        let expected = if condition.type_ == "Reconciled" {
            "False"
        } else {
            "Unknown"
        };
        assert_eq!(condition.status, expected, "{}", condition.type_);
    }
    assert_eq!(first.conditions.len(), good.conditions.len());
}

//! Single decisions, by table.

use xmpp_node_api::status::{
    CertificateStatus, Leader, Ledger, MemberRole, NodeId, NodeRole, NodeStatus, PeerStatus,
    Readiness,
};
use xmpp_node_api::time::Timestamp;

use super::*;
use crate::view::Trouble;

pub(crate) fn names() -> Names {
    Names {
        cluster: "xmpp".to_owned(),
        namespace: "calls".to_owned(),
        zone: "cluster.local".to_owned(),
    }
}

/// A pod that runs and does not answer.
pub(crate) fn pod(ordinal: i32) -> Pod {
    Pod {
        ordinal,
        name: names().pod(ordinal),
        uid: format!("uid-{ordinal}"),
        outdated: false,
        leaving: false,
        serving: true,
        drained: false,
        running: true,
        replace: false,
        trouble: None,
        node: None,
        silence: None,
    }
}

/// What a node says; `peers` are name, id, votes, reachable, caught up.
pub(crate) fn node(
    name: &str,
    id: u64,
    member: bool,
    leads: bool,
    peers: &[(String, u64, bool, bool, bool)],
) -> NodeStatus {
    let at = Timestamp::from_unix_ms(0);
    let certificate = CertificateStatus {
        serial: "01".to_owned(),
        not_after: at,
        certificate_file: String::new(),
        key_file: String::new(),
        trust_bundle: None,
    };
    NodeStatus {
        name: name.to_owned(),
        id: NodeId(id),
        address: "xmpp-0.test:7222".parse().expect("an address"),
        cluster_id: member.then(|| "c1".to_owned()),
        role: match (member, leads) {
            (false, _) => NodeRole::Uninitialized,
            (true, true) => NodeRole::Leader,
            (true, false) => NodeRole::Follower,
        },
        term: 1,
        leader: leads.then(|| Leader {
            id: NodeId(id),
            name: name.to_owned(),
            address: None,
        }),
        applied: 1,
        committed: 1,
        digest: String::new(),
        configuration_digest: String::new(),
        votes_needed: 1,
        votes_seen: 1,
        last_state_change: at,
        ready: Readiness {
            ok: member,
            reason: String::new(),
        },
        draining: false,
        peers: peers
            .iter()
            .map(|(name, id, votes, reachable, caught_up)| PeerStatus {
                name: name.clone(),
                id: NodeId(*id),
                address: "xmpp-0.test:7222".parse().expect("an address"),
                role: if *votes {
                    MemberRole::Voter
                } else {
                    MemberRole::Learner
                },
                leader: false,
                reachable: *reachable,
                since: at,
                caught_up: Some(*caught_up),
            })
            .collect(),
        bridges: Vec::new(),
        strangers: Vec::new(),
        ledger: Ledger::default(),
        certificate: certificate.clone(),
        peer_certificate: certificate,
        version: "0.1.0".to_owned(),
        uptime_seconds: 1,
    }
}

/// Three members, all good; the first leads.
fn three() -> View {
    let names = names();
    let others: Vec<_> = (1..3)
        .map(|n| (names.pod(n), n as u64 + 1, true, true, true))
        .collect();
    let pods = (0..3).map(|n| {
        let peers = if n == 0 { others.as_slice() } else { &[] };
        Pod {
            node: Some(node(&names.pod(n), n as u64 + 1, true, n == 0, peers)),
            ..pod(n)
        }
    });
    View {
        wanted: 3,
        replicas: 3,
        record: Record::Started("c1".to_owned()),
        pods: pods.collect(),
        ..View::default()
    }
}

fn step(view: &View) -> Step {
    plan(&names(), view).step
}

fn empty(ordinal: i32) -> Pod {
    Pod {
        node: Some(node(
            &names().pod(ordinal),
            100 + ordinal as u64,
            false,
            false,
            &[],
        )),
        ..pod(ordinal)
    }
}

#[test]
fn a_cluster_as_it_should_be_rests() {
    assert_eq!(step(&three()), Step::Rest);
    // Which pods are outdated is not known yet.
    let unseen = View {
        unseen: true,
        ..three()
    };
    assert_eq!(step(&unseen), Step::Wait(Waiting::Template));
}

#[test]
fn only_the_first_pod_is_initialised_and_only_where_nothing_was() {
    let mut view = three();
    view.record = Record::New("c1".to_owned());
    view.pods = vec![pod(0), empty(1), empty(2)];
    assert_eq!(step(&view), Step::Wait(Waiting::Pods));
    view.pods[0] = empty(0);
    let pod = "xmpp-0".to_owned();
    assert_eq!(step(&view), Step::Initialize { pod });
    // It was done, and the operator stopped before it was recorded.
    view.pods[0] = three().pods[0].clone();
    let id = "c1".to_owned();
    assert_eq!(step(&view), Step::Record { id });
}

#[test]
fn a_cluster_that_lost_all_volumes_waits_for_a_person() {
    let mut view = three();
    view.pods = vec![empty(0), empty(1), empty(2)];
    let waiting = plan(&names(), &view);
    assert_eq!(waiting.step, Step::Wait(Waiting::Confirmation));
    assert!(waiting.why.contains("start-empty=c1"), "{}", waiting.why);
    view.start_empty = true;
    assert_eq!(step(&view), Step::StartAnew);
    // One that does not answer may hold everything.
    view.pods[2] = pod(2);
    assert_eq!(step(&view), Step::Wait(Waiting::Quorum));
}

#[test]
fn a_lost_record_is_restored_from_what_members_say() {
    let mut view = three();
    view.record = Record::Lost;
    let id = "c1".to_owned();
    assert_eq!(step(&view), Step::Record { id });
    view.pods = vec![empty(0), pod(1), empty(2)];
    assert_eq!(step(&view), Step::Wait(Waiting::Pods));
}

#[test]
fn a_foreign_volume_stops_everything_and_names_the_pod() {
    let mut view = three();
    if let Some(node) = &mut view.pods[1].node {
        node.cluster_id = Some("c2".to_owned());
    }
    let found = plan(&names(), &view);
    assert_eq!(found.step, Step::Wait(Waiting::ForeignVolume));
    assert!(
        found.why.contains("xmpp-1") && found.why.contains("c2"),
        "{}",
        found.why
    );
}

#[test]
fn a_pod_with_an_empty_volume_takes_its_old_place() {
    let mut view = three();
    view.pods[2] = empty(2);
    let (pod, through) = ("xmpp-2".to_owned(), "xmpp-0".to_owned());
    assert_eq!(step(&view), Step::Join { pod, through });
}

#[test]
fn paused_changes_nothing_not_even_the_number_of_pods() {
    let mut view = three();
    view.paused = true;
    view.wanted = 5;
    let plan = plan(&names(), &view);
    assert_eq!((plan.replicas, plan.step), (3, Step::Wait(Waiting::Paused)));
}

#[test]
fn what_does_not_run_anyway_is_mended_first_whatever_the_quorum() {
    let mut view = three();
    for at in [1, 2] {
        view.pods[at].outdated = true;
        view.pods[at].running = false;
        view.pods[at].node = None;
        view.pods[at].trouble = Some(Trouble {
            reason: "ImagePullBackOff".to_owned(),
            message: String::new(),
        });
    }
    view.pods[0].node = None;
    let first = Step::Restart {
        pod: "xmpp-1".to_owned(),
        uid: "uid-1".to_owned(),
        ask: false,
    };
    assert_eq!(step(&view), first);
}

#[test]
fn nothing_is_restarted_while_another_member_is_behind() {
    let mut view = three();
    view.pods[1].outdated = true;
    if let Some(node) = &mut view.pods[0].node {
        node.peers[1].caught_up = Some(false);
    }
    let found = plan(&names(), &view);
    assert_eq!(found.step, Step::Wait(Waiting::Members));
    assert!(found.why.contains("xmpp-2"), "{}", found.why);
}

#[test]
fn a_leader_that_goes_hands_over_to_one_that_stays() {
    let mut view = three();
    view.wanted = 1;
    // The third leads.
    let node_0 = node("xmpp-0", 1, true, false, &[]);
    let peers = [
        ("xmpp-0".to_owned(), 1, true, true, true),
        ("xmpp-1".to_owned(), 2, true, true, true),
    ];
    view.pods[0].node = Some(node_0);
    view.pods[2].node = Some(node("xmpp-2", 3, true, true, &peers));
    for pod in &mut view.pods[1..] {
        (pod.serving, pod.drained) = (false, true);
    }
    let plan = plan(&names(), &view);
    let to = "xmpp-0".to_owned();
    assert_eq!((plan.replicas, plan.step), (3, Step::Transfer { to }));
}

#[test]
fn a_pod_is_drained_before_it_goes_and_serves_again_if_it_stays() {
    let mut view = three();
    view.pods[1].outdated = true;
    let (pod, uid) = ("xmpp-1".to_owned(), "uid-1".to_owned());
    let drain = Step::Drain {
        pod: pod.clone(),
        uid: uid.clone(),
    };
    assert_eq!(step(&view), drain);
    view.pods[1].serving = false;
    assert_eq!(step(&view), Step::Wait(Waiting::Drain));
    view.pods[1].drained = true;
    let restart = Step::Restart {
        pod: pod.clone(),
        uid: uid.clone(),
        ask: true,
    };
    assert_eq!(step(&view), restart);
    view.pods[1].outdated = false;
    assert_eq!(step(&view), Step::Serve { pod, uid });
}

#[test]
fn the_last_pod_that_serves_is_not_drained() {
    let mut view = three();
    view.pods[1].outdated = true;
    for at in [0, 2] {
        view.pods[at].serving = false;
    }
    assert!(matches!(step(&view), Step::Restart { .. }));
}

#[test]
fn all_pods_that_go_are_drained_before_any_member_leaves() {
    let mut view = three();
    (view.wanted, view.replicas) = (1, 3);
    let mut drained = Vec::new();
    while let Step::Drain { pod, .. } = step(&view) {
        let pod = view.pods.iter_mut().find(|one| one.name == pod);
        let pod = pod.expect("it is there");
        (pod.serving, pod.drained) = (false, true);
        drained.push(pod.name.clone());
    }
    assert_eq!(drained, ["xmpp-1", "xmpp-2"]);
    assert!(matches!(step(&view), Step::ChangeVoters { .. }));
}

//! Bridges that members refuse, as the status and events tell of them. Pure.
//!
//! Each member tells of those that came to it; here their words become one. A refusal is told of until the bridge registers,
//! and for [`RECENT`] after the last attempt at most, so a bridge that keeps on trying is told of all the time. What is told
//! has no count and no time but the first, so it stands still while the same goes wrong.

use std::time::Duration;

use jiff::Timestamp;
use xmpp_node_api::status::{NodeStatus, RefusalReason, RefusalStatus};

use crate::cluster::Cluster;
use crate::crd::BridgeSpec;
use crate::keyring::secret_name;

/// Longer than any bridge waits between two tries.
pub const RECENT: Duration = Duration::from_secs(900);

/// A bridge that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// One word, for events.
    pub reason: &'static str,
    /// What is wrong, since when, and what to do.
    pub message: String,
    /// The bridge is not registered, so this is why.
    pub stands_in_the_way: bool,
}

/// What is to be told of a bridge of the resource; `leader` is who says where it is registered.
#[must_use]
pub fn of_bridge(
    cluster: &Cluster,
    bridge: &BridgeSpec,
    nodes: &[&NodeStatus],
    leader: Option<&NodeStatus>,
    now: Timestamp,
) -> Option<Refused> {
    let known = leader.and_then(|node| node.bridges.iter().find(|one| one.name == bridge.name));
    let attached = known.and_then(|known| known.attached.as_ref());
    let since = attached.map_or(0, |attached| attached.since.unix_ms());
    let refusals = nodes.iter().flat_map(|node| {
        let known = node.bridges.iter().filter(|one| one.name == bridge.name);
        known.filter_map(|one| one.refusal.as_ref())
    });
    let refusal = last(refusals.filter(|refusal| refusal.at.unix_ms() > since), now)?;
    let RefusalStatus { from, since, .. } = &refusal;
    let secret = secret_name(cluster, bridge);
    let key = bridge
        .secret_ref
        .as_ref()
        .and_then(|given| given.key.as_deref());
    let key = key.unwrap_or("secret");
    let (reason, message) = match refusal.reason {
        RefusalReason::WrongSecret => (
            "BridgeWrongSecret",
            format!(
                "refused since {since}, from {from}: it presents a wrong secret: give it the one in Secret {secret}, key {key}"
            ),
        ),
        RefusalReason::WrongCertificate => (
            "BridgeWrongCertificate",
            format!(
                "refused since {since}, from {from}: it shows no certificate that is valid for its name, which the \
                 members' component.client_ca asks for"
            ),
        ),
        RefusalReason::Conflict => {
            let at = attached.map_or("a member", |attached| attached.node.as_str());
            (
                "BridgeConflict",
                format!(
                    "refused since {since}, from {from}: the bridge is registered already, by a live stream on {at}: stop \
                     one of the two, or give it a name of its own in spec.bridges"
                ),
            )
        }
        RefusalReason::TooManyFailures => (
            "BridgeThrottled",
            format!(
                "refused since {since}, from {from}: too many handshakes from that address failed, so it has to wait: find \
                 out which bridge there has a wrong secret"
            ),
        ),
        RefusalReason::UnknownBridge => return None,
    };
    Some(Refused {
        reason,
        message,
        stands_in_the_way: attached.is_none(),
    })
}

/// Names that were refused and are not in the resource, each with what is to be told of it.
#[must_use]
pub fn of_strangers(
    cluster: &Cluster,
    nodes: &[&NodeStatus],
    now: Timestamp,
) -> Vec<(String, String)> {
    let all = || nodes.iter().flat_map(|node| &node.strangers);
    let mut names: Vec<&str> = all().map(|stranger| stranger.name.as_str()).collect();
    names.sort_unstable();
    names.dedup();
    let wanted = |name: &str| {
        cluster
            .spec
            .bridges
            .iter()
            .any(|bridge| bridge.name == name)
    };
    let told = names.into_iter().filter(|name| !wanted(name)).filter_map(|name| {
        let of_name = all().filter(|stranger| stranger.name == name);
        let refusal = last(of_name.map(|stranger| &stranger.refusal), now)?;
        let message = format!(
            "bridge {name} is refused, from {}: spec.bridges has none of that name: add it, or mend the bridge's own name",
            refusal.from
        );
        Some((name.to_owned(), message))
    });
    told.collect()
}

/// The last of these, with the first time of all that failed in the same way.
fn last<'a>(
    refusals: impl Iterator<Item = &'a RefusalStatus>,
    now: Timestamp,
) -> Option<RefusalStatus> {
    let recent = now.as_millisecond() - i64::try_from(RECENT.as_millis()).unwrap_or(i64::MAX);
    let recent = u64::try_from(recent).unwrap_or_default();
    let refusals: Vec<_> = refusals.filter(|one| one.at.unix_ms() >= recent).collect();
    let last = refusals.iter().max_by_key(|refusal| refusal.at.unix_ms())?;
    let same = refusals
        .iter()
        .filter(|one| (one.reason, &one.from) == (last.reason, &last.from));
    let first = same.min_by_key(|refusal| refusal.since.unix_ms())?;
    Some(RefusalStatus {
        since: first.since,
        ..(*last).clone()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::tests::cluster;
    use xmpp_node_api::status::{
        Attachment, BridgeState, BridgeStatus, QueueStatus, StrangerStatus,
    };
    use xmpp_node_api::time::Timestamp as NodeTime;

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().expect("a time")
    }

    fn ago(seconds: i64) -> NodeTime {
        let at = now() - jiff::SignedDuration::from_secs(seconds);
        NodeTime::from_unix_ms(u64::try_from(at.as_millisecond()).expect("after 1970"))
    }

    fn refusal(reason: RefusalReason, from: &str, since: i64, at: i64) -> RefusalStatus {
        RefusalStatus {
            reason,
            from: from.to_owned(),
            since: ago(since),
            at: ago(at),
            count: 2,
        }
    }

    fn node(attached_ago: Option<i64>, refusal: Option<RefusalStatus>) -> NodeStatus {
        let mut node = crate::plan::tests::node("xmpp-0", 1, true, true, &[]);
        node.bridges.push(BridgeStatus {
            name: "cb1".to_owned(),
            jid: "cb1.example.test".to_owned(),
            attached: attached_ago.map(|seconds| Attachment {
                node: "xmpp-2".to_owned(),
                since: ago(seconds),
            }),
            state: BridgeState::Absent,
            queue: QueueStatus::default(),
            secret_generations: vec![1],
            unconfirmed: false,
            refusal,
        });
        node
    }

    fn told(nodes: &[NodeStatus]) -> Option<Refused> {
        let cluster = cluster("small");
        let nodes: Vec<&NodeStatus> = nodes.iter().collect();
        of_bridge(
            &cluster,
            &cluster.spec.bridges[0],
            &nodes,
            nodes.first().copied(),
            now(),
        )
    }

    #[test]
    fn a_wrong_secret_is_told_with_its_first_time_and_the_right_secret() {
        let wrong = |since, at| refusal(RefusalReason::WrongSecret, "10.0.0.7", since, at);
        // The bridge goes from member to member; it is the same bridge.
        let nodes = [
            node(None, Some(wrong(300, 200))),
            node(None, Some(wrong(100, 5))),
        ];
        let found = told(&nodes).expect("it is refused");
        assert_eq!(found.reason, "BridgeWrongSecret");
        assert!(found.stands_in_the_way);
        for word in [
            "10.0.0.7",
            "2026-03-01T11:55:00",
            "Secret xmpp-bridge-cb1, key secret",
        ] {
            assert!(found.message.contains(word), "{}", found.message);
        }
    }

    #[test]
    fn what_was_before_the_registration_or_long_ago_is_over() {
        let wrong = |at| Some(refusal(RefusalReason::WrongSecret, "10.0.0.7", 4000, at));
        assert_eq!(told(&[node(Some(60), wrong(61))]), None);
        assert!(told(&[node(Some(60), wrong(59))]).is_some());
        assert_eq!(told(&[node(None, wrong(901))]), None);
        assert_eq!(told(&[node(None, None)]), None);
    }

    #[test]
    fn a_second_stream_is_told_of_and_stands_in_nobodys_way() {
        let second = refusal(RefusalReason::Conflict, "10.0.0.8", 20, 10);
        let found = told(&[node(Some(60), Some(second))]).expect("it is refused");
        assert_eq!(found.reason, "BridgeConflict");
        assert!(!found.stands_in_the_way && found.message.contains("xmpp-2"));
    }

    #[test]
    fn strangers_are_those_that_the_resource_does_not_name() {
        let stranger = |name: &str| StrangerStatus {
            name: name.to_owned(),
            refusal: refusal(RefusalReason::UnknownBridge, "10.0.0.9", 20, 10),
        };
        let mut node = node(None, None);
        node.strangers = vec![stranger("cb1"), stranger("cb9")];
        let cluster = cluster("small");
        let found = of_strangers(&cluster, &[&node, &node], now());
        assert_eq!(found.len(), 1);
        assert!(found[0].0 == "cb9" && found[0].1.contains("spec.bridges"));
    }
}

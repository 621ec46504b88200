//! The part of a pass that says what it found: the status, and events.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use xmpp_node_api::status::NodeStatus;

use super::{PassError, Passes};
use crate::api::Notice;
use crate::cluster::Cluster;
use crate::crd::{XmppCluster, XmppClusterStatus};
use crate::dns::{self, Finding, Outside};
use crate::refusals::{self, Refused};
use crate::report::{self, Findings};
use crate::view::View;

/// Changes of bridges alone are written no more often; they come when others please.
const CALM: Duration = Duration::from_secs(10);
/// Strangers of one cluster that are told of, over the life of this process: whoever can connect can make names up.
const STRANGERS: usize = 16;

/// What was said of a cluster.
#[derive(Debug, Default)]
pub(super) struct Told {
    written: Option<Instant>,
    strangers: BTreeSet<String>,
}

/// Bridges of the resource that members refuse, by name.
pub(super) fn refused(
    cluster: &Cluster,
    view: &View,
    nodes: &[&NodeStatus],
    now: Timestamp,
) -> BTreeMap<String, Refused> {
    let leader = view.group().map(|group| group.leader).unwrap_or_default();
    let leader = view.named(&leader).and_then(|pod| pod.node.as_ref());
    let bridges = cluster.spec.bridges.iter();
    let of_bridge = bridges.filter_map(|bridge| {
        let refused = refusals::of_bridge(cluster, bridge, nodes, leader, now)?;
        Some((bridge.name.clone(), refused))
    });
    of_bridge.collect()
}

impl Passes {
    pub(super) async fn ask_dns(&self, cluster: &Cluster, outside: &[Outside]) -> Finding {
        let found = self.dns.look(&dns::owner(cluster)).await;
        dns::judge(cluster, outside, &found)
    }

    /// Writes the status if it is not what it was, and tells of what got worse. Whether a change of bridges was held back.
    pub(super) async fn report(
        &self,
        resource: &XmppCluster,
        found: &Findings<'_>,
    ) -> Result<bool, PassError> {
        let before = resource.status.as_ref();
        let status = report::status(found, before);
        let of_bridges =
            before.is_some_and(|before| *before != status && differ_in_bridges(before, &status));
        if of_bridges && self.wrote_lately(&found.cluster.uid) {
            return Ok(true);
        }
        if self.write(resource, found.cluster, &status).await? {
            for notice in report::notices(found, before, &status) {
                self.access.tell(resource, notice).await;
            }
        }
        Ok(false)
    }

    /// Writes a status if it is not what it was; whether it did.
    pub(super) async fn write(
        &self,
        resource: &XmppCluster,
        cluster: &Cluster,
        status: &XmppClusterStatus,
    ) -> Result<bool, PassError> {
        if resource.status.as_ref() == Some(status) {
            return Ok(false);
        }
        let names = &cluster.names;
        self.access
            .write_status(&names.namespace, &names.cluster, status)
            .await?;
        self.told(&cluster.uid, |told| told.written = Some(Instant::now()));
        Ok(true)
    }

    /// Tells of bridges that the resource does not name, each once.
    pub(super) async fn tell_of_strangers(
        &self,
        resource: &XmppCluster,
        cluster: &Cluster,
        nodes: &[&NodeStatus],
        now: Timestamp,
    ) {
        for (name, note) in refusals::of_strangers(cluster, nodes, now) {
            let new = self.told(&cluster.uid, |told| {
                told.strangers.len() < STRANGERS && told.strangers.insert(name.clone())
            });
            if new {
                let notice = Notice {
                    warning: true,
                    reason: "BridgeUnknown".to_owned(),
                    subject: name,
                    note,
                };
                self.access.tell(resource, notice).await;
            }
        }
    }

    fn wrote_lately(&self, uid: &str) -> bool {
        self.told(uid, |told| {
            told.written.is_some_and(|written| written.elapsed() < CALM)
        })
    }

    fn told<T>(&self, uid: &str, with: impl FnOnce(&mut Told) -> T) -> T {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        with(told.entry(uid.to_owned()).or_default())
    }
}

/// Whether two statuses differ in what bridges do, and in nothing else.
fn differ_in_bridges(a: &XmppClusterStatus, b: &XmppClusterStatus) -> bool {
    let rest = |status: &XmppClusterStatus| {
        let mut rest = status.clone();
        rest.bridges.clear();
        rest.registered.clear();
        rest.conditions.retain(|one| one.type_ != "BridgesReady");
        rest
    };
    rest(a) == rest(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crd::status::BridgeStatus;

    #[test]
    fn what_else_changed_is_never_held_back() {
        let before = XmppClusterStatus::default();
        let mut after = before.clone();
        after.registered = "1/2".to_owned();
        after.bridges.push(BridgeStatus::default());
        assert!(differ_in_bridges(&before, &after));
        after.votes = "2/3".to_owned();
        assert!(!differ_in_bridges(&before, &after));
    }
}

//! The part of a pass that makes the cluster accept the bridges of the resource, with their secrets.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::PoisonError;

use jiff::Timestamp;
use xmpp_node_api::admin::{AdminError, ErrorCode, Request, Response};
use xmpp_node_client::admin::ClientError;

use super::{PassError, Passes};
use crate::api::Notice;
use crate::bridges::changes;
use crate::cluster::Cluster;
use crate::crd::XmppCluster;
use crate::keyring;
use crate::nodes::Nodes;
use crate::observe::Observed;
use crate::view::{Record, View};

/// What became of the bridges.
#[derive(Default)]
pub(super) struct Bridges {
    pub(super) faults: BTreeMap<String, String>,
    pub(super) rotating: BTreeMap<String, Timestamp>,
    pub(super) changed: bool,
}

impl Passes {
    /// Makes the cluster accept the bridges of the resource, with their secrets.
    pub(super) async fn settle_bridges(
        &self,
        resource: &XmppCluster,
        cluster: &Cluster,
        observed: &Observed,
        nodes: &Nodes,
        view: &View,
        now: Timestamp,
    ) -> Result<Bridges, PassError> {
        let mut found = Bridges::default();
        let (mut wanted, mut limits) = (BTreeMap::new(), BTreeMap::new());
        for bridge in &cluster.spec.bridges {
            let secret = keyring::wanted_secret(cluster, &observed.secrets, &bridge.name);
            let secret = secret.map_err(|fault| found.faults.insert(bridge.name.clone(), fault));
            wanted.insert(bridge.name.clone(), secret.ok());
            limits.insert(bridge.name.clone(), bridge.bounds());
        }
        let started = matches!(view.record, Record::Started(_));
        let Some(group) = view.group().filter(|_| started) else {
            return Ok(found);
        };
        let known = view.named(&group.leader).and_then(|pod| pod.node.as_ref());
        let held = known.map(|node| {
            let one = |bridge: &xmpp_node_api::status::BridgeStatus| {
                (bridge.name.clone(), bridge.secret_generations.clone())
            };
            node.bridges.iter().map(one).collect::<Vec<_>>()
        });
        let mut hasher = DefaultHasher::new();
        (&wanted, &limits, &held).hash(&mut hasher);
        let both = hasher.finish();
        let settled = || self.settled.lock().unwrap_or_else(PoisonError::into_inner);
        if settled().get(&cluster.uid) == Some(&both) {
            return Ok(found);
        }
        let call = async |request: Request| {
            let name = request.name();
            nodes
                .call(&group.leader, &request)
                .await
                .map_err(|error| PassError::Node {
                    request: name,
                    pod: group.leader.clone(),
                    error,
                })
        };
        let Response::Bridges(held) = call(Request::ListBridges { reveal: true }).await? else {
            return Ok(found);
        };
        let changes = changes(&wanted, &limits, &held, &rotating(resource), now);
        found.rotating = changes.rotating;
        for request in changes.requests {
            let (what, name) = (request.name(), bridge_of(&request));
            match call(request).await {
                Ok(_) => {
                    found.changed = true;
                    self.access
                        .tell(
                            resource,
                            Notice {
                                warning: false,
                                reason: event_of(what).to_owned(),
                                note: format!("bridge {name}: {what}"),
                                subject: name,
                            },
                        )
                        .await;
                }
                Err(PassError::Node {
                    error: ClientError::Refused(error),
                    ..
                }) if is_of_bridge(&error) => {
                    found.faults.insert(name, error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        if !found.changed && found.rotating.is_empty() && found.faults.is_empty() {
            settled().insert(cluster.uid.clone(), both);
        }
        Ok(found)
    }
}

fn rotating(resource: &XmppCluster) -> BTreeMap<String, Timestamp> {
    let bridges = resource.status.iter().flat_map(|status| &status.bridges);
    let since = bridges.filter_map(|bridge| {
        let since = bridge.rotating_since.as_ref()?.parse().ok()?;
        Some((bridge.name.clone(), since))
    });
    since.collect()
}

fn is_of_bridge(error: &AdminError) -> bool {
    matches!(
        error.code,
        ErrorCode::Invalid
            | ErrorCode::BridgeExists
            | ErrorCode::UnknownBridge
            | ErrorCode::Conflict
    )
}

fn bridge_of(request: &Request) -> String {
    match request {
        Request::PutBridge { name, .. }
        | Request::RotateBridge { name, .. }
        | Request::RetireSecret { name, .. }
        | Request::LimitBridge { name, .. }
        | Request::RemoveBridge { name } => name.clone(),
        _ => String::new(),
    }
}

fn event_of(request: &str) -> &'static str {
    match request {
        "put_bridge" => "BridgeAdded",
        "rotate_bridge" => "SecretRotated",
        "retire_secret" => "SecretRetired",
        "limit_bridge" => "BridgeLimited",
        _ => "BridgeRemoved",
    }
}

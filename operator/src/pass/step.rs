//! The part of a pass that takes the one step, by the members' admin API or at the API server.

use jiff::Timestamp;
use tracing::info;
use xmpp_node_api::admin::{ErrorCode, Member, Request, Response};
use xmpp_node_client::admin::ClientError;

use super::{PassError, Passes, record};
use crate::api::Notice;
use crate::cluster::Cluster;
use crate::crd::XmppCluster;
use crate::keyring;
use crate::nodes::Nodes;
use crate::observe::Observed;
use crate::plan::{Plan, Step, Waiting};
use crate::view::View;

impl Passes {
    /// Takes the one step. Whether there was one.
    pub(super) async fn take(
        &self,
        resource: &XmppCluster,
        cluster: &Cluster,
        observed: &Observed,
        nodes: &Nodes,
        view: &View,
        plan: &mut Plan,
    ) -> Result<bool, PassError> {
        let names = &cluster.names;
        let space = names.namespace.as_str();
        let leader = view.group().map(|group| group.leader).unwrap_or_default();
        let ask = async |pod: &str, request: Request| {
            let answer = nodes.call(pod, &request).await;
            answer.map_err(|error| PassError::Node {
                request: request.name(),
                pod: pod.to_owned(),
                error,
            })
        };
        match plan.step.clone() {
            Step::Rest | Step::Wait(_) | Step::Shrink => return Ok(false),
            Step::Initialize { pod } => {
                let id = view.record.id().unwrap_or_default().to_owned();
                let done = ask(&pod, Request::Initialize { cluster_id: id }).await;
                if !already(&done) {
                    done?;
                }
            }
            Step::Record { id } => self.write_record(cluster, observed, &id, true).await?,
            Step::StartAnew => {
                self.write_record(cluster, observed, &keyring::cluster_id()?, false)
                    .await?;
            }
            Step::Join { pod, through } => {
                let node = view.named(&through).and_then(|pod| pod.node.as_ref());
                let Some(address) = node.map(|node| node.address.clone()) else {
                    return Ok(false);
                };
                let done = ask(&pod, Request::Join { address }).await;
                if !already(&done) {
                    done?;
                }
            }
            Step::Remove { id, .. } => {
                let member = Member::Id(id);
                ask(&leader, Request::RemoveMember { member }).await?;
            }
            Step::ChangeVoters { ids } => {
                ask(&leader, Request::ChangeVoters { ids }).await?;
            }
            Step::Transfer { to } => {
                let to = Some(Member::Name(to));
                ask(&leader, Request::TransferLeader { to }).await?;
            }
            Step::Drain { pod, uid } => {
                let since = Some(Timestamp::now());
                self.access.drain_pod(space, &pod, &uid, since).await?;
            }
            Step::Serve { pod, uid } => self.access.drain_pod(space, &pod, &uid, None).await?,
            Step::Restart {
                pod,
                uid,
                ask: live,
            } => {
                if live {
                    let name = pod.clone();
                    let answer = ask(&leader, Request::MayRestart { name }).await?;
                    if let Response::Decision(decision) = answer
                        && !decision.allowed
                    {
                        plan.step = Step::Wait(Waiting::Members);
                        plan.why = format!("{pod} may not be restarted now: {}", decision.reason);
                        return Ok(false);
                    }
                }
                self.access.delete_pod(space, &pod, &uid).await?;
            }
            Step::Replace { pod, uid } => {
                let ordinal = names.ordinal(&pod).unwrap_or(-1);
                let claim = names.claim(ordinal);
                if let Some(claim) = observed.claims.iter().find(|found| found.name() == claim) {
                    let kind = "PersistentVolumeClaim";
                    self.access
                        .delete(kind, space, claim.name(), claim.uid())
                        .await?;
                }
                self.access.delete_pod(space, &pod, &uid).await?;
            }
        }
        let step = plan.step.name();
        info!(
            cluster = names.cluster,
            namespace = space,
            step,
            why = plan.why,
            "step taken"
        );
        self.metrics.stepped(step);
        let notice = Notice {
            warning: false,
            reason: step.to_owned(),
            subject: plan.step.pod().unwrap_or_default().to_owned(),
            note: plan.why.clone(),
        };
        self.access.tell(resource, notice).await;
        Ok(true)
    }

    async fn write_record(
        &self,
        cluster: &Cluster,
        observed: &Observed,
        id: &str,
        started: bool,
    ) -> Result<(), PassError> {
        let found = observed.object("ConfigMap", &cluster.names.record());
        self.access
            .apply(&record(cluster, id, started), found)
            .await?;
        Ok(())
    }
}

/// The node did this before, and the operator stopped before it knew.
fn already(done: &Result<Response, PassError>) -> bool {
    matches!(
        done,
        Err(PassError::Node { error: ClientError::Refused(error), .. }) if error.code == ErrorCode::AlreadyInitialized
    )
}

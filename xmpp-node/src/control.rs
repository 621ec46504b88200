//! What the admin API does: each request of [`xmpp_node_api::admin`] on this node.
//!
//! Every change may be asked of any node: those of bridges go through the log, those of membership to the leader.

mod bridges;
pub(crate) mod forwarding;
mod users;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::BoxFuture;
use xmpp_core::router::Command;
use xmpp_node_api::admin::{AdminError, Decision, ErrorCode, Member as Named, Request, Response};

use crate::admin::Control;
use crate::consensus::ConsensusError;
use crate::consensus::types::Member;
use crate::node::Node;
use crate::node::parts::router_limits;
use crate::sealing::SealingKey;

impl Control for Node {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, AdminError>> {
        Box::pin(self.fulfil_or_forward(request))
    }
}

impl Node {
    async fn fulfil(&self, request: Request) -> Result<Response, AdminError> {
        if let Some(fault) = request.fault() {
            return Err(AdminError::new(ErrorCode::Invalid, fault.to_string()));
        }
        match request {
            Request::Status {} => return Ok(Response::Status(Box::new(self.status()))),
            Request::MayRestart { name } => return self.may_restart(&name).map(Response::Decision),
            Request::ListBridges { reveal } => {
                return self.list_bridges(reveal).map(Response::Bridges);
            }
            Request::PutBridge { name, secret } => {
                return self.put_bridge(&name, secret).await.map(Response::Bridge);
            }
            Request::RotateBridge { name, secret } => {
                return self
                    .rotate_bridge(&name, secret)
                    .await
                    .map(Response::Bridge);
            }
            Request::ListUsers {} => return Ok(Response::Users(self.list_users())),
            Request::PutUser {
                name,
                password,
                replace,
            } => self.put_user(&name, password, replace).await?,
            Request::RemoveUser { name } => self.remove_user(&name).await?,
            Request::Initialize { cluster_id } => self.initialize(&cluster_id).await?,
            Request::Join { address } => {
                // One that learns asks again where an earlier request was not finished.
                if self.consensus.votes() {
                    return Err(failure(self, ConsensusError::AlreadyInitialized));
                }
                self.join(&address.to_string())
                    .await
                    .map_err(|error| failure(self, error))?;
            }
            Request::AddLearner { id, name, peer } => {
                let member = Member {
                    name,
                    peer: peer.to_string(),
                };
                self.consensus
                    .add_learner(id.0, member)
                    .await
                    .map_err(|error| failure(self, error))?;
            }
            Request::ChangeVoters { ids } => {
                let ids: BTreeSet<u64> = ids.into_iter().map(|id| id.0).collect();
                self.consensus
                    .change_voters(ids)
                    .await
                    .map_err(|error| failure(self, error))?;
            }
            Request::RemoveMember { member } => {
                let id = self.member(&member)?;
                self.consensus
                    .remove_member(id)
                    .await
                    .map_err(|error| failure(self, error))?;
            }
            Request::TransferLeader { to } => {
                let to = to.map(|to| self.member(&to)).transpose()?;
                self.consensus
                    .transfer_leader(to)
                    .await
                    .map_err(|error| failure(self, error))?;
            }
            Request::Drain { on } => self.drain(on).await?,
            Request::RetireSecret { name, generation } => {
                self.retire_secret(&name, generation).await?;
            }
            Request::LimitBridge { name, limits } => self.limit_bridge(&name, limits).await?,
            Request::RemoveBridge { name } => {
                let domain = self.bridge_domain(&name)?;
                self.configure(&name, &Command::RemoveBridge { domain: &domain })
                    .await?;
            }
            Request::Reload {} => {
                let faults = self.reload();
                if !faults.is_empty() {
                    return Err(
                        AdminError::new(ErrorCode::Invalid, faults.join("; ")).with_fix(
                            "mend the files and reload again; what was in force stays in force",
                        ),
                    );
                }
            }
        }
        Ok(Response::Done {})
    }

    async fn initialize(&self, cluster_id: &str) -> Result<(), AdminError> {
        let known = self.peers.local().cluster_id.clone();
        if let Some(known) = known.filter(|known| known != cluster_id) {
            return Err(AdminError::new(
                ErrorCode::Conflict,
                format!("cluster_id: this node belongs to cluster {known} for life"),
            )
            .with_fix("start it with an empty directory to make it part of another cluster"));
        }
        if !self.consensus.members().is_empty() {
            return Err(failure(self, ConsensusError::AlreadyInitialized));
        }
        let key = match self.streams.sealing.load_full() {
            Some(key) => SealingKey::new(key.expose()),
            None => SealingKey::generate(),
        };
        let key = key.map_err(|error| AdminError::new(ErrorCode::Internal, error.to_string()))?;
        self.belong_to(cluster_id, key)
            .map_err(|error| failure(self, error))?;
        let limits = router_limits(&self.settings.limits);
        let domain = &self.settings.domain;
        self.consensus
            .initialize(cluster_id, domain, limits)
            .await
            .map_err(|error| failure(self, error))
    }

    async fn drain(&self, on: bool) -> Result<(), AdminError> {
        self.draining.send_replace(on);
        if on {
            match self.consensus.transfer_leader(None).await {
                Ok(()) | Err(ConsensusError::NotLeader(_) | ConsensusError::NoSuccessor) => {}
                Err(error) => return Err(failure(self, error)),
            }
        }
        Ok(())
    }

    fn member(&self, named: &Named) -> Result<u64, AdminError> {
        let found = self
            .consensus
            .members()
            .into_iter()
            .find(|(id, member)| match named {
                Named::Name(name) => member.name == *name,
                Named::Id(wanted) => *id == wanted.0,
            });
        found
            .map(|(id, _)| id)
            .ok_or_else(|| failure(self, ConsensusError::UnknownMember))
    }

    /// Whether the cluster keeps its quorum when this member stops for a moment.
    fn may_restart(&self, name: &str) -> Result<Decision, AdminError> {
        let id = self.member(&Named::Name(name.to_owned()))?;
        let status = self.status();
        let voters = self.consensus.voters();
        let lagging = status.peers.iter().find(|peer| {
            peer.id.0 != id
                && voters.contains(&peer.id.0)
                && (!peer.reachable || peer.caught_up == Some(false))
        });
        let decision = |allowed, reason: String| Ok(Decision { allowed, reason });
        if !voters.contains(&id) {
            return decision(true, format!("{name} does not vote"));
        }
        if let Some(peer) = lagging {
            return decision(
                false,
                format!("{} is not reachable or has not caught up", peer.name),
            );
        }
        if !self.streams.contact.is_open() {
            return decision(
                false,
                "this node has no contact with a leader and its quorum".to_owned(),
            );
        }
        if self.consensus.leader() == Some(id) && voters.len() > 1 {
            return decision(false, format!("{name} leads: transfer leadership first"));
        }
        if voters.len() < 3 {
            let reason = format!(
                "the cluster has {} voter(s) and is down while {name} restarts",
                voters.len()
            );
            return decision(true, reason);
        }
        decision(
            true,
            "all other voters are reachable and have caught up".to_owned(),
        )
    }
}

fn failure(node: &Node, error: ConsensusError) -> AdminError {
    let text = error.to_string();
    let code = match error {
        ConsensusError::NotLeader(_) => {
            return AdminError::not_leader(
                node.consensus.leader().map(|id| node.leader_status(id)),
            );
        }
        ConsensusError::AlreadyInitialized => ErrorCode::AlreadyInitialized,
        ConsensusError::UnknownMember => ErrorCode::UnknownMember,
        ConsensusError::TooManyMembers
        | ConsensusError::NameTaken(_)
        | ConsensusError::Refused(_)
        | ConsensusError::JoinRefused(_) => ErrorCode::Conflict,
        ConsensusError::Timeout => ErrorCode::Timeout,
        ConsensusError::NoSuccessor | ConsensusError::Unreachable(_) => ErrorCode::Unavailable,
        ConsensusError::Raft(_) => ErrorCode::Internal,
    };
    AdminError::new(code, text)
}

/// The node as what fulfils requests.
#[must_use]
pub fn control(node: Arc<Node>) -> Arc<dyn Control> {
    node
}

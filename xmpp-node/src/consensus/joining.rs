//! How a node joins: it asks any member, is sent to the leader, learns, and votes once it has caught up. And how a member that
//! was away finds out whether it still is one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;
use tracing::warn;

use xmpp_node_api::address::HostPort;
use xmpp_node_api::config::name_fault;

use super::members::PATIENCE;
use super::types::Member;
use super::{Consensus, ConsensusError, rpc};
use crate::peer::Link;
use crate::sealing::SealingKey;

/// Between two requests of a node that joins.
const JOIN_PERIOD: Duration = Duration::from_millis(200);

/// A node that wants to be a member.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JoinRequest {
    /// Its id.
    pub id: u64,
    /// Its name and address.
    pub member: Member,
}

/// What the node that was asked says.
#[derive(Debug, Serialize, Deserialize)]
pub enum JoinAnswer {
    /// Ask this address.
    Elsewhere(String),
    /// No.
    Refused(String),
    /// The node is a learner; it asks again until it votes.
    Learner(Welcome),
    /// The node votes.
    Voter(Welcome),
}

/// What a member must know.
#[derive(Clone, Serialize, Deserialize)]
pub struct Welcome {
    /// The cluster's id.
    pub cluster_id: String,
    /// The XMPP domain, to compare.
    pub domain: String,
    sealing_key: Vec<u8>,
}

impl Welcome {
    /// The sealing key.
    ///
    /// # Errors
    /// If it is none.
    pub fn sealing_key(&self) -> Result<SealingKey, crate::sealing::SealingError> {
        SealingKey::new(&self.sealing_key)
    }
}

impl std::fmt::Debug for Welcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "welcome to {}", self.cluster_id)
    }
}

/// A node asks to become a member.
pub(super) async fn answer_join(consensus: &Arc<Consensus>, body: &[u8]) -> Option<Bytes> {
    let request: JoinRequest = rpc::decode("request to join", body).ok()?;
    Some(rpc::encode(&consensus.join_step(request).await))
}

/// What must not get into the membership, which every node holds.
fn fault(member: &Member) -> Option<String> {
    let name = name_fault(&member.name).map(|rule| format!("name: {rule}"));
    let peer = || member.peer.parse::<HostPort>().err();
    name.or_else(|| peer().map(|error| format!("address: {error}")))
}

impl Consensus {
    /// One step on the way of a node to membership; asked again until it votes.
    async fn join_step(&self, request: JoinRequest) -> JoinAnswer {
        if !self.raft.is_leader() {
            return match self.leader_member() {
                Some(leader) => JoinAnswer::Elsewhere(leader.peer),
                None => JoinAnswer::Refused("this node knows of no leader".to_owned()),
            };
        }
        if let Some(fault) = fault(&request.member) {
            return JoinAnswer::Refused(fault);
        }
        let Some(welcome) = self.welcome() else {
            return JoinAnswer::Refused("the cluster is not configured yet".to_owned());
        };
        if self.voters().contains(&request.id) {
            return JoinAnswer::Voter(welcome);
        }
        let learner = self.members().iter().any(|(id, _)| *id == request.id);
        let step = if !learner {
            self.add_learner(request.id, request.member).await
        } else if self.caught_up(request.id) == Some(true) {
            self.add_voter(request.id).await
        } else {
            Ok(())
        };
        match step {
            Err(error) => JoinAnswer::Refused(error.to_string()),
            Ok(()) if self.voters().contains(&request.id) => JoinAnswer::Voter(welcome),
            Ok(()) => JoinAnswer::Learner(welcome),
        }
    }

    fn welcome(&self) -> Option<Welcome> {
        let sealing_key = self.sealing.load_full()?.expose().to_vec();
        let router = self.applied.router();
        (!router.cluster().is_empty()).then(|| Welcome {
            cluster_id: router.cluster().to_owned(),
            domain: router.domain().to_owned(),
            sealing_key,
        })
    }

    /// Whether this node votes, as it knows.
    #[must_use]
    pub fn votes(&self) -> bool {
        self.voters().contains(&self.local.id)
    }

    /// Asks the node at `address`, and whom it names, to take this node in; returns once it votes. `admitted` is told what a
    /// member must know, before this node takes part.
    ///
    /// # Errors
    /// [`ConsensusError::Unreachable`], [`ConsensusError::JoinRefused`].
    pub async fn join(
        &self,
        address: &str,
        mut admitted: impl FnMut(&Welcome) -> Result<(), ConsensusError>,
    ) -> Result<(), ConsensusError> {
        let member = Member {
            name: self.local.name.clone(),
            peer: self.local.advertise.clone(),
        };
        let request = rpc::encode(&JoinRequest {
            id: self.local.id,
            member,
        });
        let mut link = self.dial(address).await?;
        let mut told = false;
        loop {
            let answer = link
                .request(rpc::JOIN, vec![request.clone()], PATIENCE * 2)
                .await;
            let answer = answer.map_err(|error| ConsensusError::Unreachable(error.to_string()))?;
            match rpc::decode("answer to a request to join", &answer) {
                Ok(JoinAnswer::Elsewhere(leader)) => link = self.dial(&leader).await?,
                Ok(JoinAnswer::Refused(reason)) => return Err(ConsensusError::JoinRefused(reason)),
                Ok(JoinAnswer::Learner(welcome) | JoinAnswer::Voter(welcome)) if !told => {
                    admitted(&welcome)?;
                    self.confirm_member();
                    told = true;
                }
                Ok(JoinAnswer::Voter(_)) => return Ok(()),
                Ok(JoinAnswer::Learner(_)) => {}
                Err(_) => {
                    return Err(ConsensusError::Unreachable(
                        "the answer is unreadable".to_owned(),
                    ));
                }
            }
            sleep(JOIN_PERIOD).await;
        }
    }

    async fn dial(&self, address: &str) -> Result<Link, ConsensusError> {
        let dialled = self.peers.dial_once(address).await;
        dialled
            .map(|(_, link)| link)
            .map_err(|error| ConsensusError::Unreachable(format!("{address}: {error}")))
    }
}

/// Whether a quorum of the members that this node knows confirms that it is one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// A quorum says yes.
    Member,
    /// A quorum says no: it was removed while it was away.
    Removed,
    /// Too few answer.
    Unknown,
}

impl Consensus {
    /// Asks the voters that this node knows of whether it is still a member.
    pub async fn standing(&self) -> Standing {
        let voters = self.voters();
        let needed = voters.len() / 2 + 1;
        let mut yes = usize::from(voters.contains(&self.local.id));
        let mut no = 0;
        let body = rpc::encode(&self.local.id);
        for id in voters.iter().filter(|id| **id != self.local.id) {
            let Some(link) = self.peers.link(*id) else {
                continue;
            };
            let answer = link
                .request(rpc::MEMBER, vec![body.clone()], Duration::from_millis(300))
                .await;
            match answer
                .ok()
                .and_then(|answer| rpc::decode::<bool>("standing", &answer).ok())
            {
                Some(true) => yes += 1,
                Some(false) => no += 1,
                None => {}
            }
        }
        if yes >= needed || voters.is_empty() {
            Standing::Member
        } else if no >= needed {
            warn!(no, "this node's id was removed from the cluster");
            Standing::Removed
        } else {
            Standing::Unknown
        }
    }
}

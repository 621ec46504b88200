//! Who is a member: the first one, those who join, those who leave.
//!
//! A member has a name (configured, kept) and an id (random, on its volume). Joining with a known name and a new id replaces
//! the old id, if that is unreachable: no ghost stays. Changes of membership run one at a time on the leader.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver as _;
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};
use xmpp_core::router::{Command, Limits};

use super::types::Member;
use super::{Consensus, ConsensusError, rpc};
use crate::peer::Link;
use crate::sealing::SealingKey;

/// How long one change may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two requests of a node that joins.
const JOIN_PERIOD: Duration = Duration::from_millis(200);
/// A learner that lacks at most so many entries has caught up.
const CAUGHT_UP: u64 = 64;

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

impl Consensus {
    /// Makes this node the first and only member of a new cluster.
    ///
    /// # Errors
    /// [`ConsensusError::AlreadyInitialized`], or what Raft says.
    pub async fn initialize(
        &self,
        cluster_id: &str,
        domain: &str,
        limits: Limits,
    ) -> Result<(), ConsensusError> {
        if self
            .raft
            .is_initialized()
            .await
            .map_err(ConsensusError::raft)?
        {
            return Err(ConsensusError::AlreadyInitialized);
        }
        let member = Member {
            name: self.local.name.clone(),
            peer: self.local.advertise.clone(),
        };
        self.confirm_member();
        self.raft
            .initialize(std::collections::BTreeMap::from([(self.local.id, member)]))
            .await
            .map_err(ConsensusError::raft)?;
        let mut leadership = self.leadership.subscribe();
        let led = leadership.wait_for(|now| now.leader == Some(self.local.id));
        timeout(PATIENCE, led)
            .await
            .map_err(|_| ConsensusError::Timeout)?
            .map_err(|_| ConsensusError::Timeout)?;
        self.configure(&Command::Configure {
            cluster: cluster_id,
            domain,
            limits,
            expected: 0,
        })
        .await
    }

    /// Proposes a change of configuration and waits for its decision.
    ///
    /// # Errors
    /// [`ConsensusError::Refused`], [`ConsensusError::Timeout`]; after the latter the change may still come.
    pub async fn configure(&self, command: &Command<'_>) -> Result<(), ConsensusError> {
        let decision = self
            .ingress
            .propose_with(command, |request| self.applied.expect_decision(request));
        match timeout(PATIENCE, decision).await {
            Ok(Ok(decided)) => decided.map_err(ConsensusError::Refused),
            Ok(Err(_)) | Err(_) => Err(ConsensusError::Timeout),
        }
    }

    /// Adds a learner. Only on the leader.
    ///
    /// # Errors
    /// [`ConsensusError::NotLeader`], [`ConsensusError::NameTaken`], or what Raft says.
    pub async fn add_learner(&self, id: u64, member: Member) -> Result<(), ConsensusError> {
        let _one = self.changing.lock().await;
        self.require_leader()?;
        self.replace_name(id, &member).await?;
        bounded(self.raft.add_learner(id, member, false)).await
    }

    /// Makes exactly these the voters, in one joint change. Members that vote no more stay as learners.
    ///
    /// # Errors
    /// [`ConsensusError::NotLeader`], [`ConsensusError::UnknownMember`], or what Raft says.
    pub async fn change_voters(&self, ids: BTreeSet<u64>) -> Result<(), ConsensusError> {
        let _one = self.changing.lock().await;
        self.require_leader()?;
        let members: BTreeSet<u64> = self.members().into_iter().map(|(id, _)| id).collect();
        if ids.is_empty() || !ids.is_subset(&members) {
            return Err(ConsensusError::UnknownMember);
        }
        bounded(self.raft.change_membership(ids, true)).await
    }

    /// Takes a member out.
    ///
    /// # Errors
    /// [`ConsensusError::NotLeader`], [`ConsensusError::UnknownMember`], or what Raft says.
    pub async fn remove_member(&self, id: u64) -> Result<(), ConsensusError> {
        let _one = self.changing.lock().await;
        self.require_leader()?;
        if !self.members().iter().any(|(member, _)| *member == id) {
            return Err(ConsensusError::UnknownMember);
        }
        self.remove(id).await
    }

    async fn remove(&self, id: u64) -> Result<(), ConsensusError> {
        let ids = BTreeSet::from([id]);
        if self.voters().contains(&id) {
            bounded(
                self.raft
                    .change_membership(ChangeMembers::RemoveVoters(ids.clone()), true),
            )
            .await?;
        }
        bounded(
            self.raft
                .change_membership(ChangeMembers::RemoveNodes(ids), false),
        )
        .await?;
        self.ingress.propose(&Command::ForgetNode { node: id });
        Ok(())
    }

    /// A member of the same name under another id goes, if it is unreachable.
    async fn replace_name(&self, id: u64, member: &Member) -> Result<(), ConsensusError> {
        let old = self
            .members()
            .into_iter()
            .find(|(other, known)| *other != id && known.name == member.name);
        let Some((old, _)) = old else { return Ok(()) };
        if old == self.local.id || self.peers.connected(old) {
            return Err(ConsensusError::NameTaken(member.name.clone()));
        }
        info!(
            name = member.name,
            old,
            new = id,
            "a member comes back under a new id"
        );
        self.remove(old).await
    }

    fn require_leader(&self) -> Result<(), ConsensusError> {
        if self.raft.is_leader() {
            Ok(())
        } else {
            Err(ConsensusError::NotLeader(self.leader_member()))
        }
    }

    /// Hands leadership over, and waits until somebody else leads.
    ///
    /// # Errors
    /// [`ConsensusError::NotLeader`], [`ConsensusError::UnknownMember`], [`ConsensusError::Timeout`].
    pub async fn transfer_leader(&self, to: Option<u64>) -> Result<(), ConsensusError> {
        self.require_leader()?;
        let target = match to {
            Some(to) if self.voters().contains(&to) => to,
            Some(_) => return Err(ConsensusError::UnknownMember),
            None => self.successor().ok_or(ConsensusError::UnknownMember)?,
        };
        if target == self.local.id {
            return Ok(());
        }
        let mut leadership = self.leadership.subscribe();
        for _ in 0..3 {
            self.raft
                .trigger()
                .transfer_leader(target)
                .await
                .map_err(ConsensusError::raft)?;
            let changed =
                leadership.wait_for(|now| now.leader.is_some_and(|leader| leader != self.local.id));
            if timeout(Duration::from_millis(700), changed).await.is_ok() {
                return Ok(());
            }
        }
        Err(ConsensusError::Timeout)
    }

    /// The reachable voter with the longest log.
    fn successor(&self) -> Option<u64> {
        let metrics = self.raft.data_metrics();
        let replication = metrics
            .borrow_watched()
            .replication
            .clone()
            .unwrap_or_default();
        let reachable = |id: &u64| *id != self.local.id && self.peers.connected(*id);
        self.voters()
            .into_iter()
            .filter(reachable)
            .max_by_key(|id| replication.get(id).copied().flatten())
    }

    /// Whether a member's log reaches nearly to the leader's end; `None` on others than the leader.
    #[must_use]
    pub fn caught_up(&self, id: u64) -> Option<bool> {
        let metrics = self.raft.data_metrics();
        let metrics = metrics.borrow_watched();
        let replication = metrics.replication.as_ref()?;
        let last = metrics.last_log.map_or(0, |last| last.index);
        let matched = match replication.get(&id) {
            Some(matched) => matched.map_or(0, |matched| matched.index),
            None if id == self.local.id => last,
            None => 0,
        };
        Some(matched + CAUGHT_UP >= last)
    }
}

async fn bounded<T>(
    change: impl Future<Output = Result<T, impl std::error::Error>>,
) -> Result<(), ConsensusError> {
    match timeout(PATIENCE, change).await {
        Ok(done) => done.map(|_| ()).map_err(ConsensusError::raft),
        Err(_) => Err(ConsensusError::Timeout),
    }
}

/// Whether the id asked for is a member, as this node knows it.
pub(super) fn answer_member(consensus: &Consensus, body: &[u8]) -> Option<Bytes> {
    let id: u64 = rpc::decode("id", body).ok()?;
    let members = consensus.members();
    // A node that knows of no members knows nothing.
    (!members.is_empty()).then(|| rpc::encode(&members.iter().any(|(member, _)| *member == id)))
}

/// A node asks to become a member.
pub(super) async fn answer_join(consensus: &Arc<Consensus>, body: &[u8]) -> Option<Bytes> {
    let request: JoinRequest = rpc::decode("request to join", body).ok()?;
    Some(rpc::encode(&consensus.join_step(request).await))
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
            let mut voters: BTreeSet<u64> = self.voters();
            voters.insert(request.id);
            self.change_voters(voters).await
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

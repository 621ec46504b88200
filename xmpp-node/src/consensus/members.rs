//! Who is a member: the first one, those who join, those who leave.
//!
//! A member has a name (configured, kept) and an id (random, on its volume). Joining with a known name and a new id replaces
//! the old id, if that is unreachable: no ghost stays. Changes of membership run one at a time on the leader.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{ClientWriteError, RaftError};
use tokio::time::{sleep, timeout};
use tracing::info;
use xmpp_core::router::{Command, Limits};
use xmpp_node_api::status::NodeId;

use super::types::{Member, TypeConfig};
use super::{Consensus, ConsensusError, rpc};

/// How long one change may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);
/// The most members of a group, voters and learners: far more than gain anything.
pub(super) const MAX_MEMBERS: usize = 32;
/// How long one attempt to hand leadership over may take.
const TRANSFER: Duration = Duration::from_millis(700);
/// How often it is looked at whether those who are waited for are still there.
const LOOK: Duration = Duration::from_millis(10);
/// A learner that lacks at most so many entries has caught up.
const CAUGHT_UP: u64 = 64;

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
    /// [`ConsensusError::NotLeader`], [`ConsensusError::NameTaken`], [`ConsensusError::TooManyMembers`], or what Raft says.
    pub async fn add_learner(&self, id: u64, member: Member) -> Result<(), ConsensusError> {
        let _one = self.changing.lock().await;
        self.require_leader()?;
        self.replace_name(id, &member).await?;
        let members = self.members();
        if members.len() >= MAX_MEMBERS && !members.iter().any(|(known, _)| *known == id) {
            return Err(ConsensusError::TooManyMembers);
        }
        self.change(|| self.raft.add_learner(id, member.clone(), false))
            .await
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
        self.change(|| self.raft.change_membership(ids.clone(), true))
            .await
    }

    /// Lets a learner vote beside those who do, whoever they are by then: nodes join at the same time. Only on the leader.
    pub(super) async fn add_voter(&self, id: u64) -> Result<(), ConsensusError> {
        let _one = self.changing.lock().await;
        self.require_leader()?;
        let add = ChangeMembers::AddVoterIds(BTreeSet::from([id]));
        self.change(|| self.raft.change_membership(add.clone(), true))
            .await
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
            let remove = ChangeMembers::RemoveVoters(ids.clone());
            self.change(|| self.raft.change_membership(remove.clone(), true))
                .await?;
        }
        let remove = ChangeMembers::RemoveNodes(ids);
        self.change(|| self.raft.change_membership(remove.clone(), false))
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
            old = %NodeId(old),
            new = %NodeId(id),
            "a member comes back under a new id"
        );
        self.remove(old).await
    }

    /// Has the Raft core make a change. A leader that is new, or whose lease ran out, refuses for a moment; nothing has
    /// happened then, and it is asked again.
    async fn change<T, A>(&self, ask: impl Fn() -> A) -> Result<(), ConsensusError>
    where
        A: Future<Output = Result<T, RaftError<TypeConfig, ClientWriteError<TypeConfig>>>>,
    {
        let asking = async {
            loop {
                match ask().await {
                    Ok(_) => return Ok(()),
                    Err(error) if error.forward_to_leader().is_some() => self.require_leader()?,
                    Err(error) => return Err(ConsensusError::raft(error)),
                }
                sleep(LOOK).await;
            }
        };
        let asked = timeout(PATIENCE, asking).await;
        asked.unwrap_or(Err(ConsensusError::Timeout))
    }

    fn require_leader(&self) -> Result<(), ConsensusError> {
        if self.raft.is_leader() {
            Ok(())
        } else {
            Err(ConsensusError::NotLeader(self.leader_member()))
        }
    }

    /// Hands leadership over, and waits until somebody else leads: not for members that are gone, or go meanwhile.
    ///
    /// # Errors
    /// [`ConsensusError::NotLeader`], [`ConsensusError::UnknownMember`], [`ConsensusError::NoSuccessor`],
    /// [`ConsensusError::Timeout`].
    pub async fn transfer_leader(&self, to: Option<u64>) -> Result<(), ConsensusError> {
        self.require_leader()?;
        if to.is_some_and(|to| !self.voters().contains(&to)) {
            return Err(ConsensusError::UnknownMember);
        }
        let mut leadership = self.leadership.subscribe();
        for _ in 0..3 {
            let target = to.or_else(|| self.successor());
            if target == Some(self.local.id) {
                return Ok(());
            }
            let there = |target: &u64| self.peers.connected(*target) && self.sees_quorum();
            let Some(target) = target.filter(there) else {
                return Err(ConsensusError::NoSuccessor);
            };
            self.raft
                .trigger()
                .transfer_leader(target)
                .await
                .map_err(ConsensusError::raft)?;
            let changed =
                leadership.wait_for(|now| now.leader.is_some_and(|leader| leader != self.local.id));
            let gone = async {
                while there(&target) {
                    sleep(LOOK).await;
                }
            };
            tokio::select! {
                changed = timeout(TRANSFER, changed) => if changed.is_ok() {
                    return Ok(());
                },
                () = gone => {}
            }
        }
        Err(ConsensusError::Timeout)
    }

    /// Whether enough voters are connected for a decision.
    #[must_use]
    pub fn sees_quorum(&self) -> bool {
        let voters = self.voters();
        let here = |id: &&u64| **id == self.local.id || self.peers.connected(**id);
        voters.iter().filter(here).count() > voters.len() / 2
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

/// Whether the id asked for is a member, as this node knows it.
pub(super) fn answer_member(consensus: &Consensus, body: &[u8]) -> Option<Bytes> {
    let id: u64 = rpc::decode("id", body).ok()?;
    let members = consensus.members();
    // A node that knows of no members knows nothing.
    (!members.is_empty()).then(|| rpc::encode(&members.iter().any(|(member, _)| *member == id)))
}

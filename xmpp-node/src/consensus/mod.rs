//! The replicated log. openraft and its types stay inside this folder.
//!
//! In reading order:
//! - [`types`]: what openraft is instantiated with: entry, member, vote.
//! - [`encoding`]: an entry as bytes, in the log file and between nodes.
//! - [`log`]: the segment log; [`snapshot`]: snapshot files.
//! - [`state_machine`]: the router as openraft's state machine.
//! - [`rpc`], [`network`], [`transfer`], [`service`]: what nodes say to one another.
//! - [`forward`] and [`propose`]: how commands get into the log.
//! - [`confirm`]: whether this node may speak; [`timers`]: what the leader decides by its clock.
//! - [`failover`]: election without waiting; [`members`] and [`joining`]: who belongs to the cluster.
//! - [`core`]: how openraft is set up.

pub mod encoding;
pub mod joining;
pub mod log;
pub mod members;
pub mod snapshot;
pub mod state_machine;

pub mod types;

mod advice;
mod compaction;
mod confirm;
mod core;
mod failover;
mod forward;
mod network;
mod propose;
mod rpc;
mod service;
mod timers;
mod transfer;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use openraft::ServerState;
use openraft::async_runtime::WatchReceiver as _;
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;
use xmpp_core::router::ConfigureError;

use crate::applied::Applied;
use crate::contact::Contact;
use crate::ingress::Ingress;
use crate::metrics::Metrics;
use crate::peer::{Peers, Service};
use crate::sealing::SealingKey;
use log::{LogOptions, LogReader, SegmentLog};
use network::Network;
use propose::Proposer;
use snapshot::SnapshotStore;
pub use state_machine::StateMachine;
use types::{Member, Raft};

/// Who this node is.
#[derive(Debug, Clone)]
pub struct Local {
    /// Random, on its volume.
    pub id: u64,
    /// Configured.
    pub name: String,
    /// `host:port` of its peer port, as others reach it.
    pub advertise: String,
}

/// Times that consensus goes by.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Between two heartbeats of the leader.
    pub heartbeat: Duration,
    /// The shortest election timeout.
    pub election_min: Duration,
    /// The longest; also the leader's lease.
    pub election_max: Duration,
    /// How long a session waits for its next stream.
    pub detach_timeout: Duration,
    /// A node silent for so long is gone.
    pub silence: Duration,
    /// Bytes of log after which a snapshot is taken.
    pub snapshot_log_bytes: u64,
}

/// Who leads, as this node knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leadership {
    /// The leader's id.
    pub leader: Option<u64>,
    /// The term.
    pub term: u64,
    /// What this node is.
    pub state: ServerState,
}

/// Why something about the cluster did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ConsensusError {
    /// Only the leader does this.
    #[error("this node does not lead")]
    NotLeader(Option<Member>),
    /// The node belongs to a cluster.
    #[error("this node is a member of a cluster already")]
    AlreadyInitialized,
    /// There is no such member.
    #[error("there is no such member")]
    UnknownMember,
    /// Another member of the name is reachable.
    #[error("a member called {0} is alive; names are unique")]
    NameTaken(String),
    /// The group has as many members as it may have.
    #[error("the cluster has {} members, which is the most", members::MAX_MEMBERS)]
    TooManyMembers,
    /// Too few other voters are there to elect one of them.
    #[error("no other voter is there that could lead")]
    NoSuccessor,
    /// No answer in time. What was asked may still happen.
    #[error("no decision in time: there may be no quorum")]
    Timeout,
    /// The state refused.
    #[error("{0}")]
    Refused(ConfigureError),
    /// The cluster does not take this node in.
    #[error("the cluster refuses this node: {0}")]
    JoinRefused(String),
    /// A node cannot be reached.
    #[error("cannot reach {0}")]
    Unreachable(String),
    /// What Raft says.
    #[error("{0}")]
    Raft(String),
}

impl ConsensusError {
    fn raft(error: impl std::error::Error) -> Self {
        Self::Raft(error.to_string())
    }
}

/// This node's part in the group. See the module documentation.
pub struct Consensus {
    /// Who this node is.
    pub local: Local,
    timing: Timing,
    raft: Raft<StateMachine>,
    log: LogReader,
    peers: Peers,
    applied: Arc<Applied>,
    ingress: Arc<Ingress>,
    contact: Arc<Contact>,
    sealing: Arc<ArcSwapOption<SealingKey>>,
    proposer: Proposer,
    receiver: transfer::Receiver,
    leadership: watch::Sender<Leadership>,
    metrics: Arc<Metrics>,
    confirmed: AtomicBool,
    changing: Mutex<()>,
}

impl std::fmt::Debug for Consensus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consensus")
            .field("local", &self.local)
            .finish_non_exhaustive()
    }
}

/// What consensus is built from.
#[derive(Debug)]
pub struct Parts {
    /// The applied state.
    pub applied: Arc<Applied>,
    /// This node's commands.
    pub ingress: Arc<Ingress>,
    /// Whether this node may speak.
    pub contact: Arc<Contact>,
    /// The sealing key, once known.
    pub sealing: Arc<ArcSwapOption<SealingKey>>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// The volume belongs to a cluster: a log that is missing was lost, and with it a vote that must not be given twice.
    pub member: bool,
}

impl Consensus {
    /// Opens log and snapshots in `dir` and builds the Raft core, which does nothing before [`Self::run`].
    ///
    /// # Errors
    /// If log or snapshot are damaged, or the settings make no sense.
    pub async fn open(
        local: Local,
        timing: Timing,
        dir: &Path,
        peers: Peers,
        parts: Parts,
    ) -> anyhow::Result<Arc<Self>> {
        let Parts {
            applied,
            ingress,
            contact,
            sealing,
            metrics,
            member,
        } = parts;
        let counted = Arc::clone(&metrics);
        let log = SegmentLog::open(
            &dir.join("log"),
            LogOptions {
                must_exist: member,
                synced: Arc::new(move |took| counted.observe_fsync(took)),
                ..LogOptions::default()
            },
        )?;
        info!(recovery = ?log.recovery(), "log");
        let reader = log.reader();
        let snapshots = Arc::new(SnapshotStore::open(&dir.join("snapshots"))?);
        let state_machine = StateMachine::open(
            Arc::clone(&applied),
            Arc::clone(&ingress),
            Arc::clone(&snapshots),
        )?;
        let network = Network::new(peers.clone());
        let raft = Raft::build(
            local.id,
            Arc::new(core::config(&timing)?),
            network,
            log,
            state_machine,
        )
        .await?;
        let leadership = watch::Sender::new(Leadership {
            leader: None,
            term: 0,
            state: ServerState::Learner,
        });
        Ok(Arc::new(Self {
            local,
            timing,
            raft,
            log: reader,
            peers,
            applied,
            ingress,
            contact,
            sealing,
            proposer: Proposer::default(),
            receiver: transfer::Receiver::new(snapshots),
            leadership,
            metrics,
            confirmed: AtomicBool::new(false),
            changing: Mutex::new(()),
        }))
    }

    /// Starts the Raft core and everything around it. `tasks` end when `stop` is cancelled.
    pub fn run(self: &Arc<Self>, tasks: &TaskTracker, stop: &CancellationToken) {
        self.raft.run();
        let spawn = |task: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>| {
            let stop = stop.clone();
            tasks.spawn(async move {
                stop.run_until_cancelled(task).await;
            });
        };
        let this = || Arc::clone(self);
        spawn(Box::pin(core::follow(this())));
        spawn(Box::pin(confirm::run(this())));
        spawn(Box::pin(forward::run(this())));
        spawn(Box::pin(timers::run(this())));
        spawn(Box::pin(failover::run(this())));
        spawn(Box::pin(compaction::run(this())));
        let proposing = this();
        spawn(Box::pin(async move {
            proposing.proposer.run(&proposing.raft).await
        }));
    }

    /// What answers this node's peers.
    #[must_use]
    pub fn service(self: &Arc<Self>) -> Arc<dyn Service> {
        Arc::new(service::Answers(Arc::clone(self)))
    }

    /// Stops the Raft core.
    pub async fn shutdown(&self) {
        let _ = self.raft.shutdown().await;
    }

    /// Completes when the Raft core has failed: the node must end.
    pub async fn failed(&self) -> String {
        let mut metrics = self.raft.metrics();
        loop {
            if let Err(fatal) = &metrics.borrow_watched().running_state {
                return fatal.to_string();
            }
            if metrics.changed().await.is_err() {
                return "the Raft core ended".to_owned();
            }
        }
    }

    /// Who leads, and changes of it.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.subscribe()
    }

    /// Who leads.
    #[must_use]
    pub fn leader(&self) -> Option<u64> {
        self.leadership.borrow().leader
    }

    /// The term.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.leadership.borrow().term
    }

    /// All members with their ids, in order.
    #[must_use]
    pub fn members(&self) -> Vec<(u64, Member)> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics
            .membership_config
            .nodes()
            .map(|(id, member)| (*id, member.clone()))
            .collect()
    }

    /// Ids of the voters.
    #[must_use]
    pub fn voters(&self) -> BTreeSet<u64> {
        self.raft
            .server_metrics()
            .borrow_watched()
            .membership_config
            .voter_ids()
            .collect()
    }

    /// The leader's entry among the members.
    #[must_use]
    pub fn leader_member(&self) -> Option<Member> {
        let leader = self.leader()?;
        self.members()
            .into_iter()
            .find_map(|(id, member)| (id == leader).then_some(member))
    }

    /// Index of the last entry known to be committed.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.raft
            .data_metrics()
            .borrow_watched()
            .cluster_committed
            .map_or(0, |log_id| log_id.index)
    }

    /// Log index of the last snapshot, 0 before the first.
    #[must_use]
    pub fn snapshot_index(&self) -> u64 {
        self.raft
            .data_metrics()
            .borrow_watched()
            .snapshot
            .map_or(0, |log_id| log_id.index)
    }

    /// Bytes of log kept in memory.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.log.bytes_in_memory()
    }

    /// A quorum said that this node's id is a member: it may vote.
    pub fn confirm_member(&self) {
        if !self.confirmed.swap(true, Ordering::AcqRel) {
            self.raft.runtime_config().elect(true);
        }
    }

    /// Whether this node may vote.
    #[must_use]
    pub fn is_confirmed_member(&self) -> bool {
        self.confirmed.load(Ordering::Acquire)
    }
}

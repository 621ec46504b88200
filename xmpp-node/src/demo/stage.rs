//! One demo from beginning to end: cluster up, traffic on, faults, the end, the reckoning.
//!
//! Length: the run of a demo from start to end, read in one go.

mod ending;
mod showing;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use xmpp_node_api::status::{BridgeState, NodeStatus};

use super::cluster::{Cluster, Plan};
use super::error::DemoError;
use super::faults::{AWAY, Fault, Faults, RECOVERY, Sight, Step};
use super::report::Report;
use super::settled::{leader, settled};
use super::traffic::{Run, explain};
use super::view::View;
use crate::cli::render_cluster_status;

/// What a demo is to do.
#[derive(Clone)]
pub struct Options {
    /// The cluster.
    pub plan: Plan,
    /// How long messages are sent; without it until told to stop.
    pub duration: Option<Duration>,
    /// Messages a second in all, at least 1.
    pub rate: u32,
    /// Which node is killed.
    pub fault: Fault,
    /// From fault to fault.
    pub every: Duration,
}

/// What a demo found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The figures.
    pub report: Report,
    /// What must not be, in words; nothing if all is well.
    pub complaints: Vec<String>,
}

/// Runs a demo until its time is over or `stop`. Once the directory is the demo's and the cluster is up, `claimed` may put
/// something into it.
///
/// # Errors
/// [`DemoError`] if the cluster does not come up, a node crashes, or one does not recover.
pub async fn run(
    options: Options,
    view: &mut View,
    stop: &CancellationToken,
    claimed: impl FnOnce(&Path),
) -> Result<Outcome, DemoError> {
    let mut progress = |line: &str| view.say(line);
    let starting = Cluster::start(options.plan.clone(), &mut progress);
    let cluster = Arc::new(tokio::select! {
        started = starting => started?,
        () = stop.cancelled() => return Err(DemoError::Interrupted),
    });
    claimed(cluster.dir());
    let configs = options
        .plan
        .bridges
        .iter()
        .map(|name| cluster.bridge_config(name));
    let registering = Run::register(configs.collect(), REGISTER);
    let run = tokio::select! {
        registered = registering => registered?,
        () = stop.cancelled() => return Err(DemoError::Interrupted),
    };
    for (name, status) in run.names().iter().zip(run.statuses()) {
        view.say(&format!("{name} is {}", explain(&status)));
    }
    let mut stage = Stage::new(options, cluster, run);
    stage.print_statuses(view).await;
    stage.play(view, stop).await?;
    stage.wind_up(view).await
}

/// A cluster and its bridges while the demo runs.
struct Stage {
    options: Options,
    cluster: Arc<Cluster>,
    run: Run,
    statuses: watch::Receiver<Vec<Option<NodeStatus>>>,
    _watching: DropGuard,
    faults: Faults,
    killed: u64,
    leading: Option<(u64, usize)>,
    leader_changes: u64,
    /// Someone else used the cluster.
    shared: bool,
    begin: Instant,
}

impl Stage {
    fn new(options: Options, cluster: Arc<Cluster>, mut run: Run) -> Self {
        let (watching, statuses) = watch_statuses(&cluster);
        run.offer(options.rate);
        let nodes = cluster.sites().len();
        Self {
            faults: Faults::new(options.fault, options.every, nodes, Duration::ZERO),
            options,
            cluster,
            run,
            statuses,
            _watching: watching,
            killed: 0,
            leading: None,
            leader_changes: 0,
            shared: false,
            begin: Instant::now(),
        }
    }

    /// Traffic and faults until the time is over or `stop`.
    async fn play(&mut self, view: &mut View, stop: &CancellationToken) -> Result<(), DemoError> {
        let end = self.options.duration.map(|duration| self.begin + duration);
        loop {
            self.look(view).await?;
            view.show(&self.picture());
            let over = async {
                match end {
                    Some(end) => tokio::time::sleep_until(end).await,
                    None => std::future::pending().await,
                }
            };
            let cluster = Arc::clone(&self.cluster);
            tokio::select! {
                biased;
                () = over => break,
                () = stop.cancelled() => break,
                () = cluster.any_ended() => {}
                _ = self.statuses.changed() => {}
                () = sleep(TICK) => {}
            }
        }
        Ok(())
    }

    /// Takes note of what changed, and does what the faults ask for.
    async fn look(&mut self, view: &mut View) -> Result<(), DemoError> {
        let statuses = self.statuses.borrow_and_update().clone();
        self.cluster.publish(&statuses)?;
        self.note_leader(&statuses, view);
        self.shared |= self.used_by_others(&statuses);
        let whole = settled(&statuses);
        loop {
            let ended = self.cluster.ended();
            let sight = Sight {
                ended: &ended,
                whole: &whole,
                registered: self.run.all_registered(),
                draw: super::random_below(1 << 16)? as usize,
            };
            let Some(step) = self.faults.step(self.begin.elapsed(), &sight) else {
                return Ok(());
            };
            self.perform(step, whole.as_ref().ok().copied(), view)
                .await?;
            self.cluster.publish(&statuses)?;
        }
    }

    async fn perform(
        &mut self,
        step: Step,
        leader: Option<usize>,
        view: &mut View,
    ) -> Result<(), DemoError> {
        let name = |node: usize| self.cluster.sites()[node].name.clone();
        let at = self.begin.elapsed().as_secs_f64();
        match step {
            Step::Kill(node) => {
                self.killed += 1;
                self.run.fault();
                self.cluster.kill(node).await;
                let role = if leader == Some(node) {
                    "the leader"
                } else {
                    "a follower"
                };
                view.say(&format!("[{at:>5.1} s] {} is killed, {role}", name(node)));
            }
            Step::Ended(node) => {
                self.killed += 1;
                self.run.fault();
                let status = self.cluster.ended_from_outside(node)?;
                let (name, away) = (name(node), AWAY.as_secs());
                view.say(&format!(
                    "[{at:>5.1} s] {name} was ended by someone else ({status}), back in {away} s"
                ));
            }
            Step::Restart(node) => {
                self.cluster.start_node(node)?;
                view.say(&format!("[{at:>5.1} s] {} is started again", name(node)));
            }
            Step::Recovered(node, after) => {
                let (name, ms) = (name(node), after.as_millis());
                view.say(&format!("[{at:>5.1} s] {name} has caught up after {ms} ms"));
            }
            Step::Stuck(node, reason) => {
                let tail = self.cluster.process(node).map(|process| process.tail());
                return Err(DemoError::Late {
                    what: format!(
                        "the cluster was not whole after the restart of {}",
                        name(node)
                    ),
                    seconds: RECOVERY.as_secs(),
                    reason,
                    tail: tail.unwrap_or_default(),
                });
            }
        }
        Ok(())
    }

    fn note_leader(&mut self, statuses: &[Option<NodeStatus>], view: &mut View) {
        let Some(now) = leader(statuses) else { return };
        if let Some(before) = self.leading {
            if now.0 <= before.0 {
                return;
            }
            self.leader_changes += 1;
            let (at, name) = (
                self.begin.elapsed().as_secs_f64(),
                &self.cluster.sites()[now.1].name,
            );
            view.say(&format!("[{at:>5.1} s] {name} leads in term {}", now.0));
        }
        self.leading = Some(now);
    }

    /// Whether anyone uses the bridges that are there for them.
    fn used_by_others(&self, statuses: &[Option<NodeStatus>]) -> bool {
        let ours = &self.options.plan.bridges;
        let bridges = statuses.iter().flatten().flat_map(|status| &status.bridges);
        let used = bridges
            .filter(|bridge| !ours.contains(&bridge.name))
            .any(|bridge| bridge.state != BridgeState::Absent);
        used || self.run.foreign() > 0
    }

    /// `xmpp cluster status` of every node.
    async fn print_statuses(&self, view: &mut View) {
        let statuses = self.cluster.statuses().await;
        for (site, status) in self.cluster.sites().iter().zip(statuses) {
            view.say(&format!(
                "\n$ xmpp --node {} cluster status",
                site.dir.display()
            ));
            match status {
                Some(status) => view.block(&render_cluster_status(&status)),
                None => view.say("(the node does not answer)"),
            }
        }
        view.say("");
    }
}

/// Asks all nodes for their status again and again, on a task that ends with the guard.
fn watch_statuses(cluster: &Arc<Cluster>) -> (DropGuard, watch::Receiver<Vec<Option<NodeStatus>>>) {
    let (sender, receiver) = watch::channel(vec![None; cluster.sites().len()]);
    let end = CancellationToken::new();
    let (cluster, stop) = (Arc::clone(cluster), end.clone());
    tokio::spawn(stop.run_until_cancelled_owned(async move {
        loop {
            let statuses = cluster.statuses().await;
            if sender.send(statuses).is_err() {
                return;
            }
            sleep(TICK).await;
        }
    }));
    (end.drop_guard(), receiver)
}

/// How often things are looked at.
const TICK: Duration = Duration::from_millis(100);

/// How long bridges may take to register with a whole cluster.
const REGISTER: Duration = Duration::from_secs(30);

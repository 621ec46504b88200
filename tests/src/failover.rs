//! What `xmpp-bench-failover` does: nodes of a cluster of three are killed and frozen under load, again and again, and the
//! longest time that each pair of bridges was without a delivery is kept, for each fault.
//!
//! Six pairs of bridges stand on the nodes in all combinations, so whichever node a fault hits, three pairs have a bridge on
//! it and three have not:
//!
//! ```text
//! xmpp1–xmpp1   xmpp2–xmpp2   xmpp3–xmpp3   xmpp1–xmpp2   xmpp2–xmpp3   xmpp3–xmpp1
//! ```
//! The gap of a pair is the longer of its two directions, and lies between two deliveries: so it includes the pace of the
//! traffic, 12 ms a direction at 1000/s. A fault lasts until the node is back, votes, has caught up, and every pair is served;
//! what its return costs is part of it. Only then are the bridges that fled asked to go home
//! ([`callbridge::Bridge::reconnect`]), which is no part of it, and once each pair is served there and each stream has stood
//! for [`STOOD`], the next fault comes: a bridge that loses streams faster backs off on purpose. All of that is waited for by
//! what is seen, at most [`PATIENCE`] each.

mod figures;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use callbridge::State;
use clap::ValueEnum;
use tokio::time::{Instant, sleep};
use xmpp_node::demo::accounts::Direction;
use xmpp_node::demo::reckoning::reckon;
use xmpp_node::demo::traffic::Run;

pub use self::figures::{Group, Report};
use self::figures::{Sample, Where};
use crate::lab::{Lab, PATIENCE, until};

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Kinds of faults, in turn.
    pub kinds: Vec<Kind>,
    /// Faults of each kind.
    pub each: u32,
    /// Messages a second over all pairs.
    pub rate: u32,
    /// How long a frozen node is frozen.
    pub freeze: Duration,
    /// No fault is begun after this time.
    pub within: Duration,
}

/// What happens to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The leader is killed (SIGKILL).
    Leader,
    /// A follower is killed (SIGKILL), the two in turn.
    Follower,
    /// A node is frozen (SIGSTOP) and goes on later (SIGCONT); the leader and followers in turn.
    Freeze,
}

/// The kinds that the command line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Selection {
    /// The leader is killed.
    Leader,
    /// A follower is killed.
    Follower,
    /// A node is frozen, leader and followers in turn.
    Freeze,
    /// All of these.
    All,
}

impl Selection {
    /// The kinds.
    #[must_use]
    pub fn kinds(self) -> Vec<Kind> {
        match self {
            Self::Leader => vec![Kind::Leader],
            Self::Follower => vec![Kind::Follower],
            Self::Freeze => vec![Kind::Freeze],
            Self::All => vec![Kind::Leader, Kind::Follower, Kind::Freeze],
        }
    }
}

/// Makes the faults; `say` is told of each.
///
/// # Errors
/// If the cluster does not come up, or does not become whole again after a fault.
pub async fn run(plan: &Plan, mut say: impl FnMut(&str)) -> Result<Report> {
    say("starting three nodes and twelve bridges");
    let begin = Instant::now();
    let stage = Stage::start(plan.rate).await?;
    let kinds = plan.kinds.iter().copied();
    let all = plan.each as usize * kinds.len();
    let mut samples = Vec::new();
    let mut made = 0;
    for round in 0..plan.each as usize {
        for kind in kinds.clone() {
            if begin.elapsed() >= plan.within {
                break;
            }
            let fault = stage.fault(kind, round, plan.freeze).await;
            let (victim, seen) = fault.with_context(|| stage.lab.tails())?;
            made += 1;
            let at = begin.elapsed().as_secs_f64();
            let name = &stage.lab.cluster.sites()[victim].name;
            let gaps = figures::line(&seen);
            say(&format!(
                "[{at:>6.1} s] {made:>3} of {all}: {name}, {kind}: {gaps}"
            ));
            samples.extend(seen);
        }
    }
    let mut report = stage.end(samples, plan).await?;
    if made < all {
        let limit = plan.within;
        report
            .complaints
            .push(format!("only {made} of {all} faults within {limit:?}"));
    }
    report.faults = made;
    report.seconds = begin.elapsed().as_secs_f64();
    Ok(report)
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Leader => "leader killed",
            Self::Follower => "follower killed",
            Self::Freeze => "node frozen",
        })
    }
}

/// The cluster and its bridges.
struct Stage {
    lab: Lab,
    run: Run,
}

impl Stage {
    async fn start(rate: u32) -> Result<Self> {
        let names: Vec<String> = (1..=BRIDGES).map(|number| format!("cb{number}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let lab = Lab::of(NODES, &names, |_| ()).await?;
        let configs = names.iter().map(|name| lab.cluster.bridge_config(name));
        let mut partners = vec![Vec::new(); BRIDGES];
        for (one, other) in PAIRS {
            partners[one].push(other);
            partners[other].push(one);
        }
        let mut run = Run::between(configs.collect(), partners, PATIENCE).await?;
        run.offer(rate);
        let stage = Self { lab, run };
        stage.go_home().await?;
        Ok(stage)
    }

    /// One fault from beginning to end; which node it hit, and the gap of each pair.
    async fn fault(
        &self,
        kind: Kind,
        round: usize,
        freeze: Duration,
    ) -> Result<(usize, Vec<Sample>)> {
        let cluster = &self.lab.cluster;
        let leader = self.lab.leader().await?;
        let follower = (leader + 1 + round % 2) % usize::from(NODES);
        let victim = match kind {
            Kind::Leader => leader,
            Kind::Follower => follower,
            Kind::Freeze if round.is_multiple_of(2) => leader,
            Kind::Freeze => (leader + 1 + round / 2 % 2) % usize::from(NODES),
        };
        let at_home = self.homes();
        self.run.fault();
        match kind {
            Kind::Leader | Kind::Follower => {
                cluster.kill(victim).await;
                self.served().await?;
                cluster.start_node(victim)?;
            }
            Kind::Freeze => {
                cluster.stop(victim).await;
                sleep(freeze).await;
                cluster.cont(victim).await;
            }
        }
        self.recovered(victim).await?;
        self.served().await?;
        self.run.over();
        let sample = |&(one, other): &(usize, usize)| {
            let gap = self.last_gap(one, other).max(self.last_gap(other, one));
            let hit = at_home[one] == Some(victim) || at_home[other] == Some(victim);
            let place = if hit { Where::On } else { Where::Elsewhere };
            Sample { kind, place, gap }
        };
        let samples = PAIRS.iter().map(sample).collect();
        self.go_home().await?;
        Ok((victim, samples))
    }

    /// Waits until a node that came back votes and holds what the leader held then.
    async fn recovered(&self, node: usize) -> Result<()> {
        let leader = self.lab.leader().await?;
        let target = self.lab.status(leader).await?.committed;
        let caught_up = async || {
            let status = self.lab.status(node).await;
            status.is_ok_and(|status| status.applied >= target)
        };
        until("the node has caught up", caught_up).await?;
        let statuses: Vec<_> = self.lab.cluster.statuses().await;
        for one in statuses.iter().flatten() {
            for other in statuses.iter().flatten() {
                let differ = one.applied == other.applied && one.digest != other.digest;
                ensure!(!differ, "{} and {} differ", one.name, other.name);
            }
        }
        Ok(())
    }

    /// Waits until every pair has delivered something from now on, in both directions.
    async fn served(&self) -> Result<()> {
        let before = self.run.delivered();
        let all = async || {
            let now = self.run.delivered();
            before.iter().zip(now).all(|(before, now)| now > *before)
        };
        until("every pair is served", all).await
    }

    /// Sends every bridge back to its home, and waits until all stand there and all pairs are served.
    async fn go_home(&self) -> Result<()> {
        let home = async || {
            let mut all = true;
            for (bridge, node) in self.homes().into_iter().enumerate() {
                if node == Some(bridge % usize::from(NODES)) {
                    continue;
                }
                all = false;
                // One on its way gets there, or elsewhere, and is asked then.
                if node.is_some() {
                    self.run.bridges()[bridge].reconnect();
                }
            }
            all
        };
        until("all bridges are at home", home).await?;
        let stand = async || {
            let statuses = self.run.statuses();
            let mut stood = statuses.iter().map(|status| status.since.elapsed());
            stood.all(|stood| stood.is_ok_and(|stood| stood > STOOD))
        };
        until("all streams have stood", stand).await?;
        self.served().await
    }

    /// The node that each bridge is registered at.
    fn homes(&self) -> Vec<Option<usize>> {
        let sites = self.lab.cluster.sites();
        let home = |status: &callbridge::Status| {
            let server = status.server.as_ref()?;
            let registered = status.state == State::Registered;
            let node = sites
                .iter()
                .position(|site| site.component == server.address);
            node.filter(|_| registered)
        };
        self.run.statuses().iter().map(home).collect()
    }

    fn last_gap(&self, from: usize, to: usize) -> Duration {
        let gaps = self.run.gaps(Direction { from, to });
        gaps.last().copied().unwrap_or_default()
    }

    /// Waits for what is under way, compares the books of the bridges with those of the nodes.
    async fn end(self, samples: Vec<Sample>, plan: &Plan) -> Result<Report> {
        let totals = self.run.drain(PATIENCE).await;
        let mut complaints = totals.complaints();
        let open = self.run.open_numbers(20);
        if !open.is_empty() {
            complaints.push(format!("not accounted for: {}", open.join(" ")));
        }
        complaints.extend(reckon(&self.lab.cluster, &self.run, &totals, |_| false).await);
        if let Err(error) = self.lab.settle(self.run, false).await {
            complaints.push(format!("{error:#}"));
        }
        Ok(Report::new(&samples, &totals, plan, complaints))
    }
}

/// A bridge that held its stream for longer than a second tries another server at once when it loses it.
const STOOD: Duration = Duration::from_millis(1100);

const NODES: u8 = 3;

const BRIDGES: usize = 12;

/// By number; bridge `n` is at home on node `n % 3`, see [`xmpp_node::demo::dns`].
const PAIRS: [(usize, usize); 6] = [(0, 3), (1, 4), (2, 5), (6, 7), (10, 8), (11, 9)];

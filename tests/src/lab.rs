//! A cluster of real processes for one test: its own temporary directory, its own ports, and what must be true at the end.
//!
//! Every wait is for something that is seen and has a ceiling of [`PATIENCE`]; nothing here measures speed.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use callbridge::{Bridge, Config as BridgeConfig, Receiver};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, sleep, timeout};
use xmpp_node::demo::accounts::Totals;
use xmpp_node::demo::traffic::Run;
use xmpp_node::demo::{Cluster, DemoError, Plan, files, site};
use xmpp_node_api::admin::{Request, Response};
use xmpp_node_api::config::Config;
use xmpp_node_api::status::NodeStatus;

/// Ceiling of every wait.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// From the start of the processes to a whole cluster and registered bridges, on a machine that builds beside it.
const START: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(20);

/// Clusters at once in this process: each has three nodes that all want the same two cores.
static ROOM: Semaphore = Semaphore::const_new(2);

/// A running cluster that ends, with its directory, when this is dropped.
pub struct Lab {
    /// The cluster.
    pub cluster: Cluster,
    // Declared after the cluster: the directory goes when no process writes to it. Kept if `XMPP_TESTS_KEEP` is set.
    _dir: TempDir,
    _room: SemaphorePermit<'static>,
}

impl Lab {
    /// Three nodes with the bridges `cb1` to `cb3`, each at home on a node of its own, and `spare1`, `spare2`.
    ///
    /// # Errors
    /// If the binary `xmpp-node` was not built, and whatever keeps the cluster from being whole.
    pub async fn start() -> Result<Self> {
        Self::tuned(|_| ()).await
    }

    /// The same with other settings.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn tuned(tune: impl Fn(&mut Config) + Send + Sync + 'static) -> Result<Self> {
        Self::of(3, &["cb1", "cb2", "cb3"], tune).await
    }

    /// So many nodes, and these bridges beside the spare ones.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn of(
        nodes: u8,
        bridges: &[&str],
        tune: impl Fn(&mut Config) + Send + Sync + 'static,
    ) -> Result<Self> {
        let room = ROOM.acquire().await?;
        let binary = files::find_binary(None)
            .context("the tests run real nodes: `cargo build -p xmpp-node` first")?;
        let mut dir = tempfile::tempdir()?;
        dir.disable_cleanup(std::env::var_os("XMPP_TESTS_KEEP").is_some());
        let tune: Arc<dyn Fn(&mut Config) + Send + Sync> = Arc::new(tune);
        for attempt in 0.. {
            let plan = Plan {
                nodes,
                port_offset: site::free_offset(nodes)?,
                bridges: bridges.iter().map(|&name| name.to_owned()).collect(),
                tune: Arc::clone(&tune),
                ..Plan::new(dir.path().join(format!("c{attempt}")), binary.clone())
            };
            match Cluster::start(plan, &mut |_| ()).await {
                Ok(cluster) => {
                    return Ok(Self {
                        cluster,
                        _dir: dir,
                        _room: room,
                    });
                }
                // Another program took a port between the search and its use.
                Err(DemoError::Port { .. }) if attempt < 3 => {}
                Err(error) => {
                    let kept = dir.keep();
                    return Err(error).context(format!("see {}", kept.display()));
                }
            }
        }
        bail!("no attempt")
    }

    /// Numbered messages among these bridges, `rate` a second in all; returns once every pair has delivered.
    ///
    /// # Errors
    /// If a bridge is not registered, or nothing arrives.
    pub async fn traffic(&self, names: &[&str], rate: u32) -> Result<Run> {
        let configs = names.iter().map(|name| self.cluster.bridge_config(name));
        self.traffic_of(configs.collect(), rate).await
    }

    /// The same with bridges configured by the caller.
    ///
    /// # Errors
    /// As [`traffic`](Self::traffic).
    pub async fn traffic_of(&self, configs: Vec<BridgeConfig>, rate: u32) -> Result<Run> {
        let run = Run::start(configs, rate, START).await?;
        progress(&run, u64::from(rate / 10)).await?;
        Ok(run)
    }

    /// One registered bridge.
    ///
    /// # Errors
    /// If it is not registered in time.
    pub async fn bridge(&self, name: &str) -> Result<(Bridge, Receiver)> {
        self.bridge_of(self.cluster.bridge_config(name)).await
    }

    /// One registered bridge, configured by the caller.
    ///
    /// # Errors
    /// As [`bridge`](Self::bridge).
    pub async fn bridge_of(&self, config: BridgeConfig) -> Result<(Bridge, Receiver)> {
        let name = config.name.clone();
        let (bridge, receiver) = Bridge::start(config)?;
        let registered = timeout(PATIENCE, bridge.registered()).await;
        registered.with_context(|| {
            let status = bridge.status().borrow().clone();
            let line = xmpp_node::demo::traffic::explain(&status);
            format!("{name} is not registered: {line}")
        })??;
        Ok((bridge, receiver))
    }

    /// The leader, once the cluster is whole.
    ///
    /// # Errors
    /// What is missing after [`PATIENCE`].
    pub async fn leader(&self) -> Result<usize> {
        Ok(self.cluster.whole(PATIENCE).await?)
    }

    /// Some follower, once the cluster is whole.
    ///
    /// # Errors
    /// As [`leader`](Self::leader).
    pub async fn follower(&self) -> Result<usize> {
        Ok((self.leader().await? + 1) % self.cluster.sites().len())
    }

    /// The status of a node.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn status(&self, node: usize) -> Result<NodeStatus> {
        match self.cluster.call(node, &Request::Status {}).await? {
            Response::Status(status) => Ok(*status),
            other => bail!("no status: {other:?}"),
        }
    }

    /// Ends the traffic. Every message must have been delivered once, in order, or answered by an error if `errors`
    /// allows it; then all nodes must agree, with every stanza accounted for and nothing left over.
    ///
    /// # Errors
    /// What is not so.
    pub async fn settle(&self, run: Run, errors: bool) -> Result<Totals> {
        let totals = run.drain(PATIENCE).await;
        let open = run.open_numbers(20);
        let broken = totals.unaccounted + totals.duplicates + totals.out_of_order > 0;
        ensure!(!broken, "{totals:?}, open: {open:?}\n{}", self.tails());
        ensure!(errors || totals.errors == 0, "{totals:?}\n{}", self.tails());
        run.stop().await;
        drop(run);
        self.agree(|status| status.ledger.queued == 0).await?;
        Ok(totals)
    }

    /// Waits until the cluster is whole, all nodes have applied the same, and each satisfies `also`; then their digests
    /// must be equal and their ledgers even. Returns the statuses.
    ///
    /// # Errors
    /// What is not so.
    pub async fn agree(&self, also: impl Fn(&NodeStatus) -> bool) -> Result<Vec<NodeStatus>> {
        self.leader().await?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let statuses: Vec<_> = self
                .cluster
                .statuses()
                .await
                .into_iter()
                .flatten()
                .collect();
            let all = statuses.len() == self.cluster.sites().len();
            let first = statuses.first().context("no node answers")?;
            let level = all && statuses.iter().all(|one| one.applied == first.applied);
            if level && statuses.iter().all(&also) {
                for status in &statuses {
                    let name = &status.name;
                    ensure!(status.digest == first.digest, "the state of {name} differs");
                    ensure!(status.configuration_digest == first.configuration_digest);
                    ensure!(
                        status.ledger == first.ledger,
                        "the ledger of {name} differs"
                    );
                    ensure!(
                        status.ledger.unaccounted == 0,
                        "{name}: {:?}",
                        status.ledger
                    );
                }
                return Ok(statuses);
            }
            if Instant::now() >= deadline {
                let seen = statuses
                    .iter()
                    .map(|one| (&one.name, one.applied, one.ledger));
                bail!(
                    "the nodes do not come to rest: {:?}",
                    seen.collect::<Vec<_>>()
                );
            }
            sleep(POLL).await;
        }
    }

    /// The status of every node of a whole cluster.
    ///
    /// # Errors
    /// If one does not answer.
    pub async fn all(&self) -> Result<Vec<NodeStatus>> {
        self.leader().await?;
        let mut statuses = Vec::new();
        for node in 0..self.cluster.sites().len() {
            statuses.push(self.status(node).await?);
        }
        Ok(statuses)
    }

    /// The last lines of every node's log.
    #[must_use]
    pub fn tails(&self) -> String {
        let nodes = 0..self.cluster.sites().len();
        let tail = |node: usize| {
            let process = self.cluster.process(node)?;
            Some(format!(
                "{}:\n{}\n",
                self.cluster.sites()[node].name,
                process.tail()
            ))
        };
        nodes.filter_map(tail).collect()
    }

    /// What a node's log says, all of it.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn log(&self, node: usize) -> Result<String> {
        Ok(std::fs::read_to_string(&self.cluster.sites()[node].log)?)
    }

    /// Status code and body of a page of a node's metrics port.
    ///
    /// # Errors
    /// If it does not answer.
    pub async fn page(&self, node: usize, path: &str) -> Result<(u16, String)> {
        let exchange = async {
            let mut socket = TcpStream::connect(self.cluster.sites()[node].metrics).await?;
            let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            socket.write_all(request.as_bytes()).await?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await?;
            let code = answer
                .split(' ')
                .nth(1)
                .context("no status line")?
                .parse()?;
            let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            anyhow::Ok((code, body.to_owned()))
        };
        timeout(PATIENCE, exchange).await?
    }

    /// The value of a metric without labels.
    ///
    /// # Errors
    /// If there is no such metric.
    pub async fn metric(&self, node: usize, name: &str) -> Result<f64> {
        let (_, body) = self.page(node, "/metrics").await?;
        let line = body
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        Ok(line.with_context(|| format!("no metric {name}"))?.parse()?)
    }
}

/// Waits until so many more messages were delivered.
///
/// # Errors
/// If they are not within [`PATIENCE`].
pub async fn progress(run: &Run, more: u64) -> Result<()> {
    let wanted = run.totals().delivered + more;
    until("traffic flows", async || run.totals().delivered >= wanted)
        .await
        .with_context(|| format!("{:?}", run.totals()))
}

/// Waits until `is` holds.
///
/// # Errors
/// If it does not within [`PATIENCE`].
pub async fn until(what: &str, is: impl AsyncFn() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is().await {
        ensure!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        sleep(POLL).await;
    }
    Ok(())
}

//! A cluster of real `xmpp-node` processes on loopback, as an operator would set it up by hand: certificates, one
//! configuration file a node, the first node initialised, the others taken in through it, bridges added by the admin API.
//!
//! Used by the demo, and by tests and benchmarks that need processes which can be killed. Everything is below one
//! directory, see [`super::site`]; the processes end with the value.
//!
//! Length: one handle with many short methods.

mod nodes;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use tokio::time::{Instant, sleep, timeout};
use xmpp_node_api::admin::{Request, Response};
use xmpp_node_api::config::Config;
use xmpp_node_api::status::NodeStatus;

use super::dns::{DnsServer, bridge_owner};
use super::error::DemoError;
use super::files;
use super::manifest::{Manifest, ManifestBridge};
use super::pki::{Pki, make_private_dir};
use super::process::Process;
use super::settled::role_text;
use super::site::{DOMAIN, Ports, Site, check_free};
use xmpp_node_client::admin::{AdminClient, ClientError, Endpoint};

/// What to set up.
#[derive(Clone)]
pub struct Plan {
    /// Directory of everything; must be empty, or not exist.
    pub dir: PathBuf,
    /// The server's binary, see [`files::find_binary`].
    pub binary: PathBuf,
    /// Number of nodes, 1 to 7.
    pub nodes: u8,
    /// Added to every port.
    pub port_offset: u16,
    /// Bridges that get a secret, and an SRV owner name that prefers a node of their own.
    pub bridges: Vec<String>,
    /// Bridges that get a secret alone.
    pub spares: Vec<String>,
    /// Changes each node's configuration before it is written.
    pub tune: Arc<dyn Fn(&mut Config) + Send + Sync>,
}

impl Plan {
    /// Three nodes and the bridges of the demo.
    #[must_use]
    pub fn new(dir: PathBuf, binary: PathBuf) -> Self {
        let names = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        Self {
            dir,
            binary,
            nodes: 3,
            port_offset: 0,
            bridges: names(&["cb1", "cb2", "cb3"]),
            spares: names(&["spare1", "spare2"]),
            tune: Arc::new(|_| ()),
        }
    }
}

/// A running cluster.
pub struct Cluster {
    plan: Plan,
    sites: Vec<Site>,
    pki: Pki,
    dns: DnsServer,
    processes: Vec<Mutex<Option<Arc<Process>>>>,
    bridges: Vec<ManifestBridge>,
    /// The first node was initialised: from now on every node finds the others.
    formed: AtomicBool,
    /// What `demo.json` says.
    published: Mutex<Option<Manifest>>,
}

impl Cluster {
    /// Sets everything up and returns once all nodes vote and all bridges are known. `progress` is told each step.
    ///
    /// # Errors
    /// [`DemoError`] names what is in the way; every process that was started is ended.
    pub async fn start(
        plan: Plan,
        progress: &mut (dyn FnMut(&str) + Send),
    ) -> Result<Self, DemoError> {
        files::check_binary(&plan.binary)?;
        let ports = Ports::shifted(plan.port_offset)?;
        files::claim_dir(&plan.dir)?;
        let dir = std::path::absolute(&plan.dir).map_err(DemoError::file(&plan.dir))?;
        let sites: Vec<Site> = (0..plan.nodes)
            .map(|index| Site::new(index, &ports, &dir))
            .collect();
        check_free(ports.dns_address(), &sites)?;
        progress("making certificates");
        let pki = Pki::create(&dir.join("pki"))?;
        files::issue(&pki, &sites)?;
        let dns = DnsServer::start(ports.dns_address(), &sites, &plan.bridges, &ports).await?;
        progress(&format!("DNS for {DOMAIN} answers on {}", dns.address()));
        let mut cluster = Self {
            processes: sites.iter().map(|_| Mutex::default()).collect(),
            plan: Plan { dir, ..plan },
            sites,
            pki,
            dns,
            bridges: Vec::new(),
            formed: AtomicBool::new(false),
            published: Mutex::default(),
        };
        cluster.form(progress).await?;
        Ok(cluster)
    }

    async fn form(&mut self, progress: &mut (dyn FnMut(&str) + Send)) -> Result<(), DemoError> {
        for (index, site) in self.sites.iter().enumerate() {
            make_private_dir(&site.dir)?;
            self.start_node(index)?;
            progress(&format!("{} starts on {}", site.name, site.component.ip()));
        }
        self.answering(0).await?;
        let id = format!("demo-{:08x}", super::random_below(u32::MAX)?);
        let cluster_id = id.clone();
        self.call(0, &Request::Initialize { cluster_id }).await?;
        self.formed.store(true, Ordering::Relaxed);
        progress(&format!(
            "{} is initialized as cluster {id}",
            self.sites[0].name
        ));
        self.whole(FORM).await?;
        progress("all nodes are members and hold the log");
        for name in self.plan.bridges.iter().chain(&self.plan.spares) {
            let name = name.clone();
            let secret = None;
            let answer = self.call(0, &Request::PutBridge { name, secret }).await?;
            if let Response::Bridge(bridge) = answer {
                let newest = bridge
                    .secrets
                    .last()
                    .and_then(|entry| entry.secret.as_ref());
                self.bridges.push(ManifestBridge {
                    name: bridge.name,
                    secret: newest.map_or_else(String::new, |secret| secret.expose().to_owned()),
                });
            }
        }
        progress(&format!(
            "{} bridges have their secrets",
            self.bridges.len()
        ));
        self.publish(&self.statuses().await)
    }

    /// Directory of everything.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.plan.dir
    }

    /// The nodes, by number.
    #[must_use]
    pub fn sites(&self) -> &[Site] {
        &self.sites
    }

    /// The bridges with their secrets: first those that have a home node, then the spare ones.
    #[must_use]
    pub fn bridges(&self) -> &[ManifestBridge] {
        &self.bridges
    }

    /// Its certificates, to issue others.
    #[must_use]
    pub const fn pki(&self) -> &Pki {
        &self.pki
    }

    /// What a bridge of this name needs to find and trust the cluster; a name without a secret here gets none.
    #[must_use]
    pub fn bridge_config(&self, name: &str) -> callbridge::Config {
        let known = self.bridges.iter().find(|bridge| bridge.name == name);
        let secret = callbridge::Secret::text(known.map_or("", |bridge| &bridge.secret));
        let ca = self.pki.public_ca();
        let security = callbridge::Security::Tls { ca };
        let mut config = callbridge::Config::new(name, DOMAIN, secret, security);
        config.dns = Some(self.dns.address());
        if self.plan.bridges.iter().any(|bridge| bridge == name) {
            let owner = Some(bridge_owner(name));
            config.servers = callbridge::Servers::Srv { owner };
        }
        config
    }

    /// A client of a node's admin API, by its unix socket.
    ///
    /// # Panics
    /// If there is no node of this number; so do all methods that take one.
    #[must_use]
    pub fn client(&self, node: usize) -> AdminClient {
        AdminClient::new(Endpoint::Socket(self.sites[node].socket.clone()))
    }

    /// Sends a request to a node.
    ///
    /// # Errors
    /// [`DemoError::Admin`].
    pub async fn call(&self, node: usize, request: &Request) -> Result<Response, DemoError> {
        let name = self.sites[node].name.clone();
        let answer = self.client(node).call(request).await;
        answer.map_err(|source| DemoError::Admin {
            name,
            source: Box::new(source),
        })
    }

    /// The status of every node; `None` where it does not answer within a second.
    pub async fn statuses(&self) -> Vec<Option<NodeStatus>> {
        let ask = |node| async move { timeout(PATIENCE, self.client(node).status()).await };
        let answers = join_all((0..self.sites.len()).map(ask)).await;
        let answer = |answer: Result<Result<_, ClientError>, _>| answer.ok()?.ok();
        answers.into_iter().map(answer).collect()
    }

    async fn answering(&self, node: usize) -> Result<(), DemoError> {
        let deadline = Instant::now() + FORM;
        while let Err(error) = self.client(node).status().await {
            self.all_alive()?;
            if Instant::now() >= deadline {
                let process = self.process(node);
                return Err(DemoError::Late {
                    what: format!("{} did not answer", self.sites[node].name),
                    seconds: FORM.as_secs(),
                    reason: error.to_string(),
                    tail: process.map_or_else(String::new, |process| process.tail()),
                });
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    /// Brings `demo.json` up to date with what was seen; writes only if something changed.
    ///
    /// # Errors
    /// [`DemoError::File`].
    pub fn publish(&self, statuses: &[Option<NodeStatus>]) -> Result<(), DemoError> {
        let mut published = self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let nodes = self.sites.iter().enumerate().map(|(node, site)| {
            let process = self.process(node);
            let up = process
                .as_ref()
                .is_some_and(|process| process.exit().is_none());
            let role = match statuses.get(node).and_then(Option::as_ref) {
                _ if !up => "down",
                Some(status) => role_text(status.role),
                None => "silent",
            };
            site.entry(process.map_or(0, |process| process.pid()), role)
        });
        let now = Manifest {
            domain: DOMAIN.to_owned(),
            ca: self.pki.public_ca(),
            dns: self.dns.address(),
            nodes: nodes.collect(),
            bridges: self.bridges.clone(),
        };
        if published.as_ref() != Some(&now) {
            now.write(&self.plan.dir)?;
            *published = Some(now);
        }
        Ok(())
    }
}

fn lock(process: &Mutex<Option<Arc<Process>>>) -> MutexGuard<'_, Option<Arc<Process>>> {
    process.lock().unwrap_or_else(PoisonError::into_inner)
}

/// From the start of the processes to a whole cluster. Seconds on a quiet machine; a build beside it takes longer.
const FORM: Duration = Duration::from_secs(60);

/// How often a state that is waited for is looked at.
const POLL: Duration = Duration::from_millis(50);

/// A node that does not answer for this long counts as silent.
const PATIENCE: Duration = Duration::from_secs(1);

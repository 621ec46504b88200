//! How a node is wired: identity, consensus, ports, and the tasks between them; how it starts, and how it stops.
//!
//! A node that has no cluster waits to be initialised, or asks its seeds to take it in. A member takes part in votes once a
//! quorum confirms its id. One that was removed forgets what it was and is a new, empty node. On a planned stop it hands
//! leadership over, sends its peers elsewhere, and leaves without its links counting as lost.

mod health;
mod leaving;
mod membership;
pub(crate) mod parts;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use arc_swap::ArcSwapOption;
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};
use xmpp_core::router::Attachment;
use xmpp_core::stream::Server;
use xmpp_node_api::status::NodeId;

use crate::admin;
use crate::admission::Admission;
use crate::applied::Applied;
use crate::connection::{StreamContext, TRIALS_AT_ONCE, Welcome};
use crate::consensus::{Consensus, Local, Parts};
use crate::contact::Contact;
use crate::control::control;
use crate::control::forwarding::Answers;
use crate::identity::Identity;
use crate::ingress::Ingress;
use crate::listener::{self, Port};
use crate::metrics::Metrics;
use crate::peer::{Hello, Peers};
use crate::refusals::Refusals;
use crate::settings::Settings;
use crate::status::Since;
use crate::throttle::Throttle;
use crate::tls;
use membership::adopt;
use parts::{
    PeerPort, admission_bounds, bind, peer_settings, raise_file_limit, resources, stream_limits,
    throttle_policy, timing,
};

/// How often quorum and readiness are looked at.
const WELCOME_PERIOD: Duration = Duration::from_millis(50);

/// A running node.
pub struct Node {
    pub(crate) settings: Arc<Settings>,
    pub(crate) consensus: Arc<Consensus>,
    pub(crate) streams: Arc<StreamContext>,
    pub(crate) peers: Peers,
    identity: Mutex<Option<Identity>>,
    pub(crate) started: Instant,
    pub(crate) draining: watch::Sender<bool>,
    pub(crate) since: Since,
    metrics: Arc<Metrics>,
    admission: Arc<Admission>,
    joining: tokio::sync::Mutex<()>,
    /// Whether it asks its seeds to take it in, when it belongs to no cluster.
    seeded: bool,
    stop: CancellationToken,
    removed: watch::Sender<Option<Removed>>,
}

/// How a node's membership ended when its id was removed from the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Removed {
    /// While it was away.
    Away,
    /// While it ran: somebody does not want it any more.
    Running,
}

/// Runs a node until `shutdown`.
///
/// One that finds its id removed leaves a tombstone, wipes its log and goes on as a new, empty node. It asks its seeds to take
/// it in only if it was removed while it was away, as one that is replaced is: else it waits for a request to join, or for the
/// next start of the process.
///
/// # Errors
/// If a port, file or certificate cannot be used at start, or if storage or consensus fail later.
pub async fn run(settings: Settings, shutdown: CancellationToken) -> anyhow::Result<()> {
    raise_file_limit(settings.limits.connections);
    let settings = Arc::new(settings);
    let mut seeded = true;
    while let Some(removed) = live(Arc::clone(&settings), seeded, &shutdown).await? {
        seeded = removed == Removed::Away;
        warn!(
            seeded,
            "this node was removed from its cluster; it is a new one now"
        );
    }
    Ok(())
}

/// Runs a node until `shutdown`, or until it is no member any more.
async fn live(
    settings: Arc<Settings>,
    seeded: bool,
    shutdown: &CancellationToken,
) -> anyhow::Result<Option<Removed>> {
    let node = Node::open(settings, seeded).await?;
    let tasks = TaskTracker::new();
    node.start(&tasks).await?;
    let mut removed = node.removed.subscribe();
    let ended = tokio::select! {
        () = shutdown.cancelled() => Ok(None),
        // The sender lives as long as the node.
        Ok(how) = removed.wait_for(Option::is_some) => Ok(*how),
        fatal = node.consensus.failed() => Err(anyhow::anyhow!("fatal: {fatal}")),
    };
    match ended {
        Ok(None) => node.leave().await,
        // What streams still have under way is never decided here.
        Ok(Some(_)) => node.send_elsewhere(),
        Err(_) => {}
    }
    node.stop.cancel();
    node.peers.shutdown().await;
    node.consensus.shutdown().await;
    tasks.close();
    let _ = timeout(node.settings.timing.stop_timeout, tasks.wait()).await;
    if matches!(ended, Ok(Some(_))) {
        let identity = node.identity.lock();
        if let Some(identity) = identity.unwrap_or_else(PoisonError::into_inner).take() {
            identity.bury()?;
        }
    }
    ended
}

impl Node {
    async fn open(settings: Arc<Settings>, seeded: bool) -> anyhow::Result<Arc<Self>> {
        let mut identity = Identity::open(&settings.dir)?;
        adopt(&settings, &mut identity)?;
        let sealing = Arc::new(ArcSwapOption::from(identity.sealing_key()?.map(Arc::new)));
        let at = Attachment {
            node: identity.id(),
            incarnation: identity.incarnation(),
        };
        let hello = Hello {
            cluster_id: identity.cluster_id().map(str::to_owned),
            node_id: at.node,
            name: settings.name.clone(),
            incarnation: at.incarnation,
        };
        let peers = Peers::new(
            hello,
            Arc::new(PeerPort(Arc::clone(&settings.tls))),
            peer_settings(&settings),
        );
        let metrics = Arc::new(Metrics::new(&settings.limits));
        let (applied, ingress, contact) = (
            Arc::new(Applied::new(at, Arc::clone(&metrics))),
            Arc::new(Ingress::new(at)),
            Arc::new(Contact::new(settings.timing.silence)),
        );
        let local = Local {
            id: at.node,
            name: settings.name.clone(),
            advertise: settings.advertise.to_string(),
        };
        let parts = Parts {
            applied: Arc::clone(&applied),
            ingress: Arc::clone(&ingress),
            contact: Arc::clone(&contact),
            sealing: Arc::clone(&sealing),
            metrics: Arc::clone(&metrics),
            member: identity.cluster_id().is_some(),
        };
        let consensus = Consensus::open(
            local,
            timing(&settings),
            &settings.dir,
            peers.clone(),
            parts,
        )
        .await?;
        let streams = Arc::new(StreamContext {
            applied,
            ingress,
            contact,
            sealing,
            server: Server {
                domain: settings.domain.clone(),
                resume_seconds: settings.timing.detach_timeout.as_secs(),
                max_stanza_bytes: settings.limits.max_stanza_bytes,
                plain: settings.clients.plain,
            },
            limits: stream_limits(&settings),
            resources: resources(&settings),
            certified_bridges: settings.certified_bridges,
            trials: Arc::new(Semaphore::new(TRIALS_AT_ONCE)),
            welcome: watch::Sender::new(Welcome::Open),
            throttle: Mutex::new(Throttle::new(throttle_policy(&settings))),
            refusals: Refusals::default(),
            metrics: Arc::clone(&metrics),
        });
        info!(
            name = settings.name,
            id = %NodeId(at.node),
            incarnation = at.incarnation,
            "node"
        );
        let admission = Admission::new(admission_bounds(&settings.limits));
        Ok(Arc::new(Self {
            settings,
            consensus,
            streams,
            peers,
            identity: Mutex::new(Some(identity)),
            started: Instant::now(),
            draining: watch::Sender::new(false),
            since: Since::default(),
            admission,
            metrics,
            joining: tokio::sync::Mutex::new(()),
            seeded,
            stop: CancellationToken::new(),
            removed: watch::Sender::new(None),
        }))
    }

    async fn start(self: &Arc<Self>, tasks: &TaskTracker) -> anyhow::Result<()> {
        let listen = &self.settings.listen;
        let limits = &self.settings.limits;
        let component = bind(listen.component, "component.listen")?;
        let plain = match listen.plain {
            Some(address) => Some(bind(address, "component.plain_listen")?),
            None => None,
        };
        let peer = bind(listen.peer, "peer.listen")?;
        let (peers, service) = (
            self.peers.clone(),
            Arc::new(Answers {
                node: Arc::clone(self),
                consensus: self.consensus.service(),
            }),
        );
        tasks.spawn(async move { peers.serve(peer, service).await });
        self.consensus.run(tasks, &self.stop);
        let shared = listener::Shared {
            context: Arc::clone(&self.streams),
            admission: Arc::clone(&self.admission),
            handshake: limits.handshake_timeout,
            tasks: tasks.clone(),
        };
        let tls = &self.settings.tls;
        let component_tls = Some(tls.component_server());
        let clients = &self.settings.clients;
        let client = |address: Option<SocketAddr>, key| address.map(|address| bind(address, key));
        let starttls = client(clients.listen, "clients.listen").transpose()?;
        let direct = client(clients.direct_listen, "clients.direct_listen").transpose()?;
        let ports = [
            Some((component, Port::component(component_tls))),
            plain.map(|plain| (plain, Port::component(None))),
            starttls.map(|port| (port, Port::StartTls(tls.starttls_server().into()))),
            direct.map(|port| (port, Port::Client(tls.client_server().into()))),
        ];
        for (listener, port) in ports.into_iter().flatten() {
            tasks.spawn(listener::accept(
                listener,
                port,
                shared.clone(),
                self.stop.clone(),
            ));
        }
        let socket = admin::listen::socket(&listen.socket)
            .await
            .with_context(|| {
                format!("admin.socket: cannot listen on {}", listen.socket.display())
            })?;
        tasks.spawn(admin::serve_socket(
            socket,
            control(Arc::clone(self)),
            self.stop.clone(),
        ));
        if let Some(address) = listen.admin {
            let listener = admin::listen::tcp(address)
                .await
                .with_context(|| format!("admin.listen: cannot listen on {address}"))?;
            let (tls, control) = (Arc::clone(&self.settings.tls), control(Arc::clone(self)));
            tasks.spawn(admin::serve_tls(listener, tls, control, self.stop.clone()));
        }
        if let Some(address) = listen.metrics {
            let listener = admin::listen::tcp(address)
                .await
                .with_context(|| format!("metrics.listen: cannot listen on {address}"))?;
            tasks.spawn(admin::health::serve(
                listener,
                self.health(),
                self.stop.clone(),
            ));
        }
        self.spawn(tasks, Self::belong);
        self.spawn(tasks, Self::welcome);
        self.spawn(tasks, Self::compare);
        // Every 10 s, on SIGHUP, and on request (`reload`).
        tasks.spawn(tls::watch(
            Arc::clone(&self.settings.tls),
            |_| {},
            self.stop.clone(),
        ));
        Ok(())
    }

    fn spawn<F: Future<Output = ()> + Send + 'static>(
        self: &Arc<Self>,
        tasks: &TaskTracker,
        task: impl FnOnce(Arc<Self>) -> F,
    ) {
        let (stop, task) = (self.stop.clone(), task(Arc::clone(self)));
        tasks.spawn(async move {
            stop.run_until_cancelled(task).await;
        });
    }

    /// Sends peers elsewhere when there was no quorum for `quorumGrace`, or while the node drains.
    async fn welcome(self: Arc<Self>) {
        loop {
            self.note_changes();
            let open = !*self.draining.borrow()
                && (self.streams.contact.is_open()
                    || self.streams.contact.age() < self.settings.timing.quorum_grace);
            let now = if open { Welcome::Open } else { Welcome::Shut };
            self.streams.welcome.send_if_modified(|known| {
                let changed = *known != now;
                if changed {
                    info!(?now, "streams");
                }
                *known = now;
                changed
            });
            sleep(WELCOME_PERIOD).await;
        }
    }

    /// Looks whether certificates changed; a bad one is told and the old one stays.
    pub(crate) fn reload(&self) -> Vec<String> {
        match self.settings.tls.reload() {
            Ok(changed) => {
                if changed {
                    info!("certificates reloaded");
                }
                Vec::new()
            }
            Err(faults) => {
                let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
                warn!(?faults, "certificates not reloaded");
                faults
            }
        }
    }

    /// Whether stanzas can be accepted now.
    ///
    /// # Errors
    /// Why not.
    pub fn readiness(&self) -> Result<(), &'static str> {
        if *self.draining.borrow() {
            return Err("the node drains");
        }
        if self.consensus.members().is_empty() {
            return Err("the node belongs to no cluster yet");
        }
        if !self.streams.contact.is_open() {
            return Err("no contact with a leader and its quorum");
        }
        Ok(())
    }
}

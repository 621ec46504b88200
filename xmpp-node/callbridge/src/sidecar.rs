//! The side-car: an unmodified component connects to us on loopback, we keep it connected to the cluster.
//!
//! ```text
//! component ──XEP-0114, loopback──► sidecar ──XEP-0114 + XEP-0198, TLS──► whichever node lives
//! ```
//! What the component sends is held until the cluster has accepted it. What arrives for it is acknowledged to the cluster only
//! when a ping of ours has come back from it ([`barrier`](self) of at most 64 stanzas or 50 ms): a component that crashes finds
//! everything it may not have read at its next connection, first and in order. Repeats carry the `stanza-id` they had.
//! A component that answers no ping for 10 s is believed to have read what was written to it; the status says so.
//! While no component is there for longer than [`SidecarConfig::absence`], stanzas are answered with `remote-server-timeout`.

mod barrier;
mod local;
mod serve;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use xmpp_core::error::{StreamCondition, StreamError};
use xmpp_core::framer::Limits;

use self::barrier::{Barrier, Rules};
use self::local::{Local, LocalError};
use self::serve::Serving;
use crate::bridge::Bridge;
use crate::config::{Config, ConfigError, Confirmation, Secret, Window};

/// What a side-car needs besides the [`Config`] of its bridge.
#[derive(Debug, Clone)]
pub struct SidecarConfig {
    /// Where the component connects: a loopback address, for there is no TLS; port 0 takes any.
    pub listen: SocketAddr,
    /// Secret of the component towards us; it may be another than the bridge's.
    pub secret: Secret,
    /// Stanzas after which a ping follows, by default 64.
    pub ping_every: usize,
    /// Longest wait of a written stanza for its ping, by default 50 ms.
    pub ping_after: Duration,
    /// How long a ping may stay unanswered, by default 10 s.
    pub patience: Duration,
    /// How long stanzas wait for a component that is not there, by default 30 s.
    pub absence: Duration,
    /// What may be kept for the component unproven, by default 1024 stanzas and 4 MiB.
    pub window: Window,
}

impl SidecarConfig {
    /// A side-car with the default waits and bounds.
    pub fn new(listen: SocketAddr, secret: Secret) -> Self {
        Self {
            listen,
            secret,
            ping_every: 64,
            ping_after: Duration::from_millis(50),
            patience: Duration::from_secs(10),
            absence: Duration::from_secs(30),
            window: Window::default(),
        }
    }
}

/// A side-car that listens.
#[derive(Debug)]
pub struct Sidecar {
    listener: TcpListener,
    config: Config,
    sidecar: SidecarConfig,
}

impl Sidecar {
    /// Opens the port.
    ///
    /// # Errors
    /// [`SidecarError`]
    pub async fn bind(config: Config, sidecar: SidecarConfig) -> Result<Self, SidecarError> {
        config.check()?;
        if !sidecar.listen.ip().is_loopback() {
            return Err(ConfigError::NotLoopback(sidecar.listen).into());
        }
        if sidecar.window.stanzas == 0 || sidecar.window.bytes == 0 || sidecar.ping_every == 0 {
            return Err(ConfigError::Zero("window or ping_every").into());
        }
        let listen = |source| SidecarError::Listen {
            address: sidecar.listen,
            source,
        };
        let listener = TcpListener::bind(sidecar.listen).await.map_err(listen)?;
        Ok(Self {
            listener,
            config,
            sidecar,
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Starts the bridge and serves components, one at a time, until `shutdown`; then tells the component and stops the bridge.
    /// `started` gets the bridge, for its status. Returns how many stanzas of the component were not accepted.
    ///
    /// # Errors
    /// [`SidecarError::Config`]
    pub async fn run(
        self,
        shutdown: CancellationToken,
        started: impl FnOnce(&Bridge),
    ) -> Result<u64, SidecarError> {
        let mut config = self.config;
        config.confirmation = Confirmation::Explicit;
        let settings = Arc::new(Settings {
            jid: config.jid(),
            name: config.name.clone(),
            secret: self.sidecar.secret.clone(),
            limits: config.limits,
        });
        let sidecar = self.sidecar;
        let rules = Rules {
            every: sidecar.ping_every,
            after: sidecar.ping_after,
            patience: sidecar.patience,
            window: sidecar.window,
        };
        let barrier = Barrier::new(rules, &config.domain, &settings.jid, &token());
        let (bridge, receiver) = Bridge::start(config)?;
        started(&bridge);
        let (arrived, arrivals) = mpsc::channel(1);
        let accepting = accept(self.listener, settings.clone(), arrived);
        let serving = Serving {
            bridge: bridge.clone(),
            receiver,
            barrier,
            settings,
            absence: sidecar.absence,
            arrivals,
        };
        tokio::select! {
            () = accepting => (),
            () = serving.run(&shutdown) => (),
        }
        Ok(bridge.stop().await)
    }
}

/// Why a side-car does not start.
#[derive(Debug, thiserror::Error)]
pub enum SidecarError {
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The port cannot be opened.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// What a local stream is checked against.
#[derive(Debug)]
struct Settings {
    jid: String,
    name: String,
    secret: Secret,
    limits: Limits,
}

/// Takes connections and authenticates them; hands on one at a time. Another one waits a moment for its turn, as a component
/// that reconnects may be quicker than its end is noticed, and is then refused with `conflict`.
async fn accept(listener: TcpListener, settings: Arc<Settings>, arrived: mpsc::Sender<Arrival>) {
    let permits = Arc::new(Semaphore::new(MAX_UNAUTHENTICATED));
    let turn = Arc::new(Semaphore::new(1));
    let mut tasks = JoinSet::new();
    loop {
        while tasks.try_join_next().is_some() {}
        let Ok(permit) = permits.clone().acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (settings, turn, arrived) = (settings.clone(), turn.clone(), arrived.clone());
        tasks.spawn(async move {
            let _permit = permit;
            // Small writes must not wait for the peer's delayed acknowledgement; without the option they merely do.
            let _ = stream.set_nodelay(true);
            let local = match Local::authenticate(stream, &settings, &token()).await {
                Ok(local) => local,
                Err(error) => return tracing::warn!(%error, "local component refused"),
            };
            match tokio::time::timeout(TURN, turn.acquire_owned()).await {
                // Sending fails only when the side-car stops.
                Ok(Ok(turn)) => drop(arrived.send(Arrival { local, _turn: turn }).await),
                _ => {
                    let text = "another component is connected";
                    let conflict = StreamError::new(StreamCondition::Conflict).with_text(text);
                    let error = local.refuse(LocalError::Refused(conflict)).await;
                    tracing::warn!(%error, "local component refused");
                }
            }
        });
    }
}

/// A component whose turn it is, until this is dropped.
struct Arrival {
    local: Local,
    _turn: OwnedSemaphorePermit,
}

/// 128 random bits in hexadecimal.
fn token() -> String {
    let mut bytes = [0_u8; 16];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        tracing::error!("the system has no randomness: stream ids are predictable");
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Local connections that have not shown the secret yet.
const MAX_UNAUTHENTICATED: usize = 16;
/// How long a component waits for the former one to be gone.
const TURN: Duration = Duration::from_secs(1);
/// Pause after a failed accept, e.g. when file descriptors are short.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

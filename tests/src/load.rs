//! Pairs of bridges that exchange messages through a cluster, and how long these take: the load of `xmpp-bench`.
//!
//! In window mode each direction of a pair keeps a number of messages under way: what the cluster can carry. At a fixed rate
//! messages leave by the clock whatever comes back, and their time counts from when they were due, so that a stall shows in
//! the latency of all that had to wait for it. Both ends are in this process, so one clock tells.

mod direction;
mod sending;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use callbridge::{Bridge, Config, Receiver};
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use xmpp_node::demo::histogram::Histogram;
use xmpp_node::demo::traffic::explain;

use self::direction::Direction;
use crate::lab::{PATIENCE, until};

/// What to drive.
#[derive(Debug, Clone)]
pub struct Load {
    /// The two ends of each pair.
    pub pairs: Vec<(Config, Config)>,
    /// How.
    pub mode: Mode,
    /// For how long it is measured, after [`WARM_UP`].
    pub measure: Duration,
    /// Bytes of a message, at least about 150: its addresses and numbers.
    pub bytes: usize,
}

/// How messages leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// So many under way in each direction of each pair, at least 1.
    Window(u32),
    /// So many a second over all pairs and directions, at least 1.
    Rate(u32),
}

impl std::fmt::Display for Mode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Window(stanzas) => write!(f, "window:{stanzas}"),
            Self::Rate(rate) => write!(f, "rate:{rate}"),
        }
    }
}

impl std::str::FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = |count: &str| count.parse().ok().filter(|count| *count > 0);
        let found = match text.split_once(':') {
            Some(("window", count)) => read(count).map(Self::Window),
            Some(("rate", count)) => read(count).map(Self::Rate),
            _ => None,
        };
        found.ok_or_else(|| format!("{text:?} is neither window:N nor rate:N with N above 0"))
    }
}

/// What was seen while it was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// Messages received.
    pub received: u64,
    /// Seconds measured.
    pub seconds: f64,
    /// Messages received a second.
    pub per_second: f64,
    /// From submission to receipt in microseconds: the median.
    pub p50_us: u64,
    /// 99 of 100 are faster.
    pub p99_us: u64,
    /// 999 of 1000 are faster.
    pub p999_us: u64,
    /// Messages of the whole run that came out of order or twice.
    pub disorder: u64,
    /// Messages of the whole run that did not come.
    pub lost: u64,
}

/// Connects all pairs, drives the load, measures, and waits for what is under way. `marks` is called at the beginning and at
/// the end of what is measured.
///
/// # Errors
/// If a bridge is not registered in time.
pub async fn run(load: &Load, mut marks: impl FnMut()) -> Result<Measured> {
    let clock = Instant::now();
    let latency = Arc::new(Mutex::new(None));
    let stop = CancellationToken::new();
    // A thread that sends would go on without us.
    let _stopped = stop.clone().drop_guard();
    let (mut directions, mut bridges, mut tasks) = (Vec::new(), Vec::new(), JoinSet::new());
    for (a, b) in &load.pairs {
        let (one, other) = (connect(a).await?, connect(b).await?);
        bridges.extend([one.0.clone(), other.0.clone()]);
        let ways = [(one.0, other.1, a, b), (other.0, one.1, b, a)];
        for (sender, receiver, from, to) in ways {
            let direction = Arc::new(Direction::new(sender, from, to, load.bytes, clock));
            let receiving = Arc::clone(&direction).receive(receiver, Arc::clone(&latency));
            tasks.spawn(receiving);
            directions.push(direction);
        }
    }
    let sending = sending::start(load.mode, &directions, &stop);

    sleep(WARM_UP).await;
    let received = || directions.iter().map(|one| one.received()).sum::<u64>();
    marks();
    *lock(&latency) = Some(Histogram::default());
    let (start, before) = (Instant::now(), received());
    sleep(load.measure).await;
    let (seconds, received) = (start.elapsed().as_secs_f64(), received() - before);
    let latency = lock(&latency).take().unwrap_or_default();
    marks();

    stop.cancel();
    sending.await?;
    let arrived = async || directions.iter().all(|one| one.lost() == 0);
    // What does not come is told by its number.
    let _ = until("all arrive", arrived).await;
    let measured = Measured {
        received,
        seconds,
        per_second: received as f64 / seconds,
        p50_us: latency.quantile(0.5),
        p99_us: latency.quantile(0.99),
        p999_us: latency.quantile(0.999),
        disorder: directions.iter().map(|one| one.disorder()).sum(),
        lost: directions.iter().map(|one| one.lost()).sum(),
    };
    for bridge in bridges {
        bridge.stop().await;
    }
    tasks.shutdown().await;
    Ok(measured)
}

async fn connect(config: &Config) -> Result<(Bridge, Receiver)> {
    let (bridge, receiver) = Bridge::start(config.clone())?;
    let registered = timeout(PATIENCE, bridge.registered()).await;
    let reason = || explain(&bridge.status().borrow());
    registered.with_context(|| format!("{} is not registered: {}", config.name, reason()))??;
    Ok((bridge, receiver))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long the load runs before it is measured.
pub const WARM_UP: Duration = Duration::from_secs(1);

//! Pairs of components that exchange messages over TLS: the load of benchmarks and fault tests.
//!
//! In window mode each direction of a pair keeps a number of messages under way; at a fixed rate messages leave by the clock,
//! whatever comes back. Latency is from submission to receipt, both in this process, so one clock tells it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use callbridge::{Bridge, Config, Receiver, Secret, Security, Servers};
use serde::Serialize;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

/// One end of a pair.
#[derive(Debug, Clone)]
pub struct End {
    /// The bridge's name.
    pub name: String,
    /// Its secret.
    pub secret: String,
    /// The servers it may use, `host:port`.
    pub servers: Vec<String>,
}

/// What to drive.
#[derive(Debug, Clone)]
pub struct Load {
    /// The XMPP domain.
    pub domain: String,
    /// CA of the component port.
    pub ca: std::path::PathBuf,
    /// The pairs.
    pub pairs: Vec<(End, End)>,
    /// How.
    pub mode: Mode,
    /// For how long it is measured, after a second of warming up.
    pub measure: Duration,
    /// Bytes of a message.
    pub bytes: usize,
}

/// How messages leave.
#[derive(Debug, Clone, Copy)]
pub enum Mode {
    /// So many under way in each direction of each pair.
    Window(usize),
    /// So many a second, over all pairs and directions.
    Rate(u64),
}

/// What was seen while it was measured.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Messages received.
    pub received: u64,
    /// Seconds measured.
    pub seconds: f64,
    /// Messages received a second.
    pub per_second: f64,
    /// Latency in microseconds: the median.
    pub p50_us: u64,
    /// 99 of 100 are faster.
    pub p99_us: u64,
    /// 999 of 1000 are faster.
    pub p999_us: u64,
    /// Messages that came out of order or twice.
    pub disorder: u64,
}

/// Connects all pairs; the load runs until this is dropped.
pub async fn run(load: &Load, mut while_measured: impl AsyncFnMut(bool)) -> anyhow::Result<Report> {
    let epoch = Instant::now();
    let shared = Arc::new(Shared::default());
    let mut tasks = JoinSet::new();
    let directions = 2 * load.pairs.len() as u64;
    for (a, b) in &load.pairs {
        let ((a_bridge, a_in), (b_bridge, b_in)) =
            (connect(load, a).await?, connect(load, b).await?);
        for (sender, receiver, from, to) in [(a_bridge, b_in, a, b), (b_bridge, a_in, b, a)] {
            let room = Arc::new(Semaphore::new(0));
            let message = Message {
                head: format!(
                    "<message from='{}.{}' to='{}.{}' id='",
                    from.name, load.domain, to.name, load.domain
                ),
                bytes: load.bytes,
            };
            match load.mode {
                Mode::Window(window) => {
                    room.add_permits(window);
                    tasks.spawn(send_in_window(sender, message, Arc::clone(&room), epoch));
                }
                Mode::Rate(rate) => {
                    tasks.spawn(send_by_clock(
                        sender,
                        message,
                        rate as f64 / directions as f64,
                        epoch,
                    ));
                }
            }
            tasks.spawn(receive(
                receiver,
                Arc::clone(&room),
                Arc::clone(&shared),
                epoch,
            ));
        }
    }
    sleep(Duration::from_secs(1)).await;
    while_measured(true).await;
    let (start, before) = (Instant::now(), shared.received.load(Ordering::Relaxed));
    shared.measuring.store(1, Ordering::Relaxed);
    sleep(load.measure).await;
    shared.measuring.store(0, Ordering::Relaxed);
    let received = shared.received.load(Ordering::Relaxed) - before;
    let seconds = start.elapsed().as_secs_f64();
    while_measured(false).await;
    tasks.shutdown().await;
    Ok(Report {
        received,
        seconds,
        per_second: received as f64 / seconds,
        p50_us: shared.percentile(0.5),
        p99_us: shared.percentile(0.99),
        p999_us: shared.percentile(0.999),
        disorder: shared.disorder.load(Ordering::Relaxed),
    })
}

async fn connect(load: &Load, end: &End) -> anyhow::Result<(Bridge, Receiver)> {
    let security = Security::Tls {
        ca: load.ca.clone(),
    };
    let mut config = Config::new(
        &end.name,
        &load.domain,
        Secret::text(end.secret.clone()),
        security,
    );
    let servers: Result<_, _> = end.servers.iter().map(|server| server.parse()).collect();
    config.servers = Servers::List(servers?);
    config.inbox = 65_536;
    let (bridge, receiver) = Bridge::start(config)?;
    timeout(Duration::from_secs(20), bridge.registered())
        .await
        .with_context(|| {
            format!(
                "{} is not registered in time: {:?}",
                end.name,
                bridge.status().borrow()
            )
        })??;
    Ok((bridge, receiver))
}

struct Message {
    head: String,
    bytes: usize,
}

impl Message {
    /// `<message …><body>number submitted-at padding</body></message>`
    fn build(&self, number: u64, epoch: Instant) -> Bytes {
        let mut text = String::with_capacity(self.bytes + 64);
        text.push_str(&self.head);
        text.push_str(&format!(
            "{number}'><body>{number} {} ",
            epoch.elapsed().as_nanos()
        ));
        while text.len() + 17 < self.bytes {
            text.push('x');
        }
        text.push_str("</body></message>");
        text.into()
    }
}

async fn send_in_window(bridge: Bridge, message: Message, room: Arc<Semaphore>, epoch: Instant) {
    for number in 0.. {
        let Ok(place) = room.acquire().await else {
            return;
        };
        place.forget();
        if bridge.send(message.build(number, epoch)).await.is_err() {
            return;
        }
    }
}

async fn send_by_clock(bridge: Bridge, message: Message, rate: f64, epoch: Instant) {
    let mut tick = interval(Duration::from_micros(500));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (start, mut number) = (Instant::now(), 0);
    loop {
        tick.tick().await;
        let due = (start.elapsed().as_secs_f64() * rate) as u64;
        while number < due {
            if bridge.send(message.build(number, epoch)).await.is_err() {
                return;
            }
            number += 1;
        }
    }
}

async fn receive(
    mut receiver: Receiver,
    room: Arc<Semaphore>,
    shared: Arc<Shared>,
    epoch: Instant,
) {
    let mut batch = Vec::new();
    let mut next = 0;
    while receiver.recv_many(&mut batch, 256).await > 0 {
        let now = u64::try_from(epoch.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let measuring = shared.measuring.load(Ordering::Relaxed) == 1;
        for incoming in batch.drain(..) {
            let Some((number, at)) = read(incoming.bytes()) else {
                continue;
            };
            if number != next {
                shared.disorder.fetch_add(1, Ordering::Relaxed);
            }
            next = number + 1;
            shared.received.fetch_add(1, Ordering::Relaxed);
            room.add_permits(1);
            if measuring {
                shared.note(now.saturating_sub(at) / 1000);
            }
        }
    }
}

fn read(stanza: &[u8]) -> Option<(u64, u64)> {
    const BODY: &[u8] = b"<body>";
    let at = stanza
        .windows(BODY.len())
        .position(|window| window == BODY)?
        + BODY.len();
    let text = std::str::from_utf8(stanza.get(at..)?).ok()?;
    let mut words = text.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}

/// Latencies in buckets that are 1/32 of a power of two wide.
struct Shared {
    measuring: AtomicU64,
    received: AtomicU64,
    disorder: AtomicU64,
    buckets: Vec<AtomicU64>,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            measuring: AtomicU64::new(0),
            received: AtomicU64::new(0),
            disorder: AtomicU64::new(0),
            buckets: (0..64 * 32).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Shared {
    fn note(&self, micros: u64) {
        let micros = micros.max(1);
        let power = micros.ilog2() as usize;
        let part = ((micros << 5) >> power) as usize & 31;
        self.buckets[power * 32 + part].fetch_add(1, Ordering::Relaxed);
    }

    fn percentile(&self, share: f64) -> u64 {
        let total: u64 = self
            .buckets
            .iter()
            .map(|bucket| bucket.load(Ordering::Relaxed))
            .sum();
        let wanted = (total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            seen += bucket.load(Ordering::Relaxed);
            if seen >= wanted && seen > 0 {
                let (power, part) = (index / 32, (index % 32) as u64);
                return ((32 + part) << power) >> 5;
            }
        }
        0
    }
}

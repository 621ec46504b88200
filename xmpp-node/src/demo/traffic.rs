//! Real bridges (the `callbridge` library) in this process that send one another numbered messages at a steady rate.
//!
//! Every bridge sends to its partners in turn, by default all others, so that all ordered pairs carry the same. One task a bridge submits, so numbers
//! are submitted in their order; one task a bridge receives. A bridge whose window is full is waited for, and what it
//! missed is made up for at most [`ARREARS`]: the rate is what is offered, not what is forced.

mod tasks;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use callbridge::{Bridge, Counters, State, Status};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::tasks::{receive, send};
use super::accounts::{Accounts, Direction, Totals};
use super::error::DemoError;

/// Traffic between bridges, until it is dropped.
pub struct Run {
    inner: Arc<Inner>,
    senders: TaskTracker,
    rate: u32,
}

struct Inner {
    names: Vec<String>,
    /// `<name>.<domain>`, by number.
    jids: Vec<String>,
    bridges: Vec<Bridge>,
    /// To whom each bridge sends.
    partners: Vec<Vec<usize>>,
    accounts: Mutex<Accounts>,
    foreign: Mutex<u64>,
    clock: Instant,
    /// Nothing more is sent.
    stop: CancellationToken,
    /// Nothing more is received; without it, the tasks that receive would keep the bridges alive.
    end: CancellationToken,
}

impl Run {
    /// Starts the bridges, waits until all are registered, and begins to send `rate` messages a second in all. With a
    /// rate of 0 nothing is sent until [`offer`](Self::offer).
    ///
    /// # Errors
    /// [`DemoError::Bridge`]; [`DemoError::Unregistered`] after `patience`.
    pub async fn start(
        configs: Vec<callbridge::Config>,
        rate: u32,
        patience: Duration,
    ) -> Result<Self, DemoError> {
        let mut run = Self::register(configs, patience).await?;
        run.offer(rate);
        Ok(run)
    }

    /// Starts the bridges and waits until all are registered.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn register(
        configs: Vec<callbridge::Config>,
        patience: Duration,
    ) -> Result<Self, DemoError> {
        let bridges = configs.len();
        let others = |from| (0..bridges).filter(|to| *to != from).collect();
        Self::between(configs, (0..bridges).map(others).collect(), patience).await
    }

    /// The same; each bridge will send to those of its entry in `partners` alone.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    ///
    /// # Panics
    /// If `partners` has not one entry a bridge, naming bridges other than itself.
    pub async fn between(
        configs: Vec<callbridge::Config>,
        partners: Vec<Vec<usize>>,
        patience: Duration,
    ) -> Result<Self, DemoError> {
        assert_eq!(partners.len(), configs.len());
        for (from, to) in partners.iter().enumerate() {
            assert!(to.iter().all(|to| *to != from && *to < configs.len()));
        }
        let mut bridges = Vec::new();
        let mut receivers = Vec::new();
        let mut names = Vec::new();
        let mut jids = Vec::new();
        for config in configs {
            let name = config.name.clone();
            jids.push(config.jid());
            let started = Bridge::start(config);
            let (bridge, receiver) = started.map_err(|source| DemoError::Bridge {
                name: name.clone(),
                source: Box::new(source),
            })?;
            names.push(name);
            bridges.push(bridge);
            receivers.push(receiver);
        }
        let inner = Arc::new(Inner {
            accounts: Mutex::new(Accounts::new(bridges.len())),
            names,
            jids,
            bridges,
            partners,
            foreign: Mutex::default(),
            clock: Instant::now(),
            stop: CancellationToken::new(),
            end: CancellationToken::new(),
        });
        for (number, receiver) in receivers.into_iter().enumerate() {
            let (end, task) = (
                inner.end.clone(),
                receive(Arc::clone(&inner), number, receiver),
            );
            tokio::spawn(async move { end.run_until_cancelled(task).await });
        }
        let run = Self {
            inner,
            senders: TaskTracker::new(),
            rate: 0,
        };
        run.registered(patience).await?;
        Ok(run)
    }

    /// Begins to send `rate` messages a second in all; once only.
    pub fn offer(&mut self, rate: u32) {
        let bridges = self.inner.bridges.len();
        if self.rate > 0 || rate == 0 || bridges < 2 {
            return;
        }
        self.rate = rate;
        let pace = Duration::from_secs(bridges as u64) / rate;
        let begin = Instant::now();
        for number in 0..bridges {
            let first = begin + pace.mul_f64(number as f64 / bridges as f64);
            let inner = Arc::clone(&self.inner);
            self.senders.spawn(send(inner, number, first, pace));
        }
    }

    /// Notes that a fault happens now, so that gaps are blamed on it. To be called right before.
    pub fn fault(&self) {
        self.inner.accounts().fault(self.inner.now());
    }

    /// Notes that the last fault is over, so that what gaps last from now on is not blamed on it.
    pub fn over(&self) {
        self.inner.accounts().over(self.inner.now());
    }

    /// Every ordered pair that messages are sent between.
    pub fn directions(&self) -> impl Iterator<Item = Direction> {
        let senders = self.inner.partners.iter().enumerate();
        senders.flat_map(|(from, partners)| partners.iter().map(move |&to| Direction { from, to }))
    }

    /// Messages delivered to each of these pairs.
    #[must_use]
    pub fn delivered(&self) -> Vec<u64> {
        let accounts = self.inner.accounts();
        let delivered = self.directions().map(|pair| accounts.delivered(pair));
        delivered.collect()
    }

    /// The longest gap of one ordered pair by fault.
    #[must_use]
    pub fn gaps(&self, direction: Direction) -> Vec<Duration> {
        self.inner.accounts().gaps(direction).by_fault()
    }

    /// What the books say now.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.inner.accounts().totals()
    }

    /// Messages a second that are offered in all.
    #[must_use]
    pub const fn rate(&self) -> u32 {
        self.rate
    }

    /// Names of the bridges, by number.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.inner.names
    }

    /// The bridges, by number.
    #[must_use]
    pub fn bridges(&self) -> &[Bridge] {
        &self.inner.bridges
    }

    /// The status of each bridge.
    #[must_use]
    pub fn statuses(&self) -> Vec<Status> {
        let status = |bridge: &Bridge| bridge.status().borrow().clone();
        self.inner.bridges.iter().map(status).collect()
    }

    /// Whether all bridges are registered now.
    #[must_use]
    pub fn all_registered(&self) -> bool {
        let registered = |bridge: &Bridge| bridge.status().borrow().state == State::Registered;
        self.inner.bridges.iter().all(registered)
    }

    /// The figures of all bridges together; these count every stanza, answers to other people's questions included.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let mut sum = Counters::default();
        for bridge in &self.inner.bridges {
            let one = bridge.counters();
            sum.submitted += one.submitted;
            sum.accepted += one.accepted;
            sum.written += one.written;
            sum.received += one.received;
            sum.repeats += one.repeats;
            sum.streams += one.streams;
            sum.resumed += one.resumed;
            sum.failures += one.failures;
            sum.given_up += one.given_up;
        }
        sum
    }

    /// Stanzas that arrived from others than the bridges.
    #[must_use]
    pub fn foreign(&self) -> u64 {
        *lock(&self.inner.foreign)
    }

    /// Stops sending, waits at most `patience` until everything sent is received or answered, then a little more for what
    /// should not come, and closes the books.
    pub async fn drain(&self, patience: Duration) -> Totals {
        let inner = &self.inner;
        inner.stop.cancel();
        self.senders.close();
        self.senders.wait().await;
        inner.accounts().close(inner.now());
        let deadline = Instant::now() + patience;
        while inner.accounts().open() > 0 && Instant::now() < deadline {
            sleep(POLL).await;
        }
        // A gap ends with what it waited for, not with our curiosity.
        inner.accounts().finish(inner.now());
        sleep(QUIET).await;
        inner.accounts().totals()
    }

    /// Open numbers, for people; see [`Accounts::open_numbers`].
    #[must_use]
    pub fn open_numbers(&self, most: usize) -> Vec<String> {
        self.inner.accounts().open_numbers(most)
    }

    /// Ends the bridges in good order.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        futures::future::join_all(self.inner.bridges.iter().map(Bridge::stop)).await;
    }

    async fn registered(&self, patience: Duration) -> Result<(), DemoError> {
        let deadline = Instant::now() + patience;
        for (name, bridge) in self.inner.names.iter().zip(&self.inner.bridges) {
            let left = deadline.saturating_duration_since(Instant::now());
            if !matches!(timeout(left, bridge.registered()).await, Ok(Ok(()))) {
                let status = bridge.status().borrow().clone();
                return Err(DemoError::Unregistered {
                    name: name.clone(),
                    seconds: patience.as_secs(),
                    line: explain(&status),
                });
            }
        }
        Ok(())
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.inner.stop.cancel();
        self.inner.end.cancel();
    }
}

impl Inner {
    fn now(&self) -> Duration {
        self.clock.elapsed()
    }

    fn accounts(&self) -> MutexGuard<'_, Accounts> {
        lock(&self.accounts)
    }
}

/// A status in one line, with the cause of the last failure in full.
#[must_use]
pub fn explain(status: &Status) -> String {
    let line = status.line(std::time::SystemTime::now());
    match &status.last_failure {
        Some(last) if status.state != State::Registered => format!("{line}: {}", last.failure),
        _ => line,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const POLL: Duration = Duration::from_millis(5);

/// Once everything is received: how long we listen for what should not come.
const QUIET: Duration = Duration::from_millis(300);

/// How far behind its schedule a sender may make up for.
pub const ARREARS: Duration = Duration::from_millis(100);

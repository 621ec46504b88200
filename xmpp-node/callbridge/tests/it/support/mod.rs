//! A cluster in miniature: nodes on loopback that share sessions, can be killed, frozen, and made to refuse.

pub mod component;
pub mod dns;
pub mod node;
pub mod pki;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use callbridge::{Bridge, Config, Event, Receiver, Secret, Security, Servers};
use tokio::sync::{Notify, broadcast};

pub use node::{Conduct, Node};

pub const SECRET: &str = "kvgP1SRzWVabhiPVAb1";
pub const DOMAIN: &str = "example.test";

/// What all nodes know.
#[derive(Debug, Default)]
pub struct Cluster {
    pub state: Mutex<State>,
    /// Something changed that a stream may have to write.
    pub news: Notify,
}

#[derive(Debug, Default)]
pub struct State {
    pub sessions: HashMap<String, Session>,
    pub sessions_made: u32,
    /// Ids of the stanzas accepted, over all sessions.
    pub accepted: Vec<String>,
    /// Whether a session that is gone is still remembered by its count.
    pub remembers_counts: bool,
    pub forgotten: HashMap<String, u32>,
    /// Every accepted stanza is sent back.
    pub echo: bool,
    /// A stanza with this id is refused by a stream error.
    pub poison: Option<String>,
    /// Streams that the bridge closed by its closing tag.
    pub closed: u32,
    /// Highest count of acknowledged deliveries seen.
    pub confirmed: u32,
}

#[derive(Debug, Default)]
pub struct Session {
    pub accepted: u32,
    /// Not acknowledged; the first has number `acknowledged + 1`.
    pub queue: Vec<Bytes>,
    pub acknowledged: u32,
}

impl Cluster {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn echoing() -> Arc<Self> {
        let cluster = Self::new();
        cluster.lock().echo = true;
        cluster
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panicked with the lock")
    }

    /// Queues a stanza for the bridge in every session there is.
    pub fn deliver(&self, stanza: impl Into<Bytes>) {
        let stanza = stanza.into();
        for session in self.lock().sessions.values_mut() {
            session.queue.push(stanza.clone());
        }
        self.news.notify_waiters();
    }

    /// Every session expires.
    pub fn forget(&self) {
        let mut state = self.lock();
        let counts = state
            .sessions
            .drain()
            .map(|(id, session)| (id, session.accepted))
            .collect();
        state.forgotten = counts;
    }
}

/// A configuration with short waits, without TLS.
pub fn config(servers: &[&Node]) -> Config {
    let mut config = Config::new("cb1", DOMAIN, Secret::text(SECRET), Security::LoopbackOnly);
    config.servers = Servers::List(servers.iter().map(|node| node.address.into()).collect());
    config.timing.retry_first = Duration::from_millis(10);
    config.timing.retry_longest = Duration::from_millis(100);
    config
}

/// A bridge with its events from the very beginning.
pub fn start(config: Config) -> (Bridge, Receiver, broadcast::Receiver<Event>) {
    let (bridge, receiver) = Bridge::start(config).expect("a good configuration");
    let events = bridge.events();
    (bridge, receiver, events)
}

/// A message with a number.
pub fn message(number: u32) -> Bytes {
    Bytes::from(format!(
        "<message id='{number}' from='cb1.example.test' to='cb2.example.test'><body>{number}</body></message>"
    ))
}

/// The first event that `pick` takes.
pub async fn event<T>(
    events: &mut broadcast::Receiver<Event>,
    mut pick: impl FnMut(&Event) -> Option<T>,
) -> T {
    loop {
        let event = events.recv().await.expect("the bridge runs");
        if let Some(picked) = pick(&event) {
            return picked;
        }
    }
}

/// Waits for the next registration; returns the port of the server and whether the session was resumed.
pub async fn registered(events: &mut broadcast::Receiver<Event>) -> (u16, bool) {
    event(events, |event| match event {
        Event::Registered { server, resumed } => Some((server.address.port(), *resumed)),
        _ => None,
    })
    .await
}

/// Fails a test that hangs.
pub async fn in_time<T>(what: impl Future<Output = T>) -> T {
    let limit = Duration::from_secs(20);
    tokio::time::timeout(limit, what)
        .await
        .expect("done in time")
}

/// Waits for something that no channel tells.
pub async fn until(mut done: impl FnMut() -> bool) {
    let mut ticks = tokio::time::interval(Duration::from_millis(2));
    while !done() {
        ticks.tick().await;
    }
}

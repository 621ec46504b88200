//! The transport between nodes: frames over mutual TLS, one dialled link to each member and one
//! connection back from it.
//!
//! Knows nothing of Raft and of XML. A node gives its peers a [`Service`]; it talks to them through
//! a [`Link`]: requests (answers in any order), one-way messages (in order) and streams (in order
//! both ways, for Raft's pipelined append). A link reconnects by itself; what was queued or
//! unanswered on a lost connection fails, and is never sent again from here.
//!
//! ```text
//!   Link ──pipe (8 MiB)──► task: ClientSide ──TLS──► task: ServiceSide ──► Service
//!        ◄───── answers ──        drive()   ◄──────      drive()       ◄── answers
//! ```
//! In reading order: `frame` and `outbox` (bytes), `hello` and `handshake` (who), `connection` (one
//! socket), `pipe`, `client`, `stream`, `link` and `dialer` (our side), `service` and `server` (the
//! peer's side), `registry` and `event`.
//!
//! # Bounds
//! | What | Bound | Past it |
//! |---|---|---|
//! | a frame | [`MAX_FRAME_BYTES`], the first [`MAX_HELLO_BYTES`] | connection closed; `TooLarge` for a sender |
//! | queue of a link | [`Settings::queue_bytes`], a frame counts [`FRAME_COST_BYTES`] more | `Full`, or `send` waits |
//! | requests in flight of a link | [`MAX_IN_FLIGHT`] | `Full` |
//! | requests being answered, a connection | [`MAX_REQUESTS`] | `Busy` |
//! | streams of a connection | [`MAX_STREAMS`] kinds | the stream ends at once |
//! | unanswered items of a stream | [`STREAM_WINDOW`] | `send` waits |
//! | gathered for a write | [`WRITE_BYTES`] and one frame | the queue waits |
//! | answers waiting for the socket | [`PAUSE_READING_BYTES`] and one read | nothing is read |
//! | handshakes | [`MAX_HANDSHAKES`], [`Settings::handshake_timeout`] | connections wait, closed |
//! | accepted connections | [`MAX_CONNECTIONS`], [`MAX_CONNECTIONS_PER_PEER`] | refused |
//! | events unread | [`EVENT_CAPACITY`] | the receiver sees `Lagged` |

mod client;
mod connection;
mod dialer;
mod event;
mod frame;
mod handshake;
mod heard;
mod hello;
mod identity;
mod link;
mod outbox;
mod pipe;
mod registry;
mod server;
mod service;
mod settings;
mod stream;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, broadcast, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use dialer::{Dialer, keep_connected};
use handshake::Wanted;
use heard::Heard;
use link::LinkCore;
use registry::Registry;
use server::{Refusals, Server};

pub use connection::{CLOSE_TIMEOUT, PAUSE_READING_BYTES};
pub use event::{Direction, DownReason, LinkEvent, LinkState, PeerStatus};
pub use frame::{FrameError, MAX_BODY_BYTES, MAX_FRAME_BYTES, MAX_HELLO_BYTES, count_frames};
pub use handshake::DialError;
pub use hello::{Hello, PROTOCOL_VERSION, Refusal};
pub use identity::PeerTls;
pub use link::{Link, MAX_IN_FLIGHT};
pub use outbox::{Parts, WRITE_BYTES};
pub use pipe::{FRAME_COST_BYTES, LinkError, QUEUE_BYTES};
pub use registry::{EVENT_CAPACITY, MAX_CONNECTIONS, MAX_CONNECTIONS_PER_PEER};
pub use server::MAX_HANDSHAKES;
pub use service::{MAX_REQUESTS, MAX_STREAMS, Service, StreamEnds};
pub use settings::Settings;
pub use stream::{FIRST_STREAM_KIND, STREAM_WINDOW, StreamReceiver, StreamSender};

/// All peers of a node. Clones share them; the last one dropped closes every connection with a
/// `bye`.
#[derive(Clone)]
pub struct Peers {
    inner: Arc<Inner>,
}

struct Inner {
    local: watch::Sender<Arc<Hello>>,
    dialer: Dialer,
    registry: Arc<Registry>,
    members: Mutex<HashMap<u64, Member>>,
    tasks: TaskTracker,
    stop: CancellationToken,
    _stop_when_dropped: DropGuard,
}

/// A link that `set_members` asked for. Dropping it closes the link.
struct Member {
    name: Arc<str>,
    address: watch::Sender<String>,
    link: Link,
    _stop: DropGuard,
}

impl Peers {
    /// A node that calls itself `local`, without any link yet.
    #[must_use]
    pub fn new(local: Hello, tls: Arc<dyn PeerTls>, settings: Settings) -> Self {
        let (local, said) = watch::channel(Arc::new(local));
        let stop = CancellationToken::new();
        Self {
            inner: Arc::new(Inner {
                local,
                dialer: Dialer {
                    settings: Arc::new(settings),
                    tls,
                    local: said,
                },
                registry: Arc::new(Registry::new()),
                members: Mutex::default(),
                tasks: TaskTracker::new(),
                _stop_when_dropped: stop.clone().drop_guard(),
                stop,
            }),
        }
    }

    /// What this node says of itself.
    #[must_use]
    pub fn local(&self) -> Arc<Hello> {
        self.inner.local.borrow().clone()
    }

    /// The node belongs to a cluster from now on. Connections made before, to peers that had not
    /// said this id, are closed with a `bye` and dialled again, so that both sides check it.
    pub fn set_cluster_id(&self, cluster_id: &str) {
        self.inner.local.send_if_modified(|local| {
            let changed = local.cluster_id.as_deref() != Some(cluster_id);
            if changed {
                *local = Arc::new(Hello {
                    cluster_id: Some(cluster_id.into()),
                    ..(**local).clone()
                });
            }
            changed
        });
    }

    /// The members, id to (name, `host:port`); this node itself is ignored. New ones get a link,
    /// those that are gone lose theirs with a `bye`. A new address is dialled when the present
    /// connection ends, or at once if there is none. To be called within the tokio runtime.
    pub fn set_members(&self, members: BTreeMap<u64, (String, String)>) {
        let mut links = self.lock();
        links.retain(|id, member| {
            members
                .get(id)
                .is_some_and(|(name, _)| **name == *member.name)
        });
        for (id, (name, address)) in members {
            if id == self.inner.local.borrow().node_id || self.inner.stop.is_cancelled() {
                continue;
            }
            if let Some(member) = links.get(&id) {
                if member
                    .address
                    .send_if_modified(|old| std::mem::replace(old, address.clone()) != address)
                {
                    member.link.wake();
                }
                continue;
            }
            links.insert(id, self.start(id, &name, address));
        }
    }

    fn start(&self, id: u64, name: &str, address: String) -> Member {
        let inner = &self.inner;
        let (heard, wake) = inner.registry.add_link(id, name);
        let core = Arc::new(LinkCore::new(heard, wake));
        let stop = inner.stop.child_token();
        let name: Arc<str> = name.into();
        let (address, target) = watch::channel(address);
        let wanted = Wanted {
            id,
            name: name.clone(),
        };
        let link = Link::new(core.clone(), None);
        let (registry, dialer, token) =
            (inner.registry.clone(), inner.dialer.clone(), stop.clone());
        inner.tasks.spawn(async move {
            keep_connected(dialer, wanted, target, core, registry.clone(), token).await;
            registry.remove_link(id);
        });
        Member {
            name,
            address,
            link,
            _stop: stop.drop_guard(),
        }
    }

    /// The link to a member.
    #[must_use]
    pub fn link(&self, id: u64) -> Option<Link> {
        self.lock().get(&id).map(|member| member.link.clone())
    }

    /// Changes from now on, both directions; at most [`EVENT_CAPACITY`] wait for a receiver.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<LinkEvent> {
        self.inner.registry.subscribe()
    }

    /// Whether our link to a member is up.
    #[must_use]
    pub fn connected(&self, id: u64) -> bool {
        self.inner.registry.connected(id)
    }

    /// Both directions of a peer; `None` for one without link and connection.
    #[must_use]
    pub fn status(&self, id: u64) -> Option<PeerStatus> {
        self.inner.registry.status(id)
    }

    /// Time since the last byte from a peer on any connection. While one is up this stays near
    /// [`Settings::ping_after`]; `None`: never heard. [`Link::last_heard`] is the same without a
    /// lock.
    #[must_use]
    pub fn last_heard(&self, id: u64) -> Option<Duration> {
        self.inner.registry.last_heard(id)
    }

    /// Dials `host:port` once, whoever answers, for a node that joins. The connection lives as long
    /// as the link's handles and makes no events here.
    ///
    /// # Errors
    /// All variants of [`DialError`]: of the last address tried, a refusal before all others.
    pub async fn dial_once(&self, address: &str) -> Result<(Arc<Hello>, Link), DialError> {
        let stop = self.inner.stop.child_token();
        let dialer = self.inner.dialer.clone();
        let opened = tokio::select! {
            opened = dialer.dial(address, None) => opened?,
            () = stop.cancelled() => return Err(DialError::ShuttingDown),
        };
        let hello = opened.hello.clone();
        let core = Arc::new(LinkCore::new(
            Arc::new(Heard::new()),
            Arc::new(Notify::new()),
        ));
        let link = Link::new(core.clone(), Some(stop.clone().drop_guard()));
        let side = dialer.connect(&hello, &core);
        self.inner
            .tasks
            .spawn(async move { dialer.run(opened, side, &core, &stop).await });
        Ok((hello, link))
    }

    /// Serves the peer port until [`Peers::shutdown`].
    pub async fn serve(&self, listener: TcpListener, service: Arc<dyn Service>) {
        let server = Server {
            dialer: self.inner.dialer.clone(),
            registry: self.inner.registry.clone(),
            service,
            tasks: self.inner.tasks.clone(),
            stop: self.inner.stop.clone(),
            refusals: Arc::new(Refusals::default()),
        };
        server.run(listener).await;
    }

    /// Closes every connection of both directions with a `bye` and waits for it, a little more than
    /// [`CLOSE_TIMEOUT`] at most.
    pub async fn shutdown(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Member>> {
        self.inner
            .members
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

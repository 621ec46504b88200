//! Nodes with a small service, started on ports of their own.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, broadcast, mpsc};
use tokio::time::timeout;
use xmpp_node::peer::{
    DownReason, Hello, Link, LinkEvent, LinkState, Peers, STREAM_WINDOW, Service, Settings,
    StreamEnds,
};

use crate::pki::Authority;

/// For nodes that must find their port free again: no outgoing connection of a test uses this
/// address.
pub(crate) const KEPT_ADDRESS: SocketAddr =
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), 0);

/// Longest time for anything in these tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Answers with the body.
pub(crate) const ECHO: u8 = 1;
/// Answers with the body once the test opens `Works::gate`.
pub(crate) const GATED: u8 = 2;
/// Panics.
pub(crate) const PANIC: u8 = 3;
/// Answers with as many bytes as the body says in decimal.
pub(crate) const SIZED: u8 = 4;
/// A stream that answers each item with itself.
pub(crate) const STREAM: u8 = 0x80;
/// A stream that ends after one answer.
pub(crate) const SHORT_STREAM: u8 = 0x81;
/// A stream that takes one item at a time, each when the test opens `Works::gate`.
pub(crate) const GATED_STREAM: u8 = 0x82;

/// The service of a node under test.
pub(crate) struct Works {
    pub(crate) gate: Arc<Semaphore>,
    pub(crate) admissions: AtomicUsize,
    messages: mpsc::UnboundedSender<(u8, Bytes)>,
    closed_to: Mutex<Option<String>>,
}

impl Works {
    /// Admits nobody from now on, for this reason; `None`: everybody.
    pub(crate) fn close_to_all(&self, reason: Option<&str>) {
        *self.closed_to.lock().expect("not poisoned") = reason.map(Into::into);
    }
}

impl Service for Works {
    fn admit(&self, _from: &Hello) -> Result<(), String> {
        self.admissions.fetch_add(1, Ordering::Relaxed);
        self.closed_to
            .lock()
            .expect("not poisoned")
            .clone()
            .map_or(Ok(()), Err)
    }

    fn request(&self, _from: &Hello, kind: u8, body: Bytes) -> BoxFuture<'static, Bytes> {
        let gate = self.gate.clone();
        Box::pin(async move {
            match kind {
                GATED => gate.acquire().await.expect("never closed").forget(),
                PANIC => panic!("asked for"),
                SIZED => {
                    let size = std::str::from_utf8(&body)
                        .expect("ASCII")
                        .parse()
                        .expect("a size");
                    return Bytes::from(vec![1; size]);
                }
                _ => {}
            }
            body
        })
    }

    fn message(&self, _from: &Hello, kind: u8, body: Bytes) {
        // The test may have stopped listening.
        let _ = self.messages.send((kind, body));
    }

    fn stream(&self, _from: &Hello, kind: u8) -> Option<StreamEnds> {
        let room = if kind == GATED_STREAM {
            1
        } else {
            STREAM_WINDOW
        };
        let (sender, mut items) = mpsc::channel::<Bytes>(room);
        let (answers, receiver) = mpsc::channel(8);
        let gate = self.gate.clone();
        match kind {
            STREAM | SHORT_STREAM | GATED_STREAM => tokio::spawn(async move {
                while let Some(item) = items.recv().await {
                    if kind == GATED_STREAM {
                        gate.acquire().await.expect("never closed").forget();
                    }
                    if answers.send(item).await.is_err() || kind == SHORT_STREAM {
                        return;
                    }
                }
            }),
            _ => return None,
        };
        Some((sender, receiver))
    }
}

/// A node that serves its port.
pub(crate) struct Node {
    pub(crate) id: u64,
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) peers: Peers,
    pub(crate) works: Arc<Works>,
    pub(crate) messages: mpsc::UnboundedReceiver<(u8, Bytes)>,
    /// Set for nodes that can be killed.
    runtime: Option<Runtime>,
}

/// How to start a node.
pub(crate) struct Plan<'a> {
    pub(crate) authority: &'a Authority,
    pub(crate) id: u64,
    pub(crate) name: &'a str,
    /// Name in the certificate.
    pub(crate) certified: &'a str,
    pub(crate) cluster_id: Option<&'a str>,
    pub(crate) incarnation: u64,
    pub(crate) address: SocketAddr,
    pub(crate) settings: Settings,
}

impl<'a> Plan<'a> {
    pub(crate) fn new(authority: &'a Authority, id: u64, name: &'a str) -> Self {
        let address = ([127, 0, 0, 1], 0).into();
        let settings = Settings::default();
        Self {
            authority,
            id,
            name,
            certified: name,
            cluster_id: None,
            incarnation: 1,
            address,
            settings,
        }
    }

    /// Starts the node in the test's runtime.
    pub(crate) async fn start(self) -> Node {
        self.run(None).await
    }

    /// Starts the node in a runtime of its own, so that it can be killed.
    pub(crate) async fn start_mortal(self) -> Node {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        self.run(Some(runtime)).await
    }

    async fn run(self, runtime: Option<Runtime>) -> Node {
        let (messages, received) = mpsc::unbounded_channel();
        let works = Arc::new(Works {
            gate: Arc::new(Semaphore::new(0)),
            admissions: AtomicUsize::new(0),
            messages,
            closed_to: Mutex::default(),
        });
        let local = Hello {
            cluster_id: self.cluster_id.map(Into::into),
            node_id: self.id,
            name: self.name.into(),
            incarnation: self.incarnation,
        };
        let peers = Peers::new(local, self.authority.node(self.certified), self.settings);
        let (serving, service, wished) = (peers.clone(), works.clone(), self.address);
        let (bound, address) = tokio::sync::oneshot::channel();
        let serve = async move {
            let listener = TcpListener::bind(wished).await.expect("a free port");
            bound
                .send(listener.local_addr().expect("bound"))
                .expect("awaited below");
            serving.serve(listener, service).await;
        };
        match &runtime {
            Some(runtime) => runtime.spawn(serve),
            None => tokio::spawn(serve),
        };
        let address = address.await.expect("sent above");
        let (id, name) = (self.id, self.name.to_owned());
        Node {
            id,
            name,
            address,
            peers,
            works,
            messages: received,
            runtime,
        }
    }
}

impl Node {
    /// Makes `others` the members that this node knows.
    pub(crate) fn knows(&self, others: &[&Self]) {
        let member = |node: &&Self| (node.id, (node.name.clone(), node.address.to_string()));
        let _entered = self.runtime.as_ref().map(Runtime::enter);
        self.peers
            .set_members(others.iter().map(member).collect::<BTreeMap<_, _>>());
    }

    /// The link to `other`, connected.
    pub(crate) async fn link(&self, other: &Self) -> Link {
        let link = self.peers.link(other.id).expect("a member");
        timeout(PATIENCE, link.connected())
            .await
            .expect("connects in time");
        link
    }

    /// The process dies: when this returns no task runs any more and all sockets are closed.
    pub(crate) async fn kill(mut self) {
        let runtime = self.runtime.take().expect("started as mortal");
        tokio::task::spawn_blocking(|| drop(runtime))
            .await
            .expect("no panic");
    }
}

/// The next event, which must come in time.
pub(crate) async fn next(events: &mut broadcast::Receiver<LinkEvent>) -> LinkEvent {
    timeout(PATIENCE, events.recv())
        .await
        .expect("an event in time")
        .expect("never lagging")
}

/// Events up to the first `Down`, whose reason is returned.
pub(crate) async fn next_down(
    events: &mut broadcast::Receiver<LinkEvent>,
) -> (LinkEvent, DownReason) {
    loop {
        let event = next(events).await;
        if let LinkState::Down { reason } = event.state.clone() {
            return (event, reason);
        }
    }
}

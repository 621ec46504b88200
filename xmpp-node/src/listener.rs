//! The component ports: accepts, under limits, and hands each connection to [`connection::serve`].
//!
//! | bound | setting | past it |
//! |---|---|---|
//! | connections | `limits.connections` | closed at once |
//! | connections of one address | `limits.connections_per_address` | closed at once |
//! | connections that have not proved a secret | `limits.unauthenticated` | the next ones wait to be accepted |
//! | time from the accept to the proof of a secret, TLS included | `limits.handshake_timeout` | closed |

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::connection::{self, StreamContext};

/// Pause after a failed accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bounds of all component ports together.
#[derive(Debug)]
pub struct Admission {
    connections: Arc<Semaphore>,
    unauthenticated: Arc<Semaphore>,
    per_address: usize,
    addresses: Mutex<HashMap<IpAddr, usize>>,
    handshake: Duration,
}

impl Admission {
    /// With these bounds.
    #[must_use]
    pub fn new(
        connections: usize,
        per_address: usize,
        unauthenticated: usize,
        handshake: Duration,
    ) -> Arc<Self> {
        Arc::new(Self {
            connections: Arc::new(Semaphore::new(connections)),
            unauthenticated: Arc::new(Semaphore::new(unauthenticated)),
            per_address,
            addresses: Mutex::default(),
            handshake,
        })
    }

    fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let permit = Arc::clone(&self.connections).try_acquire_owned().ok()?;
        let mut addresses = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = addresses.entry(address).or_insert(0);
        if *count >= self.per_address {
            return None;
        }
        *count += 1;
        Some(Place {
            admission: Arc::clone(self),
            address,
            _permit: permit,
        })
    }
}

/// One connection's place under the bounds.
struct Place {
    admission: Arc<Admission>,
    address: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut addresses = self
            .admission
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = addresses.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                addresses.remove(&self.address);
            }
        }
    }
}

/// Accepts until `stop`. Without `tls` the port is plain, which the settings allow on loopback only.
pub async fn accept(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    context: Arc<StreamContext>,
    admission: Arc<Admission>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    loop {
        let next = async {
            // Waiting here, not after the accept, leaves newcomers in the kernel's bounded backlog.
            let permit = Arc::clone(&admission.unauthenticated).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let Some((Ok(permit), accepted)) = stop.run_until_cancelled(next).await else {
            return;
        };
        let (socket, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                warn!(%error, "cannot accept");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = admission.admit(address.ip()) else {
            debug!(%address, "too many connections");
            continue;
        };
        let (acceptor, context) = (acceptor.clone(), Arc::clone(&context));
        let handshake = admission.handshake;
        tasks.spawn(async move {
            let _place = place;
            if let Err(error) = prepare(&socket) {
                debug!(%address, %error, "socket options");
            }
            let prove_by = Instant::now() + handshake;
            run(socket, address, acceptor, context, permit, prove_by).await;
        });
    }
}

async fn run(
    socket: TcpStream,
    address: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    context: Arc<StreamContext>,
    permit: OwnedSemaphorePermit,
    prove_by: Instant,
) {
    let Some(acceptor) = acceptor else {
        return connection::serve(socket, context, permit, prove_by).await;
    };
    match timeout_at(prove_by, acceptor.accept(socket)).await {
        Ok(Ok(stream)) => connection::serve(stream, context, permit, prove_by).await,
        Ok(Err(error)) => debug!(%address, %error, "TLS handshake failed"),
        Err(_) => debug!(%address, "TLS handshake took too long"),
    }
}

/// Small writes go out at once; a peer whose machine is gone is noticed within half a minute.
fn prepare(socket: &TcpStream) -> std::io::Result<()> {
    socket.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    SockRef::from(socket).set_tcp_keepalive(&keepalive)
}

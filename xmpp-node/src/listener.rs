//! The component ports: accepts, under the bounds of [`crate::admission`], and hands each connection to [`connection::serve`].
//!
//! From the accept to the proof of a secret a connection has `limits.handshake_timeout`, TLS included.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::admission::{Admission, Place, Refused, Source, Unproved};
use crate::connection::{self, StreamContext};
use crate::metrics::{Metrics, Named};

/// Pause after a failed accept, such as for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What the ports share.
#[derive(Debug, Clone)]
pub struct Shared {
    /// What streams share.
    pub context: Arc<StreamContext>,
    /// Who may connect.
    pub admission: Arc<Admission>,
    /// From the accept to the proof of a secret.
    pub handshake: Duration,
    /// Where connections live.
    pub tasks: TaskTracker,
}

/// Accepts until `stop`. Without `tls` the port is plain, which the settings allow on loopback only.
pub async fn accept(
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    shared: Shared,
    stop: CancellationToken,
) {
    let acceptor = tls.map(TlsAcceptor::from);
    let metrics = &shared.context.metrics;
    loop {
        let (socket, address) = match stop.run_until_cancelled(listener.accept()).await {
            Some(Ok(accepted)) => accepted,
            Some(Err(error)) => {
                warn!(%error, "cannot accept");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
            None => return,
        };
        let prove_by = Instant::now() + shared.handshake;
        let admitting = admit(&shared.admission, Source::from(address.ip()), metrics);
        let Some(admitted) = stop.run_until_cancelled(admitting).await else {
            return;
        };
        let Ok((place, unproved)) =
            admitted.inspect_err(|limit| debug!(%address, limit, "refused"))
        else {
            continue;
        };
        let (acceptor, context) = (acceptor.clone(), Arc::clone(&shared.context));
        shared.tasks.spawn(async move {
            if let Err(error) = prepare(&socket) {
                debug!(%address, %error, "socket options");
            }
            run(socket, address, acceptor, context, unproved, prove_by).await;
            drop(place);
        });
    }
}

/// A place, once there is one.
///
/// # Errors
/// The limit that is reached.
async fn admit(
    admission: &Arc<Admission>,
    source: Source,
    metrics: &Metrics,
) -> Result<(Place, Unproved), &'static str> {
    loop {
        match admission.admit(source) {
            Ok(admitted) => return Ok(admitted),
            // Waiting here leaves the next ones in the kernel's bounded backlog.
            Err(Refused::Wait) => admission.freed().await,
            Err(Refused::Limit(name)) => {
                metrics.refused.get_or_create(&Named { name }).inc();
                return Err(name);
            }
        }
    }
}

async fn run(
    socket: TcpStream,
    address: SocketAddr,
    acceptor: Option<TlsAcceptor>,
    context: Arc<StreamContext>,
    unproved: Unproved,
    prove_by: Instant,
) {
    let Some(acceptor) = acceptor else {
        return connection::serve(socket, context, unproved, prove_by).await;
    };
    let accepting = timeout_at(prove_by, acceptor.accept(socket));
    let accepted = tokio::select! {
        accepted = accepting => accepted,
        () = unproved.displaced() => return context.metrics.displaced(),
    };
    match accepted {
        Ok(Ok(stream)) => connection::serve(stream, context, unproved, prove_by).await,
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

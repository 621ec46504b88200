//! The ports of components and clients: accepts, under the bounds of [`crate::admission`], and hands each connection to [`connection`].
//!
//! From the accept to the proof of a secret a connection has `limits.handshake_timeout`, TLS included.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::{ProtocolVersion, ServerConfig, ServerConnection};
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
use crate::tls::addresses;

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

/// What is served at a port.
#[derive(Clone)]
pub enum Port {
    /// Components. Without TLS the port is plain, which the settings allow on loopback only.
    Component(Option<TlsAcceptor>),
    /// Clients, by TLS from the first byte (XEP-0368).
    Client(TlsAcceptor),
    /// Clients, who ask for TLS (RFC 6120, 5).
    StartTls(TlsAcceptor),
}

impl Port {
    /// Of components.
    #[must_use]
    pub fn component(tls: Option<Arc<ServerConfig>>) -> Self {
        Self::Component(tls.map(TlsAcceptor::from))
    }
}

/// Accepts until `stop`.
pub async fn accept(listener: TcpListener, port: Port, shared: Shared, stop: CancellationToken) {
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
        if let Err(error) = prepare(&socket) {
            debug!(%address, %error, "socket options");
        }
        let newcomer = Newcomer {
            address,
            context: Arc::clone(&shared.context),
            place,
            unproved,
            prove_by,
        };
        let (port, tasks) = (port.clone(), shared.tasks.clone());
        shared
            .tasks
            .spawn(async move { secure(newcomer, socket, &port, &tasks).await });
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

/// A connection that was accepted.
struct Newcomer {
    address: SocketAddr,
    context: Arc<StreamContext>,
    place: Place,
    unproved: Unproved,
    prove_by: Instant,
}

/// Does the TLS handshake. What comes after it is a task of its own, so a stream does not keep the room that a handshake needs.
async fn secure(newcomer: Newcomer, mut socket: TcpStream, port: &Port, tasks: &TaskTracker) {
    let Newcomer {
        address,
        context,
        place,
        unproved,
        prove_by,
    } = newcomer;
    let acceptor = match port {
        Port::Component(None) => {
            tasks.spawn(async move {
                connection::serve_component(socket, None, context, unproved, prove_by).await;
                drop(place);
            });
            return;
        }
        Port::Component(Some(acceptor)) | Port::Client(acceptor) | Port::StartTls(acceptor) => {
            acceptor
        }
    };
    let securing = async {
        if matches!(port, Port::StartTls(_)) && !connection::starttls(&mut socket, &context).await {
            return None;
        }
        Some(acceptor.accept(socket).await)
    };
    let secured = tokio::select! {
        secured = timeout_at(prove_by, securing) => secured,
        () = unproved.displaced() => return context.metrics.displaced(),
    };
    let stream = match secured {
        Ok(Some(Ok(stream))) => stream,
        Ok(Some(Err(error))) => return debug!(%address, %error, "TLS handshake failed"),
        Ok(None) => return debug!(%address, "ended before TLS"),
        Err(_) => return debug!(%address, "TLS took too long"),
    };
    let (tls, certificate) = (stream.get_ref().1, certificate(stream.get_ref().1));
    if matches!(port, Port::Component(_)) {
        tasks.spawn(async move {
            connection::serve_component(stream, certificate, context, unproved, prove_by).await;
            drop(place);
        });
        return;
    }
    let channel = channel(tls);
    let users = certificate.as_ref().map(addresses).unwrap_or_default();
    tasks.spawn(async move {
        connection::serve_client(stream, channel, &users, context, unproved, prove_by).await;
        drop(place);
    });
}

/// What the peer showed, verified.
fn certificate(tls: &ServerConnection) -> Option<CertificateDer<'static>> {
    let chain = tls.peer_certificates()?;
    chain.first().map(|first| first.clone().into_owned())
}

/// What binds a client's proof to its channel (RFC 9266): TLS 1.3 only, where it is unique without further conditions.
fn channel(tls: &ServerConnection) -> Option<Vec<u8>> {
    (tls.protocol_version() == Some(ProtocolVersion::TLSv1_3)).then_some(())?;
    let exported = tls.export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b""));
    exported.ok().map(|bytes: [u8; 32]| bytes.to_vec())
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

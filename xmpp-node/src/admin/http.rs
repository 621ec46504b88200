//! One bounded HTTP/1.1 server for all listeners: accept, handshake, serve, end gracefully.
//!
//! | Bound | Value |
//! |---|---|
//! | connections of one listener | 256; past it, see [`places`](super::places) |
//! | TLS handshake | 10 s |
//! | header of a request, waiting for it included | 5 s, 64 KiB |
//! | body of a request | 64 KiB, 10 s |
//! | a request | 60 s, then `timeout` |
//! | requests under way at a stop | 5 s |

use std::fmt;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::serve::Listener;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::places::{Place, Places};
use crate::tls::{PeerIdentity, Tls};

/// Connections of one listener at once: operator, command line, a scraper or two, and many to spare.
pub const MAX_CONNECTIONS: usize = 256;

/// Largest body of a request, in bytes.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// Time for the TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for the header of a request, from the end of the one before.
pub const HEADER_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for the body of a request.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// Time for the answer: a joining node has to catch up first.
pub use xmpp_node_client::admin::REQUEST_TIMEOUT;

/// Time that requests under way have at a stop.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Someone who may open the unix socket.
    Socket,
    /// The holder of a certificate.
    Peer(PeerIdentity),
    /// Anyone, on the metrics port.
    Anyone,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket => f.write_str("socket"),
            Self::Peer(identity) => f.write_str(&identity.uri()),
            Self::Anyone => f.write_str("anyone"),
        }
    }
}

/// What makes a caller's stream of an accepted connection.
pub(super) trait Welcome<Io>: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn welcome(&self, io: Io) -> impl Future<Output = io::Result<(Self::Stream, Caller)>> + Send;
}

/// No TLS; everyone is the same caller.
pub(super) struct Plain(pub(super) Caller);

impl<Io: AsyncRead + AsyncWrite + Unpin + Send + 'static> Welcome<Io> for Plain {
    type Stream = Io;

    async fn welcome(&self, io: Io) -> io::Result<(Io, Caller)> {
        Ok((io, self.0.clone()))
    }
}

/// Mutual TLS with the admin port's configuration in force.
pub(super) struct MutualTls(pub(super) Arc<Tls>);

impl<Io: AsyncRead + AsyncWrite + Unpin + Send + 'static> Welcome<Io> for MutualTls {
    type Stream = tokio_rustls::server::TlsStream<Io>;

    async fn welcome(&self, io: Io) -> io::Result<(Self::Stream, Caller)> {
        let stream = TlsAcceptor::from(self.0.admin_server()).accept(io).await?;
        let identity = PeerIdentity::of_peer(stream.get_ref().1.peer_certificates());
        let identity = identity.map_err(io::Error::other)?;
        Ok((stream, Caller::Peer(identity)))
    }
}

/// Accepts until `stop`, then waits for what is under way, at most [`STOP_TIMEOUT`].
pub(super) async fn serve<L: Listener, W: Welcome<L::Io>>(
    mut listener: L,
    welcome: W,
    router: Router,
    stop: CancellationToken,
) {
    let welcome = Arc::new(welcome);
    let places = Places::new(MAX_CONNECTIONS);
    let connections = TaskTracker::new();
    loop {
        let accepted = async {
            // Only somebody who is there needs a place.
            let io = listener.accept().await.0;
            (places.take().await, io)
        };
        let (place, io) = tokio::select! {
            () = stop.cancelled() => break,
            accepted = accepted => accepted,
        };
        let (welcome, router, stop) = (Arc::clone(&welcome), router.clone(), stop.clone());
        connections.spawn(async move {
            let place = Arc::new(place);
            tokio::select! {
                ended = converse(io, &*welcome, router, stop, Arc::clone(&place)) => {
                    if let Err(error) = ended {
                        tracing::debug!(%error, "admin connection ended");
                    }
                }
                () = place.displaced() => {
                    tracing::debug!("a resting admin connection gave its place to the next one");
                }
            }
        });
    }
    drop(listener);
    connections.close();
    // What takes longer was told to end, and ends with the process.
    let _ = timeout(STOP_TIMEOUT, connections.wait()).await;
}

async fn converse<Io, W: Welcome<Io>>(
    io: Io,
    welcome: &W,
    router: Router,
    stop: CancellationToken,
    place: Arc<Place>,
) -> io::Result<()> {
    let (stream, caller) = timeout(HANDSHAKE_TIMEOUT, welcome.welcome(io)).await??;
    let router = router.layer(Extension(caller));
    let router = router.layer(from_fn(move |request: Request, next: Next| {
        let place = Arc::clone(&place);
        async move {
            place.works();
            let answer = next.run(request).await;
            place.rests();
            answer
        }
    }));
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(MAX_BODY_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    tokio::select! {
        done = connection.as_mut() => return done.map_err(io::Error::other),
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    connection.await.map_err(io::Error::other)
}

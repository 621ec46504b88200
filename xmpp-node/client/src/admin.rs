//! The other end of the admin API: one connection a request, over the unix socket or mutual TLS.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use serde_json::Value;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use xmpp_node_api::address::HostPort;
use xmpp_node_api::admin::{AdminError, Request, Response};
use xmpp_node_api::status::NodeStatus;

use crate::tls::unchecked_name;

/// Where a node's admin API is.
#[derive(Clone, Debug)]
pub enum Endpoint {
    /// Its unix socket.
    Socket(PathBuf),
    /// Its admin port, and whom this caller is there: see [`crate::tls`].
    Tls {
        /// Host and port, all of whose addresses are tried.
        address: HostPort,
        /// Certificate to show, and which node to expect.
        config: Arc<ClientConfig>,
    },
}

impl Endpoint {
    fn name(&self) -> String {
        match self {
            Self::Socket(path) => path.display().to_string(),
            Self::Tls { address, .. } => address.to_string(),
        }
    }
}

/// A client of one node.
#[derive(Clone, Debug)]
pub struct AdminClient {
    endpoint: Endpoint,
}

impl AdminClient {
    /// A client of the node at `endpoint`; connects with each request.
    #[must_use]
    pub const fn new(endpoint: Endpoint) -> Self {
        Self { endpoint }
    }

    /// Sends a request and waits for its answer, at most 75 s.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn call(&self, request: &Request) -> Result<Response, ClientError> {
        let exchange = timeout(CONNECT_TIMEOUT + ANSWER_TIMEOUT, self.exchange(request)).await;
        let exchange = exchange.unwrap_or_else(|_| Err(self.unreachable(&"no answer in time")));
        let (ok, body) = exchange?;
        let malformed = |error: serde_json::Error| ClientError::Malformed {
            at: self.endpoint.name(),
            reason: error.to_string(),
        };
        let value: Value = serde_json::from_slice(&body).map_err(malformed)?;
        if ok {
            request.read_response(value).map_err(malformed)
        } else {
            Err(ClientError::Refused(
                serde_json::from_value(value).map_err(malformed)?,
            ))
        }
    }

    /// The node's status.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn status(&self) -> Result<NodeStatus, ClientError> {
        match self.call(&Request::Status {}).await? {
            Response::Status(status) => Ok(*status),
            _ => Err(ClientError::Malformed {
                at: self.endpoint.name(),
                reason: "no status".to_owned(),
            }),
        }
    }

    async fn exchange(&self, request: &Request) -> Result<(bool, Bytes), ClientError> {
        match &self.endpoint {
            Endpoint::Socket(path) => {
                let stream = self.within(UnixStream::connect(path)).await?;
                self.send(stream, request).await
            }
            Endpoint::Tls { address, config } => {
                let stream = self.within(connect(address, config)).await?;
                self.send(stream, request).await
            }
        }
    }

    /// Waits for a connection, not as long as for an answer.
    async fn within<T>(
        &self,
        connecting: impl Future<Output = io::Result<T>>,
    ) -> Result<T, ClientError> {
        match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(connected) => connected.map_err(|error| self.unreachable(&error)),
            Err(_) => Err(self.unreachable(&"no connection in time")),
        }
    }

    async fn send(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: &Request,
    ) -> Result<(bool, Bytes), ClientError> {
        let handshake = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = handshake.map_err(|e| self.unreachable(&e))?;
        let http_request = encode(request).map_err(|e| self.unreachable(&e))?;
        let exchange = async {
            let response = sender
                .send_request(http_request)
                .await
                .map_err(|e| self.unreachable(&e))?;
            let ok = response.status().is_success();
            let body = Limited::new(response.into_body(), MAX_ANSWER_BYTES)
                .collect()
                .await;
            Ok((ok, body.map_err(|e| self.unreachable(&e))?.to_bytes()))
        };
        let mut exchange = std::pin::pin!(exchange);
        // The connection has to be driven while we wait; where it ends first, the exchange still tells why.
        tokio::select! {
            outcome = exchange.as_mut() => return outcome,
            _ = connection => {}
        }
        exchange.await
    }

    fn unreachable(&self, reason: &dyn std::fmt::Display) -> ClientError {
        ClientError::Unreachable {
            at: self.endpoint.name(),
            reason: reason.to_string(),
        }
    }
}

/// Why a request has no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The node was not reached, or the connection was lost; the request may have been done.
    #[error("{at}: {reason}")]
    Unreachable {
        /// The endpoint.
        at: String,
        /// What happened.
        reason: String,
    },
    /// The node says no.
    #[error(transparent)]
    Refused(AdminError),
    /// The answer is not what this version understands.
    #[error("{at}: the answer makes no sense: {reason}")]
    Malformed {
        /// The endpoint.
        at: String,
        /// What was odd.
        reason: String,
    },
}

fn encode(request: &Request) -> Result<hyper::Request<Full<Bytes>>, Box<dyn std::error::Error>> {
    let name = request.name();
    let mut tagged = serde_json::to_value(request)?;
    let fields = serde_json::to_vec(&tagged[name].take())?;
    let built = hyper::Request::post(format!("/v1/{name}"))
        .header(HOST, "xmpp-node")
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(fields.into()))?;
    Ok(built)
}

/// Connects to the first address that answers, and shakes hands.
async fn connect(
    address: &HostPort,
    config: &Arc<ClientConfig>,
) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect((address.host(), address.port())).await?;
    stream.set_nodelay(true)?;
    TlsConnector::from(Arc::clone(config))
        .connect(unchecked_name(), stream)
        .await
}

/// Time in which a node fulfils a request, or says that it did not.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);

/// Time to connect and to shake hands.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The server gives up after [`REQUEST_TIMEOUT`] and says so; that answer has five seconds to arrive.
const ANSWER_TIMEOUT: Duration = REQUEST_TIMEOUT.saturating_add(Duration::from_secs(5));

/// A status with some ten thousand bridges.
const MAX_ANSWER_BYTES: usize = 16 << 20;

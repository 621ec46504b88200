//! The admin API: HTTP/1.1 and JSON over mutual TLS and over a unix socket; plain HTTP for health and metrics.
//!
//! What can be asked is typed in [`xmpp_node_api::admin`]; what is done about it is behind [`Control`], so nothing
//! here knows of consensus or sessions. Who may ask: on the socket, whoever may open it (mode 0600); over TLS, every
//! certificate of the internal CA with a role. A node may ask everything, as it holds the whole state anyway.
//!
//! Everything is bounded (see [`http`]): connections of each listener, handshake, header and request times, body sizes.
//!
//! | Path | Does |
//! |---|---|
//! | `POST /v1/<name>` | any request, its fields as a JSON object |
//! | `GET /v1/status` | the status, for people with `curl` |
//! | `GET /livez`, `/readyz`, `/metrics` | on the metrics port alone ([`health`]) |

pub mod health;
pub mod http;
pub mod listen;
mod places;
mod routes;
#[cfg(test)]
pub(crate) mod test_control;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::serve::Listener;
use futures::future::BoxFuture;
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;
use xmpp_node_api::admin::{AdminError, Request, Response};

use self::http::{Caller, Plain};
pub use self::routes::parse;
use crate::tls::Tls;

/// What fulfils requests: the rest of the node.
pub trait Control: Send + Sync + 'static {
    /// Fulfils a request. May be dropped before it is done, when its caller gave up; what was begun may still happen.
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, AdminError>>;
}

/// Serves the admin port until `stop`, then lets requests that are under way finish.
pub async fn serve_tls<L: Listener>(
    listener: L,
    tls: Arc<Tls>,
    control: Arc<dyn Control>,
    stop: CancellationToken,
) {
    http::serve(
        listener,
        http::MutualTls(tls),
        routes::router(control),
        stop,
    )
    .await;
}

/// Serves the unix socket until `stop`, then lets requests that are under way finish.
pub async fn serve_socket(
    listener: UnixListener,
    control: Arc<dyn Control>,
    stop: CancellationToken,
) {
    http::serve(
        listener,
        Plain(Caller::Socket),
        routes::router(control),
        stop,
    )
    .await;
}

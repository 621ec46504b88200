//! The metrics port: plain HTTP for probes and scrapers. It shows no secret and changes nothing.
//!
//! `/livez` answers as long as the process runs its tasks; `/readyz` says whether stanzas are accepted now, and if
//! not, why, with status 503; `/metrics` is OpenMetrics text.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::Listener;
use tokio_util::sync::CancellationToken;
use xmpp_node_api::status::Readiness;

use super::http::{self, Caller, Plain};
use crate::metrics::CONTENT_TYPE;

/// Where the answers come from. Both are called for each request and must not block.
#[derive(Clone)]
pub struct Health {
    /// Whether stanzas are accepted now.
    pub ready: Arc<dyn Fn() -> Readiness + Send + Sync>,
    /// The metrics as text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Health")
    }
}

/// Serves the metrics port until `stop`.
pub async fn serve<L: Listener>(listener: L, health: Health, stop: CancellationToken) {
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(health);
    http::serve(listener, Plain(Caller::Anyone), router, stop).await;
}

async fn ready(State(health): State<Health>) -> impl IntoResponse {
    let readiness = (health.ready)();
    match readiness.ok {
        true => (StatusCode::OK, "ok\n".to_owned()),
        false => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("{}\n", readiness.reason),
        ),
    }
}

async fn metrics(State(health): State<Health>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], (health.metrics)())
}

#[cfg(test)]
mod tests;

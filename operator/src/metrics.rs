//! What the operator counts of itself, and its health: plain HTTP for probes and scrapers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// One label.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Kind {
    kind: String,
}

/// Counters; clones count together.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Registry>,
    requests: Family<Kind, Counter>,
    writes: Counter,
    passes: Family<Kind, Counter>,
    steps: Family<Kind, Counter>,
    leads: Gauge,
    reached: Arc<AtomicBool>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("xmpp_operator");
        let (requests, passes, steps) = (Family::default(), Family::default(), Family::default());
        let (writes, leads) = (Counter::default(), Gauge::default());
        registry.register(
            "api_requests",
            "Requests to the API server, by verb",
            requests.clone(),
        );
        registry.register(
            "api_writes",
            "Writes to the API server but the Lease: none while all clusters are as they should be",
            writes.clone(),
        );
        registry.register("passes", "Passes over a cluster, by result", passes.clone());
        registry.register("steps", "Steps taken, by kind", steps.clone());
        registry.register(
            "leads",
            "1 while this replica holds the Lease",
            leads.clone(),
        );
        Self {
            registry: Arc::new(registry),
            requests,
            writes,
            passes,
            steps,
            leads,
            reached: Arc::default(),
        }
    }
}

impl Metrics {
    /// A request is sent.
    pub fn requested(&self, verb: &str) {
        self.requests.get_or_create(&kind(verb)).inc();
    }

    /// Something is written.
    pub fn written(&self) {
        self.writes.inc();
    }

    /// A pass ended.
    pub fn passed(&self, result: &str) {
        self.passes.get_or_create(&kind(result)).inc();
    }

    /// A step was taken.
    pub fn stepped(&self, step: &str) {
        self.steps.get_or_create(&kind(step)).inc();
    }

    /// This replica leads, or not.
    pub fn leads(&self, leads: bool) {
        self.leads.set(i64::from(leads));
    }

    /// The API server was reached: from now on the operator is ready.
    pub fn reached(&self) {
        self.reached.store(true, Ordering::Relaxed);
    }

    fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// Serves `/livez`, `/readyz` and `/metrics` for ever. Liveness does not depend on the API server.
///
/// # Errors
/// The listener failed.
pub async fn serve(listener: tokio::net::TcpListener, metrics: Metrics) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(text))
        .with_state(metrics);
    axum::serve(listener, router).await
}

async fn ready(State(metrics): State<Metrics>) -> impl IntoResponse {
    match metrics.reached.load(Ordering::Relaxed) {
        true => (StatusCode::OK, "ok\n"),
        false => (
            StatusCode::SERVICE_UNAVAILABLE,
            "the API server was not reached yet\n",
        ),
    }
}

async fn text(State(metrics): State<Metrics>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], metrics.text())
}

fn kind(kind: &str) -> Kind {
    Kind {
        kind: kind.to_owned(),
    }
}

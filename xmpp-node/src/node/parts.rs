//! What a node's parts take from the settings: listeners, times, bounds, the peer port's certificates.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ServerConfig};
use tokio::net::TcpListener;
use xmpp_core::framer;

use crate::connection::StreamLimits;
use crate::consensus::Timing;
use crate::peer;
use crate::settings::Settings;
use crate::tls::{self, PeerIdentity, Role, Tls};

/// How long a bound stream may be silent before it is asked for a sign of life.
const IDLE: Duration = Duration::from_secs(30);
/// How long an answer to `<r/>` waits for acceptance.
const ANSWER: Duration = Duration::from_secs(1);
/// From the handshake to `<enable/>`, or to the decision on a bind.
const ENABLE: Duration = Duration::from_secs(5);

/// Opens a listener; an error names its key.
pub(super) async fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{key}: cannot listen on {address}"))
}

/// Times of consensus.
pub(super) fn timing(settings: &Settings) -> Timing {
    Timing {
        heartbeat: settings.timing.heartbeat,
        election_min: settings.timing.election_min,
        election_max: settings.timing.election_max,
        detach_timeout: settings.timing.detach_timeout,
        snapshot_log_bytes: settings.limits.snapshot_log_bytes as u64,
    }
}

/// Bounds of streams.
pub(super) fn stream_limits(settings: &Settings) -> StreamLimits {
    let limits = &settings.limits;
    StreamLimits {
        framer: framer::Limits {
            max_stanza_bytes: limits.max_stanza_bytes,
            max_depth: limits.max_depth,
            ..framer::Limits::default()
        },
        window_stanzas: limits.session_window_stanzas as u64,
        window_bytes: limits.session_window_bytes as u64,
        enable: ENABLE,
        answer: ANSWER,
        idle: IDLE,
    }
}

/// The peer port's view of the certificates.
pub(super) struct PeerPort(pub(super) Arc<Tls>);

impl peer::PeerTls for PeerPort {
    fn server(&self) -> Arc<ServerConfig> {
        self.0.peer_server()
    }

    fn client(&self, node: Option<&str>) -> Arc<ClientConfig> {
        match node {
            Some(node) => self.0.peer_client(node),
            None => self.0.peer_client_any(),
        }
    }

    fn node_name(&self, chain: &[CertificateDer<'_>]) -> Option<String> {
        let identity = PeerIdentity::of_peer(Some(chain)).ok()?;
        (identity.role == Role::Node).then_some(identity.name)
    }

    fn server_name(&self, _: &str) -> Option<ServerName<'static>> {
        Some(tls::unchecked_name())
    }
}

//! What a node's parts take from the settings: listeners, files, times, bounds, the peer port's certificates.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ServerConfig};
use tokio::net::{TcpListener, TcpSocket};
use tracing::warn;
use xmpp_core::{framer, router};
use xmpp_node_api::config::{Limits, OnConflict};

use crate::admission::Bounds;
use crate::connection::{Resources, StreamLimits};
use crate::consensus::Timing;
use crate::peer;
use crate::settings::Settings;
use crate::throttle::Policy;
use crate::tls::{self, PeerIdentity, Role, Tls};

/// How long a bound stream may be silent before it is asked for a sign of life.
const IDLE: Duration = Duration::from_secs(30);
/// How long an answer to `<r/>` waits for acceptance.
const ANSWER: Duration = Duration::from_secs(1);
/// From the handshake to `<enable/>`, or to the decision on a bind.
const ENABLE: Duration = Duration::from_secs(5);

/// Connections that wait in the kernel to be accepted. The 128 of `TcpListener::bind` are too few when all bridges of a
/// node that died come at once: whoever is dropped there tries again only after a second.
const BACKLOG: u32 = 1024;
/// Files that a node has open beside its connections: log, snapshots, links, listeners.
const OTHER_FILES: u64 = 128;

/// Opens a listener; an error names its key.
pub(super) fn bind(address: SocketAddr, key: &str) -> anyhow::Result<TcpListener> {
    let open = || {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        // A restarted node need not wait for its old connections to be forgotten.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    open().with_context(|| format!("{key}: cannot listen on {address}"))
}

/// Takes as many open files as the system grants this process: it often begins with 1024, and a node whose connections use
/// them up could not write its log. Says so if they are too few for `connections`.
pub(super) fn raise_file_limit(connections: usize) {
    let granted = getrlimit(Resource::Nofile);
    let all = Rlimit {
        current: granted.maximum,
        ..granted
    };
    if let Err(error) = setrlimit(Resource::Nofile, all) {
        warn!(%error, "cannot raise the limit of open files");
    }
    let files = getrlimit(Resource::Nofile).current;
    let needed = connections as u64 + OTHER_FILES;
    if files.is_some_and(|files| files < needed) {
        warn!(
            files,
            needed, "the limit of open files is too low for limits.connections"
        );
    }
}

/// Times of the transport: what counts as silence is three pings that did not come.
pub(super) fn peer_settings(settings: &Settings) -> peer::Settings {
    let usual = peer::Settings::default();
    peer::Settings {
        ping_after: usual.ping_after.min(settings.timing.silence / 3),
        ..usual
    }
}

/// Times of consensus.
pub(super) fn timing(settings: &Settings) -> Timing {
    Timing {
        heartbeat: settings.timing.heartbeat,
        election_min: settings.timing.election_min,
        election_max: settings.timing.election_max,
        detach_timeout: settings.timing.detach_timeout,
        silence: settings.timing.silence,
        snapshot_log_bytes: settings.limits.snapshot_log_bytes as u64,
    }
}

/// What `initialize` fixes in the replicated state, for good.
pub(crate) fn router_limits(limits: &Limits) -> router::Limits {
    router::Limits {
        queue_stanzas: u32::try_from(limits.session_queue_stanzas).unwrap_or(u32::MAX),
        queue_bytes: limits.session_queue_bytes as u64,
        state_bytes: limits.state_bytes as u64,
        ..router::Limits::default()
    }
}

/// Keys of the file that say something else than the cluster was initialised with: key, file, cluster.
pub(super) fn differing_limits(
    limits: &Limits,
    ruling: router::Limits,
) -> Vec<(&'static str, u64, u64)> {
    let own = router_limits(limits);
    let keys = [
        (
            "limits.session_queue_stanzas",
            own.queue_stanzas.into(),
            ruling.queue_stanzas.into(),
        ),
        (
            "limits.session_queue_bytes",
            own.queue_bytes,
            ruling.queue_bytes,
        ),
        ("limits.state_bytes", own.state_bytes, ruling.state_bytes),
    ];
    keys.into_iter()
        .filter(|(_, file, cluster)| file != cluster)
        .collect()
}

/// Who may connect.
pub(super) fn admission_bounds(limits: &Limits) -> Bounds {
    Bounds {
        connections: limits.connections,
        connections_per_source: limits.connections_per_address,
        unproved: limits.unauthenticated,
        unproved_per_source: limits.unauthenticated_per_address,
    }
}

/// How often handshakes may fail.
pub(super) fn throttle_policy(settings: &Settings) -> Policy {
    let count = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
    Policy {
        failures: count(settings.limits.failed_handshakes),
        per_source: count(settings.limits.failed_handshakes_per_address),
        per_name: count(settings.limits.failed_handshakes_per_bridge),
        first: settings.timing.handshake_backoff,
        longest: settings.timing.handshake_backoff_max,
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
        barrier: settings.timing.barrier_timeout,
    }
}

/// How clients get their resources.
pub(super) fn resources(settings: &Settings) -> Resources {
    let clients = &settings.clients;
    Resources {
        on_conflict: match clients.on_conflict {
            OnConflict::Replace => router::OnConflict::Replace,
            OnConflict::Refuse => router::OnConflict::Refuse,
            OnConflict::Rename => router::OnConflict::Rename,
        },
        most: clients.resources,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_router_and_the_configuration_have_one_set_of_defaults() {
        let limits = Limits::default();
        assert_eq!(router_limits(&limits), router::Limits::default());
        assert_eq!(differing_limits(&limits, router::Limits::default()), []);
    }

    #[test]
    fn a_limit_that_the_cluster_was_initialised_without_is_told_by_its_key() {
        let limits = Limits {
            session_queue_stanzas: 7,
            ..Limits::default()
        };
        let differing = differing_limits(&limits, router::Limits::default());
        assert_eq!(differing, [("limits.session_queue_stanzas", 7, 10_000)]);
    }

    #[test]
    fn all_files_that_are_granted_are_used() {
        let granted = getrlimit(Resource::Nofile);
        // One less, as other tests of this process need files too.
        let fewer = Rlimit {
            current: granted.maximum.map(|files| files - 1),
            ..granted
        };
        setrlimit(Resource::Nofile, fewer).expect("one may always ask for less");
        raise_file_limit(10_000);
        assert_eq!(getrlimit(Resource::Nofile).current, granted.maximum);
    }
}

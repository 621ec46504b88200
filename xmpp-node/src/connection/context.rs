//! What all streams of a node share, and the bounds of each.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Semaphore, watch};
use xmpp_core::framer::Limits;
use xmpp_core::router::OnConflict;
use xmpp_core::stream::Server;

use crate::applied::Applied;
use crate::contact::Contact;
use crate::ingress::Ingress;
use crate::metrics::Metrics;
use crate::refusals::Refusals;
use crate::sealing::SealingKey;
use crate::throttle::Throttle;

/// Bounds of one stream.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// Of what is read.
    pub framer: Limits,
    /// Stanzas read and not yet accepted, after which reading stops.
    pub window_stanzas: u64,
    /// Bytes of them.
    pub window_bytes: u64,
    /// From the handshake to `<enable/>` or `<resume/>`.
    pub enable: Duration,
    /// How long `<r/>` waits for what was read before it to be accepted.
    pub answer: Duration,
    /// How long a stream may be silent before it is asked for a sign of life.
    pub idle: Duration,
    /// How long a plain component may leave a ping unanswered before delivery counts when written.
    pub barrier: Duration,
}

/// Whether streams are welcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Welcome {
    /// Yes.
    Open,
    /// No: the node stops, or had no quorum for `quorumGrace`. Peers are sent elsewhere with `system-shutdown`.
    Shut,
}

/// How clients get their resources.
#[derive(Debug, Clone, Copy)]
pub struct Resources {
    /// What becomes of one that is served already.
    pub on_conflict: OnConflict,
    /// How many a user may have at once.
    pub most: u32,
}

/// What all streams of a node share.
#[derive(Debug)]
pub struct StreamContext {
    /// The applied state.
    pub applied: Arc<Applied>,
    /// Where commands go.
    pub ingress: Arc<Ingress>,
    /// Whether this node may speak for the cluster.
    pub contact: Arc<Contact>,
    /// The sealing key, once the node is a member of a cluster.
    pub sealing: Arc<ArcSwapOption<SealingKey>>,
    /// What the stream machine must know.
    pub server: Server,
    /// Bounds.
    pub limits: StreamLimits,
    /// How clients get their resources.
    pub resources: Resources,
    /// Whether a bridge must show a certificate that is valid for its name.
    pub certified_bridges: bool,
    /// Places of passwords that are compared.
    pub trials: Arc<Semaphore>,
    /// Whether streams are welcome.
    pub welcome: watch::Sender<Welcome>,
    /// Who failed with handshakes.
    pub throttle: Mutex<Throttle>,
    /// Who was refused, for people.
    pub refusals: Refusals,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

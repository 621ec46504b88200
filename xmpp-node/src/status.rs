//! What a node says of itself and of the cluster as it sees it: one source for CLI, metrics and operator.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use openraft::ServerState;
use xmpp_node_api::address::HostPort;
use xmpp_node_api::status::{
    Attachment, BridgeState, BridgeStatus, Leader, Ledger, MemberRole, NodeId, NodeRole,
    NodeStatus, PeerStatus, QueueStatus, Readiness, RefusalStatus, StrangerStatus,
};
use xmpp_node_api::time::Timestamp;

use crate::consensus::types::Member;
use crate::node::Node;

/// Since when things are as they are; kept by the node's own clock, so only for display.
#[derive(Debug, Default)]
pub(crate) struct Since {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    state: Option<(ServerState, u64)>,
    reachable: HashMap<u64, (bool, u64)>,
}

impl Since {
    /// When this node became what it is; called often enough to notice.
    pub(crate) fn state(&self, state: ServerState) -> u64 {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        match inner.state {
            Some((known, since)) if known == state => since,
            _ => inner.state.insert((state, now())).1,
        }
    }

    /// When a member became reachable, or ceased to be.
    pub(crate) fn reachable(&self, id: u64, reachable: bool) -> u64 {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = inner
            .reachable
            .entry(id)
            .or_insert_with(|| (reachable, now()));
        if entry.0 != reachable {
            *entry = (reachable, now());
        }
        entry.1
    }
}

impl Node {
    /// Looks at what [`Since`] keeps.
    pub(crate) fn note_changes(&self) {
        self.since.state(self.consensus.leadership().borrow().state);
        for (id, _) in self.consensus.members() {
            self.since.reachable(id, self.is_reachable(id));
        }
    }

    fn is_reachable(&self, id: u64) -> bool {
        id == self.consensus.local.id || self.peers.connected(id)
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> NodeStatus {
        let members = self.consensus.members();
        let voters = self.consensus.voters();
        let leadership = *self.consensus.leadership().borrow();
        let local = &self.consensus.local;
        let role = match leadership.state {
            _ if members.is_empty() => NodeRole::Uninitialized,
            ServerState::Leader => NodeRole::Leader,
            ServerState::Candidate => NodeRole::Candidate,
            ServerState::Follower => NodeRole::Follower,
            ServerState::Learner | ServerState::Shutdown => NodeRole::Learner,
        };
        let seen = voters.iter().filter(|id| self.is_reachable(**id)).count();
        let ready = self.readiness();
        let mut peers: Vec<PeerStatus> = members
            .iter()
            .filter(|(id, _)| *id != local.id)
            .map(|(id, member)| self.peer(*id, member, leadership.leader, voters.contains(id)))
            .collect();
        peers.sort_by(|a, b| a.name.cmp(&b.name));
        let (digest, configuration_digest, bridges, strangers, ledger, cluster) = {
            let router = self.streams.applied.router();
            let name = |id: u64| {
                members
                    .iter()
                    .find_map(|(member, known)| (*member == id).then(|| known.name.clone()))
            };
            let bridges = router.bridges().map(|(domain, bridge)| {
                let session = bridge.session.and_then(|session| router.session(session));
                let attached = session.and_then(|session| session.attached);
                BridgeStatus {
                    name: self.bridge_name(domain),
                    jid: domain.to_owned(),
                    attached: attached.map(|at| Attachment {
                        node: name(at.node).unwrap_or_else(|| NodeId(at.node).to_string()),
                        since: Timestamp::from_unix_ms(session.map_or(0, |session| session.since)),
                    }),
                    state: match (session, attached) {
                        (None, _) => BridgeState::Absent,
                        (Some(_), None) => BridgeState::Detached,
                        (Some(_), Some(_)) => BridgeState::Attached,
                    },
                    queue: session.map_or_else(QueueStatus::default, |session| QueueStatus {
                        stanzas: session.queue.len() as u64,
                        bytes: session.queue.cost(),
                    }),
                    secret_generations: bridge
                        .secrets
                        .iter()
                        .map(|secret| secret.generation.into())
                        .collect(),
                    unconfirmed: session.is_some_and(|session| session.unconfirmed),
                    refusal: self.streams.refusals.of(domain),
                }
            });
            let strangers = self.streams.refusals.strangers().into_iter();
            // One that was made a bridge since is none.
            let strangers = strangers.filter(|(domain, _)| router.bridge(domain).is_none());
            let (known, queued) = (router.ledger(), router.queued());
            let ledger = Ledger {
                accepted: known.accepted,
                delivered: known.delivered,
                bounced: known.bounced,
                expired: known.expired,
                discarded: known.discarded,
                queued,
                unaccounted: known.unaccounted(queued),
            };
            let cluster = (!router.cluster().is_empty()).then(|| router.cluster().to_owned());
            (
                router.digest(),
                router.configuration_digest(),
                bridges.collect(),
                strangers
                    .map(|(domain, refusal)| self.stranger(&domain, refusal))
                    .collect(),
                ledger,
                cluster,
            )
        };
        NodeStatus {
            name: local.name.clone(),
            id: NodeId(local.id),
            address: self.settings.advertise.clone(),
            cluster_id: cluster.or_else(|| self.peers.local().cluster_id.clone()),
            role,
            term: leadership.term,
            leader: leadership.leader.map(|id| self.leader_status(id)),
            applied: *self.streams.applied.index().borrow(),
            committed: self.consensus.committed(),
            digest,
            configuration_digest,
            votes_needed: u32::try_from(voters.len() / 2 + 1).unwrap_or(u32::MAX),
            votes_seen: u32::try_from(seen).unwrap_or(u32::MAX),
            last_state_change: Timestamp::from_unix_ms(self.since.state(leadership.state)),
            ready: Readiness {
                ok: ready.is_ok(),
                reason: ready.err().unwrap_or("ready").to_owned(),
            },
            draining: *self.draining.borrow(),
            peers,
            bridges,
            strangers,
            ledger,
            certificate: self.settings.tls.component_status(),
            peer_certificate: self.settings.tls.peer_status(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_seconds: self.started.elapsed().as_secs(),
        }
    }

    /// `cb1` for `cb1.example.test`.
    fn bridge_name(&self, domain: &str) -> String {
        let front = domain.strip_suffix(&self.settings.domain);
        front.unwrap_or(domain).trim_end_matches('.').to_owned()
    }

    fn stranger(&self, domain: &str, refusal: RefusalStatus) -> StrangerStatus {
        StrangerStatus {
            name: self.bridge_name(domain),
            refusal,
        }
    }

    fn peer(&self, id: u64, member: &Member, leader: Option<u64>, votes: bool) -> PeerStatus {
        let reachable = self.is_reachable(id);
        PeerStatus {
            name: member.name.clone(),
            id: NodeId(id),
            address: address(member).unwrap_or_else(|| self.settings.advertise.clone()),
            role: if votes {
                MemberRole::Voter
            } else {
                MemberRole::Learner
            },
            leader: leader == Some(id),
            reachable,
            since: Timestamp::from_unix_ms(self.since.reachable(id, reachable)),
            caught_up: self.consensus.caught_up(id),
        }
    }

    /// How a leader is named to those who ask.
    pub(crate) fn leader_status(&self, id: u64) -> Leader {
        let member = self
            .consensus
            .members()
            .into_iter()
            .find_map(|(member, known)| (member == id).then_some(known));
        Leader {
            id: NodeId(id),
            name: member
                .as_ref()
                .map_or_else(|| NodeId(id).to_string(), |member| member.name.clone()),
            address: member.as_ref().and_then(address),
        }
    }
}

fn address(member: &Member) -> Option<HostPort> {
    member.peer.parse().ok()
}

/// Milliseconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

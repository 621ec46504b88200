//! Whether a cluster is whole: one leader, everyone votes, holds the log and accepts stanzas. Values only.

use xmpp_node_api::status::{MemberRole, NodeRole, NodeStatus};

/// The index of the leader of a whole cluster, or what is missing. `statuses` has one entry a node, `None` where a node
/// does not answer.
///
/// # Errors
/// What is missing, in words.
pub fn settled(statuses: &[Option<NodeStatus>]) -> Result<usize, String> {
    let mut leader = None;
    for (index, status) in statuses.iter().enumerate() {
        let Some(status) = status else {
            return Err(format!("xmpp{} does not answer", index + 1));
        };
        if status.cluster_id.is_none() {
            return Err(format!("{} has not joined", status.name));
        }
        if !status.ready.ok {
            return Err(format!("{}: {}", status.name, status.ready.reason));
        }
        if status.role == NodeRole::Leader && leader.replace((index, status)).is_some() {
            return Err("two nodes lead".to_owned());
        }
    }
    let (index, status) = leader.ok_or("no node leads")?;
    let peers = status.peers.iter().filter(|peer| peer.id != status.id);
    let mut others = 0;
    for peer in peers {
        others += 1;
        let missing = match peer {
            _ if !peer.reachable => "is not reachable",
            _ if peer.role != MemberRole::Voter => "does not vote yet",
            _ if peer.caught_up != Some(true) => "has not caught up",
            _ => continue,
        };
        return Err(format!("{} {missing}", peer.name));
    }
    if others + 1 != statuses.len() {
        let members = others + 1;
        return Err(format!("{members} of {} nodes are members", statuses.len()));
    }
    let follows = |status: &Option<NodeStatus>| {
        let known = status.as_ref().and_then(|status| status.leader.as_ref());
        known.map(|leader| leader.id)
    };
    if statuses
        .iter()
        .any(|other| follows(other) != Some(status.id))
    {
        return Err(format!("not everyone follows {} yet", status.name));
    }
    Ok(index)
}

/// Term and index of the leader as most nodes' newest term has it.
#[must_use]
pub fn leader(statuses: &[Option<NodeStatus>]) -> Option<(u64, usize)> {
    let known = statuses.iter().flatten();
    let newest = known
        .filter(|status| status.leader.is_some())
        .max_by_key(|status| status.term)?;
    let id = newest.leader.as_ref()?.id;
    let index = statuses
        .iter()
        .position(|status| status.as_ref().is_some_and(|status| status.id == id));
    // A leader that does not answer is still known by its name.
    let named = || {
        let name = &newest.leader.as_ref()?.name;
        name.strip_prefix("xmpp")?
            .parse::<usize>()
            .ok()?
            .checked_sub(1)
    };
    Some((newest.term, index.or_else(named)?))
}

/// How a role is written in `demo.json`.
#[must_use]
pub const fn role_text(role: NodeRole) -> &'static str {
    match role {
        NodeRole::Leader => "leader",
        NodeRole::Follower => "follower",
        NodeRole::Candidate => "candidate",
        NodeRole::Learner => "learner",
        NodeRole::Uninitialized => "uninitialized",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use xmpp_node_api::status::{CertificateStatus, Leader, Ledger, NodeId, PeerStatus, Readiness};
    use xmpp_node_api::time::Timestamp;

    /// The status of node `index` of three, of which the first leads, all well.
    pub(in crate::demo) fn status(index: u64) -> NodeStatus {
        let address = "127.0.0.1:7222".parse().expect("an address");
        let certificate = CertificateStatus {
            serial: "1".to_owned(),
            not_after: Timestamp::from_unix_ms(0),
            certificate_file: String::new(),
            key_file: String::new(),
            trust_bundle: None,
        };
        let name = |index: u64| format!("xmpp{}", index + 1);
        let peers = (0..3).filter(|peer| *peer != index).map(|peer| PeerStatus {
            name: name(peer),
            id: NodeId(peer),
            address: "127.0.0.1:7222".parse().expect("an address"),
            role: MemberRole::Voter,
            leader: peer == 0,
            reachable: true,
            since: Timestamp::from_unix_ms(0),
            caught_up: (index == 0).then_some(true),
        });
        NodeStatus {
            name: name(index),
            id: NodeId(index),
            address,
            cluster_id: Some("c".to_owned()),
            role: match index {
                0 => NodeRole::Leader,
                _ => NodeRole::Follower,
            },
            term: 3,
            leader: Some(Leader {
                id: NodeId(0),
                name: name(0),
                address: None,
            }),
            applied: 9,
            committed: 9,
            digest: "d".to_owned(),
            configuration_digest: "c".to_owned(),
            votes_needed: 2,
            votes_seen: 3,
            last_state_change: Timestamp::from_unix_ms(0),
            ready: Readiness {
                ok: true,
                reason: String::new(),
            },
            draining: false,
            peers: peers.collect(),
            bridges: Vec::new(),
            strangers: Vec::new(),
            ledger: Ledger::default(),
            certificate: certificate.clone(),
            peer_certificate: certificate,
            version: "0".to_owned(),
            uptime_seconds: 1,
        }
    }

    fn all() -> Vec<Option<NodeStatus>> {
        (0..3).map(|index| Some(status(index))).collect()
    }

    #[test]
    fn a_whole_cluster_names_its_leader() {
        assert_eq!(settled(&all()), Ok(0));
        assert_eq!(leader(&all()), Some((3, 0)));
    }

    #[test]
    fn everything_that_is_missing_is_told() {
        type Damage = fn(&mut Vec<Option<NodeStatus>>);
        fn at(nodes: &mut [Option<NodeStatus>], index: usize) -> &mut NodeStatus {
            nodes[index].as_mut().expect("all are there")
        }
        let cases: [(&str, Damage); 8] = [
            ("xmpp2 does not answer", |nodes| nodes[1] = None),
            ("xmpp3 has not joined", |nodes| {
                at(nodes, 2).cluster_id = None
            }),
            ("xmpp3: no leader", |nodes| {
                at(nodes, 2).ready = Readiness {
                    ok: false,
                    reason: "no leader".to_owned(),
                };
            }),
            ("no node leads", |nodes| {
                at(nodes, 0).role = NodeRole::Candidate
            }),
            ("xmpp2 has not caught up", |nodes| {
                at(nodes, 0).peers[0].caught_up = Some(false);
            }),
            ("xmpp3 does not vote yet", |nodes| {
                at(nodes, 0).peers[1].role = MemberRole::Learner;
            }),
            ("2 of 3 nodes are members", |nodes| {
                at(nodes, 0).peers.pop();
            }),
            ("not everyone follows xmpp1 yet", |nodes| {
                at(nodes, 1).leader = None
            }),
        ];
        for (reason, damage) in cases {
            let mut nodes = all();
            damage(&mut nodes);
            assert_eq!(settled(&nodes), Err(reason.to_owned()));
        }
    }

    #[test]
    fn the_newest_term_says_who_leads_even_if_the_leader_is_silent() {
        let mut nodes = all();
        let newer = nodes[2].as_mut().expect("all are there");
        newer.term = 4;
        newer.leader = Some(Leader {
            id: NodeId(1),
            name: "xmpp2".to_owned(),
            address: None,
        });
        assert_eq!(leader(&nodes), Some((4, 1)));
        nodes[1] = None;
        assert_eq!(leader(&nodes), Some((4, 1)));
    }
}

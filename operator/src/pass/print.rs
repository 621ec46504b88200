//! What members say, in short, so that it is seen when it changes.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use xmpp_node_api::status::NodeRole;

use crate::observe::Answers;

/// What matters of answers between passes: who leads, who follows, who is ready, which bridges are where, and whom
/// they refuse.
#[must_use]
pub fn print(answers: &Answers) -> u64 {
    let mut hasher = DefaultHasher::new();
    for (pod, answer) in answers {
        pod.hash(&mut hasher);
        let Ok(node) = answer else { continue };
        (
            node.id.0,
            node.role,
            node.ready.ok,
            &node.cluster_id,
            &node.version,
        )
            .hash(&mut hasher);
        (&node.certificate.serial, &node.peer_certificate.serial).hash(&mut hasher);
        for peer in &node.peers {
            (peer.id.0, peer.role, peer.reachable, peer.caught_up).hash(&mut hasher);
        }
        for bridge in &node.bridges {
            let refusal = bridge.refusal.as_ref();
            let what = refusal.map(|refusal| (refusal.reason, &refusal.from));
            (&bridge.name, what).hash(&mut hasher);
        }
        for stranger in &node.strangers {
            stranger.name.hash(&mut hasher);
        }
        // Others may be behind for a moment; the leader tells.
        if node.role == NodeRole::Leader {
            for bridge in &node.bridges {
                let at = bridge.attached.as_ref().map(|at| (&at.node, at.since));
                (&bridge.name, bridge.state, at, &bridge.secret_generations).hash(&mut hasher);
            }
        }
    }
    hasher.finish()
}

//! `xmpp status`: everything that one node knows about itself.

use std::fmt::Write;

use xmpp_node_api::status::{BridgeState, BridgeStatus, MemberRole, NodeStatus, PeerStatus};

use super::{Answer, Failure, Output};
use xmpp_node_client::admin::AdminClient;

pub(super) async fn status(client: &AdminClient, output: Output) -> Result<Answer, Failure> {
    let status = client.status().await?;
    let found = !status.ready.ok || status.ledger.unaccounted != 0;
    let answer = Answer::of(output, &status, || render_node_status(&status))?;
    Ok(Answer { found, ..answer })
}

/// One node's status as text for people.
#[must_use]
pub fn render_node_status(status: &NodeStatus) -> String {
    let mut text = String::new();
    let mut row = |label: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{label:<22}: {value}");
    };
    row("Node", format!("{} ({})", status.name, status.id));
    row("Version", status.version.clone());
    row("Uptime", age(status.uptime_seconds));
    row(
        "Cluster",
        status
            .cluster_id
            .clone()
            .unwrap_or_else(|| "none yet".to_owned()),
    );
    let leader = match &status.leader {
        Some(leader) if leader.id == status.id => String::new(),
        Some(leader) => format!(", led by {}", leader.name),
        None => ", no leader".to_owned(),
    };
    row(
        "State",
        format!("{}, term {}{leader}", status.role.shown(), status.term),
    );
    row(
        "Ready",
        match status.ready.ok {
            true => "yes".to_owned(),
            false => format!("no: {}", status.ready.reason),
        },
    );
    if status.draining {
        row("Draining", "yes".to_owned());
    }
    row(
        "Votes",
        format!("{} seen, {} needed", status.votes_seen, status.votes_needed),
    );
    row(
        "Log",
        format!("{} applied, {} committed", status.applied, status.committed),
    );
    row("State digest", status.digest.clone());
    row("Configuration digest", status.configuration_digest.clone());
    let ledger = &status.ledger;
    row(
        "Accepted",
        format!(
            "{} = {} delivered + {} bounced + {} expired + {} discarded + {} queued",
            ledger.accepted,
            ledger.delivered,
            ledger.bounced,
            ledger.expired,
            ledger.discarded,
            ledger.queued,
        ),
    );
    row("Unaccounted", ledger.unaccounted.to_string());
    for (label, known) in [
        ("Component certificate", &status.certificate),
        ("Peer certificate", &status.peer_certificate),
    ] {
        row(
            label,
            format!("serial {}, until {}", known.serial, known.not_after.shown()),
        );
    }
    for peer in &status.peers {
        row("Peer", peer_text(peer));
    }
    for bridge in &status.bridges {
        row("Callbridge", bridge_text(bridge));
    }
    text
}

fn peer_text(peer: &PeerStatus) -> String {
    let role = match (peer.leader, peer.role) {
        (true, _) => "leader",
        (false, MemberRole::Voter) => "voter",
        (false, MemberRole::Learner) => "learner",
    };
    let reach = if peer.reachable {
        "reachable"
    } else {
        "unreachable"
    };
    let behind = if peer.caught_up == Some(false) {
        ", catching up"
    } else {
        ""
    };
    let since = peer.since.shown();
    format!(
        "{} at {}, {role}, {reach} since {since}{behind}",
        peer.name, peer.address
    )
}

fn bridge_text(bridge: &BridgeStatus) -> String {
    let state = match (&bridge.attached, bridge.state) {
        (Some(at), _) => format!("attached to {} since {}", at.node, at.since.shown()),
        (None, BridgeState::Detached) => "detached, its queue waits".to_owned(),
        (None, _) => "absent".to_owned(),
    };
    let unconfirmed = if bridge.unconfirmed {
        ", answers no ping"
    } else {
        ""
    };
    format!(
        "{}, {state}, {} queued{unconfirmed}",
        bridge.jid, bridge.queue.stanzas
    )
}

/// `2 days, 3 hours`: the two largest units that count.
fn age(seconds: u64) -> String {
    let units = [
        ("day", seconds / 86_400),
        ("hour", seconds / 3_600 % 24),
        ("minute", seconds / 60 % 60),
    ];
    let units = units.into_iter().chain([("second", seconds % 60)]);
    let named = units
        .skip_while(|(_, count)| *count == 0)
        .take(2)
        .filter(|(_, count)| *count != 0);
    let named =
        named.map(|(unit, count)| format!("{count} {unit}{}", if count == 1 { "" } else { "s" }));
    match named.collect::<Vec<_>>() {
        none if none.is_empty() => "0 seconds".to_owned(),
        some => some.join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_its_two_largest_units() {
        for (seconds, text) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (62, "1 minute, 2 seconds"),
            (3_600, "1 hour"),
            (93_784, "1 day, 2 hours"),
            (2 * 86_400 + 59, "2 days"),
        ] {
            assert_eq!(age(seconds), text);
        }
    }
}

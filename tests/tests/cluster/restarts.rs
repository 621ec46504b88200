//! Nodes that come back: from their log, by a snapshot, without their disk.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use tokio::time::timeout;
use xmpp_node_api::status::{MemberRole, NodeRole, NodeStatus};
use xmpp_tests::lab::{Lab, PATIENCE, progress, until};
use xmpp_tests::measure::resident;

const BRIDGES: [&str; 3] = ["cb1", "cb2", "cb3"];

/// Exactly three members with names of their own, all voters, the same for everyone.
fn no_ghosts(statuses: &[NodeStatus]) -> Result<()> {
    let ids: BTreeSet<_> = statuses.iter().map(|status| status.id).collect();
    for status in statuses {
        let names: BTreeSet<_> = status.peers.iter().map(|peer| peer.name.as_str()).collect();
        let known: BTreeSet<_> = status.peers.iter().map(|peer| peer.id).collect();
        ensure!(
            status.peers.len() == 2 && names.len() == 2,
            "{:?}",
            status.peers
        );
        ensure!(!names.contains(status.name.as_str()), "{:?}", status.peers);
        ensure!(known.is_subset(&ids), "{:?}", status.peers);
        ensure!(
            status
                .peers
                .iter()
                .all(|peer| peer.role == MemberRole::Voter)
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_restarted_from_its_disk_is_the_same_member_with_the_same_state() -> Result<()> {
    let lab = Lab::start().await?;
    let run = lab.traffic(&BRIDGES, 600).await?;
    for node in 0..3 {
        let before = lab.status(node).await?;
        lab.cluster.restart(node).await?;
        lab.leader().await?;
        let after = lab.status(node).await?;
        ensure!(after.id == before.id && after.applied >= before.applied);
        progress(&run, 100).await?;
    }
    lab.settle(run, false).await?;
    no_ghosts(&lab.agree(|_| true).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_disk_replaces_its_old_self() -> Result<()> {
    let lab = Lab::start().await?;
    let run = lab.traffic(&BRIDGES, 600).await?;
    for round in 0..3 {
        // A leader too: the others elect, then take it in anew.
        let leader = lab.leader().await?;
        let node = if round == 1 { leader } else { (leader + 1) % 3 };
        let before = lab.status(node).await?;
        lab.cluster.kill(node).await;
        let begun = tokio::time::Instant::now();
        std::fs::remove_dir_all(&lab.cluster.sites()[node].dir)?;
        lab.cluster.start_node(node)?;
        lab.leader().await?;
        let after = lab.status(node).await?;
        ensure!(after.id != before.id && after.name == before.name);
        println!("node {node} is back after {:?}", begun.elapsed());
        progress(&run, 100).await?;
    }
    lab.settle(run, false).await?;
    no_ghosts(&lab.agree(|_| true).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_join_at_the_same_time_all_vote() -> Result<()> {
    let lab = Lab::of(7, &["cb1", "cb2"], |_| ()).await?;
    let run = lab.traffic(&["cb1", "cb2"], 100).await?;
    lab.settle(run, false).await?;
    let statuses = lab.agree(|_| true).await?;
    ensure!(
        statuses
            .iter()
            .all(|status| status.votes_needed == 4 && status.votes_seen == 7)
    );
    Ok(())
}

/// It asks to be taken in while nothing can be decided, and must go on asking.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_disk_joins_once_there_is_a_majority_again() -> Result<()> {
    let lab = Lab::start().await?;
    let run = lab.traffic(&BRIDGES, 300).await?;
    let leader = lab.leader().await?;
    let (lost, away) = ((leader + 1) % 3, (leader + 2) % 3);
    tokio::join!(lab.cluster.kill(lost), lab.cluster.kill(away));
    std::fs::remove_dir_all(&lab.cluster.sites()[lost].dir)?;
    lab.cluster.start_node(lost)?;
    let asked = async || {
        lab.log(lost)
            .is_ok_and(|log| log.contains("not taken in yet"))
    };
    until("it was turned away", asked).await?;
    lab.cluster.start_node(away)?;
    // The request under way when the majority came back takes its time to fail.
    let _ = lab.cluster.whole(PATIENCE).await;
    lab.settle(run, false).await?;
    no_ghosts(&lab.agree(|_| true).await?)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_catches_up_by_snapshot_while_it_hosts_streams() -> Result<()> {
    let lab = Lab::tuned(|config| config.limits.snapshot_log_bytes = 1 << 20).await?;
    let run = lab.traffic(&BRIDGES, 1000).await?;
    // A follower that hangs still has its streams when it wakes; one that was killed gets others.
    for round in 0..2 {
        let leader = lab.leader().await?;
        let node = (leader + 1 + round) % 3;
        let behind = lab.status(node).await?.applied;
        run.fault();
        if round == 0 {
            lab.cluster.stop(node).await;
        } else {
            lab.cluster.kill(node).await;
        }
        // The leader keeps 256 entries behind its snapshot, which it takes by bytes of log.
        let far = behind + 500;
        let gone = async || {
            lab.status(leader)
                .await
                .is_ok_and(|status| status.applied > far)
        };
        until("the log went on", gone).await?;
        bulk(&lab, 4 << 20).await?;
        // It drops what it no longer needs once it has given the follower up.
        let dropped = async || {
            lab.metric(leader, "xmpp_raft_log_bytes")
                .await
                .is_ok_and(|bytes| bytes < 3e6)
        };
        until("the leader's log is short", dropped).await?;
        if round == 0 {
            lab.cluster.cont(node).await;
        } else {
            lab.cluster.start_node(node)?;
        }
        lab.leader().await?;
        progress(&run, 100).await?;
        let log = lab.log(node)?;
        let installed = log
            .lines()
            .filter(|line| line.contains("caught up by a snapshot"));
        let installed: Vec<_> = installed.collect();
        println!("node {node} was at {behind}: {installed:?}");
        ensure!(installed.len() == 1, "{installed:?}");
    }
    println!("{:?}", lab.settle(run, false).await?);
    no_ghosts(&lab.agree(|_| true).await?)
}

/// Sends so many bytes through the log, from one spare bridge to the other.
async fn bulk(lab: &Lab, bytes: usize) -> Result<()> {
    const BODY: usize = 16 * 1024;
    let (sender, _answers) = lab.bridge("spare1").await?;
    let (recipient, mut incoming) = lab.bridge("spare2").await?;
    let body = "x".repeat(BODY);
    let count = bytes / BODY;
    let sending = async {
        for id in 0..count {
            let stanza = format!(
                "<message from='spare1.example.test' to='spare2.example.test' id='{id}'><body>{body}</body></message>"
            );
            sender.send(stanza.into()).await?;
        }
        anyhow::Ok(())
    };
    let receiving = async {
        for id in 0..count {
            let arrived = timeout(PATIENCE, incoming.recv()).await?;
            let arrived = arrived.context("stopped")?;
            ensure!(
                arrived.id().as_deref() == Some(id.to_string().as_str()),
                "{:?}",
                arrived.id()
            );
        }
        anyhow::Ok(())
    };
    tokio::try_join!(sending, receiving)?;
    ensure!(sender.stop().await == 0 && recipient.stop().await == 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_node_is_small() -> Result<()> {
    // The aim is that of a release build; an unoptimised one needs somewhat more.
    const MOST: u64 = if cfg!(debug_assertions) {
        64 << 20
    } else {
        40 << 20
    };
    let lab = Lab::start().await?;
    let run = lab.traffic(&BRIDGES, 300).await?;
    lab.settle(run, false).await?;
    for node in 0..3 {
        let process = lab.cluster.process(node).context("it was started")?;
        let resident = resident(process.pid()).context("it runs")?;
        println!("node {node}: {} MiB resident", resident >> 20);
        ensure!(resident < MOST, "{resident} bytes");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_one_stays_ready() -> Result<()> {
    let lab = Lab::of(1, &["cb1"], |_| ()).await?;
    lab.leader().await?;
    // Longer than a contact lasts that nobody renews, several times.
    for _ in 0..100 {
        let (code, reason) = lab.page(0, "/readyz").await?;
        ensure!(code == 200, "{reason}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_stop_together_do_not_wait_for_each_other() -> Result<()> {
    // So long that a node which waits for it is still there when patience ends.
    let stop = std::time::Duration::from_secs(600);
    let lab = Lab::tuned(move |config| config.timing.stop_timeout = stop).await?;
    let run = lab.traffic(&BRIDGES, 600).await?;
    let stop = |node| lab.cluster.terminate(node, PATIENCE);
    tokio::join!(stop(0), stop(1), stop(2));
    for node in 0..3 {
        let process = lab.cluster.process(node).context("it was started")?;
        let status = process.exit().context("it ended")?;
        ensure!(status.success(), "{status}: {}", process.tail());
        let log = lab.log(node)?;
        for fault in ["could not be handed over", "under way"] {
            ensure!(!log.contains(fault), "{}", process.tail());
        }
    }
    run.stop().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_restarted_while_it_learns_goes_on_until_it_votes() -> Result<()> {
    let lab = Lab::start().await?;
    let node = lab.follower().await?;
    // The moment in which it learns is short: it may vote already when it is killed.
    for _ in 0..10 {
        lab.cluster.kill(node).await;
        std::fs::remove_dir_all(&lab.cluster.sites()[node].dir)?;
        lab.cluster.start_node(node)?;
        let learns = async || {
            let status = lab.status(node).await;
            status.is_ok_and(|status| matches!(status.role, NodeRole::Learner | NodeRole::Follower))
        };
        until("it learns", learns).await?;
        let role = lab.status(node).await?.role;
        lab.cluster.restart(node).await?;
        no_ghosts(&lab.all().await?)?;
        if role == NodeRole::Learner {
            return Ok(());
        }
    }
    anyhow::bail!("it was never killed while it learned")
}

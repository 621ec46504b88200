//! The majority is gone: nothing is accepted, nothing is forgotten, nothing expires.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use callbridge::{Bridge, Event, Failure};
use tokio::time::{Instant, sleep, timeout};
use xmpp_core::error::StreamCondition;
use xmpp_node_api::status::BridgeState;
use xmpp_tests::lab::{Lab, PATIENCE, progress, until};

const GRACE: Duration = Duration::from_secs(2);

/// `quorum_grace` and `detach_timeout` are both two seconds, the outage is longer.
async fn lab() -> Result<Lab> {
    Lab::tuned(|config| {
        config.timing.quorum_grace = GRACE;
        config.timing.detach_timeout = GRACE;
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_is_accepted_and_nothing_expires() -> Result<()> {
    let lab = lab().await?;
    let quick = |name: &str| {
        let mut config = lab.cluster.bridge_config(name);
        // They are back before the cluster's own patience, which begins anew, is over.
        config.timing.retry_longest = Duration::from_millis(300);
        // They wait for the node to speak: without a quorum it says nothing, then that it closes.
        config.timing.silence = PATIENCE;
        config
    };
    let run = lab
        .traffic_of(vec![quick("cb1"), quick("cb2"), quick("cb3")], 600)
        .await?;
    // Something waits for a bridge that is away.
    let (away, _incoming) = lab.bridge("spare1").await?;
    ensure!(away.stop().await == 0);
    let (witness, _answers) = lab.bridge_of(quick("spare2")).await?;
    let held =
        "<message from='spare2.example.test' to='spare1.example.test' id='held'><body/></message>";
    let held = witness.send(held.into()).await?;
    timeout(PATIENCE, witness.accepted(held)).await??;

    let leader = lab.leader().await?;
    let survivor = (leader + 1) % 3;
    let mut home = run.bridges()[survivor].events();
    run.fault();
    tokio::join!(lab.cluster.kill(leader), lab.cluster.kill((leader + 2) % 3));
    let begun = Instant::now();
    let (code, reason) = {
        let not_ready = async || matches!(lab.page(survivor, "/readyz").await, Ok((503, _)));
        until("/readyz fails", not_ready).await?;
        lab.page(survivor, "/readyz").await?
    };
    ensure!(code == 503, "{code} {reason}");
    // What was under way when the majority died may still have been accepted; from here on nothing is.
    let ledger = lab.status(survivor).await?.ledger;
    let failure = timeout(PATIENCE, async {
        loop {
            if let Event::Lost { failure, .. } = home.recv().await? {
                return anyhow::Ok(failure);
            }
        }
    })
    .await??;
    let closed = begun.elapsed();
    ensure!(
        matches!(failure, Failure::Stream(StreamCondition::SystemShutdown)),
        "{failure}"
    );
    ensure!(
        closed + Duration::from_millis(400) > GRACE,
        "closed after {closed:?}"
    );
    // With its last words the node told what it had applied before.
    let accepted = run.counters().accepted;
    // New streams are sent away right after the header.
    let config = lab.cluster.bridge_config("cb1");
    let mut config = callbridge::Config {
        name: "spare1".into(),
        ..config
    };
    config.secret = lab.cluster.bridge_config("spare1").secret;
    let (turned_away, _nothing) = Bridge::start(config)?;
    let mut events = turned_away.events();
    let failure = timeout(PATIENCE, async {
        loop {
            if let Event::Failed {
                failure: failure @ Failure::Stream(_),
                ..
            } = events.recv().await?
            {
                return anyhow::Ok(failure);
            }
        }
    })
    .await??;
    ensure!(
        matches!(failure, Failure::Stream(StreamCondition::SystemShutdown)),
        "{failure}"
    );
    drop(turned_away);
    // Longer than a queue may wait for its bridge.
    sleep((2 * GRACE + Duration::from_millis(500)).saturating_sub(begun.elapsed())).await;
    let now = lab.status(survivor).await?.ledger;
    ensure!(
        now.expired == 0 && now.accepted == ledger.accepted,
        "{now:?}, before {ledger:?}"
    );
    ensure!(
        run.counters().accepted == accepted,
        "something was accepted without a majority"
    );
    ensure!(lab.page(survivor, "/livez").await?.0 == 200);

    lab.cluster.start_node(leader)?;
    progress(&run, 300).await?;
    let status = lab.status(survivor).await?;
    ensure!(status.ledger.expired == 0, "{:?}", status.ledger);
    ensure!(lab.page(survivor, "/readyz").await?.0 == 200);
    let waiting = status.bridges.iter().find(|bridge| bridge.name == "spare1");
    let waiting = waiting.context("spare1 is gone")?;
    // Unless this machine was very slow its patience is not over yet.
    ensure!(
        waiting.state == BridgeState::Detached && waiting.queue.stanzas == 1,
        "{waiting:?}"
    );
    let (back, mut incoming) = lab.bridge("spare1").await?;
    let arrived = timeout(PATIENCE, incoming.recv())
        .await?
        .context("stopped")?;
    ensure!(arrived.id().as_deref() == Some("held"), "{arrived:?}");
    ensure!(
        std::str::from_utf8(arrived.bytes())?.contains("urn:xmpp:delay"),
        "{arrived:?}"
    );
    ensure!(back.stop().await == 0 && witness.stop().await == 0);
    lab.cluster.start_node((leader + 2) % 3)?;
    lab.leader().await?;
    let totals = lab.settle(run, false).await?;
    println!("{totals:?}");
    Ok(())
}

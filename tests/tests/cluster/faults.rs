//! One node dies, hangs or stops, again and again, under 1000 messages a second between three bridges (six directions).

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use tokio::time::{Instant, sleep};
use xmpp_node::demo::accounts::Totals;
use xmpp_tests::lab::{Lab, PATIENCE, progress, until};
use xmpp_tests::measure::cpu;

const BRIDGES: [&str; 3] = ["cb1", "cb2", "cb3"];
const RATE: u32 = 1000;
/// How long the work of an idle node is watched.
const OBSERVED: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq)]
enum Who {
    Leader,
    Follower,
}

async fn victim(lab: &Lab, who: Who, round: usize) -> Result<usize> {
    let leader = lab.leader().await?;
    let follower = (leader + 1 + round % 2) % 3;
    Ok(if who == Who::Leader { leader } else { follower })
}

/// Every gap is bounded, and faults did happen.
fn check(totals: &Totals, faults: usize) -> Result<()> {
    ensure!(totals.gap_by_fault.len() == faults);
    let longest = totals.longest_gap;
    ensure!(
        longest < PATIENCE,
        "a pair was without delivery for {longest:?}"
    );
    println!("{totals:?}");
    Ok(())
}

async fn killed_again_and_again(who: Who) -> Result<()> {
    let lab = Lab::start().await?;
    let run = lab.traffic(&BRIDGES, RATE).await?;
    for round in 0..5 {
        let victim = victim(&lab, who, round).await?;
        run.fault();
        lab.cluster.kill(victim).await;
        progress(&run, 300).await?;
        lab.cluster.start_node(victim)?;
    }
    lab.leader().await?;
    check(&lab.settle(run, false).await?, 5)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_killed_again_and_again_loses_nothing() -> Result<()> {
    killed_again_and_again(Who::Leader).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_killed_again_and_again_loses_nothing() -> Result<()> {
    killed_again_and_again(Who::Follower).await
}

async fn frozen_for_three_seconds(who: Who) -> Result<()> {
    const FROZEN: Duration = Duration::from_secs(3);
    let lab = Lab::start().await?;
    let run = lab.traffic(&BRIDGES, RATE).await?;
    for round in 0..2 {
        let victim = victim(&lab, who, round).await?;
        run.fault();
        lab.cluster.stop(victim).await;
        let woken = Instant::now() + FROZEN;
        progress(&run, 300).await?;
        sleep(woken.saturating_duration_since(Instant::now())).await;
        lab.cluster.cont(victim).await;
        lab.leader().await?;
        progress(&run, 300).await?;
    }
    check(&lab.settle(run, false).await?, 2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_leader_does_no_harm_when_it_wakes() -> Result<()> {
    frozen_for_three_seconds(Who::Leader).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_follower_does_no_harm_when_it_wakes() -> Result<()> {
    frozen_for_three_seconds(Who::Follower).await
}

/// Shorter than any timeout, and about as long as them: the pauses at which nodes disagree on who was declared down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn short_pauses_of_every_node_do_no_harm() -> Result<()> {
    let lab = Lab::start().await?;
    let run = lab.traffic(&BRIDGES, RATE).await?;
    let pauses = [100, 200, 280, 310, 350, 400, 500, 700, 1000];
    for (round, pause) in pauses.into_iter().enumerate() {
        let who = if round % 3 == 0 {
            Who::Follower
        } else {
            Who::Leader
        };
        let victim = victim(&lab, who, round).await?;
        run.fault();
        lab.cluster.stop(victim).await;
        sleep(Duration::from_millis(pause)).await;
        lab.cluster.cont(victim).await;
        progress(&run, 200).await?;
    }
    check(&lab.settle(run, false).await?, pauses.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_stopped_hands_over_and_says_goodbye() -> Result<()> {
    let lab = Lab::start().await?;
    let run = lab.traffic(&BRIDGES, RATE).await?;
    for _ in 0..2 {
        let leader = lab.leader().await?;
        let term = lab.status(leader).await?.term;
        let home = &run.bridges()[leader];
        let mut events = home.events();
        run.fault();
        let begun = Instant::now();
        lab.cluster.terminate(leader, PATIENCE).await;
        let took = begun.elapsed();
        let process = lab.cluster.process(leader).expect("it was started");
        let exit = process.exit().expect("it was waited for");
        ensure!(exit.success(), "{exit} after {took:?}:\n{}", process.tail());
        ensure!(!process.tail().contains("under way"), "{}", process.tail());
        let mut reasons = Vec::new();
        while let Ok(event) = events.try_recv() {
            if let callbridge::Event::Lost { failure, .. } = event {
                reasons.push(failure.reason());
            }
        }
        ensure!(
            reasons == ["server shutdown"],
            "the bridge on it saw {reasons:?}"
        );
        progress(&run, 200).await?;
        let next = lab.status((leader + 1) % 3).await?;
        ensure!(
            next.term == term + 1,
            "handed over once: term {term}, then {}",
            next.term
        );
        lab.cluster.start_node(leader)?;
        // The bridges may go back to it only once it can serve them.
        until("the node is whole again", async || {
            lab.cluster.whole(PATIENCE).await.is_ok()
        })
        .await?;
        for number in 0..3 {
            ensure!(run.statuses()[number].secure);
        }
    }
    check(&lab.settle(run, false).await?, 2)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_is_gone_costs_the_others_nothing() -> Result<()> {
    let lab = Lab::start().await?;
    let leader = lab.leader().await?;
    let gone = lab.follower().await?;
    lab.cluster.kill(gone).await;
    let spent = |node: usize| {
        let process = lab.cluster.process(node).context("it was started")?;
        cpu(process.pid()).context("it runs")
    };
    for node in (0..3).filter(|node| *node != gone) {
        let before = spent(node)?;
        sleep(OBSERVED).await;
        let spent = spent(node)? - before;
        let what = if node == leader { "leader" } else { "follower" };
        ensure!(
            spent < OBSERVED / 4,
            "the {what} worked {spent:?} of {OBSERVED:?}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_lost_everywhere_at_once_loses_nothing_accepted() -> Result<()> {
    let lab = Lab::start().await?;
    let run = lab.traffic(&BRIDGES, RATE).await?;
    for _ in 0..2 {
        run.fault();
        tokio::join!(
            lab.cluster.kill(0),
            lab.cluster.kill(1),
            lab.cluster.kill(2)
        );
        for node in 0..3 {
            lab.cluster.start_node(node)?;
        }
        lab.leader().await?;
        progress(&run, 300).await?;
    }
    check(&lab.settle(run, false).await?, 2)
}

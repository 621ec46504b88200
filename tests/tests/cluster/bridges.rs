//! What bridges see: streams that move, queues that expire, names that go, secrets that change.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use callbridge::config::HostPort;
use callbridge::{Bridge, Event, Failure, Receiver, Secret, Servers, State};
use tokio::sync::broadcast;
use tokio::time::timeout;
use xmpp_core::error::StreamCondition;
use xmpp_node_api::admin::{Request, Response};
use xmpp_node_api::status::BridgeState;
use xmpp_tests::lab::{Lab, PATIENCE, progress, until};
use xmpp_tests::proxy::{Cut, Proxy};

async fn reconnects(cut: Cut) -> Result<()> {
    let lab = Lab::start().await?;
    let mut proxies = Vec::new();
    for site in lab.cluster.sites() {
        proxies.push(Proxy::start(site.component).await?);
    }
    let configs = ["cb1", "cb2", "cb3"].map(|name| {
        let mut config = lab.cluster.bridge_config(name);
        let server = |proxy: &Proxy| HostPort {
            host: proxy.address().ip().to_string(),
            port: proxy.address().port(),
        };
        config.servers = Servers::List(proxies.iter().map(server).collect());
        // Without the patience that keeps a bridge from hammering servers that drop it again and again.
        config.timing.retry_first = Duration::from_millis(1);
        config.timing.retry_longest = Duration::from_millis(5);
        config
    });
    let run = lab.traffic_of(configs.to_vec(), 1000).await?;
    let before = run.counters();
    const ROUNDS: usize = 15;
    for round in 0..ROUNDS {
        run.fault();
        let moved = run.counters().streams;
        proxies[round % 3].cut(cut);
        // At once or with some traffic between: cut streams are resumed while others are resumed elsewhere.
        progress(&run, if round % 2 == 0 { 1 } else { 150 }).await?;
        let some = run.statuses();
        let any = some.iter().any(|status| status.state != State::Registered);
        if !any && run.counters().streams == moved {
            continue;
        }
        until("all are registered", async || run.all_registered()).await?;
    }
    let streams = run.counters().streams - before.streams;
    let resumed = run.counters().resumed - before.resumed;
    println!("{streams} new streams, {resumed} of them resumed");
    ensure!(streams >= 10, "only {streams} streams were cut");
    ensure!(
        resumed == streams,
        "{resumed} of {streams} streams were resumed"
    );
    let totals = lab.settle(run, false).await?;
    println!("{totals:?}");
    ensure!(totals.longest_gap < PATIENCE);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_that_resumes_elsewhere_within_milliseconds_loses_nothing() -> Result<()> {
    reconnects(Cut::Both).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_that_resumes_while_its_old_stream_seems_open_loses_nothing() -> Result<()> {
    reconnects(Cut::BridgeOnly).await
}

fn jid(name: &str) -> String {
    format!("{name}.example.test")
}

/// Messages, iq requests, and what nobody may answer: errors and results.
fn stanza(from: &str, to: &str, id: usize) -> (bool, String) {
    let (from, to) = (jid(from), jid(to));
    match id % 4 {
        0 => (
            true,
            format!("<message from='{from}' to='{to}' id='{id}'><body>x</body></message>"),
        ),
        1 => (
            true,
            format!("<iq type='get' from='{from}' to='{to}' id='{id}'><q xmlns='q'/></iq>"),
        ),
        2 => (
            false,
            format!("<iq type='result' from='{from}' to='{to}' id='{id}'/>"),
        ),
        _ => (
            false,
            format!(
                "<message type='error' from='{from}' to='{to}' id='{id}'><error type='cancel'/></message>"
            ),
        ),
    }
}

async fn submit(bridge: &Bridge, stanzas: impl IntoIterator<Item = String>) -> Result<()> {
    let mut last = None;
    for stanza in stanzas {
        last = Some(bridge.send(stanza.into()).await?);
    }
    Ok(timeout(PATIENCE, bridge.accepted(last.context("nothing")?)).await??)
}

async fn state(lab: &Lab, node: usize, bridge: &str) -> Option<BridgeState> {
    let status = lab.status(node).await.ok()?;
    let bridge = status.bridges.into_iter().find(|one| one.name == bridge)?;
    Some(bridge.state)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_detached_queue_becomes_one_error_a_stanza() -> Result<()> {
    let lab = Lab::tuned(|config| {
        config.timing.quorum_grace = Duration::from_millis(1200);
        config.timing.detach_timeout = Duration::from_millis(1500);
    })
    .await?;
    let (sender, mut answers) = lab.bridge("cb1").await?;
    let (recipient, _incoming) = lab.bridge("cb2").await?;
    ensure!(recipient.stop().await == 0);
    let detached = async || state(&lab, 1, "cb2").await == Some(BridgeState::Detached);
    until("cb2 is detached", detached).await?;
    const SENT: usize = 40;
    let stanzas: Vec<_> = (0..SENT).map(|id| stanza("cb1", "cb2", id)).collect();
    let answerable = stanzas.iter().filter(|(answerable, _)| *answerable).count();
    submit(&sender, stanzas.iter().map(|(_, text)| text.clone())).await?;
    ensure!(lab.status(0).await?.ledger.queued as usize == SENT);

    let mut errors: BTreeMap<usize, usize> = BTreeMap::new();
    for _ in 0..answerable {
        let answer = timeout(PATIENCE, answers.recv())
            .await?
            .context("stopped")?;
        ensure!(
            answer.stanza_type().as_deref() == Some("error"),
            "{answer:?}"
        );
        ensure!(
            answer.from().as_deref() == Some(jid("cb2").as_str()),
            "{answer:?}"
        );
        let id: usize = answer.id().context("no id")?.parse()?;
        *errors.entry(id).or_default() += 1;
    }
    for (id, (answerable, text)) in stanzas.iter().enumerate() {
        let found = errors.get(&id).copied().unwrap_or_default();
        ensure!(
            found == usize::from(*answerable),
            "{found} errors for {text}"
        );
    }
    let statuses = lab.agree(|status| status.ledger.queued == 0).await?;
    ensure!(answers.try_recv().is_none(), "more errors than stanzas");
    let ledger = statuses[0].ledger;
    ensure!(ledger.expired as usize == answerable, "{ledger:?}");
    ensure!(ledger.discarded as usize == SENT - answerable, "{ledger:?}");
    ensure!(state(&lab, 0, "cb2").await == Some(BridgeState::Absent));

    // Whoever sends to it now is answered at once.
    submit(&sender, [stanza("cb1", "cb2", 0).1]).await?;
    let answer = timeout(PATIENCE, answers.recv())
        .await?
        .context("stopped")?;
    ensure!(
        answer.stanza_type().as_deref() == Some("error"),
        "{answer:?}"
    );
    let statuses = lab.agree(|status| status.ledger.queued == 0).await?;
    ensure!(statuses[0].ledger.bounced == 1, "{:?}", statuses[0].ledger);
    Ok(())
}

async fn lost(events: &mut broadcast::Receiver<Event>) -> Result<Failure> {
    let failure = async {
        loop {
            if let Event::Lost { failure, .. } | Event::Failed { failure, .. } =
                events.recv().await?
            {
                return anyhow::Ok(failure);
            }
        }
    };
    timeout(PATIENCE, failure).await?
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removed_bridge_is_told_that_its_host_is_gone() -> Result<()> {
    let lab = Lab::start().await?;
    let (sender, mut answers) = lab.bridge("cb1").await?;
    let (removed, _incoming) = lab.bridge("cb2").await?;
    let mut events = removed.events();
    // Any node takes the request, whichever the bridge is on.
    let name = "cb2".to_owned();
    lab.cluster.call(2, &Request::RemoveBridge { name }).await?;
    let failure = lost(&mut events).await?;
    ensure!(
        matches!(failure, Failure::Stream(StreamCondition::HostGone)),
        "{failure}"
    );
    let failure = lost(&mut events).await?;
    ensure!(failure.reason() == "authentication failure", "{failure}");
    drop(removed);
    submit(&sender, [stanza("cb1", "cb2", 0).1]).await?;
    let answer = timeout(PATIENCE, answers.recv())
        .await?
        .context("stopped")?;
    ensure!(
        answer.stanza_type().as_deref() == Some("error"),
        "{answer:?}"
    );
    let statuses = lab.agree(|status| status.ledger.queued == 0).await?;
    ensure!(
        statuses
            .iter()
            .all(|one| one.bridges.iter().all(|bridge| bridge.name != "cb2"))
    );
    Ok(())
}

async fn connects_with(lab: &Lab, secret: &str) -> Result<(Bridge, Receiver)> {
    let mut config = lab.cluster.bridge_config("spare1");
    config.secret = Secret::text(secret);
    lab.bridge_of(config).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_secrets_of_a_bridge_work_until_the_older_is_retired() -> Result<()> {
    let lab = Lab::start().await?;
    let name = || "spare1".to_owned();
    let bridges = lab.cluster.bridges();
    let old = bridges
        .iter()
        .find(|bridge| bridge.name == name())
        .context("spare1")?
        .secret
        .clone();
    let (living, _incoming) = connects_with(&lab, &old).await?;
    let rotate = Request::RotateBridge {
        name: name(),
        secret: None,
    };
    let Response::Bridge(rotated) = lab.cluster.call(1, &rotate).await? else {
        anyhow::bail!("no bridge");
    };
    let newest = rotated.secrets.last().context("no secret")?;
    ensure!(newest.generation == 2, "{rotated:?}");
    let new = newest
        .secret
        .as_ref()
        .context("not shown")?
        .expose()
        .to_owned();
    ensure!(new != old);
    ensure!(living.counters().streams == 1, "the open stream lives on");
    ensure!(living.stop().await == 0);
    // What is asked again changes nothing, and a third secret would end the one that the component still uses.
    let given = |secret: &str| Some(xmpp_node_api::admin::Secret::new(secret.to_owned()));
    for (request, expected) in [
        (
            Request::RotateBridge {
                name: name(),
                secret: given(&new),
            },
            Some(2),
        ),
        (
            Request::PutBridge {
                name: name(),
                secret: given(&old),
            },
            Some(1),
        ),
        (
            Request::PutBridge {
                name: name(),
                secret: given("another"),
            },
            None,
        ),
        (rotate, None),
    ] {
        let generation = match lab.cluster.call(2, &request).await {
            Ok(Response::Bridge(bridge)) => bridge.secrets.last().map(|newest| newest.generation),
            Ok(other) => anyhow::bail!("{other:?}"),
            Err(_) => None,
        };
        ensure!(generation == expected, "{request:?}: {generation:?}");
    }
    for secret in [&old, &new, &old] {
        let (bridge, _incoming) = connects_with(&lab, secret).await?;
        ensure!(bridge.stop().await == 0);
    }
    let (living, _incoming) = connects_with(&lab, &new).await?;
    let retire = |generation| Request::RetireSecret {
        name: name(),
        generation,
    };
    ensure!(
        lab.cluster.call(0, &retire(2)).await.is_err(),
        "the newest stays"
    );
    ensure!(
        lab.cluster.call(0, &retire(7)).await.is_err(),
        "there is no such secret"
    );
    for _ in 0..2 {
        lab.cluster.call(0, &retire(1)).await?;
    }
    ensure!(living.status().borrow().state == State::Registered);
    ensure!(living.stop().await == 0);
    let mut config = lab.cluster.bridge_config("spare1");
    config.secret = Secret::text(old);
    let (refused, _incoming) = Bridge::start(config)?;
    let failure = lost(&mut refused.events()).await?;
    ensure!(failure.reason() == "authentication failure", "{failure}");
    drop(refused);
    let (bridge, _incoming) = connects_with(&lab, &new).await?;
    ensure!(bridge.stop().await == 0);
    lab.agree(|_| true).await?;
    Ok(())
}

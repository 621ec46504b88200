//! Many clients on one node: what an idle one costs in memory, and a login in CPU time; and how soon those of a node that is
//! killed have their sessions back at another one. Part of `xmpp-bench`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};
use xmpp_node_api::admin::{Request, Secret};
use xmpp_node_api::config::Config;

use crate::client::{Client, Clients};
use crate::lab::{Lab, PATIENCE};
use crate::measure::{cpu, resident};

/// Resources of a user, at most.
const RESOURCES: usize = 1000;
/// Connections that are made at once.
const AT_ONCE: usize = 32;
/// Connections without a login that tell what TLS costs.
const BARE: usize = 500;
const PASSWORD: &str = "correct horse battery staple";
/// After the last login memory is looked at so much later.
const REST: Duration = Duration::from_secs(2);

/// What a crowd of idle clients costs their node.
#[derive(Debug, Clone, Serialize)]
pub struct Idle {
    /// Clients.
    pub clients: usize,
    /// Memory of the node more than before, a client, in KiB.
    pub kib_each: f64,
    /// CPU of a connection with TLS and a header, milliseconds.
    pub tls_ms: f64,
    /// CPU of a login with SCRAM-SHA-256, a resource and XEP-0198 beside that, milliseconds.
    pub login_ms: f64,
}

/// How a crowd comes back from a killed node.
#[derive(Debug, Clone, Serialize)]
pub struct Return {
    /// Clients.
    pub clients: usize,
    /// From the first attempt to reconnect until a session was resumed, milliseconds: the median.
    pub p50_ms: f64,
    /// The longest.
    pub max_ms: f64,
    /// Messages that were sent to them, in order, meanwhile.
    pub sent: usize,
    /// Of those, lost, doubled or out of order.
    pub wrong: usize,
}

/// Room for so many clients from one address.
pub fn room(config: &mut Config, clients: usize) {
    config.limits.connections = clients + 2_000;
    config.limits.connections_per_address = clients + 2_000;
    if let Some(section) = &mut config.clients {
        section.resources = RESOURCES as u32;
    }
}

async fn users(lab: &Lab, clients: usize) -> Result<Vec<String>> {
    let names: Vec<String> = (0..clients.div_ceil(RESOURCES))
        .map(|number| format!("user{number}"))
        .collect();
    for name in &names {
        let request = Request::PutUser {
            name: name.clone(),
            password: Secret::new(PASSWORD.to_owned()),
            replace: false,
        };
        lab.cluster.call(0, &request).await?;
    }
    Ok(names)
}

fn trusting(lab: &Lab) -> Result<Arc<Clients>> {
    let callbridge::Security::Tls { ca } = lab.cluster.bridge_config("spare1").security else {
        anyhow::bail!("bridges of the lab use TLS");
    };
    Ok(Arc::new(Clients::new(&ca, PASSWORD)?))
}

/// Lets a crowd in at the first node of a cluster and looks at what it costs.
///
/// # Errors
/// If a client is not let in.
pub async fn idle(lab: &Lab, clients: usize) -> Result<Idle> {
    let names = users(lab, clients).await?;
    let all = trusting(lab)?;
    let to = lab.cluster.sites()[0].client_direct;
    let pid = lab.cluster.process(0).context("the node runs")?.pid();
    let spent = || cpu(pid).context("the node runs");
    // The first ones pay for what is made once.
    crowd(AT_ONCE, async |_| all.connect(to).await.map(drop)).await?;

    let before = spent()?;
    crowd(BARE, async |_| all.connect(to).await.map(drop)).await?;
    let tls = (spent()? - before).as_secs_f64() * 1000.0 / BARE as f64;
    sleep(REST).await;

    let (before, memory) = (spent()?, resident(pid).context("the node runs")?);
    let all_in = crowd(clients, async |number| {
        let mut client = all.connect(to).await?;
        client.log_in(&names[number / RESOURCES]).await?;
        client.bind(&format!("r{number}")).await?;
        Ok(client)
    })
    .await?;
    let login = (spent()? - before).as_secs_f64() * 1000.0 / clients as f64 - tls;
    sleep(REST).await;
    let more = resident(pid)
        .context("the node runs")?
        .saturating_sub(memory);
    ensure!(all_in.len() == clients);
    Ok(Idle {
        clients,
        kib_each: more as f64 / 1024.0 / clients as f64,
        tls_ms: tls,
        login_ms: login,
    })
}

/// Kills the node of a crowd while messages come to each, and looks at how it comes back, to the node after that one.
///
/// # Errors
/// If a session is not resumed.
pub async fn back(lab: &Lab, clients: usize, messages: usize) -> Result<Return> {
    let names = users(lab, clients).await?;
    let all = trusting(lab)?;
    let victim = lab.leader().await?;
    let other = (victim + 1) % lab.cluster.sites().len();
    let at = |node: usize| lab.cluster.sites()[node].client_direct;
    let home = at(victim);
    let crowd: Vec<(String, Client)> = crowd(clients, async |number| {
        let mut client = all.connect(home).await?;
        client.log_in(&names[number / RESOURCES]).await?;
        let id = client.bind(&format!("r{number}")).await?;
        Ok((id, client))
    })
    .await?;
    let (sender, _receiver) = lab.bridge("spare1").await?;
    let listening: Vec<_> = crowd
        .into_iter()
        .enumerate()
        .map(|(number, (id, client))| {
            let (all, user, to) = (
                Arc::clone(&all),
                names[number / RESOURCES].clone(),
                at(other),
            );
            tokio::spawn(listen(client, all, id, user, to, messages))
        })
        .collect();
    for message in 0..messages {
        for number in 0..clients {
            let (user, domain) = (&names[number / RESOURCES], xmpp_node::demo::site::DOMAIN);
            let from = format!("spare1.{domain}");
            let text = format!(
                "<message from='{from}' to='{user}@{domain}/r{number}'><body>{message}</body></message>"
            );
            sender.send(text.into()).await?;
        }
        if message == messages / 2 {
            lab.cluster.kill(victim).await;
        }
    }
    let (mut times, mut wrong) = (Vec::new(), 0);
    for one in listening {
        let (heard, took) = timeout(6 * PATIENCE, one).await???;
        let right: Vec<String> = (0..messages).map(|number| number.to_string()).collect();
        wrong += usize::from(heard != right);
        times.push(took);
    }
    times.sort_unstable();
    let ms = |took: Duration| took.as_secs_f64() * 1000.0;
    sender.stop().await;
    Ok(Return {
        clients,
        p50_ms: ms(crate::report::quantile(&times, 0.5)),
        max_ms: ms(crate::report::quantile(&times, 1.0)),
        sent: clients * messages,
        wrong,
    })
}

/// Everything that a client hears, on two streams, and how long its session took to be resumed.
async fn listen(
    mut client: Client,
    all: Arc<Clients>,
    id: String,
    user: String,
    to: std::net::SocketAddr,
    messages: usize,
) -> Result<(Vec<String>, Duration)> {
    let (mut heard, mut took) = (Vec::new(), Duration::ZERO);
    while heard.len() < messages {
        match client.body().await {
            Ok(body) => heard.push(body),
            Err(_) => {
                let (handled, began) = (client.handled, Instant::now());
                client = loop {
                    let back = async {
                        let mut client = all.connect(to).await?;
                        client.log_in(&user).await?;
                        client.resume(&id, handled).await?;
                        anyhow::Ok(client)
                    };
                    match back.await {
                        Ok(client) => break client,
                        Err(error) if began.elapsed() > PATIENCE => return Err(error),
                        Err(_) => sleep(Duration::from_millis(20)).await,
                    }
                };
                took = began.elapsed();
            }
        }
    }
    Ok((heard, took))
}

/// So many, a few at once, in order.
async fn crowd<T>(count: usize, make: impl AsyncFn(usize) -> Result<T>) -> Result<Vec<T>> {
    stream::iter(0..count)
        .map(|number| make(number))
        .buffered(AT_ONCE)
        .try_collect()
        .await
}

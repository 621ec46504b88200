//! `callbridge`: keeps one Call Bridge registered with the cluster, for a component beside it (side-car) or as a try-out that
//! answers pings. Parses arguments, calls the library, chooses the exit code.

mod arguments;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use callbridge::sidecar::Sidecar;
use callbridge::{Bridge, Receiver, responder};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use xmpp_core::stanza::Kind;

use crate::arguments::Arguments;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
    match run(Arguments::parse()).await {
        Ok(0) => ExitCode::SUCCESS,
        Ok(unaccepted) => {
            tracing::error!(unaccepted, "stopped with stanzas that were not accepted");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("callbridge: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Runs until a signal; returns how many stanzas were not accepted.
async fn run(arguments: Arguments) -> anyhow::Result<u64> {
    let config = arguments.config()?;
    if matches!(&config.servers, callbridge::Servers::List(list) if list.len() == 1) {
        tracing::warn!("one server address is set: there is no failover");
    }
    let shutdown = CancellationToken::new();
    tokio::spawn(cancel_on_signal(shutdown.clone())?);
    let print_status = arguments.status;
    let watch = move |bridge: &Bridge| {
        if print_status {
            tokio::spawn(report(bridge.clone()));
        }
    };
    if let Some(sidecar) = arguments.sidecar(&config) {
        let sidecar = Sidecar::bind(config, sidecar).await?;
        tracing::info!(address = %sidecar.local_addr()?, "waiting for the component");
        return Ok(sidecar.run(shutdown, watch).await?);
    }
    let jid = config.jid();
    let (bridge, mut receiver) = Bridge::start(config)?;
    watch(&bridge);
    if arguments.probe {
        probe(&jid, &bridge, &mut receiver).await?;
        return Ok(bridge.stop().await);
    }
    loop {
        let incoming = tokio::select! {
            incoming = receiver.recv() => incoming,
            () = shutdown.cancelled() => None,
        };
        let Some(incoming) = incoming else { break };
        if let Some(reply) = responder::answer(&incoming) {
            // A full window drops the reply: waiting would stop the reading that makes room.
            if let Err(error) = bridge.try_send(reply) {
                tracing::warn!(%error, "a reply was dropped");
            }
        }
    }
    Ok(bridge.stop().await)
}

/// One message to itself, through the cluster and back.
async fn probe(jid: &str, bridge: &Bridge, receiver: &mut Receiver) -> anyhow::Result<()> {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let id = format!("probe-{}", since_epoch.unwrap_or_default().as_nanos());
    let message =
        format!("<message from='{jid}' to='{jid}' id='{id}'><body>probe</body></message>");
    let round_trip = async {
        bridge.send(message.into()).await?;
        while let Some(incoming) = receiver.recv().await {
            if incoming.kind == Kind::Message && incoming.id().as_deref() == Some(&id) {
                // Its own message may also come back as an error.
                let error = incoming.stanza_type().as_deref() == Some("error");
                anyhow::ensure!(!error, "the message came back as an error");
                return Ok(());
            }
        }
        anyhow::bail!("the bridge was stopped")
    };
    match tokio::time::timeout(PROBE, round_trip).await {
        Ok(outcome) => outcome?,
        Err(_) => anyhow::bail!("no message came back within {} s", PROBE.as_secs()),
    }
    tracing::info!("the message came back");
    Ok(())
}

/// A cluster that was asked for a moment ago has to start first.
const PROBE: Duration = Duration::from_secs(120);

fn cancel_on_signal(shutdown: CancellationToken) -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => (),
            _ = interrupt.recv() => (),
        }
        shutdown.cancel();
    })
}

/// Prints the state as one JSON object a line: at every change, and at least every five seconds.
async fn report(bridge: Bridge) {
    let mut status = bridge.status();
    loop {
        let json = status
            .borrow_and_update()
            .to_json(bridge.counters(), SystemTime::now());
        // Whoever read it may be gone.
        if writeln!(std::io::stdout(), "{json}").is_err() {
            return;
        }
        let changed = tokio::time::timeout(Duration::from_secs(5), status.changed()).await;
        if let Ok(Err(_)) = changed {
            return;
        }
    }
}

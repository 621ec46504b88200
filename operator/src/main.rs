//! The operator's process: arguments, signals, election, exit code.

use std::net::SocketAddr;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use kube::{Client, Config};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};
use tracing_subscriber::EnvFilter;
use xmpp_operator::api::Access;
use xmpp_operator::cluster::Settings;
use xmpp_operator::controller;
use xmpp_operator::dns::Dns;
use xmpp_operator::lease::Election;
use xmpp_operator::metrics::{self, Metrics};
use xmpp_operator::pass::Passes;

/// Makes XmppCluster resources running, resilient XMPP clusters.
#[derive(Debug, Parser)]
#[command(name = "xmpp-operator", version)]
struct Arguments {
    /// Namespaces to watch, separated by commas. Default: the operator's own.
    #[arg(
        long,
        value_name = "NAMESPACE",
        value_delimiter = ',',
        env = "XMPP_OPERATOR_NAMESPACES"
    )]
    namespaces: Vec<String>,
    /// The operator's own namespace, for its Lease.
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE")]
    namespace: Option<String>,
    /// Name of this replica, unique among them.
    #[arg(long, value_name = "NAME", env = "POD_NAME")]
    name: Option<String>,
    /// Image of members whose resource names none.
    #[arg(long, value_name = "IMAGE", env = "XMPP_NODE_IMAGE", default_value = concat!("xmpp-node:", env!("CARGO_PKG_VERSION")))]
    node_image: String,
    /// Domain of the Kubernetes cluster.
    #[arg(
        long,
        value_name = "DOMAIN",
        env = "XMPP_CLUSTER_DOMAIN",
        default_value = "cluster.local"
    )]
    cluster_domain: String,
    /// Where health and metrics are read.
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "XMPP_OPERATOR_METRICS",
        default_value = "[::]:9090"
    )]
    metrics: SocketAddr,
    /// Name of the Lease.
    #[arg(
        long,
        value_name = "NAME",
        env = "XMPP_OPERATOR_LEASE",
        default_value = "xmpp-operator"
    )]
    lease: String,
    /// What to log, such as `info` or `warn,xmpp_operator=debug`.
    #[arg(long, value_name = "FILTER", env = "XMPP_LOG", default_value = "info")]
    log_filter: String,
}

fn main() -> ExitCode {
    xmpp_node_client::tls::install_provider();
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&arguments.log_filter))
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    // Clusters are few and wait for others most of the time.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let outcome = runtime
        .context("no runtime")
        .and_then(|runtime| runtime.block_on(run(arguments)));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let config = Config::infer()
        .await
        .context("no way to the API server is configured")?;
    let namespace = arguments
        .namespace
        .unwrap_or_else(|| config.default_namespace.clone());
    let client = Client::try_from(config)?;
    let metrics = Metrics::default();
    let listener = tokio::net::TcpListener::bind(arguments.metrics)
        .await
        .with_context(|| format!("--metrics: cannot listen on {}", arguments.metrics))?;
    let health = tokio::spawn(metrics::serve(listener, metrics.clone()));
    let stop = CancellationToken::new();
    let asked = stop.clone();
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        info!("stopping");
        asked.cancel();
    });
    let me = arguments
        .name
        .unwrap_or_else(|| format!("xmpp-operator-{}", std::process::id()));
    let access = Access::new(client.clone(), me.clone(), metrics.clone());
    wait_for_server(&client, &metrics, &stop).await;
    let election = Election::new(access.leases(&namespace), arguments.lease, me);
    tokio::select! {
        () = election.win() => {}
        () = stop.cancelled() => return Ok(()),
    }
    metrics.leads(true);
    let settings = Settings {
        image: arguments.node_image,
        zone: arguments.cluster_domain,
        namespace: namespace.clone(),
    };
    let spaces = if arguments.namespaces.is_empty() {
        vec![namespace]
    } else {
        arguments.namespaces
    };
    let dns = Dns::of_system().unwrap_or_else(|error| {
        tracing::warn!(%error, "DNS cannot be asked");
        Dns::default()
    });
    let controllers = spaces.iter().map(|space| {
        let passes = Passes::new(access.clone(), metrics.clone(), dns.clone());
        controller::run(
            client.clone(),
            space,
            passes,
            settings.clone(),
            stop.clone().cancelled_owned(),
        )
    });
    let controllers = futures::future::join_all(controllers);
    tokio::select! {
        _ = controllers => {}
        lost = election.keep() => lost?,
        ended = health => ended.context("the health listener ended")??,
    }
    election.release().await;
    Ok(())
}

/// Ready means that the API server was reached once; until then the Deployment does not count this replica.
async fn wait_for_server(client: &Client, metrics: &Metrics, stop: &CancellationToken) {
    while !stop.is_cancelled() {
        match client.apiserver_version().await {
            Ok(version) => {
                info!(version = version.git_version, "the API server answers");
                metrics.reached();
                return;
            }
            Err(error) => tracing::warn!(%error, "the API server does not answer"),
        }
        tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    }
}

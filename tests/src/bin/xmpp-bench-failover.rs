//! `xmpp-bench-failover`: nodes of a cluster are killed and frozen under load; prints the gaps that pairs of bridges saw.
//!
//! Exits with 1 if a message was lost, doubled or out of order, or if not all faults were made; aims are only printed.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use xmpp_tests::failover::{Plan, Selection, run};
use xmpp_tests::report::{Output, conclude, time};

/// Kills and freezes nodes of a cluster of three under load, each only once the last one is whole again.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// What happens to nodes; with `all` in turn.
    #[arg(long, value_enum, default_value = "all")]
    kind: Selection,
    /// Faults of each kind: with `all` so many kills of the leader, of followers, and so many freezes.
    #[arg(long, value_name = "N", default_value = "50", value_parser = clap::value_parser!(u32).range(1..))]
    kills: u32,
    /// Messages a second over all pairs.
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u32).range(12..=20_000))]
    rate: u32,
    /// How long a frozen node is frozen.
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = time)]
    freeze: Duration,
    /// No fault is begun after this time.
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = time)]
    within: Duration,
    /// Format of the figures on standard output; progress goes to standard error.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

#[tokio::main]
async fn main() -> ExitCode {
    xmpp_node::tls::install_provider();
    let arguments = Arguments::parse();
    let plan = Plan {
        kinds: arguments.kind.kinds(),
        each: arguments.kills,
        rate: arguments.rate,
        freeze: arguments.freeze,
        within: arguments.within,
    };
    let bench = run(&plan, |line| eprintln!("{line}"));
    conclude(bench, arguments.output).await
}

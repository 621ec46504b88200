//! `xmpp-bench`: load through clusters of one node and of three; prints throughput, latency, CPU time a stanza, memory.
//!
//! Exits with 1 if a message was lost, doubled or out of order; aims are only printed.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use xmpp_tests::bench::{Plan, run};
use xmpp_tests::load::Mode;
use xmpp_tests::report::{Output, conclude, time};

/// Drives pairs of bridges over TLS through clusters of real nodes on loopback.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Nodes of a cluster; several times for several clusters, one after the other. By default 1 and 3.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=7), default_values = ["1", "3"])]
    nodes: Vec<u8>,
    /// `window:N` keeps N messages under way in each direction of each pair, `rate:N` sends N a second in all. By
    /// default `window:64`, `rate:1000` and `rate:5000`.
    #[arg(long, value_name = "MODE", default_values = ["window:64", "rate:1000", "rate:5000"])]
    mode: Vec<Mode>,
    /// How long each mode is measured.
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = time)]
    measure: Duration,
    /// Pairs of bridges, the ends of each on different nodes.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u8).range(1..=100))]
    pairs: u8,
    /// Bytes of a message.
    #[arg(long, value_name = "N", default_value = "300", value_parser = clap::value_parser!(u32).range(150..=200_000))]
    bytes: u32,
    /// Idle clients on one node; 0 for none.
    #[arg(long, value_name = "N", default_value = "10000", value_parser = clap::value_parser!(u32).range(0..=100_000))]
    clients: u32,
    /// Clients whose node is killed under messages; 0 for none.
    #[arg(long, value_name = "N", default_value = "200", value_parser = clap::value_parser!(u32).range(0..=10_000))]
    returning: u32,
    /// Format of the figures on standard output; progress goes to standard error.
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
}

#[tokio::main]
async fn main() -> ExitCode {
    xmpp_node::tls::install_provider();
    let arguments = Arguments::parse();
    let plan = Plan {
        nodes: arguments.nodes,
        modes: arguments.mode,
        measure: arguments.measure,
        pairs: arguments.pairs,
        bytes: arguments.bytes as usize,
        clients: arguments.clients as usize,
        returning: arguments.returning as usize,
    };
    let bench = run(&plan, |line| eprintln!("{line}"));
    conclude(bench, arguments.output).await
}

//! Drives load through a running cluster that `DIR/demo.json`-like arguments name, and prints one JSON object.

use std::time::Duration;

use clap::Parser;
use xmpp_tests::load::{End, Load, Mode, run};

/// Load between two bridges.
#[derive(Debug, Parser)]
struct Arguments {
    /// XMPP domain.
    #[arg(long, default_value = "example.test")]
    domain: String,
    /// CA of the component port.
    #[arg(long)]
    ca: std::path::PathBuf,
    /// `name:secret@host:port`, an even number of them: neighbours are pairs.
    #[arg(long = "end", required = true)]
    ends: Vec<String>,
    /// Messages under way in each direction.
    #[arg(long, default_value_t = 64)]
    window: usize,
    /// Messages a second over all pairs, instead of a window.
    #[arg(long)]
    rate: Option<u64>,
    /// Seconds to measure.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Bytes of a message.
    #[arg(long, default_value_t = 300)]
    bytes: usize,
    /// Processes whose CPU time is told.
    #[arg(long = "pid")]
    pids: Vec<u32>,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let ends: Vec<End> = arguments
        .ends
        .iter()
        .map(|end| parse(end))
        .collect::<anyhow::Result<_>>()?;
    let pairs = ends
        .chunks_exact(2)
        .map(|pair| (pair[0].clone(), pair[1].clone()))
        .collect();
    let load = Load {
        domain: arguments.domain,
        ca: arguments.ca,
        pairs,
        mode: arguments
            .rate
            .map_or(Mode::Window(arguments.window), Mode::Rate),
        measure: Duration::from_secs(arguments.seconds),
        bytes: arguments.bytes,
    };
    let mut cpu = [0, 0];
    let report = run(&load, async |begins| {
        cpu[usize::from(!begins)] = arguments
            .pids
            .iter()
            .map(|pid| cpu_micros(*pid))
            .sum::<u64>();
    })
    .await?;
    let each = (cpu[1] - cpu[0]) as f64 / report.received.max(1) as f64;
    println!(
        "{} cpu_us_per_stanza={each:.2}",
        serde_json::to_string(&report)?
    );
    Ok(())
}

fn parse(text: &str) -> anyhow::Result<End> {
    let parts = text
        .split_once('@')
        .and_then(|(who, server)| Some((who.split_once(':')?, server)));
    let ((name, secret), server) =
        parts.ok_or_else(|| anyhow::anyhow!("{text}: not name:secret@host:port"))?;
    Ok(End {
        name: name.into(),
        secret: secret.into(),
        servers: server.split(',').map(str::to_owned).collect(),
    })
}

/// User and system time of a process in microseconds; 0 if it is gone.
fn cpu_micros(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let fields: Vec<u64> = rest
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse().ok())
        .collect();
    fields.iter().sum::<u64>() * 10_000
}

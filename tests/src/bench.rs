//! What `xmpp-bench` does: for each size of cluster, the memory of fresh nodes, then every mode of load one after the other.
//!
//! The ends of a pair are on different nodes, the first end of the first pair on the node that leads: a stanza crosses
//! nodes, as most do in a cluster. CPU time is that of all nodes together, user and system, divided by the messages
//! received meanwhile; the clock of the kernel ticks 100 times a second, so measure for seconds.

use std::time::Duration;

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::crowd;
use crate::lab::Lab;
use crate::load::{Load, Measured, Mode, run as drive};
use crate::measure::{cpu, load_average, resident};
use crate::report::{Aim, Findings, aims, table};

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Sizes of clusters.
    pub nodes: Vec<u8>,
    /// Modes of load.
    pub modes: Vec<Mode>,
    /// How long each is measured.
    pub measure: Duration,
    /// Pairs of bridges.
    pub pairs: u8,
    /// Bytes of a message.
    pub bytes: usize,
    /// Idle clients on one node; 0: not measured.
    pub clients: usize,
    /// Clients whose node is killed; 0: not measured.
    pub returning: usize,
}

/// All figures.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Pairs of bridges.
    pub pairs: u8,
    /// Bytes of a message.
    pub bytes: usize,
    /// Cores of this machine.
    pub cores: usize,
    /// Memory of fresh nodes, by size of cluster.
    pub idle: Vec<Idle>,
    /// Each mode on each size of cluster.
    pub runs: Vec<Figures>,
    /// What idle clients cost.
    pub crowd: Option<crowd::Idle>,
    /// How clients come back from a killed node.
    pub returned: Option<crowd::Return>,
    /// Which aims are met; only those that were measured.
    pub aims: Vec<Aim>,
}

/// The memory of the nodes of a cluster that has done nothing yet.
#[derive(Debug, Clone, Serialize)]
pub struct Idle {
    /// Nodes.
    pub nodes: u8,
    /// The largest, bytes.
    pub resident_bytes: u64,
}

/// One mode on one cluster.
#[derive(Debug, Clone, Serialize)]
pub struct Figures {
    /// Nodes.
    pub nodes: u8,
    /// The mode.
    pub mode: String,
    /// What the bridges saw.
    #[serde(flatten)]
    pub measured: Measured,
    /// CPU microseconds of all nodes a message.
    pub cpu_us: f64,
    /// The same of this process, the load itself.
    pub own_cpu_us: f64,
    /// Memory of the largest node afterwards, bytes.
    pub resident_bytes: u64,
    /// Processes that wanted a core in the last minute (`/proc/loadavg`), those of the bench included.
    pub load_average: f64,
}

impl Findings for Report {
    fn text(&self) -> String {
        let mut text = format!(
            "{} pair(s) of bridges over TLS, {}-byte messages, {} cores\n\n",
            self.pairs, self.bytes, self.cores
        );
        let head = [
            "nodes, mode",
            "stanzas/s",
            "p50 ms",
            "p99 ms",
            "p999 ms",
            "CPU us/stanza",
            "of the load",
            "RSS MiB",
            "load avg",
        ];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(self.runs.iter().map(|run| {
            let (measured, ms) = (&run.measured, |micros: u64| micros as f64 / 1000.0);
            [
                format!("{}, {}", run.nodes, run.mode),
                format!("{:.0}", measured.per_second),
                format!("{:.2}", ms(measured.p50_us)),
                format!("{:.2}", ms(measured.p99_us)),
                format!("{:.2}", ms(measured.p999_us)),
                format!("{:.2}", run.cpu_us),
                format!("{:.2}", run.own_cpu_us),
                format!("{:.1}", mebibytes(run.resident_bytes)),
                format!("{:.2}", run.load_average),
            ]
        }));
        text.push_str(&table(&rows));
        text.push('\n');
        for idle in &self.idle {
            let size = mebibytes(idle.resident_bytes);
            text.push_str(&format!(
                "RSS of a fresh node, {} in all: {size:.1} MiB\n",
                idle.nodes
            ));
        }
        if let Some(crowd) = &self.crowd {
            let crowd::Idle {
                clients,
                kib_each,
                tls_ms,
                login_ms,
            } = crowd;
            text.push_str(&format!(
                "{clients} idle clients on one node: {kib_each:.1} KiB each; CPU {tls_ms:.2} ms for TLS, {login_ms:.2} ms for a login\n"
            ));
        }
        if let Some(returned) = &self.returned {
            let crowd::Return {
                clients,
                p50_ms,
                max_ms,
                sent,
                wrong,
            } = returned;
            text.push_str(&format!(
                "{clients} clients of a killed node had their sessions back after {p50_ms:.0} ms (p50), {max_ms:.0} ms (max); \
                 {sent} messages to them meanwhile, {wrong} clients missed some\n"
            ));
        }
        text.push('\n');
        text.push_str(&aims(&self.aims));
        text
    }

    fn complaints(&self) -> Vec<String> {
        let broken = |run: &&Figures| run.measured.disorder + run.measured.lost > 0;
        let complain = |run: &Figures| {
            format!(
                "{} node(s), {}: {} messages doubled or out of order, {} lost",
                run.nodes, run.mode, run.measured.disorder, run.measured.lost
            )
        };
        let mut complaints: Vec<_> = self.runs.iter().filter(broken).map(complain).collect();
        let wrong = self.returned.as_ref().map_or(0, |returned| returned.wrong);
        if wrong > 0 {
            complaints.push(format!(
                "{wrong} clients lost messages, or had some twice or out of order"
            ));
        }
        complaints
    }
}

impl Report {
    fn judge(&mut self) {
        let mut aims = Vec::new();
        let run = |mode: Mode| {
            let mode = mode.to_string();
            let mut runs = self.runs.iter();
            runs.find(|run| run.nodes == 3 && run.mode == mode)
        };
        if let Some(run) = run(Mode::Window(64)) {
            let what = "CPU us a stanza, three nodes, window 64";
            aims.push(Aim::new(what, run.cpu_us, 10.0));
        }
        if let Some(run) = run(Mode::Rate(5000)) {
            let p50 = run.measured.p50_us as f64 / 1000.0;
            aims.push(Aim::new("p50 ms, three nodes, 5000/s", p50, 1.5));
        }
        if let Some(most) = self.idle.iter().map(|idle| idle.resident_bytes).max() {
            aims.push(Aim::new("RSS MiB of a fresh node", mebibytes(most), 40.0));
        }
        if let Some(crowd) = &self.crowd {
            aims.push(Aim::new("RSS KiB an idle client", crowd.kib_each, 20.0));
            aims.push(Aim::new("CPU ms a login beside TLS", crowd.login_ms, 1.0));
        }
        if let Some(returned) = &self.returned {
            aims.push(Aim::new(
                "ms until all sessions are back",
                returned.max_ms,
                2000.0,
            ));
        }
        self.aims = aims;
    }
}

/// Measures; `say` is told what goes on.
///
/// # Errors
/// If a cluster does not come up, or the nodes do not agree in the end.
pub async fn run(plan: &Plan, mut say: impl FnMut(&str)) -> Result<Report> {
    let mut report = Report {
        pairs: plan.pairs,
        bytes: plan.bytes,
        cores: std::thread::available_parallelism().map_or(1, Into::into),
        idle: Vec::new(),
        runs: Vec::new(),
        crowd: None,
        returned: None,
        aims: Vec::new(),
    };
    for &nodes in &plan.nodes {
        say(&format!("starting {nodes} node(s)"));
        let names: Vec<String> = (1..=2 * u16::from(plan.pairs))
            .map(|number| format!("cb{number}"))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let lab = Lab::of(nodes, &names, |_| ()).await?;
        report.idle.push(Idle {
            nodes,
            resident_bytes: largest(&lab)?,
        });
        for &mode in &plan.modes {
            say(&format!("{nodes} node(s), {mode}"));
            report.runs.push(measure(&lab, plan, mode, &names).await?);
        }
        lab.agree(|status| status.ledger.queued == 0).await?;
    }
    if plan.clients > 0 {
        let clients = plan.clients;
        say(&format!("one node, {clients} clients"));
        let lab = Lab::of(1, &[], move |config| crowd::room(config, clients)).await?;
        report.crowd = Some(crowd::idle(&lab, clients).await?);
    }
    if plan.returning > 0 {
        let clients = plan.returning;
        say(&format!(
            "three nodes, {clients} clients of one that is killed"
        ));
        let lab = Lab::of(3, &[], move |config| crowd::room(config, clients)).await?;
        report.returned = Some(crowd::back(&lab, clients, MESSAGES).await?);
    }
    report.judge();
    Ok(report)
}

/// Messages to each client whose node is killed.
const MESSAGES: usize = 50;

async fn measure(lab: &Lab, plan: &Plan, mode: Mode, names: &[&str]) -> Result<Figures> {
    let config = |name| lab.cluster.bridge_config(name);
    let pairs = names.chunks_exact(2);
    let load = Load {
        pairs: pairs
            .map(|ends| (config(ends[0]), config(ends[1])))
            .collect(),
        mode,
        measure: plan.measure,
        bytes: plan.bytes,
    };
    let pids = pids(lab);
    let mut marks = Vec::new();
    let measured = drive(&load, || {
        let nodes: Duration = pids.iter().filter_map(|pid| cpu(*pid)).sum();
        marks.push((nodes, cpu(std::process::id()).unwrap_or_default()));
    })
    .await?;
    let [begin, end] = marks[..] else {
        anyhow::bail!("a load is marked at its beginning and at its end");
    };
    let each = |begin: Duration, end: Duration| {
        let spent = end.saturating_sub(begin).as_secs_f64() * 1e6;
        spent / measured.received.max(1) as f64
    };
    Ok(Figures {
        nodes: u8::try_from(pids.len())?,
        mode: mode.to_string(),
        cpu_us: each(begin.0, end.0),
        own_cpu_us: each(begin.1, end.1),
        resident_bytes: largest(lab)?,
        load_average: load_average().unwrap_or_default(),
        measured,
    })
}

fn pids(lab: &Lab) -> Vec<u32> {
    let nodes = 0..lab.cluster.sites().len();
    let processes = nodes.filter_map(|node| lab.cluster.process(node));
    processes.map(|process| process.pid()).collect()
}

/// Memory of the largest node, bytes.
fn largest(lab: &Lab) -> Result<u64> {
    let sizes = pids(lab).into_iter().filter_map(resident);
    sizes.max().context("no node runs")
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

//! Both benches, run for a moment as anyone would run them: they measure all they should, and nothing is lost, doubled or out
//! of order. Speed is for people to look at.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use xmpp_tests::lab::PATIENCE;

/// The object that a bench prints, if it is content.
fn report(program: &str, arguments: &[&str]) -> Result<Value> {
    let ran = Command::new(program).args(arguments).output()?;
    let told = String::from_utf8_lossy(&ran.stderr).into_owned();
    ensure!(ran.status.success(), "{}:\n{told}", ran.status);
    serde_json::from_slice(&ran.stdout).with_context(|| told)
}

fn list<'a>(report: &'a Value, name: &str) -> Result<&'a Vec<Value>> {
    report[name].as_array().with_context(|| report.to_string())
}

#[test]
fn every_mode_is_measured_on_every_cluster_and_nothing_is_lost() -> Result<()> {
    // A disk that others keep busy may hold everything up for a second.
    let words =
        "--for 3s --mode window:64 --mode rate:500 --pairs 2 --clients 300 --returning 50 -o json";
    let arguments: Vec<&str> = words.split(' ').collect();
    let report = report(env!("CARGO_BIN_EXE_xmpp-bench"), &arguments)?;
    let runs = list(&report, "runs")?;
    let seen: Vec<_> = runs
        .iter()
        .map(|run| (run["nodes"].as_u64(), run["mode"].as_str()))
        .collect();
    let expected = [
        (1, "window:64"),
        (1, "rate:500"),
        (3, "window:64"),
        (3, "rate:500"),
    ];
    ensure!(
        seen == expected.map(|(nodes, mode)| (Some(nodes), Some(mode))),
        "{seen:?}"
    );
    for run in runs {
        ensure!(run["lost"] == 0 && run["disorder"] == 0, "{run}");
        for figure in ["received", "p50_us", "resident_bytes"] {
            ensure!(run[figure].as_u64() > Some(0), "{figure}: {run}");
        }
        let quantiles = ["p50_us", "p99_us", "p999_us"].map(|name| run[name].as_u64());
        ensure!(quantiles.is_sorted(), "{run}");
    }
    ensure!(report["crowd"]["login_ms"].as_f64() > Some(0.0), "{report}");
    ensure!(report["returned"]["sent"] == 2500, "{report}");
    ensure!(report["returned"]["wrong"] == 0, "{report}");
    for idle in list(&report, "idle")? {
        ensure!(idle["resident_bytes"].as_u64() > Some(0), "{idle}");
    }
    Ok(())
}

#[test]
fn after_a_fault_of_each_kind_every_pair_has_its_gap_and_nothing_is_lost() -> Result<()> {
    let words = "--kills 2 --rate 300 --freeze 2s -o json";
    let arguments: Vec<&str> = words.split(' ').collect();
    let report = report(env!("CARGO_BIN_EXE_xmpp-bench-failover"), &arguments)?;
    ensure!(report["faults"] == 6, "{report}");
    for figure in ["errors", "unaccounted", "duplicates", "out_of_order"] {
        ensure!(report[figure] == 0, "{report}");
    }
    ensure!(report["sent"] == report["delivered"], "{report}");
    let groups = list(&report, "groups")?;
    ensure!(groups.len() == 6, "{report}");
    for group in groups {
        // Two faults, and three pairs on the node that was hit, three elsewhere.
        ensure!(group["gaps"] == 6, "{group}");
        let longest = group["max_ms"].as_f64().context("a figure")?;
        let ceiling = PATIENCE.as_secs_f64() * 1000.0;
        ensure!(longest > 0.0 && longest < ceiling, "{group}");
    }
    Ok(())
}

#[test]
fn what_makes_no_sense_is_refused_by_name() -> Result<()> {
    let cases = [
        (
            env!("CARGO_BIN_EXE_xmpp-bench"),
            "--mode window:0",
            "window:N",
        ),
        (env!("CARGO_BIN_EXE_xmpp-bench"), "--for 0s", "--for"),
        (
            env!("CARGO_BIN_EXE_xmpp-bench-failover"),
            "--kills 0",
            "--kills",
        ),
        (
            env!("CARGO_BIN_EXE_xmpp-bench-failover"),
            "--freeze 3",
            "--freeze",
        ),
    ];
    for (program, words, named) in cases {
        let ran = Command::new(program).args(words.split(' ')).output()?;
        let told = String::from_utf8_lossy(&ran.stderr).into_owned();
        ensure!(ran.status.code() == Some(2), "{words}: {}", ran.status);
        ensure!(told.contains(named), "{words}: {told}");
    }
    Ok(())
}

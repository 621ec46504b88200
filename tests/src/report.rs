//! What both benches print: a table or one JSON object, and which aims are met.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::ValueEnum;
use serde::Serialize;
use tokio::signal::unix::{SignalKind, signal};
use xmpp_node_api::time::parse_duration;

/// How figures are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Text,
    /// One object.
    Json,
}

/// What a bench found.
pub trait Findings: Serialize {
    /// For people.
    fn text(&self) -> String;

    /// What must not be, in words; nothing if all is well.
    fn complaints(&self) -> Vec<String>;
}

/// A figure that is to stay below a limit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Aim {
    /// Which figure, with its unit.
    pub what: String,
    /// What was seen.
    pub seen: f64,
    /// What is to be undercut.
    pub below: f64,
    /// It was.
    pub met: bool,
}

impl Aim {
    /// Judges a figure.
    #[must_use]
    pub fn new(what: impl Into<String>, seen: f64, below: f64) -> Self {
        Self {
            what: what.into(),
            seen,
            below,
            met: seen < below,
        }
    }
}

/// The aims, a line each.
#[must_use]
pub fn aims(aims: &[Aim]) -> String {
    let mut rows = vec![["aim", "below", "seen", ""].map(str::to_owned)];
    rows.extend(aims.iter().map(|aim| {
        let met = if aim.met { "met" } else { "MISSED" };
        [
            aim.what.clone(),
            format!("{}", aim.below),
            format!("{:.2}", aim.seen),
            met.to_owned(),
        ]
    }));
    table(&rows)
}

/// Rows in columns: the first to the left, all others to the right.
#[must_use]
pub fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..COLUMNS).filter_map(width).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate();
        let cells = cells.map(|(column, (cell, &width))| match column {
            0 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The value that this share of the sorted values do not exceed (nearest rank); zero if there are none.
#[must_use]
pub fn quantile(sorted: &[Duration], share: f64) -> Duration {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    let index = rank.clamp(1, sorted.len().max(1)) - 1;
    sorted.get(index).copied().unwrap_or_default()
}

/// A duration in milliseconds.
#[must_use]
pub fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Reads a time on the command line, such as `10s`; not zero.
///
/// # Errors
/// What is wrong, in words.
pub fn time(text: &str) -> Result<Duration, String> {
    let time = parse_duration(text).map_err(|error| error.to_string())?;
    match time.is_zero() {
        true => Err("must be more than nothing".to_owned()),
        false => Ok(time),
    }
}

/// Runs a bench until it ends or someone asks it to stop, and its nodes go with it; prints what it found. Fails if that is
/// not well, or if there is nothing to print.
pub async fn conclude(
    bench: impl Future<Output = Result<impl Findings>>,
    output: Output,
) -> ExitCode {
    let printed = async {
        let found = until_asked(bench).await?;
        let text = match output {
            Output::Text => found.text(),
            Output::Json => serde_json::to_string(&found)? + "\n",
        };
        std::io::stdout().lock().write_all(text.as_bytes())?;
        Ok::<_, anyhow::Error>(found.complaints())
    };
    let complaints = match printed.await {
        Ok(complaints) => complaints,
        Err(error) => vec![format!("{error:#}")],
    };
    for complaint in &complaints {
        eprintln!("NOT WELL: {complaint}");
    }
    ExitCode::from(u8::from(!complaints.is_empty()))
}

async fn until_asked<T>(bench: impl Future<Output = Result<T>>) -> Result<T> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        done = bench => done,
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_by_nearest_rank() {
        let sorted: Vec<_> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(quantile(&sorted, 0.5), Duration::from_millis(100));
        assert_eq!(quantile(&sorted, 0.99), Duration::from_millis(198));
        assert_eq!(quantile(&sorted, 1.0), Duration::from_millis(200));
        assert_eq!(quantile(&sorted[..1], 0.01), Duration::from_millis(1));
        assert_eq!(quantile(&[], 0.5), Duration::ZERO);
    }

    #[test]
    fn columns_line_up() {
        let rows = [["a", "1", ""], ["long", "22", "x"]].map(|row| row.map(str::to_owned));
        assert_eq!(table(&rows), "a      1\nlong  22  x\n");
    }

    #[test]
    fn an_aim_that_is_just_reached_is_missed() {
        assert!(Aim::new("x", 9.9, 10.0).met);
        assert!(!Aim::new("x", 10.0, 10.0).met);
    }
}

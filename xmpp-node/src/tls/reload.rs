//! Looks every ten seconds, and on SIGHUP, whether certificates changed, and puts the new ones in force.
//!
//! By content, not by file events: the kubelet swaps symbolic links, which makes watches of the file itself go blind.

use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use xmpp_node_api::config::Fault;

use super::Tls;

/// Keeps `tls` up to date until `stop`. After each look `report` is called with `tls`, to set metrics from it.
///
/// # Errors
/// The signal handler cannot be installed.
pub async fn watch(
    tls: Arc<Tls>,
    mut report: impl FnMut(&Tls) + Send,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
            _ = hangup.recv() => {}
        }
        let reader = Arc::clone(&tls);
        let outcome = tokio::task::spawn_blocking(move || reader.reload()).await;
        known = note(outcome.unwrap_or(Ok(false)), known);
        report(&tls);
    }
}

/// Logs what is new: a change, or faults other than those `known`.
fn note(outcome: Result<bool, Vec<Fault>>, known: Option<Vec<Fault>>) -> Option<Vec<Fault>> {
    match outcome {
        Ok(changed) => {
            if changed {
                tracing::info!("certificates reloaded");
            }
            None
        }
        Err(faults) => {
            if known.as_ref() != Some(&faults) {
                for fault in &faults {
                    tracing::warn!(%fault, "certificates not reloaded, the old ones stay in force");
                }
            }
            Some(faults)
        }
    }
}

/// A renewed certificate comes hours before the old one ends; ten seconds cost two reads of small files each.
const INTERVAL: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests;

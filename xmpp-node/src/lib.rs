//! The server: everything that awaits. Listeners, streams, consensus, admin API, metrics and the `xmpp` command line.

pub mod admin;
pub mod cli;
pub mod metrics;
pub mod settings;
pub mod tls;

use tokio_util::sync::CancellationToken;

use self::settings::Settings;

/// Runs a node until `shutdown`, or until it fails.
///
/// # Errors
/// A listener that cannot be opened, a damaged log, a failed write: whatever ends a node.
pub async fn run(settings: Settings, shutdown: CancellationToken) -> anyhow::Result<()> {
    let _ = (settings, shutdown);
    anyhow::bail!("not wired yet")
}

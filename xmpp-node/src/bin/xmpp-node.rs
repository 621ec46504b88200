//! The server process: arguments, settings, signals, exit code. Everything else is in the library.
//!
//! | Exit code | Means |
//! |---|---|
//! | 0 | stopped as asked, or the configuration is valid |
//! | 1 | the configuration is not valid, or the node failed |
//! | 2 | the command line cannot be used |
//! | 130 | asked a second time to stop, and stopped at once |

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use xmpp_node::settings::Settings;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An XMPP server that forms a resilient cluster with others.
#[derive(Debug, Parser)]
#[command(name = "xmpp-node", version)]
struct Arguments {
    /// Configuration file, TOML.
    #[arg(long, value_name = "FILE", env = "XMPP_CONFIG")]
    config: PathBuf,
    /// Only check the configuration and the files that it names.
    #[arg(long)]
    check: bool,
    /// Stop, as on SIGTERM, when standard input ends: whoever starts the node holds the other end of a pipe, and the node does
    /// not outlive it, however it ends.
    #[arg(long)]
    exit_with_parent: bool,
    /// What to log, such as `info` or `warn,xmpp_node=debug`.
    #[arg(long, value_name = "FILTER", env = "XMPP_LOG", default_value = "info,openraft=error", value_parser = filter)]
    log_filter: String,
}

fn main() -> ExitCode {
    xmpp_node::tls::install_provider();
    let arguments = Arguments::parse();
    let settings = match Settings::load(&arguments.config) {
        Ok(settings) => settings,
        Err(error) => return fail(&error),
    };
    if arguments.check {
        let _ = writeln!(std::io::stdout(), "configuration is valid");
        return ExitCode::SUCCESS;
    }
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(&arguments.log_filter))
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    // One thread: what a node does for a stanza is less than handing it to another thread would cost. The log writes on its own.
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    match runtime.block_on(serve(settings, arguments.exit_with_parent)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format_args!("{error:#}")),
    }
}

async fn serve(settings: Settings, exit_with_parent: bool) -> anyhow::Result<()> {
    let shutdown = CancellationToken::new();
    if exit_with_parent {
        let gone = shutdown.clone();
        // The runtime's own reader of standard input would keep the process from ending.
        std::thread::Builder::new()
            .name("parent".to_owned())
            .spawn(move || {
                let ended = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
                tracing::info!(?ended, "standard input ended: stopping");
                gone.cancel();
            })?;
    }
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let asked = shutdown.clone();
    tokio::spawn(async move {
        for time in 1.. {
            let name = tokio::select! {
                _ = terminate.recv() => "SIGTERM",
                _ = interrupt.recv() => "SIGINT",
            };
            if time > 1 {
                std::process::exit(130);
            }
            tracing::info!(signal = name, "stopping");
            asked.cancel();
        }
    });
    xmpp_node::run(settings, shutdown).await
}

fn fail(error: &dyn std::fmt::Display) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{error}");
    ExitCode::FAILURE
}

fn filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|error| error.to_string())
}

//! `xmpp demo`: a cluster of three nodes on this machine with bridges that talk through it, see [`crate::demo`].

use std::fs::File;
use std::io::{IsTerminal, stderr, stdout};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;
use xmpp_node_api::time::parse_duration;

use super::{Answer, Failure, Output};
use crate::demo::{self, DemoError, Fault, Options, Outcome, Plan, View};

/// Exits with 0 if every message was received or answered exactly once and in order, and all nodes say the same.
#[derive(Debug, Args)]
pub(super) struct DemoCommand {
    /// How long messages are sent, such as `30s`; without it until Ctrl-C.
    #[arg(long = "for", value_name = "TIME", value_parser = duration, overrides_with = "duration")]
    duration: Option<Duration>,
    /// Messages a second in all; with 0 the bridges register and send nothing.
    #[arg(long, value_name = "N", default_value = "200", value_parser = clap::value_parser!(u32).range(..=100_000))]
    rate: u32,
    /// Which node is killed (SIGKILL) from time to time; it is started again two seconds later.
    #[arg(long, value_enum, default_value = "none")]
    fault: Fault,
    /// From fault to fault; a fault waits until all nodes have recovered from the last.
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = duration)]
    every: Duration,
    /// Directory of everything: configuration, certificates, state, logs, demo.json. It must be empty, and is kept. By
    /// default a temporary one, kept only if something went wrong.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Added to every port, so that several demos can run side by side.
    #[arg(long, value_name = "N", default_value = "0")]
    port_offset: u16,
    /// The server's binary; by default `xmpp-node` beside this program.
    #[arg(long, value_name = "PATH", env = "XMPP_NODE_BIN")]
    xmpp_node: Option<PathBuf>,
}

impl DemoCommand {
    pub(super) async fn execute(self, output: Output) -> Result<Answer, Failure> {
        let mut view = match output {
            Output::Text => View::new(Box::new(stdout()), stdout().is_terminal()),
            // Standard output is for the one object.
            Output::Json => View::new(Box::new(stderr()), stderr().is_terminal()),
        };
        let signals = Signals::listen()?;
        let place = Place::new(self.dir)?;
        let mut plan = Plan::new(
            place.path().to_owned(),
            demo::files::find_binary(self.xmpp_node)?,
        );
        plan.port_offset = self.port_offset;
        view.say(&format!("files go to {}", place.path().display()));
        let options = Options {
            plan,
            duration: self.duration,
            rate: self.rate,
            fault: self.fault,
            every: self.every,
        };
        let outcome = tokio::select! {
            outcome = demo::run(options, &mut view, &signals.stop, log_bridges) => outcome,
            // Dropping the demo kills its nodes.
            () = signals.abort.cancelled() => Err(DemoError::Aborted),
        };
        match outcome {
            Ok(outcome) if outcome.complaints.is_empty() => {
                place.clear();
                answer(output, &outcome)
            }
            Ok(outcome) => {
                place.keep(&mut view);
                answer(output, &outcome)
            }
            Err(error) => {
                place.keep(&mut view);
                Err(error.into())
            }
        }
    }
}

fn answer(output: Output, outcome: &Outcome) -> Result<Answer, Failure> {
    let text = match output {
        // The view has said it all.
        Output::Text => String::new(),
        Output::Json => {
            let json = serde_json::to_string(&outcome.report);
            json.map_err(|error| Failure::Local(error.to_string()))? + "\n"
        }
    };
    let found = !outcome.complaints.is_empty();
    Ok(Answer { text, found })
}

/// The directory of a demo.
enum Place {
    /// Ours, to be removed if all went well.
    Temporary(tempfile::TempDir),
    /// Someone's.
    Given(PathBuf),
}

impl Place {
    fn new(given: Option<PathBuf>) -> Result<Self, Failure> {
        if let Some(dir) = given {
            return Ok(Self::Given(dir));
        }
        let made = tempfile::Builder::new().prefix("xmpp-demo-").tempdir();
        let fault = |error| Failure::Local(format!("no temporary directory: {error}"));
        made.map(Self::Temporary).map_err(fault)
    }

    fn path(&self) -> &Path {
        match self {
            Self::Temporary(dir) => dir.path(),
            Self::Given(dir) => dir,
        }
    }

    fn clear(self) {
        if let Self::Temporary(dir) = self {
            // A directory left in /tmp is no reason to call a demo failed.
            let _ = dir.close();
        }
    }

    /// Leaves everything for whoever wants to know what happened, if a node has run at all.
    fn keep(self, view: &mut View) {
        view.leave();
        if !self.path().join("xmpp1.log").exists() {
            return self.clear();
        }
        let dir = match self {
            Self::Temporary(dir) => dir.keep(),
            Self::Given(dir) => dir,
        };
        view.say(&format!("logs are in {}", dir.display()));
    }
}

/// What the first signal and the second ask for.
struct Signals {
    /// Come to an end in good order.
    stop: CancellationToken,
    /// Drop everything.
    abort: CancellationToken,
}

impl Signals {
    fn listen() -> Result<Self, Failure> {
        let open = |kind| {
            signal(kind)
                .map_err(|error| Failure::Local(format!("no signals can be caught: {error}")))
        };
        let mut interrupt = open(SignalKind::interrupt())?;
        let mut terminate = open(SignalKind::terminate())?;
        let mut hangup = open(SignalKind::hangup())?;
        let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
        let (first, second) = (stop.clone(), abort.clone());
        tokio::spawn(async move {
            for token in [first, second] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
                token.cancel();
            }
        });
        Ok(Self { stop, abort })
    }
}

/// What the bridges log goes to a file, as the screen is taken.
fn log_bridges(dir: &Path) {
    let Ok(file) = File::create(dir.join("bridges.log")) else {
        return;
    };
    let filter = std::env::var("XMPP_LOG").unwrap_or_else(|_| "info".to_owned());
    // Whoever set up logging before us knows better.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info")))
        .with_writer(file)
        .with_ansi(false)
        .try_init();
}

impl From<DemoError> for Failure {
    fn from(error: DemoError) -> Self {
        match error {
            DemoError::Binary { .. } | DemoError::NotEmpty(_) | DemoError::Offset { .. } => {
                Self::Usage(error.to_string())
            }
            other => Self::Local(other.to_string()),
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(Duration::ZERO) => Err("must be more than nothing".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn read(line: &str) -> Result<DemoCommand, String> {
        let cli = Cli::try_parse_from(line.split(' ')).map_err(|error| error.to_string())?;
        match cli.command {
            Command::Demo(command) => Ok(command),
            other => Err(format!("{other:?}")),
        }
    }

    #[test]
    fn without_flags_it_runs_until_stopped_and_kills_nobody() {
        let demo = read("xmpp demo").expect("no flag is needed");
        assert_eq!(demo.duration, None);
        assert_eq!((demo.rate, demo.port_offset), (200, 0));
        assert_eq!(demo.fault, Fault::None);
        assert_eq!(demo.every, Duration::from_secs(10));
        assert_eq!(demo.dir, None);
    }

    #[test]
    fn every_flag_is_read() {
        let line = "xmpp demo --for 30s --rate 1000 --fault follower --every 500ms --dir d --port-offset 7 -o json";
        let demo = read(line).expect("all flags are known");
        assert_eq!(demo.duration, Some(Duration::from_secs(30)));
        assert_eq!((demo.rate, demo.port_offset), (1000, 7));
        assert_eq!(demo.fault, Fault::Follower);
        assert_eq!(demo.every, Duration::from_millis(500));
        assert_eq!(demo.dir, Some(PathBuf::from("d")));
        for fault in ["leader", "any", "none"] {
            read(&format!("xmpp demo --fault {fault}")).expect("a fault");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (flags, word) in [
            ("--rate 100001", "--rate"),
            ("--for 30", "--for"),
            ("--every 0s", "--every"),
            ("--fault all", "--fault"),
            ("--port-offset 70000", "--port-offset"),
        ] {
            let error = read(&format!("xmpp demo {flags}")).expect_err("no sense");
            assert!(error.contains(word), "{error}");
        }
    }
}

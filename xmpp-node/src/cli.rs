//! The `xmpp` command line: one file a command group, all through the admin API of one node.
//!
//! Output goes to standard output, as text or with `-o json` as the JSON of the admin API; errors go to standard error
//! in the same form.
//!
//! | Exit code | Means |
//! |---|---|
//! | 0 | well |
//! | 1 | something was found: a refusal, a node that is not ready, a stanza unaccounted for |
//! | 2 | the command line, or a file that it names, cannot be used |
//! | 3 | the node was not reached |

mod callbridge;
mod cluster;
mod connect;
mod demo;
mod import;
mod node;
mod user;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use serde::Serialize;
use xmpp_node_api::admin::{AdminError, ErrorCode, Request, Response};

use self::callbridge::CallbridgeCommand;
use self::cluster::ClusterCommand;
pub use self::cluster::render_cluster_status;
use self::connect::Target;
use self::demo::DemoCommand;
pub use self::node::render_node_status;
use self::user::UserCommand;
use xmpp_node_client::admin::{AdminClient, ClientError};

/// Looks after XMPP nodes and their cluster.
#[derive(Debug, Parser)]
#[command(name = "xmpp", version, disable_help_subcommand = true)]
pub struct Cli {
    #[command(flatten)]
    target: Target,
    /// How to print the answer.
    #[arg(short, long, global = true, value_enum, default_value = "text")]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// The cluster and its members.
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// The Call Bridges (components) and their secrets.
    #[command(subcommand)]
    Callbridge(CallbridgeCommand),
    /// The users and their passwords.
    #[command(subcommand)]
    User(UserCommand),
    /// Everything that one node knows about itself.
    Status,
    /// Read certificates and keys again.
    Reload,
    /// Run a whole cluster on this machine, with bridges that talk through it while nodes are killed.
    Demo(DemoCommand),
    /// Print completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

/// Runs a command line, the program's name first.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are errors of this kind too, with code 0; a closed pipe is nobody's concern.
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(Failure::USAGE));
        }
    };
    let output = cli.output;
    let mut runtime = match cli.command {
        // Three bridges and a DNS server have more to do than one request.
        Command::Demo(_) => tokio::runtime::Builder::new_multi_thread(),
        _ => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.enable_all().build();
    let outcome = match runtime {
        Ok(runtime) => runtime.block_on(cli.execute()),
        Err(error) => Err(Failure::Local(format!("no runtime: {error}"))),
    };
    match outcome {
        Ok(answer) => {
            // Whoever closed the pipe has read enough.
            let _ = std::io::stdout().lock().write_all(answer.text.as_bytes());
            ExitCode::from(u8::from(answer.found))
        }
        Err(failure) => {
            let _ = std::io::stderr()
                .lock()
                .write_all(failure.print(output).as_bytes());
            ExitCode::from(failure.exit_code())
        }
    }
}

impl Cli {
    async fn execute(self) -> Result<Answer, Failure> {
        let output = self.output;
        match self.command {
            Command::Completions { shell } => {
                let mut script = Vec::new();
                clap_complete::generate(shell, &mut Self::command(), "xmpp", &mut script);
                Ok(Answer::new(String::from_utf8_lossy(&script).into_owned()))
            }
            Command::Cluster(command) => command.execute(&self.target.client()?, output).await,
            Command::Callbridge(command) => command.execute(&self.target.client()?, output).await,
            Command::User(command) => command.execute(&self.target.client()?, output).await,
            Command::Demo(command) => command.execute(output).await,
            Command::Status => node::status(&self.target.client()?, output).await,
            Command::Reload => {
                done(
                    &self.target.client()?,
                    output,
                    &Request::Reload {},
                    "certificates are up to date",
                )
                .await
            }
        }
    }
}

/// What a command prints, and whether it found something.
#[derive(Debug)]
struct Answer {
    text: String,
    found: bool,
}

impl Answer {
    const fn new(text: String) -> Self {
        Self { text, found: false }
    }

    /// The value as JSON, or the text.
    fn of(
        output: Output,
        value: &impl Serialize,
        text: impl FnOnce() -> String,
    ) -> Result<Self, Failure> {
        match output {
            Output::Text => Ok(Self::new(text())),
            Output::Json => Ok(Self::new(json(value)?)),
        }
    }
}

/// Why a command failed.
#[derive(Debug)]
enum Failure {
    /// The node says no, or was not reached.
    Client(ClientError),
    /// What the command line says cannot be used.
    Usage(String),
    /// Something on this machine.
    Local(String),
}

impl Failure {
    const USAGE: u8 = 2;

    const fn exit_code(&self) -> u8 {
        match self {
            Self::Client(ClientError::Refused(_) | ClientError::Malformed { .. })
            | Self::Local(_) => 1,
            Self::Usage(_) => Self::USAGE,
            Self::Client(ClientError::Unreachable { .. }) => 3,
        }
    }

    fn print(&self, output: Output) -> String {
        let error = self.as_error();
        if output == Output::Json {
            return json(&error).unwrap_or_default();
        }
        let fix = error
            .fix
            .map(|fix| format!("Fix: {fix}\n"))
            .unwrap_or_default();
        format!("Error: {}\n{fix}", error.message)
    }

    fn as_error(&self) -> AdminError {
        match self {
            Self::Client(ClientError::Refused(error)) => error.clone(),
            Self::Client(error @ ClientError::Unreachable { .. }) => AdminError::new(
                ErrorCode::Unavailable,
                format!("cannot reach the node: {error}"),
            )
            .with_fix("see that it runs, or name it with --socket, --node or --admin"),
            Self::Client(error @ ClientError::Malformed { .. }) => {
                AdminError::new(ErrorCode::Internal, error.to_string())
                    .with_fix("use the `xmpp` command of the node's own version")
            }
            Self::Usage(reason) => AdminError::new(ErrorCode::Invalid, reason),
            Self::Local(reason) => AdminError::new(ErrorCode::Internal, reason),
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

/// Sends a request that answers `done`, and says so.
async fn done(
    client: &AdminClient,
    output: Output,
    request: &Request,
    text: &str,
) -> Result<Answer, Failure> {
    let response = client.call(request).await?;
    Answer::of(output, &response, || format!("Success: {text}\n"))
}

/// A request was answered with another kind of value: [`AdminClient::call`] does not let this happen.
fn odd(response: &Response) -> Failure {
    Failure::Local(format!("unexpected answer {response:?}"))
}

fn json(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value);
    text.map(|text| text + "\n")
        .map_err(|error| Failure::Local(error.to_string()))
}

#[cfg(test)]
mod tests;

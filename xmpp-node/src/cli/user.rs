//! `xmpp user`: the users and their passwords.
//!
//! A password is never an argument, where every user of the machine could read it: it comes from a file, from standard input, or
//! from the terminal, where it is not shown.

use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use xmpp_node_api::admin::{Request, Response, Secret, User};
use xmpp_node_client::admin::AdminClient;

use super::callbridge::read_secret;
use super::import::import;
use super::{Answer, Failure, Output, done, odd};

#[derive(Debug, Subcommand)]
pub(super) enum UserCommand {
    /// Accept a user.
    Add {
        /// Name of the user, the part of the address before `@`.
        name: String,
        /// File with the password, `-` for standard input; absent: it is asked for, or read from standard input.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Give a user a new password.
    Password {
        /// Name of the user.
        name: String,
        /// File with the password, `-` for standard input; absent: it is asked for, or read from standard input.
        #[arg(long, value_name = "FILE")]
        password_file: Option<PathBuf>,
    },
    /// Accept all users of a file, a line each: `name:password`. Nobody is added if a line is faulty.
    Import {
        /// The file, `-` for standard input.
        file: PathBuf,
        /// Give those that are there the passwords of the file; else they stay as they are.
        #[arg(long)]
        replace: bool,
    },
    /// The users.
    List,
    /// Refuse a user from now on.
    Remove {
        /// Name of the user.
        name: String,
    },
}

impl UserCommand {
    pub(super) async fn execute(
        self,
        client: &AdminClient,
        output: Output,
    ) -> Result<Answer, Failure> {
        match self {
            Self::Add {
                name,
                password_file,
            } => {
                let text = format!("{name} is accepted");
                let request = put(name, password_file.as_deref(), false)?;
                done(client, output, &request, &text).await
            }
            Self::Password {
                name,
                password_file,
            } => {
                if !list(client).await?.iter().any(|user| user.name == name) {
                    return Err(Failure::Local(format!("no user is named {name}")));
                }
                let text = format!("{name} has the new password");
                let request = put(name, password_file.as_deref(), true)?;
                done(client, output, &request, &text).await
            }
            Self::Import { file, replace } => import(client, output, &file, replace).await,
            Self::List => {
                let users = list(client).await?;
                Answer::of(output, &users, || users.iter().map(render).collect())
            }
            Self::Remove { name } => {
                let text = format!("{name} is refused from now on");
                done(client, output, &Request::RemoveUser { name }, &text).await
            }
        }
    }
}

async fn list(client: &AdminClient) -> Result<Vec<User>, Failure> {
    match client.call(&Request::ListUsers {}).await? {
        Response::Users(users) => Ok(users),
        other => Err(odd(&other)),
    }
}

fn put(name: String, file: Option<&Path>, replace: bool) -> Result<Request, Failure> {
    let password = match file {
        Some(file) => read_secret(file)?,
        None if std::io::stdin().is_terminal() => asked_for()?,
        None => read_secret(Path::new("-"))?,
    };
    Ok(Request::PutUser {
        name,
        password,
        replace,
    })
}

/// Asks twice, and shows nothing.
fn asked_for() -> Result<Secret, Failure> {
    let (first, again) = (unseen("Password: ")?, unseen("Again: ")?);
    if first != again {
        return Err(Failure::Usage("the two passwords differ".to_owned()));
    }
    if first.is_empty() {
        return Err(Failure::Usage("the password is empty".to_owned()));
    }
    Ok(Secret::new(first))
}

fn unseen(question: &str) -> Result<String, Failure> {
    let local = |error: std::io::Error| Failure::Local(format!("terminal: {error}"));
    let terminal = std::io::stdin();
    let shown = tcgetattr(&terminal).map_err(|error| local(error.into()))?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    eprint!("{question}");
    std::io::stderr().flush().map_err(local)?;
    tcsetattr(&terminal, OptionalActions::Flush, &hidden).map_err(|error| local(error.into()))?;
    let mut line = String::new();
    let read = terminal.read_line(&mut line);
    // Whatever was read, the terminal must show again what is typed.
    let restored = tcsetattr(&terminal, OptionalActions::Flush, &shown);
    eprintln!();
    read.map_err(local)?;
    restored.map_err(|error| local(error.into()))?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn render(user: &User) -> String {
    format!(
        "***\nUser      : {}\nAddress   : {}\nResources : {}\nWaiting   : {}\n",
        user.name,
        user.jid,
        user.resources.join(", "),
        user.waiting
    )
}

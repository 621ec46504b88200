//! `xmpp callbridge`: the Call Bridges and their secrets.
//!
//! A secret is never an argument, where every user of the machine could read it: it comes from a file or standard
//! input.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use xmpp_node_api::admin::{Bridge, BridgeLimits, Request, Response, Secret};

use super::{Answer, Failure, Output, done, odd};
use xmpp_node_client::admin::AdminClient;

#[derive(Debug, Subcommand)]
pub(super) enum CallbridgeCommand {
    /// Accept a bridge; prints its secret.
    Add {
        /// Name of the bridge.
        name: String,
        /// File with its secret, `-` for standard input; one is made if absent.
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
    },
    /// The bridges.
    List {
        /// Show the secrets.
        #[arg(long)]
        reveal: bool,
    },
    /// Give a bridge a new secret beside the present one; prints it.
    Rotate {
        /// Name of the bridge.
        name: String,
        /// File with the new secret, `-` for standard input; one is made if absent.
        #[arg(long, value_name = "FILE")]
        secret_file: Option<PathBuf>,
    },
    /// End the use of a bridge's old secret after a rotation.
    Retire {
        /// Name of the bridge.
        name: String,
    },
    /// Give a bridge bounds of its own, in place of those that it had; without options it has none.
    Limit {
        /// Name of the bridge.
        name: String,
        /// Stanzas that are taken from it a second; it waits beyond that.
        #[arg(long, value_name = "N")]
        stanzas_per_second: Option<u32>,
        /// Bytes that are taken from it a second.
        #[arg(long, value_name = "N")]
        bytes_per_second: Option<u64>,
        /// Stanzas that may wait for it.
        #[arg(long, value_name = "N")]
        queue_stanzas: Option<u32>,
        /// Bytes that may wait for it.
        #[arg(long, value_name = "N")]
        queue_bytes: Option<u64>,
    },
    /// Refuse a bridge from now on.
    Remove {
        /// Name of the bridge.
        name: String,
    },
}

impl CallbridgeCommand {
    pub(super) async fn execute(
        self,
        client: &AdminClient,
        output: Output,
    ) -> Result<Answer, Failure> {
        match self {
            Self::Add { name, secret_file } => {
                let secret = secret_file.as_deref().map(read_secret).transpose()?;
                one(client, output, &Request::PutBridge { name, secret }).await
            }
            Self::Rotate { name, secret_file } => {
                let secret = secret_file.as_deref().map(read_secret).transpose()?;
                one(client, output, &Request::RotateBridge { name, secret }).await
            }
            Self::List { reveal } => {
                let bridges = list(client, reveal).await?;
                Answer::of(output, &bridges, || bridges.iter().map(render).collect())
            }
            Self::Retire { name } => {
                let bridges = list(client, false).await?;
                let bridge = bridges.into_iter().find(|bridge| bridge.name == name);
                let bridge =
                    bridge.ok_or_else(|| Failure::Local(format!("no bridge is named {name}")))?;
                let [old, _] = bridge.secrets.as_slice() else {
                    return Err(Failure::Local(format!("{name} has no old secret")));
                };
                let text = format!("the old secret of {name} is refused from now on");
                let generation = old.generation;
                done(
                    client,
                    output,
                    &Request::RetireSecret { name, generation },
                    &text,
                )
                .await
            }
            Self::Limit {
                name,
                stanzas_per_second,
                bytes_per_second,
                queue_stanzas,
                queue_bytes,
            } => {
                let limits = BridgeLimits {
                    stanzas_per_second,
                    bytes_per_second,
                    queue_stanzas,
                    queue_bytes,
                };
                let text = match limits.is_empty() {
                    true => format!("{name} has no bounds of its own"),
                    false => format!("{name} has these bounds: {}", bounds(&limits)),
                };
                done(
                    client,
                    output,
                    &Request::LimitBridge { name, limits },
                    &text,
                )
                .await
            }
            Self::Remove { name } => {
                let text = format!("{name} is refused from now on");
                done(client, output, &Request::RemoveBridge { name }, &text).await
            }
        }
    }
}

async fn one(client: &AdminClient, output: Output, request: &Request) -> Result<Answer, Failure> {
    match client.call(request).await? {
        Response::Bridge(bridge) => Answer::of(output, &bridge, || render(&bridge)),
        other => Err(odd(&other)),
    }
}

async fn list(client: &AdminClient, reveal: bool) -> Result<Vec<Bridge>, Failure> {
    match client.call(&Request::ListBridges { reveal }).await? {
        Response::Bridges(bridges) => Ok(bridges),
        other => Err(odd(&other)),
    }
}

/// One block a bridge; an older secret that still counts has a line of its own.
fn render(bridge: &Bridge) -> String {
    let mut text = format!(
        "***\nCallbridge : {}\nDomain     : {}\n",
        bridge.name, bridge.domain
    );
    for (age, entry) in bridge.secrets.iter().rev().enumerate() {
        let label = if age == 0 { "Secret    " } else { "Old secret" };
        let secret = entry.secret.as_ref().map_or(MASK, Secret::expose);
        text.push_str(&format!("{label} : {secret}\n"));
    }
    if !bridge.limits.is_empty() {
        text.push_str(&format!("Limits     : {}\n", bounds(&bridge.limits)));
    }
    text
}

fn bounds(limits: &BridgeLimits) -> String {
    let bound = |value: Option<u64>, what: &str| value.map(|value| format!("{value} {what}"));
    let bounds = [
        bound(limits.stanzas_per_second.map(u64::from), "stanzas/s"),
        bound(limits.bytes_per_second, "bytes/s"),
        bound(limits.queue_stanzas.map(u64::from), "stanzas waiting"),
        bound(limits.queue_bytes, "bytes waiting"),
    ];
    bounds.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

pub(super) fn read_secret(path: &Path) -> Result<Secret, Failure> {
    let mut text = String::new();
    let read = match path == Path::new("-") {
        true => std::io::stdin()
            .take(MAX_SECRET_BYTES)
            .read_to_string(&mut text),
        false => std::fs::File::open(path)
            .and_then(|file| file.take(MAX_SECRET_BYTES).read_to_string(&mut text)),
    };
    read.map_err(|error| Failure::Usage(format!("{}: cannot be read: {error}", path.display())))?;
    match text.trim_end_matches(['\r', '\n']) {
        "" => Err(Failure::Usage(format!(
            "{}: holds no secret",
            path.display()
        ))),
        secret => Ok(Secret::new(secret.to_owned())),
    }
}

const MASK: &str = "********";

/// Longer than any secret that a bridge's form takes.
const MAX_SECRET_BYTES: u64 = 4096;

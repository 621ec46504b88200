//! `xmpp cluster`: the cluster and its members.

use std::fmt::Write;
use std::path::Path;

use clap::Subcommand;
use ring::rand::{SecureRandom, SystemRandom};
use xmpp_node_api::address::HostPort;
use xmpp_node_api::admin::{Member, Request};
use xmpp_node_api::status::NodeStatus;

use super::{Answer, Failure, Output, done};
use xmpp_node_client::admin::AdminClient;

#[derive(Debug, Subcommand)]
pub(super) enum ClusterCommand {
    /// The live state of the cluster; if it has failed, what this node knows.
    Status,
    /// Make a cluster of this one empty node.
    Initialize {
        /// Id of the new cluster; made at random if absent.
        #[arg(long)]
        id: Option<String>,
    },
    /// Let this empty node join a cluster.
    Join {
        /// A member of the cluster.
        #[arg(value_name = "HOST[:PORT]", value_parser = peer_address)]
        address: HostPort,
    },
    /// Take a node out of the cluster.
    Remove {
        /// Name of the node; this one if absent.
        name: Option<String>,
    },
    /// Hand leadership over.
    TransferLeader {
        /// Name of the node that shall lead; the one with the longest log if absent.
        #[arg(long, value_name = "NAME")]
        to: Option<String>,
    },
}

impl ClusterCommand {
    pub(super) async fn execute(
        self,
        client: &AdminClient,
        output: Output,
    ) -> Result<Answer, Failure> {
        match self {
            Self::Status => {
                let status = client.status().await?;
                let found = status.leader.is_none() || lost_quorum(&status);
                let answer = Answer::of(output, &status, || render_cluster_status(&status))?;
                Ok(Answer { found, ..answer })
            }
            Self::Initialize { id } => {
                let cluster_id = id.map_or_else(random_id, Ok)?;
                let text = format!("cluster {cluster_id} is initialized");
                done(client, output, &Request::Initialize { cluster_id }, &text).await
            }
            Self::Join { address } => {
                let text = format!("joined through {address}");
                done(client, output, &Request::Join { address }, &text).await
            }
            Self::Remove { name } => {
                let name = match name {
                    Some(name) => name,
                    None => client.status().await?.name,
                };
                let text = format!("{name} is out of the cluster");
                let member = Member::Name(name);
                done(client, output, &Request::RemoveMember { member }, &text).await
            }
            Self::TransferLeader { to } => {
                let to = to.map(Member::Name);
                done(
                    client,
                    output,
                    &Request::TransferLeader { to },
                    "another node leads",
                )
                .await
            }
        }
    }
}

/// The shape that administrators' scripts read: peers first, the node itself last, times in UTC.
///
/// Peers are printed with the client port, which is what users dial. Where the quorum is lost, lines follow that say
/// how many votes are missing and who is unreachable since when.
#[must_use]
pub fn render_cluster_status(status: &NodeStatus) -> String {
    let mut text = format!("State: {}\nList of peers\n", status.role.shown());
    let leader = status.leader.as_ref().map(|leader| leader.id);
    let peers = status.peers.iter().map(|peer| (peer.id, &peer.address));
    for (id, address) in peers.chain([(status.id, &status.address)]) {
        let mark = if leader == Some(id) { " (Leader)" } else { "" };
        line(
            &mut text,
            format_args!("{}{mark}", address.with_port(CLIENT_PORT)),
        );
    }
    line(
        &mut text,
        format_args!("Last state change: {}", status.last_state_change.shown()),
    );
    let certificate = &status.peer_certificate;
    line(
        &mut text,
        format_args!("Key file           : {}", file_name(&certificate.key_file)),
    );
    line(
        &mut text,
        format_args!(
            "Certificate file   : {}",
            file_name(&certificate.certificate_file)
        ),
    );
    let bundle = certificate
        .trust_bundle
        .as_deref()
        .map_or("none", file_name);
    line(&mut text, format_args!("Trust bundle       : {bundle}"));
    if lost_quorum(status) {
        let (seen, needed) = (status.votes_seen, status.votes_needed);
        line(
            &mut text,
            format_args!("Quorum             : lost, {seen} of {needed} votes needed are here"),
        );
        for peer in status.peers.iter().filter(|peer| !peer.reachable) {
            let since = peer.since.shown();
            line(
                &mut text,
                format_args!("Unreachable        : {} since {since}", peer.name),
            );
        }
    }
    text
}

const fn lost_quorum(status: &NodeStatus) -> bool {
    status.votes_seen < status.votes_needed
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{content}");
}

fn file_name(path: &str) -> &str {
    Path::new(path)
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or(path)
}

fn peer_address(text: &str) -> Result<HostPort, String> {
    HostPort::parse_or_port(text, PEER_PORT).map_err(|error| error.to_string())
}

fn random_id() -> Result<String, Failure> {
    let mut bytes = [0; 8];
    let filled = SystemRandom::new().fill(&mut bytes);
    filled.map_err(|_| Failure::Local("the system gives no random numbers".to_owned()))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Every peer is printed with the port of XMPP clients.
const CLIENT_PORT: u16 = 5222;

const PEER_PORT: u16 = 7222;

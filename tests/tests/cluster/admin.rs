//! Every request of the admin API on a running cluster, by the unix socket and by mutual TLS.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use xmpp_node::tls::{PeerFiles, TlsClient};
use xmpp_node_api::address::HostPort;
use xmpp_node_api::admin::{ErrorCode, Member, Request, Response};
use xmpp_node_api::status::{MemberRole, NodeId, NodeRole};
use xmpp_node_client::admin::{AdminClient, ClientError, Endpoint};
use xmpp_tests::lab::{Lab, progress, until};

/// The admin port of a node, for whoever has these certificates.
fn by_tls(lab: &Lab, node: usize, files: &PeerFiles) -> Result<AdminClient> {
    let site = &lab.cluster.sites()[node];
    let address = HostPort::new(&site.admin.ip().to_string(), site.admin.port())?;
    let loaded = TlsClient::load(files).map_err(|faults| anyhow::anyhow!("{faults:?}"))?;
    let config = loaded.config(Some(&site.name));
    Ok(AdminClient::new(Endpoint::Tls { address, config }))
}

fn refused(answer: std::result::Result<Response, ClientError>) -> Result<ErrorCode> {
    match answer {
        Err(ClientError::Refused(error)) => Ok(error.code),
        other => bail!("not refused: {other:?}"),
    }
}

async fn role(lab: &Lab, node: usize) -> Option<NodeRole> {
    Some(lab.status(node).await.ok()?.role)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_reads_is_answered_alike_by_socket_and_by_certificate() -> Result<()> {
    let lab = Lab::start().await?;
    let leader = lab.leader().await?;
    let admin = lab.cluster.pki().issue_admin()?;
    for node in 0..3 {
        let name = lab.cluster.sites()[node].name.clone();
        let clients = [lab.cluster.client(node), by_tls(&lab, node, &admin)?];
        for client in &clients {
            let status = client.status().await?;
            ensure!(status.name == name && status.votes_seen == 3 && status.ready.ok);
            let may_restart = Request::MayRestart { name: name.clone() };
            let Response::Decision(decision) = client.call(&may_restart).await? else {
                bail!("no decision");
            };
            ensure!(
                decision.allowed == (node != leader),
                "{name}: {}",
                decision.reason
            );
            let unknown = Request::MayRestart {
                name: "xmpp9".into(),
            };
            ensure!(refused(client.call(&unknown).await)? == ErrorCode::UnknownMember);
            for reveal in [false, true] {
                let list = Request::ListBridges { reveal };
                let Response::Bridges(bridges) = client.call(&list).await? else {
                    bail!("no bridges");
                };
                ensure!(bridges.len() == 5, "{bridges:?}");
                for (bridge, known) in bridges.iter().zip(lab.cluster.bridges()) {
                    let secret = bridge.secrets[0].secret.as_ref();
                    let shown = secret.map(|secret| secret.expose() == known.secret);
                    ensure!(bridge.name == known.name && shown == reveal.then_some(true));
                }
            }
        }
    }
    // A node may look, and change nothing.
    let node = by_tls(&lab, 0, &lab.cluster.pki().issue_node("xmpp2")?)?;
    node.status().await?;
    for request in [
        Request::Drain { on: true },
        Request::ListBridges { reveal: true },
        Request::RemoveBridge { name: "cb1".into() },
    ] {
        ensure!(refused(node.call(&request).await)? == ErrorCode::Forbidden);
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bridges_are_managed_through_any_node() -> Result<()> {
    let lab = Lab::start().await?;
    let admin = lab.cluster.pki().issue_admin()?;
    let follower = by_tls(&lab, lab.follower().await?, &admin)?;
    let leader = lab.cluster.client(lab.leader().await?);
    let name = || "new".to_owned();
    let put = Request::PutBridge {
        name: name(),
        secret: None,
    };
    let rotate = Request::RotateBridge {
        name: name(),
        secret: None,
    };
    let retire = |generation| Request::RetireSecret {
        name: name(),
        generation,
    };
    let remove = Request::RemoveBridge { name: name() };
    for (one, other) in [(&follower, &leader), (&leader, &follower)] {
        ensure!(refused(one.call(&rotate).await)? == ErrorCode::UnknownBridge);
        let Response::Bridge(made) = one.call(&put).await? else {
            bail!("no bridge");
        };
        ensure!(made.secrets[0].generation == 1 && made.secrets[0].secret.is_some());
        ensure!(refused(other.call(&put).await)? == ErrorCode::BridgeExists);
        let Response::Bridge(rotated) = other.call(&rotate).await? else {
            bail!("no bridge");
        };
        ensure!(rotated.secrets[0].generation == 2, "{rotated:?}");
        one.call(&retire(1)).await?;
        refused(one.call(&retire(2)).await)?;
        other.call(&remove).await?;
        // Whatever is asked for twice is so, or is said not to be there.
        refused(one.call(&remove).await)?;
    }
    let strange = Request::PutBridge {
        name: "a.b".into(),
        secret: None,
    };
    ensure!(refused(leader.call(&strange).await)? == ErrorCode::Invalid);
    lab.agree(|status| status.bridges.len() == 5).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_changed_one_step_at_a_time_under_load() -> Result<()> {
    let lab = Lab::start().await?;
    let run = lab.traffic(&["cb1", "cb2", "cb3"], 600).await?;
    let admin = lab.cluster.pki().issue_admin()?;
    let clients = [0, 1, 2].map(|node| by_tls(&lab, node, &admin));
    let [Ok(a), Ok(b), Ok(c)] = clients else {
        bail!("no client");
    };
    let clients = [a, b, c];
    let statuses = lab.all().await?;
    let ids: Vec<NodeId> = statuses.iter().map(|status| status.id).collect();
    let cluster_id = statuses[0].cluster_id.clone().context("a cluster")?;

    for client in &clients {
        let again = Request::Initialize {
            cluster_id: cluster_id.clone(),
        };
        ensure!(refused(client.call(&again).await)? == ErrorCode::AlreadyInitialized);
        let other = Request::Initialize {
            cluster_id: "other".into(),
        };
        ensure!(refused(client.call(&other).await)? == ErrorCode::Conflict);
        let address = statuses[0].address.clone();
        let join = Request::Join { address };
        ensure!(refused(client.call(&join).await)? == ErrorCode::AlreadyInitialized);
        client.call(&Request::Reload {}).await?;
    }

    let leader = lab.leader().await?;
    let (next, third) = ((leader + 1) % 3, (leader + 2) % 3);
    let to = Request::TransferLeader {
        to: Some(Member::Name(statuses[next].name.clone())),
    };
    // Only the leader hands over; whoever is asked has it do so.
    run.fault();
    clients[third].call(&to).await?;
    ensure!(lab.leader().await? == next, "leadership went elsewhere");
    progress(&run, 100).await?;

    // Now `next` leads. The third node loses its vote and gets it back.
    let voters = |nodes: &[usize]| Request::ChangeVoters {
        ids: nodes.iter().map(|node| ids[*node]).collect(),
    };
    clients[next].call(&voters(&[leader, next])).await?;
    let learns = async || role(&lab, third).await == Some(NodeRole::Learner);
    until("it is a learner", learns).await?;
    let peer = statuses[third].address.clone();
    let name = statuses[third].name.clone();
    clients[next]
        .call(&Request::AddLearner {
            id: ids[third],
            name,
            peer,
        })
        .await?;
    clients[next].call(&voters(&[0, 1, 2])).await?;
    lab.leader().await?;
    refused(
        clients[next]
            .call(&Request::ChangeVoters {
                ids: BTreeSet::from([NodeId(1)]),
            })
            .await,
    )?;
    progress(&run, 100).await?;

    // Draining moves streams away, and leadership.
    run.fault();
    clients[next].call(&Request::Drain { on: true }).await?;
    let elsewhere = async || {
        let streams = lab.metric(next, "xmpp_streams").await.unwrap_or(1.0);
        streams == 0.0 && run.all_registered() && role(&lab, next).await == Some(NodeRole::Follower)
    };
    until("it serves nobody and leads no more", elsewhere).await?;
    ensure!(lab.page(next, "/readyz").await?.0 == 503);
    clients[next].call(&Request::Drain { on: false }).await?;
    until("it is ready", async || {
        matches!(lab.page(next, "/readyz").await, Ok((200, _)))
    })
    .await?;

    // A member that is removed is an empty node at once, and comes back as another.
    let leader = lab.leader().await?;
    let gone = (leader + 1) % 3;
    run.fault();
    let remove = Request::RemoveMember {
        member: Member::Id(ids[gone]),
    };
    let asked = (leader + 2) % 3;
    clients[asked].call(&remove).await?;
    ensure!(refused(clients[asked].call(&remove).await)? == ErrorCode::UnknownMember);
    let two = async || {
        let status = lab.status(leader).await;
        status.is_ok_and(|status| {
            status.peers.len() == 1 && status.peers[0].role == MemberRole::Voter
        })
    };
    until("two members are left", two).await?;
    let empty = async || {
        let status = lab.status(gone).await;
        status.is_ok_and(|status| status.cluster_id.is_none() && status.id != ids[gone])
    };
    until("the removed one is a new node", empty).await?;
    let dir = &lab.cluster.sites()[gone].dir;
    ensure!(
        dir.join(format!("removed-{}", ids[gone])).exists(),
        "{dir:?}"
    );
    ensure!(lab.page(gone, "/readyz").await?.0 == 503);
    // One that runs is not wanted any more, so it waits to be asked.
    let join = Request::Join {
        address: lab.cluster.sites()[leader].peer.to_string().parse()?,
    };
    clients[gone].call(&join).await?;
    progress(&run, 100).await?;

    // One that is removed while it is away joins anew by itself.
    let leader = lab.leader().await?;
    let away = (leader + 1) % 3;
    let id = lab.status(away).await?.id;
    run.fault();
    lab.cluster.kill(away).await;
    let remove = Request::RemoveMember {
        member: Member::Id(id),
    };
    clients[leader].call(&remove).await?;
    lab.cluster.start_node(away)?;
    let back = async || {
        let status = lab.status(away).await;
        status.is_ok_and(|status| status.id != id && status.role == NodeRole::Follower)
    };
    until("it is back under a new id", back).await?;
    progress(&run, 100).await?;
    println!("{:?}", lab.settle(run, false).await?);
    Ok(())
}

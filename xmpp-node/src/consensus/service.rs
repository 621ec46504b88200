//! What this node answers its peers.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use openraft::raft::{AppendEntriesResponse, TransferLeaderRequest, VoteRequest};
use tokio::sync::mpsc;
use tracing::warn;
use xmpp_core::router::check_chunk;
use xmpp_node_api::status::NodeId;

use super::types::TypeConfig;
use super::{Consensus, rpc};
use crate::peer::{Hello, STREAM_WINDOW, Service, StreamEnds};

/// Answers for a [`Consensus`].
#[derive(Debug)]
pub(super) struct Answers(pub(super) Arc<Consensus>);

impl Service for Answers {
    fn request(&self, from: &Hello, kind: u8, body: Bytes) -> BoxFuture<'static, Bytes> {
        let consensus = Arc::clone(&self.0);
        let from = from.clone();
        // An empty answer is unreadable to the asker, which takes it for a failure.
        Box::pin(async move {
            answer(&consensus, &from, kind, body)
                .await
                .unwrap_or_default()
        })
    }

    fn message(&self, from: &Hello, kind: u8, body: Bytes) {
        // A chunk that comes to a node that does not lead is dropped; its origin sends it to the leader again.
        if kind != rpc::CHUNK || !self.0.raft.is_leader() {
            return;
        }
        match check_chunk(&body) {
            Ok(header) if header.node == from.node_id => self.0.proposer.push(vec![body]),
            Ok(header) => {
                warn!(
                    peer = from.name,
                    node = %NodeId(header.node),
                    "sent commands of another node: not proposed"
                );
            }
            Err(error) => {
                warn!(peer = from.name, %error, "sent commands that cannot be read: not proposed")
            }
        }
    }

    fn stream(&self, _: &Hello, kind: u8) -> Option<StreamEnds> {
        if !matches!(kind, rpc::APPENDS | rpc::HEARTBEATS) {
            return None;
        }
        let (items, incoming) = mpsc::channel(STREAM_WINDOW);
        let (outgoing, answers) = mpsc::channel(STREAM_WINDOW);
        tokio::spawn(append(Arc::clone(&self.0), incoming, outgoing));
        Some((items, answers))
    }
}

/// Appends in order. Ends on the first refusal, on an unreadable body, and with the connection.
async fn append(
    consensus: Arc<Consensus>,
    incoming: mpsc::Receiver<Bytes>,
    outgoing: mpsc::Sender<Bytes>,
) {
    let requests = futures::stream::unfold(incoming, |mut incoming| async move {
        let request = rpc::decode_append(incoming.recv().await?).ok()?;
        Some((request, incoming))
    });
    let mut results = std::pin::pin!(consensus.raft.stream_append(requests));
    while let Some(Ok(result)) = results.next().await {
        if result.is_ok() {
            consensus.contact.heard();
        }
        let ends = result.is_err();
        if outgoing.send(rpc::encode(&result)).await.is_err() || ends {
            return;
        }
    }
}

async fn answer(consensus: &Arc<Consensus>, from: &Hello, kind: u8, body: Bytes) -> Option<Bytes> {
    let raft = &consensus.raft;
    match kind {
        rpc::VOTE | rpc::PRE_VOTE => {
            // A node that may have been removed while it was away has no vote, and gives none.
            if !consensus.is_confirmed_member() {
                return None;
            }
            let request: VoteRequest<TypeConfig> = rpc::decode("vote", &body).ok()?;
            let response = if kind == rpc::VOTE {
                raft.vote(request).await
            } else {
                raft.pre_vote(request).await
            };
            response.ok().map(|response| rpc::encode(&response))
        }
        rpc::APPEND => {
            let response = raft
                .append_entries(rpc::decode_append(body).ok()?)
                .await
                .ok()?;
            if matches!(
                response,
                AppendEntriesResponse::Success | AppendEntriesResponse::PartialSuccess(_)
            ) {
                consensus.contact.heard();
            }
            Some(rpc::encode(&response))
        }
        rpc::TRANSFER => {
            let request: TransferLeaderRequest<TypeConfig> =
                rpc::decode("transfer of leadership", &body).ok()?;
            raft.handle_transfer_leader(request)
                .await
                .ok()
                .map(|response| rpc::encode(&response))
        }
        rpc::SNAPSHOT => Some(consensus.receiver.take(from.node_id, body, raft).await),
        rpc::CONFIRM => super::confirm::answer(consensus).await,
        rpc::LOST => super::failover::answer(consensus, &body).await,
        rpc::MEMBER => super::members::answer_member(consensus, &body),
        rpc::JOIN => super::joining::answer_join(consensus, &body).await,
        _ => None,
    }
}

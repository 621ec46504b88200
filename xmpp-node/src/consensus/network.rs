//! openraft's way to the other members: requests and one pipelined stream of appends over the links of [`crate::peer`].

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::{StreamExt, stream};
use openraft::OptionalSend;
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, v2::RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult,
    TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

use super::rpc::{self, Unreadable};
use super::snapshot::SnapshotData;
use super::transfer;
use super::types::{Member, TypeConfig, Vote};
use crate::peer::{Link, LinkError, Peers};

/// Between two attempts to reach a member that did not answer.
const BACKOFF: Duration = Duration::from_millis(20);

/// Makes a [`Client`] for each member.
#[derive(Clone)]
pub(super) struct Network {
    peers: Peers,
}

impl Network {
    /// Over these links.
    #[must_use]
    pub(super) fn new(peers: Peers) -> Self {
        Self { peers }
    }
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Client;

    async fn new_client(&mut self, target: u64, _: &Member) -> Client {
        Client {
            peers: self.peers.clone(),
            target,
            stream: rpc::APPENDS,
        }
    }

    async fn new_heartbeat_client(&mut self, target: u64, _: &Member) -> Client {
        Client {
            peers: self.peers.clone(),
            target,
            stream: rpc::HEARTBEATS,
        }
    }
}

/// The way to one member.
#[derive(Clone)]
pub(super) struct Client {
    peers: Peers,
    target: u64,
    /// The kind of its stream of appends.
    stream: u8,
}

impl Client {
    fn link(&self) -> Result<Link, RPCError<TypeConfig>> {
        self.peers
            .link(self.target)
            .ok_or_else(|| unreachable(LinkError::Down))
    }

    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        kind: u8,
        request: &Q,
        option: &RPCOption,
    ) -> Result<A, RPCError<TypeConfig>> {
        let body = rpc::encode(request);
        let answer = self
            .link()?
            .request(kind, vec![body], option.soft_ttl())
            .await
            .map_err(unreachable)?;
        rpc::decode("answer", &answer).map_err(unreadable)
    }
}

impl RaftNetworkV2<TypeConfig> for Client {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let pieces = rpc::encode_append(&request);
        let answer = self
            .link()?
            .request(rpc::APPEND, pieces, option.soft_ttl())
            .await
            .map_err(unreachable)?;
        rpc::decode("answer to an append", &answer).map_err(unreadable)
    }

    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        _: RPCOption,
    ) -> BoxFuture<
        's,
        Result<
            BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RPCError<TypeConfig>>>,
            RPCError<TypeConfig>,
        >,
    >
    where
        S: futures::Stream<Item = AppendEntriesRequest<TypeConfig>>
            + OptionalSend
            + Unpin
            + 'static,
    {
        Box::pin(async move {
            let opened = self
                .link()
                .and_then(|link| link.stream(self.stream).map_err(unreachable));
            let (mut sender, receiver) = match opened {
                Ok(ends) => ends,
                Err(error) => {
                    // openraft waits between attempts only when a stream was opened: a member that is gone would keep it
                    // busy with nothing else.
                    sleep(BACKOFF).await;
                    return Err(error);
                }
            };
            // Ends with the stream of answers, which holds its handle. A silent peer ends the link, and so both.
            let sent = Arc::new(AtomicU64::new(0));
            let counted = Arc::clone(&sent);
            let pump = AbortOnDropHandle::new(tokio::spawn(async move {
                while let Some(request) = input.next().await {
                    // Counted before it is sent, so an answer is never ahead of the count.
                    counted.fetch_add(1, Ordering::AcqRel);
                    if sender.send(rpc::encode_append(&request)).await.is_err() {
                        break;
                    }
                }
            }));
            let answers = stream::unfold(Some((receiver, pump, 0)), move |state| {
                let sent = Arc::clone(&sent);
                async move {
                    let (mut receiver, pump, answered) = state?;
                    let Some(answer) = receiver.recv().await else {
                        // Nothing more to send and nothing unanswered is the orderly end.
                        let orderly = sent.load(Ordering::Acquire) == answered;
                        return (!orderly).then(|| (Err(unreachable(LinkError::Closed)), None));
                    };
                    let answer: Result<StreamAppendResult<TypeConfig>, _> =
                        rpc::decode("answer to an append", &answer);
                    match answer {
                        Ok(Ok(done)) => Some((Ok(Ok(done)), Some((receiver, pump, answered + 1)))),
                        Ok(Err(refused)) => Some((Ok(Err(refused)), None)),
                        Err(fault) => Some((Err(unreadable(fault)), None)),
                    }
                }
            });
            let answers: BoxStream<'s, _> = Box::pin(answers);
            Ok(answers)
        })
    }

    async fn vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask(rpc::VOTE, &request, &option).await
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask(rpc::PRE_VOTE, &request, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<TypeConfig, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let link = self
            .peers
            .link(self.target)
            .ok_or_else(|| StreamingError::Unreachable(Unreachable::new(&LinkError::Down)))?;
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = transfer::send(&link, vote, snapshot) => sent.map_err(|error| StreamingError::Unreachable(Unreachable::new(&error))),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        self.ask(rpc::TRANSFER, &request, &option).await
    }

    fn backoff(&self) -> Option<Backoff> {
        Some(Backoff::new(std::iter::repeat(BACKOFF)))
    }
}

fn unreachable(error: LinkError) -> RPCError<TypeConfig> {
    RPCError::Unreachable(Unreachable::new(&error))
}

fn unreadable(error: Unreadable) -> RPCError<TypeConfig> {
    RPCError::Network(NetworkError::new(&error))
}

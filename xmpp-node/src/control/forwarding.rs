//! Requests that only the leader can fulfil, asked of another node: that node asks the leader over their link.
//!
//! One step and no more: a node that is asked so and does not lead answers [`ErrorCode::NotLeader`], as does one that cannot
//! reach the leader. Peers may ask whatever they could ask at the admin port, which takes their role too, but only of these
//! requests. Bounds: [`MAX_BYTES`] a request, [`PATIENCE`] for its answer; how many at once is the link's.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use serde_json::Value;
use xmpp_node_api::admin::{AdminError, ErrorCode, Request, Response};

use crate::node::Node;
use crate::peer::{Hello, Service, StreamEnds};

/// Kind of the request between nodes: JSON of a [`Request`], answered by JSON of its result. Beside those of consensus.
const ADMIN: u8 = 32;
/// As at the admin port.
const MAX_BYTES: usize = 64 * 1024;
/// More than any change of membership takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// Whether nobody but the leader can fulfil a request.
const fn is_for_the_leader(request: &Request) -> bool {
    matches!(
        request,
        Request::AddLearner { .. }
            | Request::ChangeVoters { .. }
            | Request::RemoveMember { .. }
            | Request::TransferLeader { .. }
    )
}

impl Node {
    /// Fulfils a request here, or has the leader do it.
    pub(super) async fn fulfil_or_forward(&self, request: Request) -> Result<Response, AdminError> {
        let for_the_leader = is_for_the_leader(&request).then(|| request.clone());
        let result = self.fulfil(request).await;
        match (result, for_the_leader) {
            (Err(error), Some(request)) if error.code == ErrorCode::NotLeader => {
                self.forward(&request).await.unwrap_or(Err(error))
            }
            (result, _) => result,
        }
    }

    /// What the leader says; `None` if it cannot be asked.
    async fn forward(&self, request: &Request) -> Option<Result<Response, AdminError>> {
        let leader = self.consensus.leader()?;
        let link = self
            .peers
            .link(leader)
            .filter(|_| leader != self.consensus.local.id)?;
        let body = Bytes::from(serde_json::to_vec(request).ok()?);
        let answer = match link.request(ADMIN, vec![body], PATIENCE).await {
            Ok(answer) => answer,
            Err(error) => {
                let text = format!("the leader was asked and gave no answer: {error}");
                return Some(Err(AdminError::new(ErrorCode::Timeout, text)
                    .with_fix("look at the status, then ask again")));
            }
        };
        let unreadable =
            || AdminError::new(ErrorCode::Internal, "the leader's answer is unreadable");
        let result: Result<Value, AdminError> =
            serde_json::from_slice(&answer).unwrap_or_else(|_| Err(unreadable()));
        Some(result.and_then(|value| request.read_response(value).map_err(|_| unreadable())))
    }

    async fn fulfil_for_peer(&self, body: &[u8]) -> Bytes {
        let request = match serde_json::from_slice::<Request>(body) {
            Ok(request) if body.len() <= MAX_BYTES && is_for_the_leader(&request) => request,
            // Unreadable to the asker, which takes it for a failure.
            _ => return Bytes::new(),
        };
        let result = self.fulfil(request).await;
        serde_json::to_vec(&result)
            .map(Bytes::from)
            .unwrap_or_default()
    }
}

/// What a node answers its peers: consensus, and these requests.
pub(crate) struct Answers {
    pub(crate) node: Arc<Node>,
    pub(crate) consensus: Arc<dyn Service>,
}

impl Service for Answers {
    fn admit(&self, from: &Hello) -> Result<(), String> {
        self.consensus.admit(from)
    }

    fn request(&self, from: &Hello, kind: u8, body: Bytes) -> BoxFuture<'static, Bytes> {
        if kind != ADMIN {
            return self.consensus.request(from, kind, body);
        }
        let node = Arc::clone(&self.node);
        Box::pin(async move { node.fulfil_for_peer(&body).await })
    }

    fn message(&self, from: &Hello, kind: u8, body: Bytes) {
        self.consensus.message(from, kind, body);
    }

    fn stream(&self, from: &Hello, kind: u8) -> Option<StreamEnds> {
        self.consensus.stream(from, kind)
    }
}

//! Asks members: their status, all at once, and single requests. By mutual TLS, each known by the name in its certificate.

use std::time::Duration;

use futures::future::join_all;
use tokio::time::timeout;
use xmpp_node_api::address::HostPort;
use xmpp_node_api::admin::{Request, Response};
use xmpp_node_client::admin::{AdminClient, ClientError, Endpoint};
use xmpp_node_client::tls::Caller;

use crate::names::ADMIN_PORT;
use crate::observe::Answers;

/// How long a member may take to tell its status. One that takes longer is as good as silent.
const PATIENCE: Duration = Duration::from_secs(3);

/// The members that may answer.
#[derive(Clone, Debug)]
pub struct Nodes {
    caller: Caller,
    addresses: Vec<(String, String)>,
}

impl Nodes {
    /// Pods by name and address.
    #[must_use]
    pub const fn new(caller: Caller, addresses: Vec<(String, String)>) -> Self {
        Self { caller, addresses }
    }

    /// The status of each, or why there is none.
    pub async fn statuses(&self) -> Answers {
        let ask = |(pod, address): &(String, String)| {
            let (pod, address) = (pod.clone(), address.clone());
            async move {
                let answer = match self.client(&pod, &address) {
                    Some(client) => timeout(PATIENCE, client.status()).await.map_or_else(
                        |_| Err(format!("no answer within {} s", PATIENCE.as_secs())),
                        |answer| answer.map_err(|error| error.to_string()),
                    ),
                    None => Err(format!("{address} is no address")),
                };
                (pod, answer)
            }
        };
        join_all(self.addresses.iter().map(ask))
            .await
            .into_iter()
            .collect()
    }

    /// Asks the member of that name for something.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn call(&self, pod: &str, request: &Request) -> Result<Response, ClientError> {
        let address = self.addresses.iter().find(|(name, _)| name == pod);
        let client = address.and_then(|(pod, address)| self.client(pod, address));
        match client {
            Some(client) => client.call(request).await,
            None => Err(ClientError::Unreachable {
                at: pod.to_owned(),
                reason: "its pod has no address".to_owned(),
            }),
        }
    }

    fn client(&self, pod: &str, address: &str) -> Option<AdminClient> {
        Some(AdminClient::new(Endpoint::Tls {
            address: HostPort::new(address, ADMIN_PORT).ok()?,
            config: self.caller.config(pod),
        }))
    }
}

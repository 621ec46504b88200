//! Once all is over: the bridges' books against the ledgers of the nodes, see [`super::report`].

use std::time::Duration;

use tokio::time::{Instant, sleep};
use xmpp_node_api::status::NodeStatus;

use super::accounts::Totals;
use super::cluster::Cluster;
use super::report::{Books, disagreements};
use super::traffic::Run;

/// Compares until books and ledgers agree or it is clear that they do not; returns where they differ, in words. `totals`
/// are those of a run that is drained and not stopped; `shared` tells whether anyone else used the cluster.
pub async fn reckon(
    cluster: &Cluster,
    run: &Run,
    totals: &Totals,
    mut shared: impl FnMut(&[Option<NodeStatus>]) -> bool,
) -> Vec<String> {
    let deadline = Instant::now() + RECKON;
    loop {
        let statuses = cluster.statuses().await;
        let counters = run.counters();
        let books = Books {
            accepted: counters.accepted - counters.given_up,
            delivered: totals.delivered,
            errors: totals.errors,
            shared: shared(&statuses),
        };
        let reachable: Vec<NodeStatus> = statuses.into_iter().flatten().collect();
        let found = disagreements(&books, &reachable);
        if found.is_empty() || Instant::now() >= deadline {
            return found;
        }
        sleep(POLL).await;
    }
}

/// How long the last confirmations may take to reach every node.
const RECKON: Duration = Duration::from_secs(5);

const POLL: Duration = Duration::from_millis(100);

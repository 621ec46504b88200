//! What the metrics port of a node tells.

use std::sync::Arc;

use xmpp_node_api::status::Readiness;

use super::Node;
use crate::admin::health::Health;

impl Node {
    pub(super) fn health(self: &Arc<Self>) -> Health {
        let (ready, metrics) = (Arc::clone(self), Arc::clone(self));
        Health {
            ready: Arc::new(move || {
                let ready = ready.readiness();
                Readiness {
                    ok: ready.is_ok(),
                    reason: ready.err().unwrap_or("ready").to_owned(),
                }
            }),
            metrics: Arc::new(move || metrics.observe()),
        }
    }

    /// The metrics as they are now.
    fn observe(&self) -> String {
        self.metrics.observe(&self.status());
        self.metrics
            .observe_reload_failures(self.settings.tls.reload_failures());
        let count = |value: usize| i64::try_from(value).unwrap_or(i64::MAX);
        self.metrics
            .streams
            .set(count(self.streams.applied.streams()));
        self.metrics
            .unauthenticated
            .set(count(self.admission.unproved()));
        self.metrics
            .log_bytes
            .set(i64::try_from(self.consensus.log_bytes()).unwrap_or(i64::MAX));
        self.metrics
            .snapshot_index
            .set(i64::try_from(self.consensus.snapshot_index()).unwrap_or(i64::MAX));
        let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        let router = self.streams.applied.router();
        self.metrics.state_bytes.set(signed(router.queued_bytes()));
        self.metrics.kept_bytes.set(signed(router.kept_bytes()));
        let (users, clients, offline) = router.accounts().fold((0, 0, 0), |sums, (_, account)| {
            let (users, clients, offline) = sums;
            let waiting = account.offline.len() as u64;
            (
                users + 1,
                clients + account.sessions.len() as u64,
                offline + waiting,
            )
        });
        drop(router);
        self.metrics.users.set(users);
        self.metrics.clients.set(signed(clients));
        self.metrics.offline_stanzas.set(signed(offline));
        self.metrics.encode()
    }
}

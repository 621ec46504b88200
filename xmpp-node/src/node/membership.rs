//! How a node comes to belong to a cluster, and finds out whether it still does.
//!
//! A node keeps on its volume through whom it joins, until it votes or was turned away. So one that is restarted while it learns
//! goes on where it was; one that votes no more because somebody decided so does not.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tokio::time::sleep;
use tracing::{info, warn};

use super::parts::differing_limits;
use super::{Node, Removed};
use crate::consensus::ConsensusError;
use crate::consensus::joining::Standing;
use crate::identity::Identity;
use crate::sealing::SealingKey;
use crate::settings::Settings;

/// How often a node without cluster asks its seeds.
const JOIN_PERIOD: Duration = Duration::from_millis(500);
/// How often a member asks at its start whether it still is one, until a quorum answers.
const STANDING_PERIOD: Duration = Duration::from_millis(50);
/// How often a member looks whether it has reason to ask again.
const STAYING_PERIOD: Duration = Duration::from_millis(500);

impl Node {
    /// Becomes a member, or finds out whether it still is one, and stays one until it is removed.
    pub(super) async fn belong(self: Arc<Self>) {
        if self.consensus.members().is_empty() {
            if self.seeded {
                self.join_a_seed().await;
            }
        } else if self.still_belongs().await {
            self.consensus.confirm_member();
            self.go_on_joining().await;
        } else {
            self.removed.send_replace(Some(Removed::Away));
            return;
        }
        self.stay().await;
        self.removed.send_replace(Some(Removed::Running));
    }

    async fn still_belongs(&self) -> bool {
        loop {
            match self.consensus.standing().await {
                Standing::Member => return true,
                Standing::Removed => return false,
                Standing::Unknown => sleep(STANDING_PERIOD).await,
            }
        }
    }

    /// Returns when a quorum says twice that this node is no member. A node that hears its leader, and sees itself among the
    /// members, need not ask.
    async fn stay(&self) {
        let mut denied = 0;
        while denied < 2 {
            sleep(STAYING_PERIOD).await;
            let members = self.consensus.members();
            let own = |(id, _): &(u64, _)| *id == self.consensus.local.id;
            let sure = self.streams.contact.is_open() && members.iter().any(own);
            let removed = !members.is_empty()
                && !sure
                && self.consensus.standing().await == Standing::Removed;
            denied = if removed { denied + 1 } else { 0 };
        }
    }

    /// Joins through whichever seed takes this node in.
    async fn join_a_seed(&self) {
        let own = &self.settings.advertise;
        let seeds = self.settings.seeds.iter().filter(|seed| *seed != own);
        self.join_one_of(seeds.map(ToString::to_string).collect())
            .await;
    }

    /// Takes up what a restart interrupted.
    async fn go_on_joining(&self) {
        let through = {
            let identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
            identity
                .as_ref()
                .and_then(|identity| identity.joining().map(str::to_owned))
        };
        let Some(through) = through else { return };
        info!(through, "goes on joining");
        let seeds = self.settings.seeds.iter().map(ToString::to_string);
        self.join_one_of(std::iter::once(through).chain(seeds).collect())
            .await;
        self.keep_joining(None);
    }

    /// An attempt may fail when the node learns already; so it is over only when the node votes, be it because it was
    /// initialised meanwhile.
    async fn join_one_of(&self, addresses: Vec<String>) {
        while !addresses.is_empty() && !self.consensus.votes() {
            for address in &addresses {
                match self.join(address).await {
                    Ok(()) => return,
                    Err(error) => info!(address, %error, "not taken in yet"),
                }
            }
            sleep(JOIN_PERIOD).await;
        }
    }

    fn keep_joining(&self, through: Option<&str>) {
        let mut identity = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(identity) = identity.as_mut()
            && let Err(error) = identity.set_joining(through)
        {
            warn!(%error, "after a restart the node will not know whether it joins");
        }
    }

    /// Joins the cluster that the node at `address` belongs to; returns once this node votes.
    ///
    /// # Errors
    /// As [`crate::consensus::Consensus::join`].
    pub async fn join(&self, address: &str) -> Result<(), ConsensusError> {
        let _one = self.joining.lock().await;
        // Before the request: the log may come before the answer.
        self.keep_joining(Some(address));
        let joined = self
            .consensus
            .join(address, |welcome| {
                if welcome.domain != self.settings.domain {
                    return Err(ConsensusError::JoinRefused(format!(
                        "its domain is {}, this node's is {}",
                        welcome.domain, self.settings.domain
                    )));
                }
                let key = welcome
                    .sealing_key()
                    .map_err(|error| ConsensusError::JoinRefused(error.to_string()))?;
                self.belong_to(&welcome.cluster_id, key)
            })
            .await;
        if joined.is_ok() || self.consensus.members().is_empty() {
            self.keep_joining(None);
        }
        joined
    }

    /// Tells, once the state is there, where the file has other bounds than the cluster goes by.
    pub(super) async fn compare(self: Arc<Self>) {
        let applied = &self.streams.applied;
        let mut index = applied.index();
        // The sender lives as long as this does.
        let _ = index
            .wait_for(|_| !applied.router().cluster().is_empty())
            .await;
        let ruling = applied.router().limits();
        for (key, file, cluster) in differing_limits(&self.settings.limits, ruling) {
            warn!(
                key,
                file,
                cluster,
                "the cluster was initialised with another value, which rules: that of the file has no effect"
            );
        }
    }

    /// This node belongs to a cluster from now on, for life.
    pub(crate) fn belong_to(
        &self,
        cluster_id: &str,
        key: SealingKey,
    ) -> Result<(), ConsensusError> {
        let mut guard = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(identity) = guard.as_mut() else {
            return Err(ConsensusError::Timeout);
        };
        let expected = self
            .settings
            .cluster_id
            .as_deref()
            .or_else(|| identity.cluster_id());
        if expected.is_some_and(|expected| expected != cluster_id) {
            return Err(ConsensusError::JoinRefused(format!(
                "it is cluster {cluster_id}, not the one expected"
            )));
        }
        identity
            .set_sealing_key(&key)
            .and_then(|()| identity.set_cluster_id(cluster_id))
            .map_err(|error| ConsensusError::Raft(error.to_string()))?;
        self.streams.sealing.store(Some(Arc::new(key)));
        self.peers.set_cluster_id(cluster_id);
        Ok(())
    }
}

/// A volume that has no cluster yet takes what the settings mount; one that has must agree.
pub(super) fn adopt(settings: &Settings, identity: &mut Identity) -> anyhow::Result<()> {
    if let (Some(expected), Some(found)) = (settings.cluster_id.as_deref(), identity.cluster_id()) {
        anyhow::ensure!(
            expected == found,
            "cluster.id: the volume in {} belongs to cluster {found}, not {expected}",
            settings.dir.display()
        );
    }
    if let Some(key) = &settings.sealing_key {
        identity.set_sealing_key(&SealingKey::new(key.expose_secret())?)?;
    }
    Ok(())
}

//! How a node comes to belong to a cluster, and finds out whether it still does.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use secrecy::ExposeSecret as _;
use tokio::time::sleep;
use tracing::info;

use super::Node;
use crate::consensus::ConsensusError;
use crate::consensus::joining::Standing;
use crate::identity::Identity;
use crate::sealing::SealingKey;
use crate::settings::Settings;

/// How often a node without cluster asks its seeds.
const JOIN_PERIOD: Duration = Duration::from_millis(500);
/// How often a member asks whether it still is one, until a quorum answers.
const STANDING_PERIOD: Duration = Duration::from_millis(50);

impl Node {
    /// Becomes a member, or finds out whether it still is one.
    pub(super) async fn belong(self: Arc<Self>) {
        if self.consensus.members().is_empty() {
            return self.join_a_seed().await;
        }
        loop {
            match self.consensus.standing().await {
                Standing::Member => return self.consensus.confirm_member(),
                Standing::Removed => return self.removed.cancel(),
                Standing::Unknown => sleep(STANDING_PERIOD).await,
            }
        }
    }

    /// Joins through whichever seed takes this node in. An attempt may fail when the node learns already; so it is over only
    /// when the node votes, be it because it was initialised meanwhile.
    async fn join_a_seed(&self) {
        let own = &self.settings.advertise;
        let seeds = self.settings.seeds.iter().filter(|seed| *seed != own);
        let seeds: Vec<String> = seeds.map(ToString::to_string).collect();
        while !seeds.is_empty() && !self.consensus.votes() {
            for seed in &seeds {
                match self.join(seed).await {
                    Ok(()) => return,
                    Err(error) => info!(seed, %error, "not taken in yet"),
                }
            }
            sleep(JOIN_PERIOD).await;
        }
    }

    /// Joins the cluster that the node at `address` belongs to; returns once this node votes.
    ///
    /// # Errors
    /// As [`crate::consensus::Consensus::join`].
    pub async fn join(&self, address: &str) -> Result<(), ConsensusError> {
        let _one = self.joining.lock().await;
        self.consensus
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
            .await
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

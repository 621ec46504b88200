//! A planned stop, which waits for nobody who is gone or stops too.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use super::Node;
use crate::connection::Welcome;
use crate::consensus::ConsensusError;

impl Node {
    /// Closes all streams, and opens no more.
    pub(super) fn send_elsewhere(&self) {
        self.draining.send_replace(true);
        self.streams.welcome.send_replace(Welcome::Shut);
    }

    /// Planned stop: leadership goes first, then the peers, then what they still had under way is seen applied.
    pub(super) async fn leave(&self) {
        let patience = self.settings.timing.stop_timeout;
        self.draining.send_replace(true);
        match self.consensus.transfer_leader(None).await {
            Ok(()) | Err(ConsensusError::NotLeader(_)) => {}
            // All stop together, or there is only this one.
            Err(error @ ConsensusError::NoSuccessor) => {
                info!(%error, "leadership is not handed over")
            }
            Err(error) => warn!(%error, "leadership could not be handed over"),
        }
        self.send_elsewhere();
        let mut quorum_seen = Instant::now();
        let gone = async {
            loop {
                if self.consensus.sees_quorum() {
                    quorum_seen = Instant::now();
                }
                // Without a quorum nothing is applied any more, and nobody was told that it would be.
                let decided = self.streams.ingress.waiting().0 == 0
                    || quorum_seen.elapsed() > self.settings.timing.silence;
                if decided && self.streams.applied.streams() == 0 {
                    return;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        if timeout(patience, gone).await.is_err() {
            error!("stopped with streams or commands under way");
        }
    }
}

//! Which replica of the operator acts: the holder of a Lease. The others wait, ready to take over.
//!
//! Expiry is judged by how long a Lease was seen unchanged here, never by comparing clocks of two machines. Whoever cannot
//! renew ends its process, so two never act for long; that they may for a moment is why every destructive call bears the
//! unique id of what it is about.

use std::time::Duration;

use anyhow::bail;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

/// After so long without a renewal anybody may take the Lease.
const DURATION: Duration = Duration::from_secs(15);
/// A holder that could not renew for so long ends.
const DEADLINE: Duration = Duration::from_secs(10);
/// Between two tries.
const PERIOD: Duration = Duration::from_secs(2);

/// The Lease, and who we are.
#[derive(Clone)]
pub struct Election {
    api: Api<Lease>,
    name: String,
    me: String,
}

/// What to do about a Lease.
#[derive(Debug, PartialEq, Eq)]
enum Decision {
    /// Take or renew it: this many changes of holder so far.
    Write(i32),
    /// Somebody else has it.
    Leave,
}

/// `unchanged` is how long this very Lease was seen here.
fn decide(lease: Option<&LeaseSpec>, me: &str, unchanged: Duration) -> Decision {
    let Some(lease) = lease else {
        return Decision::Write(0);
    };
    let transitions = lease.lease_transitions.unwrap_or(0);
    match lease.holder_identity.as_deref().unwrap_or_default() {
        "" => Decision::Write(transitions.saturating_add(1)),
        holder if holder == me => Decision::Write(transitions),
        _ if unchanged >= DURATION => Decision::Write(transitions.saturating_add(1)),
        _ => Decision::Leave,
    }
}

impl Election {
    /// Over the Lease of that name.
    #[must_use]
    pub const fn new(api: Api<Lease>, name: String, me: String) -> Self {
        Self { api, name, me }
    }

    /// Waits until this replica holds the Lease.
    pub async fn win(&self) {
        let mut seen: Option<(Option<String>, Instant)> = None;
        loop {
            match self.api.get_opt(&self.name).await {
                Ok(found) => {
                    let version = found
                        .as_ref()
                        .and_then(|lease| lease.metadata.resource_version.clone());
                    let since = match &seen {
                        Some((known, since)) if *known == version => *since,
                        _ => seen.insert((version, Instant::now())).1,
                    };
                    match self.write(found, since.elapsed()).await {
                        Ok(true) => {
                            info!(lease = self.name, "this replica acts from now on");
                            return;
                        }
                        Ok(false) => {}
                        Err(error) => warn!(%error, "the Lease was not taken"),
                    }
                }
                Err(error) => warn!(%error, "the Lease cannot be read"),
            }
            sleep(PERIOD).await;
        }
    }

    /// Renews the Lease for as long as that works.
    ///
    /// # Errors
    /// It was lost: the process must end.
    pub async fn keep(&self) -> anyhow::Result<()> {
        let mut renewed = Instant::now();
        loop {
            sleep(PERIOD).await;
            let renew = async {
                let found = self.api.get_opt(&self.name).await?;
                self.write(found, Duration::ZERO).await
            };
            match tokio::time::timeout(DEADLINE, renew).await {
                Ok(Ok(true)) => renewed = Instant::now(),
                Ok(Ok(false)) => bail!("another replica took the Lease {}", self.name),
                Ok(Err(error)) => warn!(%error, "the Lease was not renewed"),
                Err(_) => warn!("the Lease was not renewed in time"),
            }
            if renewed.elapsed() >= DEADLINE {
                bail!(
                    "the Lease {} could not be renewed for {} s",
                    self.name,
                    DEADLINE.as_secs()
                );
            }
        }
    }

    /// Gives the Lease up, so that another replica need not wait.
    pub async fn release(&self) {
        let Ok(Some(mut lease)) = self.api.get_opt(&self.name).await else {
            return;
        };
        let spec = lease.spec.get_or_insert_default();
        if spec.holder_identity.as_deref() == Some(&self.me) {
            spec.holder_identity = Some(String::new());
            let released = self
                .api
                .replace(&self.name, &PostParams::default(), &lease)
                .await;
            info!(ok = released.is_ok(), "the Lease is given up");
        }
    }

    /// Takes or renews the Lease if that is due; whether this replica holds it now. What another one wrote meanwhile is not
    /// overwritten: the version that was read must still be there.
    async fn write(&self, found: Option<Lease>, unchanged: Duration) -> Result<bool, kube::Error> {
        let spec = found.as_ref().and_then(|lease| lease.spec.as_ref());
        let Decision::Write(transitions) = decide(spec, &self.me, unchanged) else {
            return Ok(false);
        };
        let now = MicroTime(Timestamp::now());
        let held = spec.filter(|spec| spec.holder_identity.as_deref() == Some(&self.me));
        let acquired = held.and_then(|spec| spec.acquire_time.clone());
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                resource_version: found
                    .as_ref()
                    .and_then(|lease| lease.metadata.resource_version.clone()),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.me.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                lease_transitions: Some(transitions),
                acquire_time: acquired.or_else(|| Some(now.clone())),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        };
        let params = PostParams::default();
        let written = match found {
            None => self.api.create(&params, &lease).await,
            Some(_) => self.api.replace(&self.name, &params, &lease).await,
        };
        match written {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.is_conflict() || status.is_already_exists() => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(by: &str) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(by.to_owned()),
            lease_transitions: Some(3),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_is_taken_only_when_free_ours_or_long_unchanged() {
        let soon = Duration::from_secs(14);
        assert_eq!(decide(None, "a", soon), Decision::Write(0));
        assert_eq!(
            decide(Some(&held("")), "a", Duration::ZERO),
            Decision::Write(4)
        );
        assert_eq!(
            decide(Some(&held("a")), "a", Duration::ZERO),
            Decision::Write(3)
        );
        assert_eq!(decide(Some(&held("b")), "a", soon), Decision::Leave);
        assert_eq!(decide(Some(&held("b")), "a", DURATION), Decision::Write(4));
    }
}

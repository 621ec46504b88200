//! One pass over one cluster: observe, judge, plan, build, apply, take one step, report.
//!
//! A pass may end after any write, and the next one goes on from what it then finds. At most one step that cannot be undone
//! is taken, and none in a pass that changed an object on which the plan stood.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde_json::{Value, json};
use tracing::{info, warn};
use xmpp_node_api::admin::ErrorCode;
use xmpp_node_api::status::NodeStatus;
use xmpp_node_client::admin::ClientError;

use crate::api::{Access, ApiError, Notice};
use crate::build::{self, Facts};
use crate::cluster::Cluster;
use crate::crd::XmppCluster;
use crate::dns::Dns;
use crate::keyring::{self, KeyError, Keyring};
use crate::metrics::Metrics;
use crate::names::BRIDGE;
use crate::nodes::Nodes;
use crate::observe::{Observed, observe};
use crate::plan::{Plan, Step, UNSEEN, Waiting, plan};
use crate::report::Findings;

mod bridges;
mod print;
mod report;
mod step;
mod volumes;

use self::bridges::Bridges;
pub use self::print::print;
use self::report::{Told, refused};

/// What passes share.
pub struct Passes {
    /// The way to the API server.
    pub access: Access,
    /// Counters.
    pub metrics: Metrics,
    /// Asks the name servers.
    dns: Dns,
    /// What bridges of a cluster were last found to be as wanted, by the cluster's unique id: a hash of both sides.
    settled: Mutex<BTreeMap<String, u64>>,
    /// When the status of a cluster was last written, and names of strangers that were told of.
    told: Mutex<BTreeMap<String, Told>>,
}

/// How a pass ended.
#[derive(Debug)]
pub struct Outcome {
    /// When to look again.
    pub pace: Pace,
    /// Members, for whoever looks at them between passes.
    pub nodes: Option<Nodes>,
    /// What the members said, in short.
    pub print: u64,
}

/// When to look again, if nothing happens before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// A step was taken, or a member is about to answer: the next one is due.
    Soon,
    /// Something is waited for that will make itself known.
    Later,
    /// Something is wrong outside of the cluster, and does not make itself known when it is mended.
    Slowly,
    /// The cluster is as it should be.
    Rest,
}

/// Why a pass failed.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The API server.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// Keys and certificates.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A member did not do what it was asked for.
    #[error("{request} of {pod}: {error}")]
    Node {
        /// What it was asked for.
        request: &'static str,
        /// Its pod.
        pod: String,
        /// What it said.
        error: ClientError,
    },
    /// An object cannot be built from the resource.
    #[error("{0:#}")]
    Build(anyhow::Error),
}

impl PassError {
    /// One word for conditions.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Api(error) => error.reason(),
            Self::Key(_) => "KeysUnusable",
            Self::Node { .. } => "MemberRefused",
            Self::Build(_) => "InvalidSpec",
        }
    }

    /// It says only that the world moved; nobody need be told.
    #[must_use]
    pub fn is_race(&self) -> bool {
        match self {
            Self::Api(error) => error.is_race(),
            Self::Node {
                error: ClientError::Refused(error),
                ..
            } => {
                matches!(
                    error.code,
                    ErrorCode::NotLeader | ErrorCode::Unavailable | ErrorCode::Timeout
                )
            }
            Self::Node { .. } => true,
            Self::Key(_) | Self::Build(_) => false,
        }
    }
}

impl Passes {
    /// Passes over that API server.
    #[must_use]
    pub const fn new(access: Access, metrics: Metrics, dns: Dns) -> Self {
        Self {
            access,
            metrics,
            dns,
            settled: Mutex::new(BTreeMap::new()),
            told: Mutex::new(BTreeMap::new()),
        }
    }

    /// Forgets clusters that are gone: those whose unique id is none of these.
    pub fn keep_only(&self, uids: &BTreeSet<String>) {
        let settled = self.settled.lock();
        let kept = |uid: &String| uids.contains(uid);
        settled
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|uid, _| kept(uid));
        let told = self.told.lock();
        told.unwrap_or_else(PoisonError::into_inner)
            .retain(|uid, _| kept(uid));
    }

    /// One pass, with its report.
    ///
    /// # Errors
    /// [`PassError`]; the resource's status says so too, unless it is a race.
    pub async fn run(
        &self,
        resource: &XmppCluster,
        cluster: &Cluster,
    ) -> Result<Outcome, PassError> {
        let outcome = self.try_run(resource, cluster).await;
        if let Err(error) = &outcome
            && !error.is_race()
        {
            let before = resource.status.as_ref();
            let (reason, text) = (error.reason(), error.to_string());
            let status = crate::report::failed(cluster, reason, &text, before, Timestamp::now());
            if let Err(error) = self.write(resource, cluster, &status).await {
                warn!(%error, "the status was not written");
            }
            let notice = Notice {
                warning: true,
                reason: reason.to_owned(),
                subject: String::new(),
                note: text,
            };
            self.access.tell(resource, notice).await;
        }
        outcome
    }

    async fn try_run(
        &self,
        resource: &XmppCluster,
        cluster: &Cluster,
    ) -> Result<Outcome, PassError> {
        let now = Timestamp::now();
        let observed = observe(&self.access, cluster).await?;
        if !cluster.spec.paused && self.make_once(cluster, &observed, now).await? {
            return Ok(Outcome::again());
        }
        let keyring = Keyring::load(cluster, &observed.secrets)?;
        let nodes = Nodes::new(keyring.caller(now)?, observed.addresses());
        let answers = nodes.statuses().await;
        let view = observed.view(cluster, &answers, now);
        let mut plan = plan(&cluster.names, &view);
        let mut bridges = Bridges::default();
        let mut applied = false;
        let mut volumes = volumes::fault(cluster, &observed, &view);
        if !cluster.spec.paused {
            applied = self.apply(cluster, &observed, &keyring, &plan, now).await?;
            volumes = self.grow(cluster, &observed).await?.or(volumes);
            bridges = self
                .settle_bridges(resource, cluster, &observed, &nodes, &view, now)
                .await?;
        }
        let mut took = false;
        if !applied {
            let step = self.take(resource, cluster, &observed, &nodes, &view, &mut plan);
            match step.await {
                Ok(taken) => took = taken,
                // The next pass tries again; meanwhile the status says what stands in the way.
                Err(error @ PassError::Node { .. }) if error.is_race() => {
                    info!(cluster = cluster.names.cluster, step = plan.step.name(), %error, "not done yet");
                    plan.why = format!("{} (last try: {error})", plan.why);
                    took = true;
                }
                Err(error) => return Err(error),
            }
        }
        if applied && plan.step == Step::Rest {
            // What was seen is from before.
            plan.step = Step::Wait(Waiting::Template);
            plan.why = UNSEEN.to_owned();
        }
        let changing = applied || took || bridges.changed;
        let outside = observed.outside(cluster);
        let resting = !changing && plan.step == Step::Rest;
        let dns = match resting {
            true => Some(self.ask_dns(cluster, &outside).await),
            false => None,
        };
        let nodes_said: Vec<&NodeStatus> = view
            .pods
            .iter()
            .filter_map(|pod| pod.node.as_ref())
            .collect();
        let certificate = keyring::certificate_fault(cluster, &observed.secrets, now);
        let certificate_ends = keyring::certificate_ends(cluster, &observed.secrets, now);
        let findings = Findings {
            cluster,
            view: &view,
            plan: &plan,
            certificate: certificate.as_ref(),
            certificate_ends: certificate_ends.as_ref(),
            bridges: &bridges.faults,
            refused: &refused(cluster, &view, &nodes_said, now),
            volumes: volumes.as_ref(),
            dns: dns.as_ref(),
            rotating: &bridges.rotating,
            outside: &outside,
            now,
        };
        let held_back = self.report(resource, &findings).await?;
        self.tell_of_strangers(resource, cluster, &nodes_said, now)
            .await;
        let starting = view
            .pods
            .iter()
            .any(|pod| pod.running && pod.node.is_none());
        let pace = match &plan.step {
            _ if changing => Pace::Soon,
            Step::Wait(Waiting::Paused) => Pace::Rest,
            Step::Rest if !bridges.rotating.is_empty() || held_back => Pace::Later,
            Step::Rest if dns.is_some_and(|dns| dns.holds != Some(true)) => Pace::Slowly,
            Step::Rest => Pace::Rest,
            Step::Wait(Waiting::Drain | Waiting::Template) => Pace::Soon,
            Step::Wait(_) if starting => Pace::Soon,
            _ => Pace::Later,
        };
        Ok(Outcome {
            pace,
            print: print(&answers),
            nodes: Some(nodes),
        })
    }

    /// Creates what is made once: the record of the cluster first, then CAs and the bridges' secrets. Whether it did.
    async fn make_once(
        &self,
        cluster: &Cluster,
        observed: &Observed,
        now: Timestamp,
    ) -> Result<bool, PassError> {
        let mut missing = keyring::missing(cluster, &observed.secrets, now)?;
        if observed.record(cluster).is_none() {
            missing.insert(0, record(cluster, &keyring::cluster_id()?, false));
        }
        for object in &missing {
            match self.access.create(object).await {
                // Somebody else's: the next pass would find the same.
                Err(error) if error.reason() == "Conflict" => {
                    return Err(ApiError::Taken {
                        kind: object["kind"].as_str().unwrap_or_default().to_owned(),
                        name: object["metadata"]["name"]
                            .as_str()
                            .unwrap_or_default()
                            .to_owned(),
                    }
                    .into());
                }
                other => other?,
            }
        }
        Ok(!missing.is_empty())
    }

    /// Makes all objects be as built. Whether anything was written that the plan stands on.
    async fn apply(
        &self,
        cluster: &Cluster,
        observed: &Observed,
        keyring: &Keyring,
        plan: &Plan,
        now: Timestamp,
    ) -> Result<bool, PassError> {
        let facts = Facts {
            replicas: plan.replicas,
            claim_size: observed.claim_size(cluster),
            trust: keyring::trust(cluster, &observed.secrets).map(str::to_owned),
        };
        let mut written = false;
        for secret in keyring.renewed(cluster, &observed.secrets, now)? {
            let name = secret["metadata"]["name"].as_str().unwrap_or_default();
            written |= self
                .access
                .apply(&secret, observed.object("Secret", name))
                .await?;
        }
        let objects = build::objects(cluster, &facts).map_err(PassError::Build)?;
        for object in &objects {
            let kind = object["kind"].as_str().unwrap_or_default();
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            written |= self
                .access
                .apply(object, observed.object(kind, name))
                .await?;
        }
        self.sweep(cluster, observed, &objects).await?;
        Ok(written)
    }

    /// Deletes what the resource does not name any more: generated Secrets of bridges, and Services for the outside.
    async fn sweep(
        &self,
        cluster: &Cluster,
        observed: &Observed,
        wanted: &[Value],
    ) -> Result<(), PassError> {
        let space = &cluster.names.namespace;
        for ((kind, name), object) in &observed.objects {
            let stale = match kind.as_str() {
                "Service" => !wanted
                    .iter()
                    .any(|one| one["kind"] == "Service" && one["metadata"]["name"] == **name),
                "Secret" => object.0["metadata"]["labels"][BRIDGE]
                    .as_str()
                    .is_some_and(|bridge| {
                        let bridges = &cluster.spec.bridges;
                        !bridges
                            .iter()
                            .any(|spec| spec.name == bridge && spec.secret_ref.is_none())
                    }),
                _ => false,
            };
            if stale && object.0["metadata"]["deletionTimestamp"].is_null() {
                self.access.delete(kind, space, name, object.uid()).await?;
            }
        }
        Ok(())
    }
}

impl Outcome {
    fn again() -> Self {
        Self {
            pace: Pace::Soon,
            nodes: None,
            print: 0,
        }
    }
}

fn record(cluster: &Cluster, id: &str, started: bool) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": cluster.kept_meta(&cluster.names.record()),
        "data": { "clusterId": id, "started": started.to_string() },
    })
}

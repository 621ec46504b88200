//! What is: the first step of a pass. Everything is read from the API server's quorum, nothing from a cache, since a step
//! that cannot be undone may follow.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerState, Pod as KubePod};
use xmpp_node_api::status::NodeStatus;

use crate::api::{Access, ApiError, Object, Objects, Said};
use crate::cluster::Cluster;
use crate::dns::Outside;
use crate::keyring::{Data, Secrets};
use crate::names::{DRAINING_SINCE, REPLACE, SERVING, START_EMPTY};
use crate::trouble;
use crate::view::{Pod, Record, View};

/// How long a pod is out of the Services before it goes. Name servers of Kubernetes keep records for 5 s; where they keep them
/// for longer, a bridge may try a pod that is gone, and then the next one.
const DRAIN: Duration = Duration::from_secs(10);
/// Events older than that say nothing of now: whatever still goes wrong is told of more often.
const RECENT: Duration = Duration::from_secs(900);

/// What a pass found at the API server.
#[derive(Clone, Debug, Default)]
pub struct Observed {
    /// Objects that bear the cluster's labels, but Secrets' content is in `secrets`.
    pub objects: Objects,
    /// Secrets, the cluster's and the user's.
    pub secrets: Secrets,
    /// The members' pods.
    pub pods: Vec<KubePod>,
    /// The claims of the members' volumes.
    pub claims: Vec<Object>,
    /// Recent events of claims that have no volume, and of a StatefulSet that lacks pods, by kind and name.
    pub said: BTreeMap<(&'static str, String), Vec<Said>>,
}

/// What a member answered, by the name of its pod.
pub type Answers = BTreeMap<String, Result<NodeStatus, String>>;

/// Reads everything that belongs to a cluster.
///
/// # Errors
/// [`ApiError`].
pub async fn observe(access: &Access, cluster: &Cluster) -> Result<Observed, ApiError> {
    let names = &cluster.names;
    let (space, labels) = (names.namespace.as_str(), names.selector_text());
    let list = |kind: &'static str| access.list(kind, space, &labels);
    let (maps, secrets, services, sets, budgets, policies, claims, pods) = tokio::try_join!(
        list("ConfigMap"),
        list("Secret"),
        list("Service"),
        list("StatefulSet"),
        list("PodDisruptionBudget"),
        list("NetworkPolicy"),
        list("PersistentVolumeClaim"),
        access.pods(space, &labels),
    )?;
    let mut observed = Observed {
        claims,
        pods,
        ..Observed::default()
    };
    for secret in &secrets {
        observed
            .secrets
            .own
            .insert(secret.name().to_owned(), content(secret));
    }
    let bridges = cluster.spec.bridges.iter();
    let named =
        bridges.filter_map(|bridge| bridge.secret_ref.as_ref().map(|given| given.name.as_str()));
    for name in named.chain(cluster.spec.tls_secret()) {
        if !observed.secrets.given.contains_key(name) {
            let found = access.find("Secret", space, name).await?;
            observed
                .secrets
                .given
                .insert(name.to_owned(), found.as_ref().map(content));
        }
    }
    let lists = [maps, secrets, services, sets, budgets, policies];
    for object in lists.into_iter().flatten() {
        let kind = object.0["kind"].as_str().unwrap_or_default().to_owned();
        observed
            .objects
            .insert((kind, object.name().to_owned()), object);
    }
    for about in observed.puzzles(cluster) {
        let (kind, name) = &about;
        let mut said = access.events(space, kind, name).await?;
        let now = Timestamp::now();
        said.retain(|said| !is_past(said.at, RECENT, now));
        observed.said.insert(about, said);
    }
    Ok(observed)
}

fn is_past(time: Timestamp, by: Duration, now: Timestamp) -> bool {
    now.duration_since(time).unsigned_abs() >= by && now > time
}

impl Observed {
    /// What only events can explain: claims without a volume, pods that are not made.
    fn puzzles(&self, cluster: &Cluster) -> Vec<(&'static str, String)> {
        let bound = |claim: &&Object| claim.0["status"]["phase"] == "Bound";
        let claims = self.claims.iter().filter(|claim| !bound(claim));
        let claims = claims.map(|claim| ("PersistentVolumeClaim", claim.name().to_owned()));
        let wanted = self
            .set(cluster)
            .and_then(|set| set.0["spec"]["replicas"].as_u64());
        let lacking = wanted.is_some_and(|wanted| (self.pods.len() as u64) < wanted);
        let set = lacking.then(|| ("StatefulSet", cluster.names.cluster().to_owned()));
        claims.chain(set).collect()
    }

    fn said(&self, kind: &'static str, name: &str) -> &[Said] {
        let found = self.said.get(&(kind, name.to_owned()));
        found.map_or(&[], Vec::as_slice)
    }

    /// An object of the cluster.
    #[must_use]
    pub fn object(&self, kind: &str, name: &str) -> Option<&Object> {
        self.objects.get(&(kind.to_owned(), name.to_owned()))
    }

    /// What is recorded of the cluster; `None` if it is new, so that a record is to be made.
    #[must_use]
    pub fn record(&self, cluster: &Cluster) -> Option<Record> {
        let map = self.object("ConfigMap", &cluster.names.record());
        let data = map.map(|map| &map.0["data"]);
        let id = data.and_then(|data| data["clusterId"].as_str());
        match (id, data.and_then(|data| data["started"].as_str())) {
            (Some(id), Some("true")) => Some(Record::Started(id.to_owned())),
            (Some(id), _) => Some(Record::New(id.to_owned())),
            (None, _) if self.set(cluster).is_some() || !self.claims.is_empty() => {
                Some(Record::Lost)
            }
            (None, _) => None,
        }
    }

    /// Size in the claim template of the StatefulSet that exists.
    #[must_use]
    pub fn claim_size(&self, cluster: &Cluster) -> Option<String> {
        let set = self.set(cluster)?;
        let template = &set.0["spec"]["volumeClaimTemplates"][0];
        let size = &template["spec"]["resources"]["requests"]["storage"];
        size.as_str().map(str::to_owned)
    }

    /// Addresses of pods that run: where members may answer.
    #[must_use]
    pub fn addresses(&self) -> Vec<(String, String)> {
        let pods = self.pods.iter().filter(|pod| is_running(pod));
        let address = |pod: &KubePod| {
            let name = pod.metadata.name.clone()?;
            Some((name, pod.status.as_ref()?.pod_ip.clone()?))
        };
        pods.filter_map(address).collect()
    }

    /// Where members are reached from outside.
    #[must_use]
    pub fn outside(&self, cluster: &Cluster) -> Vec<Outside> {
        let mut found = Vec::new();
        for ordinal in 0..cluster.spec.replicas {
            let pod = cluster.names.pod(ordinal);
            let Some(service) = self.object("Service", &cluster.names.outside(ordinal)) else {
                continue;
            };
            let balancer = &service.0["status"]["loadBalancer"]["ingress"][0];
            let host = balancer["hostname"]
                .as_str()
                .or_else(|| balancer["ip"].as_str());
            let (host, which) = match service.0["spec"]["type"].as_str() {
                Some("LoadBalancer") => (host.map(str::to_owned), "port"),
                _ => (self.host_of(&pod), "nodePort"),
            };
            let ports = service.0["spec"]["ports"].as_array();
            let ports = ports.into_iter().flatten().filter_map(|port| {
                let number = u16::try_from(port[which].as_u64()?).ok()?;
                Some((port["name"].as_str()?.to_owned(), number))
            });
            let ports: Vec<_> = ports.collect();
            if let Some(host) = host
                && !ports.is_empty()
            {
                found.push(Outside { pod, host, ports });
            }
        }
        found
    }

    /// What is known of the members.
    #[must_use]
    pub fn view(&self, cluster: &Cluster, answers: &Answers, now: Timestamp) -> View {
        let set = self.set(cluster);
        let revision = set.and_then(current_revision);
        let record = self.record(cluster).unwrap_or_default();
        let confirmed = cluster.annotations.get(START_EMPTY).map(String::as_str);
        let mut pods: Vec<Pod> = self
            .pods
            .iter()
            .filter_map(|pod| self.pod(cluster, pod, revision, answers, now))
            .collect();
        pods.sort_by_key(|pod| pod.ordinal);
        View {
            wanted: cluster.spec.replicas,
            replicas: set
                .and_then(|set| set.0["spec"]["replicas"].as_i64())
                .and_then(|replicas| i32::try_from(replicas).ok())
                .unwrap_or(0),
            unseen: set.is_some_and(|set| current_revision(set).is_none()),
            paused: cluster.spec.paused,
            start_empty: confirmed.is_some() && confirmed == record.id(),
            record,
            pods,
            unmade: trouble::of_creation(self.said("StatefulSet", cluster.names.cluster())),
        }
    }

    fn pod(
        &self,
        cluster: &Cluster,
        pod: &KubePod,
        revision: Option<&str>,
        answers: &Answers,
        now: Timestamp,
    ) -> Option<Pod> {
        let name = pod.metadata.name.clone()?;
        let ordinal = cluster.names.ordinal(&name)?;
        let labels = pod.metadata.labels.as_ref();
        let own = labels.and_then(|labels| labels.get("controller-revision-hash"));
        let serving =
            labels.is_some_and(|labels| labels.get(SERVING).is_some_and(|on| on == "true"));
        let annotation = |key: &str| pod.metadata.annotations.as_ref()?.get(key);
        let draining: Option<Timestamp> = annotation(DRAINING_SINCE).and_then(|at| at.parse().ok());
        let claim = cluster.names.claim(ordinal);
        let said = self.said("PersistentVolumeClaim", &claim);
        let claim = self.claims.iter().find(|found| found.name() == claim);
        let answer = answers.get(&name);
        let answered = answer.is_some_and(Result::is_ok);
        Some(Pod {
            ordinal,
            uid: pod.metadata.uid.clone().unwrap_or_default(),
            outdated: revision.zip(own).is_some_and(|(wanted, own)| wanted != own),
            leaving: pod.metadata.deletion_timestamp.is_some(),
            serving,
            // Without a time it was somebody else, at some time.
            drained: !serving && draining.is_none_or(|since| is_past(since, DRAIN, now)),
            running: is_running(pod),
            replace: annotation(REPLACE).is_some_and(|value| value == "volume"),
            trouble: trouble::of_pod(pod, claim, said, answered, now),
            node: answer.and_then(|answer| answer.as_ref().ok().cloned()),
            silence: answer.and_then(|answer| answer.as_ref().err().cloned()),
            name,
        })
    }

    fn set(&self, cluster: &Cluster) -> Option<&Object> {
        self.object("StatefulSet", cluster.names.cluster())
    }

    fn host_of(&self, name: &str) -> Option<String> {
        let pod = self
            .pods
            .iter()
            .find(|pod| pod.metadata.name.as_deref() == Some(name))?;
        pod.status.as_ref()?.host_ip.clone()
    }
}

fn content(secret: &Object) -> Data {
    let data = secret.0["data"].as_object().into_iter().flatten();
    let decode = |value: &serde_json::Value| STANDARD.decode(value.as_str()?).ok();
    data.filter_map(|(key, value)| Some((key.clone(), decode(value)?)))
        .collect()
}

/// The revision that pods should be of; unknown until the StatefulSet's controller saw the template.
fn current_revision(set: &Object) -> Option<&str> {
    let seen = set.0["status"]["observedGeneration"] == set.0["metadata"]["generation"];
    set.0["status"]["updateRevision"].as_str().filter(|_| seen)
}

fn state(pod: &KubePod) -> Option<&ContainerState> {
    let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    status.state.as_ref()
}

fn is_running(pod: &KubePod) -> bool {
    state(pod).is_some_and(|state| state.running.is_some())
}

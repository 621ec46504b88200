//! What is: the first step of a pass. Everything is read from the API server's quorum, nothing from a cache, since a step
//! that cannot be undone may follow.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::{ContainerState, Pod as KubePod};
use xmpp_node_api::status::NodeStatus;

use crate::api::{Access, ApiError, Object, Objects};
use crate::cluster::Cluster;
use crate::keyring::{Data, Secrets};
use crate::names::{REPLACE, START_EMPTY};
use crate::view::{Pod, Record, Trouble, View};

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
    Ok(observed)
}

impl Observed {
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

    /// Where members are reached from outside: pod, host, port.
    #[must_use]
    pub fn outside(&self, cluster: &Cluster) -> Vec<(String, String, u16)> {
        let mut found = Vec::new();
        for ordinal in 0..cluster.spec.replicas {
            let pod = cluster.names.pod(ordinal);
            let Some(service) = self.object("Service", &cluster.names.outside(ordinal)) else {
                continue;
            };
            let port = &service.0["spec"]["ports"][0];
            let balancer = &service.0["status"]["loadBalancer"]["ingress"][0];
            let host = balancer["hostname"]
                .as_str()
                .or_else(|| balancer["ip"].as_str());
            let (host, port) = match service.0["spec"]["type"].as_str() {
                Some("LoadBalancer") => (host.map(str::to_owned), port["port"].as_u64()),
                _ => (self.host_of(&pod), port["nodePort"].as_u64()),
            };
            let port = port.and_then(|port| u16::try_from(port).ok());
            if let (Some(host), Some(port)) = (host, port) {
                found.push((pod, host, port));
            }
        }
        found
    }

    /// What is known of the members.
    #[must_use]
    pub fn view(&self, cluster: &Cluster, answers: &Answers) -> View {
        let set = self.set(cluster);
        let revision = set.and_then(current_revision);
        let record = self.record(cluster).unwrap_or_default();
        let confirmed = cluster.annotations.get(START_EMPTY).map(String::as_str);
        let mut pods: Vec<Pod> = self
            .pods
            .iter()
            .filter_map(|pod| self::pod(cluster, pod, revision, answers))
            .collect();
        pods.sort_by_key(|pod| pod.ordinal);
        View {
            wanted: cluster.spec.replicas,
            replicas: set
                .and_then(|set| set.0["spec"]["replicas"].as_i64())
                .and_then(|replicas| i32::try_from(replicas).ok())
                .unwrap_or(0),
            paused: cluster.spec.paused,
            start_empty: confirmed.is_some() && confirmed == record.id(),
            record,
            pods,
        }
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

fn pod(cluster: &Cluster, pod: &KubePod, revision: Option<&str>, answers: &Answers) -> Option<Pod> {
    let name = pod.metadata.name.clone()?;
    let labels = pod.metadata.labels.as_ref();
    let own = labels.and_then(|labels| labels.get("controller-revision-hash"));
    let annotations = pod.metadata.annotations.as_ref();
    let answer = answers.get(&name);
    Some(Pod {
        ordinal: cluster.names.ordinal(&name)?,
        uid: pod.metadata.uid.clone().unwrap_or_default(),
        outdated: revision.zip(own).is_some_and(|(wanted, own)| wanted != own),
        leaving: pod.metadata.deletion_timestamp.is_some(),
        running: is_running(pod),
        replace: annotations
            .is_some_and(|map| map.get(REPLACE).is_some_and(|value| value == "volume")),
        trouble: trouble(pod),
        node: answer.and_then(|answer| answer.as_ref().ok().cloned()),
        silence: answer.and_then(|answer| answer.as_ref().err().cloned()),
        name,
    })
}

fn state(pod: &KubePod) -> Option<&ContainerState> {
    let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    status.state.as_ref()
}

fn is_running(pod: &KubePod) -> bool {
    state(pod).is_some_and(|state| state.running.is_some())
}

/// Why a pod does not run, where the API server knows: the scheduler first, then the image, then the program.
fn trouble(pod: &KubePod) -> Option<Trouble> {
    let status = pod.status.as_ref()?;
    let mut conditions = status.conditions.as_ref().into_iter().flatten();
    let unscheduled = conditions
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    if let Some(condition) = unscheduled {
        return Some(Trouble {
            reason: condition
                .reason
                .clone()
                .unwrap_or_else(|| "Unschedulable".to_owned()),
            message: condition.message.clone().unwrap_or_default(),
        });
    }
    let container = status.container_statuses.as_ref()?.first()?;
    let waiting = container.state.as_ref()?.waiting.as_ref()?;
    let reason = waiting.reason.clone().unwrap_or_default();
    // These are the way to every running container.
    if reason.is_empty() || reason == "ContainerCreating" || reason == "PodInitializing" {
        return None;
    }
    let last = container
        .last_state
        .as_ref()
        .and_then(|last| last.terminated.as_ref());
    let said = last
        .and_then(|last| last.message.clone())
        .filter(|text| !text.trim().is_empty());
    let message = said.or_else(|| waiting.message.clone()).unwrap_or_default();
    Some(Trouble {
        reason,
        message: message.trim().chars().take(500).collect(),
    })
}

//! When a pass is made: on changes of resources and of what belongs to them, on what members say between passes, and
//! after a while in any case. The only file that knows of waiting times.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt as _;
use futures::channel::mpsc;
use futures::stream::FuturesUnordered;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::PartialObjectMeta;
use kube::runtime::controller::{Action, Config as ControllerConfig, Controller};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use kube::{Api, Client, Resource, ResourceExt as _};
use tokio::time::{Instant, sleep};
use tracing::{debug, warn};

use crate::cluster::{Cluster, Settings};
use crate::crd::XmppCluster;
use crate::names::MANAGER;
use crate::nodes::Nodes;
use crate::pass::{Pace, PassError, Passes, print};

/// Between passes over a cluster at rest; anything that happens brings one at once.
const AT_REST: Duration = Duration::from_secs(300);
/// Between passes over a cluster that is on its way.
const ON_THE_WAY: Duration = Duration::from_secs(1);
/// Between passes over a cluster that waits for something.
const WAITING: Duration = Duration::from_secs(15);
/// Between passes over a cluster that waits for people elsewhere.
const SLOWLY: Duration = Duration::from_secs(60);
/// How long changes are gathered before a pass.
const DEBOUNCE: Duration = Duration::from_millis(200);
/// Passes at the same time; over one cluster there is never more than one.
const AT_ONCE: u16 = 16;
/// How often members are asked between passes, a cluster.
const PULSE: Duration = Duration::from_secs(5);
/// Changes that members report lead to a pass no sooner than so long after the last one.
const CALM: Duration = Duration::from_secs(10);
/// The longest wait after failures.
const LONGEST: Duration = Duration::from_secs(300);

/// What reconciliations share.
struct Context {
    passes: Passes,
    settings: Settings,
    watched: Mutex<HashMap<ObjectRef<XmppCluster>, Watched>>,
}

/// A cluster between passes.
struct Watched {
    nodes: Option<Nodes>,
    print: u64,
    at: Instant,
    failures: u32,
}

/// Runs until `stop`, in one namespace; lets passes that are under way finish.
pub async fn run(
    client: Client,
    namespace: &str,
    passes: Passes,
    settings: Settings,
    stop: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let ours =
        watcher::Config::default().labels(&format!("app.kubernetes.io/managed-by={MANAGER}"));
    let context = Arc::new(Context {
        passes,
        settings,
        watched: Mutex::default(),
    });
    let (trigger, triggered) = mpsc::channel(64);
    let config = ControllerConfig::default()
        .debounce(DEBOUNCE)
        .concurrency(AT_ONCE);
    let clusters: Api<XmppCluster> = Api::namespaced(client.clone(), namespace);
    let controller = Controller::new(clusters, watcher::Config::default()).with_config(config);
    let store = controller.store();
    let known = store.clone();
    // Only metadata is watched: content is read when it is needed, and memory does not grow with it.
    let controller = controller
        .watches(
            owned::<StatefulSet>(&client, namespace),
            ours.clone(),
            by_label,
        )
        .watches(owned::<Pod>(&client, namespace), ours.clone(), by_label)
        .watches(
            owned::<ConfigMap>(&client, namespace),
            ours.clone(),
            by_label,
        )
        .watches(owned::<Service>(&client, namespace), ours.clone(), by_label)
        .watches(
            owned::<PodDisruptionBudget>(&client, namespace),
            ours.clone(),
            by_label,
        )
        .watches(owned::<NetworkPolicy>(&client, namespace), ours, by_label)
        .watches(
            owned::<Secret>(&client, namespace),
            watcher::Config::default(),
            move |secret| by_secret(&store, secret),
        )
        .reconcile_on(triggered)
        .graceful_shutdown_on(stop);
    let running = controller
        .run(reconcile, on_error, Arc::clone(&context))
        .for_each(async |done| {
            if let Err(error) = done {
                debug!(%error, "a reconciliation failed");
            }
        });
    tokio::select! {
        () = running => {}
        () = pulse(&context, &known, trigger) => {}
    }
}

async fn reconcile(resource: Arc<XmppCluster>, context: Arc<Context>) -> Result<Action, PassError> {
    let key = ObjectRef::from_obj(&*resource);
    if resource.meta().deletion_timestamp.is_some() {
        context.watched().remove(&key);
        return Ok(Action::await_change());
    }
    let cluster = Cluster::new(&resource, &context.settings);
    let outcome = context.passes.run(&resource, &cluster).await?;
    let (result, wait) = match outcome.pace {
        Pace::Soon => ("goes_on", ON_THE_WAY),
        Pace::Later => ("waits", WAITING),
        Pace::Slowly => ("waits", SLOWLY),
        Pace::Rest => ("rests", AT_REST),
    };
    context.passes.metrics.passed(result);
    context.watched().insert(
        key,
        Watched {
            nodes: outcome.nodes,
            print: outcome.print,
            at: Instant::now(),
            failures: 0,
        },
    );
    Ok(Action::requeue(spread(wait)))
}

fn on_error(resource: Arc<XmppCluster>, error: &PassError, context: Arc<Context>) -> Action {
    let key = ObjectRef::from_obj(&*resource);
    context.passes.metrics.passed("failed");
    if error.is_race() {
        debug!(cluster = %key, %error, "to be looked at again");
        return Action::requeue(spread(ON_THE_WAY));
    }
    warn!(cluster = %key, %error, "a pass failed");
    let mut watched = context.watched();
    let watched = watched.entry(key).or_insert_with(|| Watched {
        nodes: None,
        print: 0,
        at: Instant::now(),
        failures: 0,
    });
    watched.failures = watched.failures.saturating_add(1);
    let wait = ON_THE_WAY * 2_u32.saturating_pow(watched.failures.min(12));
    Action::requeue(spread(wait.min(LONGEST)))
}

impl Context {
    fn watched(&self) -> std::sync::MutexGuard<'_, HashMap<ObjectRef<XmppCluster>, Watched>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the members of all clusters how they are, and has those looked at that changed. Costs the API server nothing.
async fn pulse(
    context: &Context,
    known: &Store<XmppCluster>,
    mut trigger: mpsc::Sender<ObjectRef<XmppCluster>>,
) {
    loop {
        sleep(spread(PULSE)).await;
        let uids = known.state().iter().filter_map(|one| one.uid()).collect();
        context.passes.keep_only(&uids);
        let due: Vec<_> = {
            let mut watched = context.watched();
            // A resource that went brings no pass that could say so.
            watched.retain(|key, _| known.get(key).is_some());
            let calm = watched
                .iter()
                .filter(|(_, watched)| watched.at.elapsed() >= CALM);
            calm.filter_map(|(key, watched)| {
                Some((key.clone(), watched.nodes.clone()?, watched.print))
            })
            .collect()
        };
        let ask = async |(key, nodes, before): (ObjectRef<XmppCluster>, Nodes, u64)| {
            (print(&nodes.statuses().await) != before).then_some(key)
        };
        let mut asked: FuturesUnordered<_> = due.into_iter().map(ask).collect();
        while let Some(changed) = asked.next().await {
            // A full channel is looked at again with the next pulse.
            if let Some(key) = changed {
                let _ = trigger.try_send(key);
            }
        }
    }
}

fn owned<K>(client: &Client, namespace: &str) -> Api<PartialObjectMeta<K>>
where
    K: Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>,
{
    Api::namespaced(client.clone(), namespace)
}

/// The cluster whose label an object bears.
fn by_label<K>(object: PartialObjectMeta<K>) -> Option<ObjectRef<XmppCluster>>
where
    K: Resource<DynamicType = ()>,
{
    let meta = &object.metadata;
    let name = meta.labels.as_ref()?.get("app.kubernetes.io/instance")?;
    Some(ObjectRef::new(name).within(meta.namespace.as_deref()?))
}

/// The clusters that a Secret belongs to, or that name it.
fn by_secret(
    store: &Store<XmppCluster>,
    secret: PartialObjectMeta<Secret>,
) -> Vec<ObjectRef<XmppCluster>> {
    let name = secret.name_any();
    let names = |cluster: &XmppCluster| {
        let bridges = cluster.spec.bridges.iter();
        let mut given = bridges.filter_map(|bridge| bridge.secret_ref.as_ref());
        cluster.spec.tls_secret() == Some(&name) || given.any(|given| given.name == name)
    };
    let naming = store.state().into_iter().filter(|cluster| names(cluster));
    let naming = naming.map(|cluster| ObjectRef::from_obj(&*cluster));
    let managed = secret
        .labels()
        .get("app.kubernetes.io/managed-by")
        .is_some_and(|by| by == MANAGER);
    let own = managed.then(|| by_label(secret)).flatten();
    own.into_iter().chain(naming).collect()
}

/// Up to a tenth more or less, so that clusters do not come all at once.
fn spread(wait: Duration) -> Duration {
    let mut byte = [128_u8];
    // Without randomness there is no spread, which is no harm.
    let _ = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut byte);
    wait.mul_f64(0.9 + f64::from(byte[0]) / 1280.0)
}

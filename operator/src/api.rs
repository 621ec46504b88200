//! The operator's only way to the API server: every right that it needs is in one table, and every call names its own.
//!
//! A test compares [`RIGHTS`] with the Role of the chart. A call without its right is a defect that debug builds stop at.

use std::collections::BTreeMap;

use k8s_openapi::api::coordination::v1::Lease;
use kube::api::{
    ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
    Preconditions,
};
use kube::core::GroupVersionKind;
use kube::runtime::events::{Recorder, Reporter};
use kube::{Api, Client, Resource as _};
use serde_json::{Value, json};

use crate::crd::{XmppCluster, XmppClusterStatus};
use crate::metrics::Metrics;
use crate::names::MANAGER;

mod cover;
mod error;
mod events;
mod pods;
mod rights;

pub use self::cover::{hash, quantity};
pub use self::error::ApiError;
use self::error::failed;
pub use self::events::{Notice, Said};
pub use self::rights::{KINDS, OWN_RIGHTS, RIGHTS, Right};

/// Hash of the object as it was applied last: tells what was taken out of it since.
const APPLIED: &str = "xmppcluster.dev/applied";

/// An object as the API server has it.
#[derive(Clone, Debug, PartialEq)]
pub struct Object(pub Value);

impl Object {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// Its unique id.
    #[must_use]
    pub fn uid(&self) -> &str {
        self.0["metadata"]["uid"].as_str().unwrap_or_default()
    }
}

/// The way to the API server.
#[derive(Clone)]
pub struct Access {
    client: Client,
    recorder: Recorder,
    metrics: Metrics,
}

impl Access {
    /// Through that client; `instance` is who events come from.
    #[must_use]
    pub fn new(client: Client, instance: String, metrics: Metrics) -> Self {
        let reporter = Reporter {
            controller: MANAGER.to_owned(),
            instance: Some(instance),
        };
        Self {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            metrics,
        }
    }

    /// Objects of a kind that bear these labels, read from the quorum.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn list(
        &self,
        kind: &str,
        namespace: &str,
        labels: &str,
    ) -> Result<Vec<Object>, ApiError> {
        let api = self.api(kind, namespace, "list");
        let found = api.list(&ListParams::default().labels(labels)).await;
        let list = found.map_err(failed("list", kind, labels))?;
        let (version, kind) = api_version(kind);
        // Items of a list carry neither kind nor version.
        let items = list.items.into_iter().filter_map(|item| {
            let mut value = serde_json::to_value(item).ok()?;
            value["apiVersion"] = version.clone().into();
            value["kind"] = kind.into();
            Some(Object(value))
        });
        Ok(items.collect())
    }

    /// One object, if it exists.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn find(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Object>, ApiError> {
        let found = self.api(kind, namespace, "get").get_opt(name).await;
        let found = found.map_err(failed("get", kind, name))?;
        Ok(found.and_then(|found| serde_json::to_value(found).ok().map(Object)))
    }

    /// Creates an object that is never overwritten.
    ///
    /// # Errors
    /// [`ApiError`]; one that exists already is a race.
    pub async fn create(&self, object: &Value) -> Result<(), ApiError> {
        let (kind, namespace, name) = identify(object);
        let parsed: DynamicObject = parse(object, kind, name)?;
        let params = PostParams {
            // Another owner than that of `apply`, which therefore never takes a field of it away.
            field_manager: Some(format!("{MANAGER}-create")),
            ..PostParams::default()
        };
        let api = self.api(kind, namespace, "create");
        self.metrics.written();
        api.create(&params, &parsed)
            .await
            .map_err(failed("create", kind, name))?;
        Ok(())
    }

    /// Makes an object be as described, unless it is already. `found` is what was read in this pass. Returns whether it wrote.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn apply(&self, wanted: &Value, found: Option<&Object>) -> Result<bool, ApiError> {
        let (kind, namespace, name) = identify(wanted);
        let mut wanted = wanted.clone();
        let hash = hash(&wanted);
        if found.is_some_and(|found| cover::is_applied(&wanted, &found.0, APPLIED, &hash)) {
            return Ok(false);
        }
        if found.is_none() && self.find(kind, namespace, name).await?.is_some() {
            // It was not among ours, or not yet; the next pass tells.
            return Err(ApiError::Taken {
                kind: kind.to_owned(),
                name: name.to_owned(),
            });
        }
        wanted["metadata"]["annotations"][APPLIED] = hash.into();
        let api = self.api(kind, namespace, "patch");
        let params = PatchParams::apply(MANAGER).force();
        self.metrics.written();
        let patched = api.patch(name, &params, &Patch::Apply(&wanted)).await;
        patched.map_err(failed("patch", kind, name))?;
        // One that is written again and again shows here: the server keeps it in another form than it was given.
        tracing::info!(namespace, kind, name, "object written");
        Ok(true)
    }

    /// Sets the requested size of a claim.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn grow_claim(
        &self,
        namespace: &str,
        name: &str,
        size: &str,
    ) -> Result<(), ApiError> {
        let kind = "PersistentVolumeClaim";
        let patch = json!({ "spec": { "resources": { "requests": { "storage": size } } } });
        let api = self.api(kind, namespace, "patch");
        self.metrics.written();
        let patched = api
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        patched.map_err(failed("patch", kind, name))?;
        Ok(())
    }

    /// Deletes exactly this object, not another one of its name.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn delete(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        uid: &str,
    ) -> Result<(), ApiError> {
        let api = self.api(kind, namespace, "delete");
        self.metrics.written();
        api.delete(name, &exactly(uid, None))
            .await
            .map_err(failed("delete", kind, name))?;
        Ok(())
    }

    /// Writes a status.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn write_status(
        &self,
        namespace: &str,
        name: &str,
        status: &XmppClusterStatus,
    ) -> Result<(), ApiError> {
        self.right("xmppcluster.dev", "xmppclusters/status", "patch");
        let api: Api<XmppCluster> = Api::namespaced(self.client.clone(), namespace);
        let patch = json!({
            "apiVersion": XmppCluster::api_version(&()),
            "kind": XmppCluster::kind(&()),
            "status": status,
        });
        let params = PatchParams::apply(&format!("{MANAGER}-status")).force();
        self.metrics.written();
        let patched = api.patch_status(name, &params, &Patch::Apply(&patch)).await;
        patched.map_err(failed("patch", "XmppCluster", name))?;
        Ok(())
    }

    /// Leases, for the election.
    #[must_use]
    pub fn leases(&self, namespace: &str) -> Api<Lease> {
        Api::namespaced(self.client.clone(), namespace)
    }

    fn api(&self, kind: &str, namespace: &str, verb: &str) -> Api<DynamicObject> {
        let known = KINDS.iter().find(|(name, ..)| *name == kind);
        let (kind, group, version, plural) = known.expect("only kinds of the table are asked for");
        self.right(group, plural, verb);
        let gvk = GroupVersionKind::gvk(group, version, kind);
        let resource = ApiResource::from_gvk_with_plural(&gvk, plural);
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }

    fn right(&self, group: &str, resource: &str, verb: &str) {
        debug_assert!(
            RIGHTS
                .iter()
                .any(|(g, r, verbs)| *g == group && *r == resource && verbs.contains(&verb)),
            "no right to {verb} {resource}"
        );
        self.metrics.requested(verb);
    }
}

fn exactly(uid: &str, resource_version: Option<String>) -> DeleteParams {
    DeleteParams {
        preconditions: Some(Preconditions {
            uid: Some(uid.to_owned()),
            resource_version,
        }),
        ..DeleteParams::default()
    }
}

fn api_version(kind: &str) -> (String, &'static str) {
    let known = KINDS.iter().find(|(name, ..)| *name == kind);
    known.map_or_else(Default::default, |(kind, group, version, _)| {
        let text = if group.is_empty() {
            (*version).to_owned()
        } else {
            format!("{group}/{version}")
        };
        (text, *kind)
    })
}

fn identify(object: &Value) -> (&str, &str, &str) {
    (
        object["kind"].as_str().unwrap_or_default(),
        object["metadata"]["namespace"].as_str().unwrap_or_default(),
        object["metadata"]["name"].as_str().unwrap_or_default(),
    )
}

fn parse(object: &Value, kind: &str, name: &str) -> Result<DynamicObject, ApiError> {
    let parsed = serde_json::from_value(object.clone());
    parsed.map_err(|error| failed("create", kind, name)(kube::Error::SerdeError(error)))
}

/// Objects by kind and name.
pub type Objects = BTreeMap<(String, String), Object>;

#[cfg(test)]
mod tests;

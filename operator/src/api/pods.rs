//! Members' pods: read, taken out of Services, deleted.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Resource as _};
use serde_json::json;

use super::error::failed;
use super::{Access, ApiError, exactly};
use crate::names::{DRAINING_SINCE, SERVING};

impl Access {
    /// Pods that bear these labels, read from the quorum.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn pods(&self, namespace: &str, labels: &str) -> Result<Vec<Pod>, ApiError> {
        self.right("", "pods", "list");
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let found = api.list(&ListParams::default().labels(labels)).await;
        Ok(found.map_err(failed("list", "Pod", labels))?.items)
    }

    /// Takes a pod out of the Services that bridges look up, if it is still the one meant, and notes since when; with no time
    /// it is put back.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn drain_pod(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        since: Option<Timestamp>,
    ) -> Result<(), ApiError> {
        self.right("", "pods", "patch");
        let serving = since.is_none().then_some("true");
        let patch = json!({ "metadata": {
            "uid": uid,
            "labels": { SERVING: serving },
            "annotations": { DRAINING_SINCE: since.map(|since| since.to_string()) },
        } });
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        self.metrics.written();
        let patched = api
            .patch(name, &PatchParams::default(), &Patch::Merge(&patch))
            .await;
        patched.map_err(failed("patch", "Pod", name))?;
        Ok(())
    }

    /// Deletes a pod if it is still the one meant, and nothing about it changed since it is looked at here.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn delete_pod(&self, namespace: &str, name: &str, uid: &str) -> Result<(), ApiError> {
        self.right("", "pods", "get");
        self.right("", "pods", "delete");
        let api: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let live = api.get(name).await.map_err(failed("get", "Pod", name))?;
        let params = exactly(uid, live.meta().resource_version.clone());
        self.metrics.written();
        api.delete(name, &params)
            .await
            .map_err(failed("delete", "Pod", name))?;
        Ok(())
    }
}

//! One `XmppCluster` with what the operator was told at its start: the input of validation, planning and building.

use std::collections::BTreeMap;

use kube::Resource as _;
use serde_json::{Value, json};

use crate::crd::{Retention, XmppCluster, XmppClusterSpec};
use crate::names::{CLIENT_PORTS, COMPONENT_PORT, COMPONENT_PORT_NAME, Names};

/// What the operator was told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Image of members whose resource names none.
    pub image: String,
    /// Domain of the Kubernetes cluster, such as `cluster.local`.
    pub zone: String,
    /// Namespace that the operator itself runs in; only from there are admin ports open.
    pub namespace: String,
}

/// One resource.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Names of its objects.
    pub names: Names,
    /// Its unique id.
    pub uid: String,
    /// Generation of its spec.
    pub generation: i64,
    /// What is asked for.
    pub spec: XmppClusterSpec,
    /// Annotations of the resource.
    pub annotations: BTreeMap<String, String>,
    /// What the operator was told.
    pub settings: Settings,
}

impl Cluster {
    /// Takes what is needed of a resource as the API server has it.
    #[must_use]
    pub fn new(resource: &XmppCluster, settings: &Settings) -> Self {
        let meta = resource.meta();
        Self {
            names: Names {
                cluster: meta.name.clone().unwrap_or_default(),
                namespace: meta.namespace.clone().unwrap_or_default(),
                zone: settings.zone.clone(),
            },
            uid: meta.uid.clone().unwrap_or_default(),
            generation: meta.generation.unwrap_or_default(),
            spec: resource.spec.clone(),
            annotations: meta.annotations.clone().unwrap_or_default(),
            settings: settings.clone(),
        }
    }

    /// The ports that others than members connect to, each with its name: the component port first.
    #[must_use]
    pub fn public_ports(&self) -> Vec<(&'static str, u16)> {
        let mut ports = vec![(COMPONENT_PORT_NAME, COMPONENT_PORT)];
        if self.spec.serves_clients() {
            ports.extend(CLIENT_PORTS);
        }
        ports
    }

    /// Image of the members.
    #[must_use]
    pub fn image(&self) -> &str {
        self.spec.image.as_deref().unwrap_or(&self.settings.image)
    }

    /// Metadata of an object that goes when the resource goes.
    #[must_use]
    pub fn meta(&self, name: &str) -> Value {
        json!({
            "name": name,
            "namespace": self.names.namespace,
            "labels": self.names.labels(),
            "ownerReferences": [self.owner()],
        })
    }

    /// Metadata of an object that stays when the resource goes, unless its policy says otherwise.
    #[must_use]
    pub fn kept_meta(&self, name: &str) -> Value {
        match self.spec.retention() {
            Retention::Delete => self.meta(name),
            Retention::Retain => json!({
                "name": name,
                "namespace": self.names.namespace,
                "labels": self.names.labels(),
            }),
        }
    }

    fn owner(&self) -> Value {
        json!({
            "apiVersion": XmppCluster::api_version(&()),
            "kind": XmppCluster::kind(&()),
            "name": self.names.cluster,
            "uid": self.uid,
            "controller": true,
        })
    }
}

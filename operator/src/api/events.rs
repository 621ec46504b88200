//! Events: those that others wrote of an object, and those that the operator writes of a resource.

use jiff::Timestamp;
use k8s_openapi::api::events::v1::Event as KubeEvent;
use kube::api::ListParams;
use kube::runtime::events::{Event, EventType};
use kube::{Api, Resource as _};

use super::error::failed;
use super::{Access, ApiError};
use crate::crd::XmppCluster;

/// What an event says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// One word.
    pub reason: String,
    /// In words.
    pub note: String,
    /// The last time.
    pub at: Timestamp,
}

/// What is told of a resource by an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Something is wrong.
    pub warning: bool,
    /// One word.
    pub reason: String,
    /// What it is about: a pod, a bridge; empty if it is the cluster.
    pub subject: String,
    /// In words.
    pub note: String,
}

impl Access {
    /// What events say of an object, the newest first.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn events(
        &self,
        namespace: &str,
        kind: &str,
        name: &str,
    ) -> Result<Vec<Said>, ApiError> {
        self.right("events.k8s.io", "events", "list");
        let api: Api<KubeEvent> = Api::namespaced(self.client.clone(), namespace);
        let fields = format!("regarding.kind={kind},regarding.name={name}");
        let found = api.list(&ListParams::default().fields(&fields)).await;
        let said = |event: KubeEvent| {
            let series = event.series.map(|series| series.last_observed_time.0);
            let old = event.deprecated_last_timestamp.map(|time| time.0);
            let first = event.event_time.map(|time| time.0);
            Some(Said {
                reason: event.reason?,
                note: event.note?,
                at: series.or(old).or(first)?,
            })
        };
        let found = found.map_err(failed("list", "Event", name))?;
        let mut said: Vec<Said> = found.items.into_iter().filter_map(said).collect();
        said.sort_by_key(|said| std::cmp::Reverse(said.at));
        Ok(said)
    }

    /// Tells what became of a resource. One that cannot be written is logged and no more: it is for people. What is told of
    /// one `subject` (a pod, a bridge) for one reason within some minutes becomes one event with a count.
    pub async fn tell(&self, resource: &XmppCluster, notice: Notice) {
        let Notice {
            warning,
            reason,
            subject,
            note,
        } = notice;
        self.right("events.k8s.io", "events", "create");
        self.right("events.k8s.io", "events", "patch");
        let event = Event {
            type_: if warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            // Subjects are names of objects, which the API server keeps shorter than this.
            action: format!("{reason} {subject}")
                .trim()
                .chars()
                .take(128)
                .collect(),
            note: Some(note.chars().take(900).collect()),
            reason,
            secondary: None,
        };
        if let Err(error) = self
            .recorder
            .publish(&event, &resource.object_ref(&()))
            .await
        {
            tracing::info!(reason = event.reason, %error, "an event was not written");
        }
    }
}

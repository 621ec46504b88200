//! The part of a pass that looks after volumes: whether each is there, and as large as wanted.

use super::{PassError, Passes};
use crate::api::{ApiError, Object, quantity};
use crate::cluster::Cluster;
use crate::observe::Observed;
use crate::view::View;

/// What is wrong with volumes: one word, and words that name the claim and what to do.
type Fault = (&'static str, String);

/// Troubles of a pod that are those of its volume.
const WITHOUT: [&str; 2] = ["VolumePending", "VolumeLost"];

/// What can be seen without trying: claims without a volume, and volumes that are still growing.
pub(super) fn fault(cluster: &Cluster, observed: &Observed, view: &View) -> Option<Fault> {
    let without = view.pods.iter().find_map(|pod| {
        let trouble = pod.trouble.as_ref()?;
        let reason = WITHOUT.into_iter().find(|one| *one == trouble.reason)?;
        Some((reason, trouble.message.clone()))
    });
    let wanted = quantity(cluster.spec.volume_size());
    let growing = |claim: &Object| {
        let has = claim.0["status"]["capacity"]["storage"].as_str();
        let asked = claim.0["spec"]["resources"]["requests"]["storage"].as_str();
        let grows = has.and_then(quantity) < wanted && asked.and_then(quantity) >= wanted;
        (claim.0["status"]["phase"] == "Bound" && grows).then(|| growing_claim(claim, has, asked))
    };
    without.or_else(|| observed.claims.iter().find_map(growing))
}

fn growing_claim(claim: &Object, has: Option<&str>, asked: Option<&str>) -> Fault {
    let conditions = claim.0["status"]["conditions"].as_array();
    let said = conditions.into_iter().flatten().find_map(|condition| {
        let message = condition["message"].as_str()?;
        (!message.is_empty()).then(|| message.to_owned())
    });
    let message = format!(
        "claim {} has {} and is to have {}: {}",
        claim.name(),
        has.unwrap_or("nothing"),
        asked.unwrap_or_default(),
        said.unwrap_or_else(|| "its storage class is at work".to_owned())
    );
    ("VolumeGrowing", message)
}

impl Passes {
    /// Asks for larger volumes, where they are smaller than wanted; what is wrong if the API server refuses that.
    pub(super) async fn grow(
        &self,
        cluster: &Cluster,
        observed: &Observed,
    ) -> Result<Option<Fault>, PassError> {
        let size = cluster.spec.volume_size();
        let mut fault = None;
        for claim in &observed.claims {
            let has = claim.0["spec"]["resources"]["requests"]["storage"].as_str();
            // Only a claim that has its volume can grow.
            if claim.0["status"]["phase"] != "Bound" || has.and_then(quantity) >= quantity(size) {
                continue;
            }
            let space = &cluster.names.namespace;
            match self.access.grow_claim(space, claim.name(), size).await {
                Err(ApiError::Kube { error, .. }) if refuses(&error) => {
                    let class = claim.0["spec"]["storageClassName"].as_str();
                    fault = fault.or_else(|| Some(refused(claim, has, size, class, &error)));
                }
                other => other?,
            }
        }
        Ok(fault)
    }
}

/// 403 is also what the API server says of classes whose volumes do not grow.
fn refuses(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if matches!(status.code, 403 | 422))
}

fn refused(
    claim: &Object,
    has: Option<&str>,
    size: &str,
    class: Option<&str>,
    error: &kube::Error,
) -> Fault {
    let said = match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    };
    let message = format!(
        "claim {} stays at {}, though spec.storage.size is {size}: {said}: allowVolumeExpansion: true on storage class {} \
         lets it grow, if its provisioner can do that",
        claim.name(),
        has.unwrap_or("nothing"),
        class.unwrap_or("(none)"),
    );
    ("VolumeNotGrown", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::tests::cluster;
    use serde_json::json;

    #[test]
    fn a_volume_that_is_asked_to_grow_is_told_of_until_it_has() {
        let claim = |has: &str| {
            Object(json!({
                "metadata": { "name": "data-xmpp-0" },
                "spec": { "resources": { "requests": { "storage": "2Gi" } } },
                "status": { "phase": "Bound", "capacity": { "storage": has } },
            }))
        };
        let told = |has: &str| {
            let observed = Observed {
                claims: vec![claim(has)],
                ..Observed::default()
            };
            fault(&cluster("full"), &observed, &View::default())
        };
        let (reason, message) = told("1Gi").expect("it is smaller");
        assert_eq!(reason, "VolumeGrowing");
        assert!(
            message.contains("data-xmpp-0 has 1Gi and is to have 2Gi"),
            "{message}"
        );
        assert_eq!(told("2048Mi"), None);
    }
}

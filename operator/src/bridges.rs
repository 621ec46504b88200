//! What to change about the bridges in the cluster, so that it holds those that the resource names. Pure.
//!
//! A secret that changes is added beside the old one, so nobody is cut off; the old one ends [`OVERLAP`] later.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;
use xmpp_node_api::admin::{Bridge, BridgeLimits, Request, Secret};

/// How long an old secret is accepted beside the new one: longer than the kubelet needs to refresh a volume.
pub const OVERLAP: Duration = Duration::from_secs(600);

/// What to do about the bridges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Requests, in order. Each may be repeated.
    pub requests: Vec<Request>,
    /// Since when two secrets of a bridge are accepted.
    pub rotating: BTreeMap<String, Timestamp>,
}

/// Compares what the cluster holds with what it should. `wanted` has the secret of each bridge, or nothing where it is not
/// known: such a bridge is left as it is. `limits` has the bounds of those that have any. `rotating` is what the last status said.
#[must_use]
pub fn changes(
    wanted: &BTreeMap<String, Option<String>>,
    limits: &BTreeMap<String, BridgeLimits>,
    held: &[Bridge],
    rotating: &BTreeMap<String, Timestamp>,
    now: Timestamp,
) -> Changes {
    let mut changes = Changes::default();
    for bridge in held {
        let name = &bridge.name;
        let Some(secret) = wanted.get(name) else {
            let name = name.clone();
            changes.requests.push(Request::RemoveBridge { name });
            continue;
        };
        changes.requests.extend(limit(name, limits, bridge.limits));
        let Some(secret) = secret else { continue };
        let newest = bridge.secrets.last();
        let is_newest = newest
            .and_then(|newest| newest.secret.as_ref())
            .is_some_and(|newest| newest.expose() == secret);
        let old = (bridge.secrets.len() > 1).then(|| bridge.secrets[0].generation);
        let retire = |generation| Request::RetireSecret {
            name: name.clone(),
            generation,
        };
        if !is_newest {
            changes.requests.extend(old.map(retire));
            changes.requests.push(Request::RotateBridge {
                name: name.clone(),
                secret: Some(Secret::new(secret.clone())),
            });
            changes.rotating.insert(name.clone(), now);
        } else if let Some(old) = old {
            let since = *rotating.get(name).unwrap_or(&now);
            let over = now.duration_since(since)
                >= jiff::SignedDuration::try_from(OVERLAP).unwrap_or_default();
            if over {
                changes.requests.push(retire(old));
            } else {
                changes.rotating.insert(name.clone(), since);
            }
        }
    }
    for (name, secret) in wanted {
        let Some(secret) = secret else { continue };
        if !held.iter().any(|bridge| bridge.name == *name) {
            changes.requests.push(Request::PutBridge {
                name: name.clone(),
                secret: Some(Secret::new(secret.clone())),
            });
            changes
                .requests
                .extend(limit(name, limits, BridgeLimits::default()));
        }
    }
    changes
}

/// Sets the bounds of a bridge, if they are not what it has.
fn limit(
    name: &str,
    wanted: &BTreeMap<String, BridgeLimits>,
    has: BridgeLimits,
) -> Option<Request> {
    let limits = wanted.get(name).copied().unwrap_or_default();
    (limits != has).then(|| Request::LimitBridge {
        name: name.to_owned(),
        limits,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use xmpp_node_api::admin::BridgeSecret;

    fn held(name: &str, secrets: &[&str]) -> Bridge {
        let secret = |(at, secret): (usize, &&str)| BridgeSecret {
            generation: at as u64 + 1,
            secret: Some(Secret::new((*secret).to_owned())),
        };
        Bridge {
            name: name.to_owned(),
            domain: "example.test".to_owned(),
            secrets: secrets.iter().enumerate().map(secret).collect(),
            limits: BridgeLimits::default(),
        }
    }

    /// As [`bounded`], where no bridge has bounds of its own.
    fn requests(wanted: &[(&str, Option<&str>)], held: &[Bridge], minutes: i64) -> Vec<String> {
        bounded(wanted, &BTreeMap::new(), held, minutes)
    }

    fn bounded(
        wanted: &[(&str, Option<&str>)],
        limits: &BTreeMap<String, BridgeLimits>,
        held: &[Bridge],
        minutes: i64,
    ) -> Vec<String> {
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().expect("a time");
        let wanted = wanted
            .iter()
            .map(|(name, secret)| ((*name).to_owned(), secret.map(str::to_owned)));
        let since = BTreeMap::from([("cb1".to_owned(), now)]);
        let at = now + jiff::SignedDuration::from_mins(minutes);
        let changes = changes(&wanted.collect(), limits, held, &since, at);
        let name = |request: &Request| {
            let value = serde_json::to_value(request).expect("plain data");
            format!(
                "{} {}",
                request.name(),
                value[request.name()]["name"].as_str().expect("a name")
            )
        };
        changes.requests.iter().map(name).collect()
    }

    #[test]
    fn each_difference_has_its_request() {
        let one = [("cb1", Some("s1"))];
        assert_eq!(requests(&one, &[], 0), ["put_bridge cb1"]);
        assert_eq!(requests(&one, &[held("cb1", &["s1"])], 0), [""; 0]);
        assert_eq!(
            requests(&one, &[held("cb1", &["s0"])], 0),
            ["rotate_bridge cb1"]
        );
        assert_eq!(
            requests(&[], &[held("cb1", &["s1"])], 0),
            ["remove_bridge cb1"]
        );
        assert_eq!(
            requests(&one, &[held("cb1", &["s1", "s0"])], 0),
            ["retire_secret cb1", "rotate_bridge cb1"]
        );
    }

    #[test]
    fn bounds_are_set_where_they_are_not_what_they_should_be() {
        let bounds = BridgeLimits {
            stanzas_per_second: Some(5),
            ..BridgeLimits::default()
        };
        let limits = BTreeMap::from([("cb1".to_owned(), bounds)]);
        let one = [("cb1", Some("s1"))];
        let has = |limits| Bridge {
            limits,
            ..held("cb1", &["s1"])
        };
        let none = BridgeLimits::default();
        assert_eq!(
            bounded(&one, &limits, &[], 0),
            ["put_bridge cb1", "limit_bridge cb1"]
        );
        assert_eq!(
            bounded(&one, &limits, &[has(none)], 0),
            ["limit_bridge cb1"]
        );
        assert_eq!(bounded(&one, &limits, &[has(bounds)], 0), [""; 0]);
        assert_eq!(requests(&one, &[has(bounds)], 0), ["limit_bridge cb1"]);
        assert_eq!(
            bounded(&[("cb1", None)], &limits, &[has(none)], 0),
            ["limit_bridge cb1"]
        );
    }

    #[test]
    fn an_old_secret_ends_after_the_overlap_only() {
        let (one, both) = ([("cb1", Some("s1"))], [held("cb1", &["s0", "s1"])]);
        assert_eq!(requests(&one, &both, 9), [""; 0]);
        assert_eq!(requests(&one, &both, 10), ["retire_secret cb1"]);
    }

    #[test]
    fn a_bridge_whose_secret_is_not_known_is_left_alone() {
        assert_eq!(
            requests(&[("cb1", None)], &[held("cb1", &["s1"])], 0),
            [""; 0]
        );
        assert_eq!(requests(&[("cb1", None)], &[], 0), [""; 0]);
    }
}

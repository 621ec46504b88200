//! What can be told of a request without knowing the cluster: the bounds of what it would put into the replicated state.

use super::{BridgeLimits, Request, Secret};
use crate::config::{Fault, cluster_id_fault, name_fault};

/// The longest name of a user, bytes (RFC 7622, 3.3).
pub const MAX_USER_BYTES: usize = 1023;
/// The longest secret of a bridge or password of a user that is taken, bytes.
pub const MAX_SECRET_BYTES: usize = 1024;
/// The most voters that a change may ask for: more than any group gains from.
pub const MAX_VOTERS: usize = 16;

impl Request {
    /// The first field that is out of bounds, with the rule that it breaks.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        let fault = |field: &str, rule: Option<&str>| rule.map(|rule| Fault::new(field, rule));
        match self {
            Self::Initialize { cluster_id } => fault("cluster_id", cluster_id_fault(cluster_id)),
            Self::AddLearner { name, .. } => fault("name", name_fault(name)),
            Self::ChangeVoters { ids } => {
                let good = (1..=MAX_VOTERS).contains(&ids.len());
                fault("ids", (!good).then_some("must be 1 to 16 members"))
            }
            Self::PutBridge { name, secret } | Self::RotateBridge { name, secret } => {
                fault("name", bridge_fault(name))
                    .or_else(|| fault("secret", secret.as_ref().and_then(secret_fault)))
            }
            Self::RetireSecret { name, generation } => {
                let good = (1..=u64::from(u32::MAX)).contains(generation);
                let rule = (!good).then_some("must be a generation, which count from 1");
                fault("name", bridge_fault(name)).or_else(|| fault("generation", rule))
            }
            Self::LimitBridge { name, limits } => {
                fault("name", bridge_fault(name)).or_else(|| limits_fault(limits))
            }
            Self::RemoveBridge { name } => fault("name", bridge_fault(name)),
            Self::PutUser { name, password, .. } => fault("name", user_fault(name))
                .or_else(|| fault("password", secret_fault(password))),
            Self::RemoveUser { name } => fault("name", user_fault(name)),
            Self::Status {}
            | Self::Join { .. }
            | Self::RemoveMember { .. }
            | Self::TransferLeader { .. }
            | Self::MayRestart { .. }
            | Self::Drain { .. }
            | Self::ListBridges { .. }
            | Self::ListUsers {}
            | Self::Reload {} => None,
        }
    }
}

/// The name of a bridge is one label of a DNS name, so it is never the XMPP domain or below another bridge.
fn bridge_fault(name: &str) -> Option<&'static str> {
    name_fault(name).or_else(|| {
        name.contains('.')
            .then_some("must not contain '.': it is the first label of the bridge's address")
    })
}

/// What else a name may not hold, the node tells, who knows the profile of addresses.
fn user_fault(name: &str) -> Option<&'static str> {
    let good = (1..=MAX_USER_BYTES).contains(&name.len()) && !name.contains(['@', '/']);
    (!good).then_some("must have 1 to 1023 bytes, and neither '@' nor '/': it is the part of the address before '@'")
}

fn limits_fault(limits: &BridgeLimits) -> Option<Fault> {
    let wide = |value: Option<u32>| value.map(u64::from);
    [
        (
            "stanzas_per_second",
            wide(limits.stanzas_per_second),
            1,
            1_000_000,
        ),
        ("bytes_per_second", limits.bytes_per_second, 1024, 1 << 30),
        ("queue_stanzas", wide(limits.queue_stanzas), 1, 1_000_000),
        ("queue_bytes", limits.queue_bytes, 1 << 16, 1 << 28),
    ]
    .into_iter()
    .find_map(|(field, value, least, most)| {
        let outside = value.is_some_and(|value| !(least..=most).contains(&value));
        outside.then(|| {
            Fault::new(
                format!("limits.{field}"),
                format!("must be {least} to {most}"),
            )
        })
    })
}

fn secret_fault(secret: &Secret) -> Option<&'static str> {
    let good = (1..=MAX_SECRET_BYTES).contains(&secret.expose().len());
    (!good).then_some("must have 1 to 1024 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::NodeId;

    fn faulty(request: &Request, field: &str) {
        let fault = request.fault();
        assert_eq!(
            fault.as_ref().map(|fault| fault.key.as_str()),
            Some(field),
            "{request:?}"
        );
    }

    const LONG: usize = 64;

    fn bad_names() -> Vec<String> {
        let words = [
            "",
            "-cb1",
            "cb1-",
            "CB1",
            "cb 1",
            "cb1.b",
            "example.test",
            "c\u{f6}",
        ];
        let mut names: Vec<String> = words.map(str::to_owned).to_vec();
        names.push("a".repeat(LONG));
        names
    }

    #[test]
    fn names_of_bridges_are_checked_in_each_request_that_changes_one() {
        for name in bad_names() {
            let name = || name.clone();
            for request in [
                Request::PutBridge {
                    name: name(),
                    secret: None,
                },
                Request::RotateBridge {
                    name: name(),
                    secret: None,
                },
                Request::RetireSecret {
                    name: name(),
                    generation: 1,
                },
                Request::LimitBridge {
                    name: name(),
                    limits: BridgeLimits::default(),
                },
                Request::RemoveBridge { name: name() },
            ] {
                faulty(&request, "name");
            }
        }
        let good = Request::PutBridge {
            name: "a".repeat(LONG - 1),
            secret: None,
        };
        assert_eq!(good.fault(), None);
    }

    #[test]
    fn secrets_have_bounds_and_the_fault_does_not_show_them() {
        let with = |length: usize| Some(Secret::new("s".repeat(length)));
        for (length, good) in [
            (0, false),
            (1, true),
            (MAX_SECRET_BYTES, true),
            (MAX_SECRET_BYTES + 1, false),
        ] {
            for request in [
                Request::PutBridge {
                    name: "cb1".into(),
                    secret: with(length),
                },
                Request::RotateBridge {
                    name: "cb1".into(),
                    secret: with(length),
                },
            ] {
                if good {
                    assert_eq!(request.fault(), None);
                } else {
                    faulty(&request, "secret");
                    let text = request.fault().map(|fault| fault.to_string());
                    assert!(!text.unwrap_or_default().contains("sss"));
                }
            }
        }
    }

    #[test]
    fn limits_of_bridges_have_bounds() {
        let with = |limits: BridgeLimits| Request::LimitBridge {
            name: "cb1".into(),
            limits,
        };
        let none = BridgeLimits::default();
        assert_eq!(with(none).fault(), None);
        let bad = [
            (
                "limits.stanzas_per_second",
                BridgeLimits {
                    stanzas_per_second: Some(0),
                    ..none
                },
            ),
            (
                "limits.bytes_per_second",
                BridgeLimits {
                    bytes_per_second: Some(1023),
                    ..none
                },
            ),
            (
                "limits.queue_stanzas",
                BridgeLimits {
                    queue_stanzas: Some(1_000_001),
                    ..none
                },
            ),
            (
                "limits.queue_bytes",
                BridgeLimits {
                    queue_bytes: Some(1),
                    ..none
                },
            ),
        ];
        for (field, limits) in bad {
            faulty(&with(limits), field);
        }
    }

    #[test]
    fn users_have_names_and_passwords_with_bounds() {
        for name in ["", "a@b", "a/b", &"a".repeat(MAX_USER_BYTES + 1)] {
            faulty(&Request::RemoveUser { name: name.into() }, "name");
        }
        let put = |length: usize| Request::PutUser {
            name: "juliet".into(),
            password: Secret::new("s".repeat(length)),
            replace: false,
        };
        faulty(&put(0), "password");
        faulty(&put(MAX_SECRET_BYTES + 1), "password");
        assert_eq!(put(1).fault(), None);
    }

    #[test]
    fn generations_cluster_ids_members_and_voters_have_bounds() {
        for generation in [0, 1 << 32] {
            let request = Request::RetireSecret {
                name: "cb1".into(),
                generation,
            };
            faulty(&request, "generation");
        }
        for cluster_id in [String::new(), "a b".into(), "c".repeat(LONG + 1)] {
            faulty(&Request::Initialize { cluster_id }, "cluster_id");
        }
        let learner = Request::AddLearner {
            id: NodeId(7),
            name: "n".repeat(LONG),
            peer: "xmpp1:7222".parse().expect("an address"),
        };
        faulty(&learner, "name");
        for ids in [0..0, 0..17] {
            let ids = ids.map(NodeId).collect();
            faulty(&Request::ChangeVoters { ids }, "ids");
        }
    }
}

//! What DNS says of where bridges connect to, and what it should say.
//!
//! [`judge`] is pure. [`Dns::look`] asks the name servers of the operator's own pod: the cluster's, and through them those of
//! the XMPP domain. A bridge outside may be told something else by its own name servers, which nobody can see from here.
//!
//! Bounds: [`MOST_TARGETS`] targets are looked at, and [`PATIENCE`] is waited for all of it.

use std::net::IpAddr;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use tokio::time::timeout;

use crate::build::zone_lines;
use crate::cluster::Cluster;
use crate::crd::Expose;
use crate::names::COMPONENT_PORT_NAME;

/// Targets of an answer that are looked at: more than any cluster has members.
const MOST_TARGETS: usize = 16;
/// How long a name server may take for everything.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a member is reached from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outside {
    /// The member's pod.
    pub pod: String,
    /// Name or address.
    pub host: String,
    /// Ports there, by the names of the ports of its Service.
    pub ports: Vec<(String, u16)>,
}

impl Outside {
    /// The port there for a port of the Service.
    #[must_use]
    pub fn port(&self, name: &str) -> Option<u16> {
        let found = self.ports.iter().find(|(known, _)| known == name);
        found.map(|(_, number)| *number)
    }

    /// Where bridges connect.
    #[must_use]
    pub fn component(&self) -> Option<u16> {
        self.port(COMPONENT_PORT_NAME)
    }
}

/// What was found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// It is as it should be; nothing if the name servers did not say.
    pub holds: Option<bool>,
    /// One word.
    pub reason: &'static str,
    /// In words: what is missing, and the lines that mend it.
    pub message: String,
}

/// A target of SRV records, with its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name, without the last dot.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Its addresses; none if it has none.
    pub addresses: Vec<IpAddr>,
}

/// Asks.
#[derive(Clone, Debug, Default)]
pub struct Dns {
    resolver: Option<TokioResolver>,
}

/// Owner name of the SRV records that bridges of this cluster ask for: those of the Service, or of the domain if bridges
/// outside are to find it.
#[must_use]
pub fn owner(cluster: &Cluster) -> String {
    match cluster.spec.exposed() {
        Expose::None => cluster.names.srv(),
        _ => format!("_{COMPONENT_PORT_NAME}._tcp.{}", cluster.spec.domain),
    }
}

/// Compares what was found with what bridges need.
#[must_use]
pub fn judge(
    cluster: &Cluster,
    outside: &[Outside],
    found: &Result<Vec<Target>, String>,
) -> Finding {
    let owner = owner(cluster);
    let finding = |holds, reason, message| Finding {
        holds,
        reason,
        message,
    };
    let targets = match found {
        Ok(targets) => targets,
        Err(error) => {
            let message = format!("{owner}: the cluster's name servers do not say: {error}");
            return finding(None, "NotAnswered", message);
        }
    };
    if cluster.spec.exposed() == Expose::None {
        return match targets.len() {
            0 => finding(
                Some(false),
                "SrvMissing",
                format!(
                    "{owner} has no SRV record: look at the Service {} and its EndpointSlices, and at the cluster's DNS",
                    cluster.names.cluster()
                ),
            ),
            _ => finding(
                Some(true),
                "Published",
                format!("{owner} leads to the members"),
            ),
        };
    }
    let lines = zone_lines(cluster, outside);
    if outside.is_empty() {
        let message = "no member has an address outside yet".to_owned();
        return finding(None, "NoAddress", message);
    }
    if targets.is_empty() {
        let message = format!(
            "{owner} has no SRV record, as the cluster's name servers see it: add to the zone of {}: {}",
            cluster.spec.domain,
            lines.join("; ")
        );
        return finding(Some(false), "SrvMissing", message);
    }
    let leads = |target: &Target, member: &Outside| {
        let host = &member.host;
        let to_host = target.host.eq_ignore_ascii_case(host.trim_end_matches('.'));
        let ip = host.parse().is_ok_and(|ip| target.addresses.contains(&ip));
        member.component() == Some(target.port) && (to_host || ip)
    };
    let missing: Vec<String> = outside
        .iter()
        .filter(|member| !targets.iter().any(|target| leads(target, member)))
        .map(|member| {
            let port = member.component().unwrap_or_default();
            format!("{} at {} port {port}", member.pod, member.host)
        })
        .collect();
    if !missing.is_empty() {
        let message = format!(
            "the SRV records of {owner} do not lead to {}: the zone of {} should have: {}",
            missing.join(", "),
            cluster.spec.domain,
            lines.join("; ")
        );
        return finding(Some(false), "SrvIncomplete", message);
    }
    let stale = targets
        .iter()
        .find(|target| !outside.iter().any(|member| leads(target, member)));
    if let Some(stale) = stale {
        let message = format!(
            "an SRV record of {owner} leads to {} port {}, which is no member: take it out of the zone of {}",
            stale.host, stale.port, cluster.spec.domain
        );
        return finding(Some(false), "SrvStale", message);
    }
    finding(
        Some(true),
        "Published",
        format!("{owner} leads to every member"),
    )
}

impl Dns {
    /// Asks the name servers of this system.
    ///
    /// # Errors
    /// The system names none.
    pub fn of_system() -> Result<Self, NetError> {
        let mut builder = TokioResolver::builder_tokio()?;
        let options = builder.options_mut();
        // A record that was just mended must be seen.
        options.cache_size = 0;
        options.timeout = Duration::from_secs(1);
        options.attempts = 2;
        Ok(Self {
            resolver: Some(builder.build()?),
        })
    }

    /// The targets of the SRV records of a name; none if there are none.
    ///
    /// # Errors
    /// Why the name servers did not say.
    pub async fn look(&self, owner: &str) -> Result<Vec<Target>, String> {
        let Some(resolver) = &self.resolver else {
            return Err("the operator's system names none".to_owned());
        };
        let all = timeout(PATIENCE, look(resolver, owner)).await;
        // What exactly went wrong changes from try to try.
        all.unwrap_or(Err(()))
            .map_err(|()| "no answer in time".to_owned())
    }
}

async fn look(resolver: &TokioResolver, owner: &str) -> Result<Vec<Target>, ()> {
    let nothing = |error: &NetError| error.is_nx_domain() || error.is_no_records_found();
    let answer = match resolver.lookup(absolute(owner)?, RecordType::SRV).await {
        Ok(answer) => answer,
        Err(error) if nothing(&error) => return Ok(Vec::new()),
        Err(_) => return Err(()),
    };
    let mut targets = Vec::new();
    for record in answer.answers().iter().take(2 * MOST_TARGETS) {
        let RData::SRV(srv) = &record.data else {
            continue;
        };
        // `.` says that there is no such service (RFC 2782).
        if srv.target.is_root() || targets.len() >= MOST_TARGETS {
            continue;
        }
        let addresses = match resolver.lookup_ip(srv.target.clone()).await {
            Ok(found) => found.iter().collect(),
            Err(error) if nothing(&error) => Vec::new(),
            Err(_) => return Err(()),
        };
        targets.push(Target {
            host: srv.target.to_utf8().trim_end_matches('.').to_owned(),
            port: srv.port,
            addresses,
        });
    }
    Ok(targets)
}

/// The name as it stands, not completed by any search domain.
fn absolute(name: &str) -> Result<Name, ()> {
    let mut name = Name::from_utf8(name).map_err(|_| ())?;
    name.set_fqdn(true);
    Ok(name)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::build::tests::cluster;

    fn target(host: &str, port: u16, address: &str) -> Target {
        Target {
            host: host.to_owned(),
            port,
            addresses: address.parse().into_iter().collect(),
        }
    }

    fn told(
        which: &str,
        found: Result<Vec<Target>, String>,
    ) -> (Option<bool>, &'static str, String) {
        let outside = [
            outside("xmpp-0", "192.0.2.7", &[30123]),
            outside("xmpp-1", "lb.example.net", &[5223]),
        ];
        let found = judge(&cluster(which), &outside, &found);
        (found.holds, found.reason, found.message)
    }

    /// A member whose Service has so many ports, in the order of those that a cluster can have.
    pub(crate) fn outside(pod: &str, host: &str, ports: &[u16]) -> Outside {
        let names = ["xmpp-component", "xmpp-client", "xmpps-client"].map(str::to_owned);
        Outside {
            pod: pod.to_owned(),
            host: host.to_owned(),
            ports: names.into_iter().zip(ports.iter().copied()).collect(),
        }
    }

    #[test]
    fn inside_any_record_of_the_service_will_do() {
        let one = target("a.xmpp.calls.svc.cluster.local", 5223, "10.0.0.1");
        assert_eq!(told("small", Ok(vec![one])).1, "Published");
        let (holds, reason, message) = told("small", Ok(Vec::new()));
        assert_eq!((holds, reason), (Some(false), "SrvMissing"));
        assert!(message.contains("Service xmpp"), "{message}");
        assert_eq!(told("small", Err("late".to_owned())).0, None);
    }

    #[test]
    fn outside_each_member_must_be_led_to_and_nobody_else() {
        let one = target("xmpp-0.example.test", 30123, "192.0.2.7");
        let two = target("LB.example.net", 5223, "198.51.100.1");
        let all = vec![one, two.clone()];
        assert_eq!(told("exposed", Ok(all.clone())).0, Some(true));
        let (_, reason, message) = told("exposed", Ok(Vec::new()));
        assert_eq!(reason, "SrvMissing");
        assert!(
            message.contains("60 IN SRV 10 10 30123 xmpp-0.example.test."),
            "{message}"
        );
        let (_, reason, message) = told("exposed", Ok(vec![two.clone()]));
        assert_eq!(reason, "SrvIncomplete");
        assert!(
            message.contains("xmpp-0 at 192.0.2.7 port 30123"),
            "{message}"
        );
        // The right name, and an address that is not the member's.
        let elsewhere = target("xmpp-0.example.test", 30123, "192.0.2.8");
        assert_eq!(told("exposed", Ok(vec![elsewhere, two])).1, "SrvIncomplete");
        let old = target("xmpp-2.example.test", 30123, "192.0.2.9");
        let (_, reason, message) = told("exposed", Ok([all, vec![old]].concat()));
        assert_eq!(reason, "SrvStale");
        assert!(message.contains("xmpp-2.example.test"), "{message}");
    }
}

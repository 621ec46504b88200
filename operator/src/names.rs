//! Names, labels and ports of all that belongs to one cluster. Nothing else makes them up.

use std::collections::BTreeMap;

use xmpp_node_api::address::HostPort;

/// Ports of a member: what bridges, other members, the operator and scrapers connect to.
pub const COMPONENT_PORT: u16 = 5223;
/// See [`COMPONENT_PORT`].
pub const PEER_PORT: u16 = 7222;
/// See [`COMPONENT_PORT`].
pub const ADMIN_PORT: u16 = 8443;
/// See [`COMPONENT_PORT`].
pub const METRICS_PORT: u16 = 9090;

/// Name of the component port, which becomes the SRV record `_xmpp-component._tcp`.
pub const COMPONENT_PORT_NAME: &str = "xmpp-component";
/// The ports of clients, where they are served: STARTTLS (RFC 6120, 3.2.1) and direct TLS (XEP-0368). SRV records too.
pub const CLIENT_PORTS: [(&str, u16); 2] = [("xmpp-client", 5222), ("xmpps-client", 5221)];

/// Who writes, to the API server.
pub const MANAGER: &str = "xmpp-operator";
/// What the operator takes off a pod that bridges shall leave.
pub const SERVING: &str = "xmppcluster.dev/serving";
/// On a pod: since when it is taken out of the Services that bridges look up.
pub const DRAINING_SINCE: &str = "xmppcluster.dev/draining-since";
/// On a pod: `volume` asks for the member to be replaced, its volume thrown away.
pub const REPLACE: &str = "xmppcluster.dev/replace";
/// On an `XmppCluster`: its cluster id, typed by somebody who accepts that all data is lost.
pub const START_EMPTY: &str = "xmppcluster.dev/start-empty";
/// Name of the bridge that a Secret is for.
pub const BRIDGE: &str = "xmppcluster.dev/bridge";
/// Most members that a cluster can have; certificates and configuration are made for all of them at once, so that a
/// new pod never waits for a volume to be refreshed.
pub const MOST_MEMBERS: i32 = 7;

/// Names of one cluster's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// Name of the resource.
    pub cluster: String,
    /// Its namespace.
    pub namespace: String,
    /// Domain of the Kubernetes cluster, such as `cluster.local`.
    pub zone: String,
}

impl Names {
    /// The StatefulSet, and the Service that bridges look up.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The governing Service, by which members find each other.
    #[must_use]
    pub fn governing(&self) -> String {
        format!("{}-nodes", self.cluster)
    }

    /// The ConfigMap of the members' configuration files.
    #[must_use]
    pub fn config(&self) -> String {
        format!("{}-config", self.cluster)
    }

    /// The ConfigMap that records id and start of the cluster.
    #[must_use]
    pub fn record(&self) -> String {
        format!("{}-cluster", self.cluster)
    }

    /// The ConfigMap with the CA that bridges trust.
    #[must_use]
    pub fn trust(&self) -> String {
        format!("{}-trust", self.cluster)
    }

    /// The Secret of the internal CA.
    #[must_use]
    pub fn internal_ca(&self) -> String {
        format!("{}-internal-ca", self.cluster)
    }

    /// The Secret of the CA of what bridges are shown.
    #[must_use]
    pub fn public_ca(&self) -> String {
        format!("{}-public-ca", self.cluster)
    }

    /// The Secret of the members' internal certificates.
    #[must_use]
    pub fn node_certificates(&self) -> String {
        format!("{}-node-certificates", self.cluster)
    }

    /// The Secret of the certificate that bridges are shown, where the operator makes it.
    #[must_use]
    pub fn certificate(&self) -> String {
        format!("{}-certificate", self.cluster)
    }

    /// The Secret that a bridge reads, where the operator makes it.
    #[must_use]
    pub fn bridge(&self, bridge: &str) -> String {
        format!("{}-bridge-{bridge}", self.cluster)
    }

    /// A member's pod.
    #[must_use]
    pub fn pod(&self, ordinal: i32) -> String {
        format!("{}-{ordinal}", self.cluster)
    }

    /// The ordinal of a pod or member of that name. A number, as `10` comes after `9`.
    #[must_use]
    pub fn ordinal(&self, pod: &str) -> Option<i32> {
        let digits = pod.strip_prefix(&self.cluster)?.strip_prefix('-')?;
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        let ordinal = digits.parse().ok()?;
        (plain && self.pod(ordinal) == pod).then_some(ordinal)
    }

    /// The claim of a member's volume.
    #[must_use]
    pub fn claim(&self, ordinal: i32) -> String {
        format!("data-{}", self.pod(ordinal))
    }

    /// The Service through which a member is reached from outside.
    #[must_use]
    pub fn outside(&self, ordinal: i32) -> String {
        format!("{}-outside", self.pod(ordinal))
    }

    /// A member's name in DNS, whole, so that no search path matters.
    #[must_use]
    pub fn host(&self, pod: &str) -> String {
        format!(
            "{pod}.{}.{}.svc.{}",
            self.governing(),
            self.namespace,
            self.zone
        )
    }

    /// Where a member is reached on one of its ports; `None` if the names are too long for DNS, which validation refuses.
    #[must_use]
    pub fn address(&self, pod: &str, port: u16) -> Option<HostPort> {
        HostPort::new(&self.host(pod), port).ok()
    }

    /// The Service that bridges look up, whole.
    #[must_use]
    pub fn service_host(&self) -> String {
        format!("{}.{}.svc.{}", self.cluster, self.namespace, self.zone)
    }

    /// Owner name of the SRV records of that Service for bridges.
    #[must_use]
    pub fn srv(&self) -> String {
        self.srv_of(COMPONENT_PORT_NAME)
    }

    /// The same for a port of that Service.
    #[must_use]
    pub fn srv_of(&self, port: &str) -> String {
        format!("_{port}._tcp.{}", self.service_host())
    }

    /// What selects the members' pods; never changes.
    #[must_use]
    pub fn selector(&self) -> BTreeMap<String, String> {
        [
            ("app.kubernetes.io/name", "xmpp-node"),
            ("app.kubernetes.io/instance", &self.cluster),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
    }

    /// The selector as text.
    #[must_use]
    pub fn selector_text(&self) -> String {
        let selector = self.selector();
        let terms: Vec<String> = selector
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        terms.join(",")
    }

    /// What every object of the cluster bears.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        let mut labels = self.selector();
        for (key, value) in [
            ("app.kubernetes.io/component", "member"),
            ("app.kubernetes.io/part-of", "xmpp-cluster"),
            ("app.kubernetes.io/managed-by", MANAGER),
        ] {
            labels.insert(key.to_owned(), value.to_owned());
        }
        labels
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_are_numbers_and_only_of_this_cluster() {
        let names = Names {
            cluster: "xmpp".to_owned(),
            namespace: "calls".to_owned(),
            zone: "cluster.local".to_owned(),
        };
        assert_eq!(names.ordinal("xmpp-10"), Some(10));
        for other in ["xmpp-01", "xmpp-", "xmpp-+1", "xmpp-a-0", "other-0", "xmpp"] {
            assert_eq!(names.ordinal(other), None, "{other}");
        }
        assert_eq!(
            names.host("xmpp-0"),
            "xmpp-0.xmpp-nodes.calls.svc.cluster.local"
        );
        assert_eq!(
            names.srv(),
            "_xmpp-component._tcp.xmpp.calls.svc.cluster.local"
        );
    }
}

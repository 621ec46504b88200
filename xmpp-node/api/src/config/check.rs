//! What can be checked of a configuration without opening a file: ranges, names, rules between fields.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Config, Limits, Timing};
use crate::time::duration_text;

/// One thing wrong with a configuration; whoever wrote the file is at fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The key, with its section: `limits.max_depth`.
    pub key: String,
    /// What is wrong with its value, and what would be right.
    pub reason: String,
}

impl Fault {
    /// A fault of `key`, written with its section.
    #[must_use]
    pub fn new(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            reason: reason.into(),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.reason)
    }
}

/// Default and bounds of a key of `[limits]` or `[timing]`, in the form that the file has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The key, with its section: `limits.max_depth`.
    pub key: String,
    /// Its value where the file has none.
    pub default: String,
    /// The least that it may be.
    pub least: String,
    /// The most that it may be; a rule between keys may say less.
    pub most: String,
}

/// Default and bounds of every key that has bounds, in the order of their types.
#[must_use]
pub fn bounds() -> Vec<Bounds> {
    let section = |section: &str, range: &Range| Bounds {
        key: format!("{section}.{}", range.name),
        default: range.text(range.value),
        least: range.text(range.least),
        most: range.text(range.most),
    };
    let limits = Limits::default().ranges();
    let timing = Timing::default().ranges();
    let limits = limits.iter().map(|range| section("limits", range));
    let timing = timing.iter().map(|range| section("timing", range));
    limits.chain(timing).collect()
}

impl Config {
    /// Everything wrong with the values, in the order of the file; empty if they are good.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut note = |key: &str, reason: Option<&str>| {
            faults.extend(reason.map(|reason| Fault::new(key, reason)));
        };
        note("node.name", name_fault(&self.node.name));
        note(
            "node.dir",
            self.node
                .dir
                .as_os_str()
                .is_empty()
                .then_some("must not be empty"),
        );
        note("xmpp.domain", domain_fault(&self.xmpp.domain));
        let plain = self
            .component
            .plain_listen
            .filter(|address| !address.ip().is_loopback());
        note(
            "component.plain_listen",
            plain.map(
                |_| "must be a loopback address: without TLS nothing is served to other machines",
            ),
        );
        let unchecked = self.component.client_ca.is_some() && self.component.plain_listen.is_some();
        note(
            "component.client_ca",
            unchecked.then_some(
                "cannot be used with component.plain_listen, where no certificate can be shown",
            ),
        );
        if let Some(clients) = &self.clients {
            let within = |value: u32, most: u32| (1..=most).contains(&value);
            let resources = !within(clients.resources, 1_000);
            note(
                "clients.resources",
                resources.then_some("must be 1 to 1000"),
            );
            let users = !within(clients.users, 1_000_000);
            note("clients.users", users.then_some("must be 1 to 1000000"));
        }
        note(
            "cluster.id",
            self.cluster.id.as_deref().and_then(cluster_id_fault),
        );
        let crowded = self.cluster.seeds.len() > MAX_SEEDS;
        note(
            "cluster.seeds",
            crowded.then_some("must not be more than 16 addresses"),
        );
        self.check_listeners(&mut note);
        for range in self.limits.ranges() {
            note(&format!("limits.{}", range.name), range.fault().as_deref());
        }
        for (name, holds, rule) in self.limits.rules() {
            note(&format!("limits.{name}"), (!holds).then_some(rule));
        }
        for range in self.timing.ranges() {
            note(&format!("timing.{}", range.name), range.fault().as_deref());
        }
        for (name, holds, rule) in self.timing.rules() {
            note(&format!("timing.{name}"), (!holds).then_some(rule));
        }
        faults
    }

    /// Two listeners cannot have one address. Port 0 (any free port) never collides.
    fn check_listeners(&self, note: &mut impl FnMut(&str, Option<&str>)) {
        let listeners = [
            ("component.listen", Some(self.component.listen)),
            ("component.plain_listen", self.component.plain_listen),
            (
                "clients.listen",
                self.clients.as_ref().and_then(|clients| clients.listen),
            ),
            (
                "clients.direct_listen",
                self.clients
                    .as_ref()
                    .and_then(|clients| clients.direct_listen),
            ),
            ("peer.listen", Some(self.peer.listen)),
            ("admin.listen", self.admin.listen),
            ("metrics.listen", self.metrics.listen),
        ];
        for (at, (key, address)) in listeners.iter().enumerate() {
            let Some(address) = address.filter(|address| address.port() != 0) else {
                continue;
            };
            let taken = |other: &SocketAddr| {
                let overlap = other.ip() == address.ip()
                    || other.ip().is_unspecified()
                    || address.ip().is_unspecified();
                other.port() == address.port() && overlap
            };
            let holder = listeners[..at]
                .iter()
                .find(|(_, other)| other.as_ref().is_some_and(taken));
            let reason = holder.map(|(holder, _)| format!("{address} is taken by {holder}"));
            note(key, reason.as_deref());
        }
    }
}

/// What is wrong with the name of a node, if anything; see [`super::Node::name`].
#[must_use]
pub fn name_fault(name: &str) -> Option<&'static str> {
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let good = name.len() <= MAX_NAME_BYTES
        && name.bytes().next().is_some_and(allowed)
        && name.bytes().next_back().is_some_and(allowed)
        && name.bytes().all(|b| allowed(b) || matches!(b, b'-' | b'.'));
    (!good).then_some("must be 1 to 63 bytes of a-z, 0-9, '-' and '.', beginning and ending with a letter or digit")
}

/// What is wrong with an XMPP domain, if anything; see [`super::Xmpp::domain`].
#[must_use]
pub fn domain_fault(domain: &str) -> Option<&'static str> {
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if domain.len() > 253 || !domain.split('.').all(label) {
        return Some("must be a DNS name in lower case and ASCII form, such as example.test");
    }
    domain
        .parse::<std::net::IpAddr>()
        .is_ok()
        .then_some("must be a DNS name, not an IP address")
}

/// What is wrong with a cluster id, if anything; see [`super::Cluster::id`].
#[must_use]
pub fn cluster_id_fault(id: &str) -> Option<&'static str> {
    let good = (1..=64).contains(&id.len())
        && id
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    (!good).then_some("must be 1 to 64 bytes of letters, digits, '-', '_' and '.'")
}

/// A number or a duration (in milliseconds) with the least and the most it may be.
pub(super) struct Range {
    pub(super) name: &'static str,
    pub(super) value: u64,
    least: u64,
    most: u64,
    time: bool,
}

impl Range {
    pub(super) const fn number(name: &'static str, value: u64, least: u64, most: u64) -> Self {
        Self {
            name,
            value,
            least,
            most,
            time: false,
        }
    }

    pub(super) fn time(name: &'static str, value: Duration, least: u64, most: u64) -> Self {
        let value = u64::try_from(value.as_millis()).unwrap_or(u64::MAX);
        Self {
            name,
            value,
            least,
            most,
            time: true,
        }
    }

    fn fault(&self) -> Option<String> {
        if (self.least..=self.most).contains(&self.value) {
            return None;
        }
        let (least, most) = (self.text(self.least), self.text(self.most));
        Some(format!(
            "{} is out of bounds: must be {least} to {most}",
            self.text(self.value)
        ))
    }

    /// A value in the form that the file has.
    fn text(&self, value: u64) -> String {
        match self.time {
            true => duration_text::format(Duration::from_millis(value)),
            false => value.to_string(),
        }
    }
}

/// A DNS label's length, as the name becomes one in a cluster's DNS.
const MAX_NAME_BYTES: usize = 63;

/// More than any group has members; a longer list is a mistake.
const MAX_SEEDS: usize = 16;

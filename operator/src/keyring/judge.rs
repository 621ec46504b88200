//! What is to be said of Secrets that users gave: where they are, what they lack, what to do. Never what they hold.

use jiff::Timestamp;
use xmpp_node_client::issue::Facts;

use super::{Secrets, text};
use crate::cluster::Cluster;

/// What is wrong with the certificate that bridges are shown, for people: where it is, what it lacks, what to do.
#[must_use]
pub fn certificate_fault(
    cluster: &Cluster,
    secrets: &Secrets,
    now: Timestamp,
) -> Option<(&'static str, String)> {
    let name = cluster.spec.tls_secret()?;
    let at = format!("spec.tls.secretRef: Secret {name}");
    let Some(data) = secrets.given.get(name).and_then(Option::as_ref) else {
        return Some((
            "SecretMissing",
            format!("{at} does not exist: create it, of type kubernetes.io/tls"),
        ));
    };
    let (Some(certificate), Some(_)) = (text(data, "tls.crt"), text(data, "tls.key")) else {
        return Some((
            "SecretIncomplete",
            format!("{at}: must have tls.crt and tls.key"),
        ));
    };
    let Some(facts) = Facts::read(certificate) else {
        return Some((
            "CertificateUnreadable",
            format!("{at}: tls.crt is no certificate in PEM"),
        ));
    };
    let domain = &cluster.spec.domain;
    if now > facts.not_after {
        return Some((
            "CertificateExpired",
            format!("{at}: expired at {}: renew it", facts.not_after),
        ));
    }
    if now < facts.not_before {
        return Some((
            "CertificateNotYetValid",
            format!("{at}: is not valid before {}", facts.not_before),
        ));
    }
    if !facts.covers(domain) {
        let names = facts.names.join(", ");
        return Some((
            "CertificateWrongName",
            format!(
                "{at}: is for {names} and not for {domain}: issue one with the DNS name {domain}"
            ),
        ));
    }
    None
}

/// The secret that a bridge shall have, or what is wrong with it, for people.
///
/// # Errors
/// Secret, key, what is wrong, what to do.
pub fn wanted_secret(cluster: &Cluster, secrets: &Secrets, bridge: &str) -> Result<String, String> {
    let spec = cluster.spec.bridges.iter().find(|spec| spec.name == bridge);
    let given = spec.and_then(|spec| spec.secret_ref.as_ref());
    let (name, key, data) = match given {
        Some(given) => {
            let key = given.key.as_deref().unwrap_or("secret");
            let found = secrets.given.get(&given.name).and_then(Option::as_ref);
            (given.name.clone(), key, found)
        }
        None => {
            let name = cluster.names.bridge(bridge);
            let found = secrets.own.get(&name);
            (name, "secret", found)
        }
    };
    let at = format!("bridge {bridge}: Secret {name}");
    let Some(data) = data else {
        return Err(format!("{at} does not exist: create it with the key {key}"));
    };
    let Some(value) = data.get(key) else {
        return Err(format!("{at}: has no key {key}"));
    };
    match std::str::from_utf8(value) {
        Ok(text) if (1..=1024).contains(&text.len()) => Ok(text.to_owned()),
        Ok(_) => Err(format!("{at}: {key} must have 1 to 1024 bytes")),
        Err(_) => Err(format!("{at}: {key} must be UTF-8")),
    }
}

/// The name of the Secret that a bridge reads.
#[must_use]
pub fn secret_name(cluster: &Cluster, bridge: &crate::crd::BridgeSpec) -> String {
    match &bridge.secret_ref {
        Some(given) => given.name.clone(),
        None => cluster.names.bridge(&bridge.name),
    }
}

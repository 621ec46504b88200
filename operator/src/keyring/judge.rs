//! What is to be said of Secrets that users gave: where they are, what they lack, what to do. Never what they hold.

use jiff::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use xmpp_node_client::issue::Facts;

use super::{Data, Secrets, text};
use crate::cluster::Cluster;

/// What is wrong with the certificate that the resource names, for people: where it is, what it lacks, what to do.
#[must_use]
pub fn certificate_fault(
    cluster: &Cluster,
    secrets: &Secrets,
    now: Timestamp,
) -> Option<(&'static str, String)> {
    let name = cluster.spec.tls_secret()?;
    let given = secrets.given.get(name).and_then(Option::as_ref);
    let (reason, what) = fault(given, &cluster.spec.domain, now)?;
    let after = match secrets.own.contains_key(&cluster.names.certificate()) {
        true => "members go on with the last good one",
        false => "members start once it is mended",
    };
    let message = format!("spec.tls.secretRef: Secret {name}: {what}; {after}");
    Some((reason, message))
}

fn fault(given: Option<&Data>, domain: &str, now: Timestamp) -> Option<(&'static str, String)> {
    let Some(data) = given else {
        let what = "does not exist: create it, of type kubernetes.io/tls";
        return Some(("SecretMissing", what.to_owned()));
    };
    for key in ["tls.crt", "tls.key"] {
        if data.get(key).is_none_or(Vec::is_empty) {
            let what = format!("has no {key}: it must have tls.crt and tls.key");
            return Some(("SecretIncomplete", what));
        }
    }
    let facts = text(data, "tls.crt").and_then(Facts::read);
    let Some(facts) = facts else {
        let what =
            "tls.crt is no certificate in PEM: put the certificate there, then its intermediates";
        return Some(("CertificateUnreadable", what.to_owned()));
    };
    match pair(data) {
        Ok(()) => {}
        Err(PairFault::Chain) => {
            let what = "tls.crt holds something that is no certificate in PEM: put the certificate there, then its intermediates";
            return Some(("CertificateUnreadable", what.to_owned()));
        }
        Err(PairFault::Key) => {
            let what = "tls.key is no private key in PEM that can be used: put the key of tls.crt there (RSA, ECDSA or Ed25519)";
            return Some(("KeyUnreadable", what.to_owned()));
        }
        Err(PairFault::Mismatch) => {
            let what = format!(
                "tls.key is not the key of tls.crt (serial {}): put the two there that were issued together",
                facts.serial
            );
            return Some(("KeyMismatch", what));
        }
    }
    if now > facts.not_after {
        let what = format!("tls.crt expired at {}: renew it", facts.not_after);
        return Some(("CertificateExpired", what));
    }
    if now < facts.not_before {
        let what = format!(
            "tls.crt is not valid before {}: issue one that is valid now, or look at the clocks",
            facts.not_before
        );
        return Some(("CertificateNotYetValid", what));
    }
    if !facts.covers(domain) {
        let names = match facts.names.is_empty() {
            true => "no DNS name".to_owned(),
            false => facts.names.join(", "),
        };
        let what = format!(
            "tls.crt is for {names} and not for {domain}: issue one with the DNS name {domain}"
        );
        return Some(("CertificateWrongName", what));
    }
    None
}

enum PairFault {
    Chain,
    Key,
    Mismatch,
}

fn pair(data: &Data) -> Result<(), PairFault> {
    let all = |key: &str| data.get(key).map_or(&[][..], Vec::as_slice);
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(all("tls.crt")).collect();
    let chain = chain.map_err(|_| PairFault::Chain)?;
    let key = PrivateKeyDer::from_pem_slice(all("tls.key")).map_err(|_| PairFault::Key)?;
    let provider = xmpp_node_client::tls::provider();
    match CertifiedKey::from_der(chain, key, &provider) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InconsistentKeys(_)) => Err(PairFault::Mismatch),
        Err(rustls::Error::InvalidCertificate(_)) => Err(PairFault::Chain),
        Err(_) => Err(PairFault::Key),
    }
}

/// When the certificate that the resource names ends, if less than a tenth of its time is left and nobody renewed it.
#[must_use]
pub fn certificate_ends(cluster: &Cluster, secrets: &Secrets, now: Timestamp) -> Option<String> {
    let name = cluster.spec.tls_secret()?;
    let given = secrets.given.get(name)?.as_ref()?;
    let facts = text(given, "tls.crt").and_then(Facts::read)?;
    let (from, to) = (facts.not_before.as_second(), facts.not_after.as_second());
    let last = to - (to - from) / 10;
    (now.as_second() >= last).then(|| {
        format!(
            "spec.tls.secretRef: Secret {name}: tls.crt expires at {}: renew it before",
            facts.not_after
        )
    })
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

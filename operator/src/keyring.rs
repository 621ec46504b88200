//! Certificates and secrets of a cluster, as Secrets: what is made once, and what is renewed.
//!
//! | Secret | Made | Holds |
//! |---|---|---|
//! | `<cluster>-internal-ca` | once, never again | the CA of peer and admin ports |
//! | `<cluster>-public-ca` | once, unless `tls.secretRef` | the CA of what bridges are shown |
//! | `<cluster>-node-certificates` | renewed at two thirds of 30 days | each member's internal certificate |
//! | `<cluster>-certificate` | the same; with `tls.secretRef` a copy, whenever that one is good | the certificate that bridges are shown |
//! | `<cluster>-bridge-<name>` | once, unless `secretRef` | what a bridge needs, in the form of servicebinding.io |
//!
//! What is made once is written by `create` alone, so it is never overwritten, whatever was read. A CA that cannot be read is
//! an error and not a reason to make another one. Members never read a Secret of a user's: what is wrong with one, or that it
//! is gone, harms none that runs or starts. Nothing of a Secret is ever printed.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Value, json};
use xmpp_node_client::identity::{PeerIdentity, Role};
use xmpp_node_client::issue::{Authority, Facts, Pair};
use xmpp_node_client::tls::Caller;

use crate::cluster::Cluster;
use crate::names::{BRIDGE, MOST_MEMBERS};

/// Content of a Secret.
pub type Data = BTreeMap<String, Vec<u8>>;

/// A CA outlives every disk; it is replaced by hand, see the documentation.
const CA_DAYS: i64 = 3650;
/// Certificates that nobody has to replace by hand are short-lived.
const LEAF_DAYS: i64 = 30;
/// The operator's own certificate is made anew for each pass.
const CALLER_DAYS: i64 = 1;
/// Characters of a generated secret of a bridge: 190 bits.
const SECRET_CHARS: usize = 32;

/// The Secrets that a pass found.
#[derive(Clone, Default)]
pub struct Secrets {
    /// Those that the operator made, by name.
    pub own: BTreeMap<String, Data>,
    /// Those that the resource names, by name; `None` if there is none.
    pub given: BTreeMap<String, Option<Data>>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let given = self.given.iter().map(|(name, data)| (name, data.is_some()));
        f.debug_struct("Secrets")
            .field("own", &self.own.keys().collect::<Vec<_>>())
            .field("given", &given.collect::<Vec<_>>())
            .finish()
    }
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A CA is damaged; making another one would cut members off.
    #[error(
        "Secret {0}: holds no CA that can be read (ca.crt, ca.key): restore it; to start anew, delete it and restart all pods at once"
    )]
    Damaged(String),
    /// A certificate cannot be made.
    #[error("a certificate cannot be made: {0}")]
    Issue(#[from] rcgen::Error),
    /// The operator cannot use its own certificate.
    #[error("the operator's certificate cannot be used: {0}")]
    Tls(#[from] rustls::Error),
    /// The system gave no random numbers.
    #[error("the system gave no random numbers")]
    Random,
}

/// The authorities of a cluster.
#[derive(Debug)]
pub struct Keyring {
    internal: Authority,
    public: Option<Authority>,
}

/// Secrets that are not there yet and are made once: to be created, never applied.
///
/// # Errors
/// [`KeyError`].
pub fn missing(
    cluster: &Cluster,
    secrets: &Secrets,
    now: Timestamp,
) -> Result<Vec<Value>, KeyError> {
    let mut made = Vec::new();
    let names = &cluster.names;
    let mut authorities = vec![(names.internal_ca(), "internal")];
    if cluster.spec.tls_secret().is_none() {
        authorities.push((names.public_ca(), "public"));
    }
    for (name, kind) in authorities {
        if !secrets.own.contains_key(&name) {
            let title = format!("{} {kind} CA", names.cluster);
            let pair = Authority::create(&title, now, CA_DAYS)?;
            let data = pair_data(&pair, "ca.crt", "ca.key");
            made.push(secret(cluster.kept_meta(&name), "Opaque", &data));
        }
    }
    for bridge in &cluster.spec.bridges {
        let name = names.bridge(&bridge.name);
        if bridge.secret_ref.is_none() && !secrets.own.contains_key(&name) {
            let mut data = binding(cluster, &bridge.name, trust(cluster, secrets));
            data.insert("secret".to_owned(), random_secret()?.into_bytes());
            made.push(bridge_secret(cluster, &bridge.name, &data));
        }
    }
    Ok(made)
}

/// The CA that bridges trust, PEM, if it is known.
#[must_use]
pub fn trust<'a>(cluster: &Cluster, secrets: &'a Secrets) -> Option<&'a str> {
    let data = match cluster.spec.tls_secret() {
        // With the copy that members have, not with the original, which may be no good.
        Some(_) => secrets.own.get(&cluster.names.certificate())?,
        None => secrets.own.get(&cluster.names.public_ca())?,
    };
    text(data, "ca.crt")
}

impl Keyring {
    /// Reads the authorities, which must be there.
    ///
    /// # Errors
    /// [`KeyError::Damaged`].
    pub fn load(cluster: &Cluster, secrets: &Secrets) -> Result<Self, KeyError> {
        let load = |name: String| {
            let found = secrets.own.get(&name);
            let pair = found.and_then(|data| {
                Some(Pair {
                    certificate: text(data, "ca.crt")?.to_owned(),
                    key: text(data, "ca.key")?.to_owned(),
                })
            });
            let loaded = pair.and_then(|pair| Authority::load(&pair).ok());
            loaded.ok_or(KeyError::Damaged(name))
        };
        let public = match cluster.spec.tls_secret() {
            Some(_) => None,
            None => Some(load(cluster.names.public_ca())?),
        };
        Ok(Self {
            internal: load(cluster.names.internal_ca())?,
            public,
        })
    }

    /// A certificate by which the operator asks members, for one pass.
    ///
    /// # Errors
    /// [`KeyError::Issue`], [`KeyError::Tls`].
    pub fn caller(&self, now: Timestamp) -> Result<Caller, KeyError> {
        let operator = PeerIdentity {
            role: Role::Operator,
            name: "operator".to_owned(),
        };
        let pair = self.internal.issue_role(&operator, now, CALLER_DAYS)?;
        Ok(Caller::new(&pair, self.internal.certificate())?)
    }

    /// Secrets that are to be applied: certificates that are absent, due or of another CA, and bindings that changed.
    /// What is good stays as it is, byte for byte.
    ///
    /// # Errors
    /// [`KeyError::Issue`].
    pub fn renewed(
        &self,
        cluster: &Cluster,
        secrets: &Secrets,
        now: Timestamp,
    ) -> Result<Vec<Value>, KeyError> {
        let mut written = Vec::new();
        let names = &cluster.names;
        let node_data = self.node_certificates(cluster, secrets, now)?;
        if secrets.own.get(&names.node_certificates()) != Some(&node_data) {
            let meta = cluster.meta(&names.node_certificates());
            written.push(secret(meta, "Opaque", &node_data));
        }
        let certificate = match &self.public {
            Some(public) => Some(server_certificate(public, cluster, secrets, now)?),
            None => given_certificate(cluster, secrets, now),
        };
        if let Some(data) = certificate
            && secrets.own.get(&names.certificate()) != Some(&data)
        {
            let meta = cluster.meta(&names.certificate());
            written.push(secret(meta, "kubernetes.io/tls", &data));
        }
        for bridge in &cluster.spec.bridges {
            let Some(found) = secrets.own.get(&names.bridge(&bridge.name)) else {
                continue;
            };
            let wanted = binding(cluster, &bridge.name, trust(cluster, secrets));
            let same = wanted
                .iter()
                .all(|(key, value)| found.get(key) == Some(value));
            if !same && bridge.secret_ref.is_none() {
                // Without `secret`: that key has another owner, who wrote it once.
                written.push(bridge_secret(cluster, &bridge.name, &wanted));
            }
        }
        Ok(written)
    }

    fn node_certificates(
        &self,
        cluster: &Cluster,
        secrets: &Secrets,
        now: Timestamp,
    ) -> Result<Data, KeyError> {
        let nothing = Data::new();
        let found = secrets
            .own
            .get(&cluster.names.node_certificates())
            .unwrap_or(&nothing);
        let ca = self.internal.certificate();
        let same_ca = text(found, "ca.crt") == Some(ca);
        let mut data = Data::from([("ca.crt".to_owned(), ca.as_bytes().to_vec())]);
        for ordinal in 0..MOST_MEMBERS {
            let pod = cluster.names.pod(ordinal);
            let (crt, key) = (format!("{pod}.crt"), format!("{pod}.key"));
            match (found.get(&crt), found.get(&key)) {
                (Some(old), Some(old_key)) if same_ca && is_good(old, now) => {
                    data.insert(crt, old.clone());
                    data.insert(key, old_key.clone());
                }
                _ => {
                    let identity = PeerIdentity::node(&pod);
                    let pair = self.internal.issue_role(&identity, now, LEAF_DAYS)?;
                    data.extend(pair_data(&pair, &crt, &key));
                }
            }
        }
        Ok(data)
    }
}

fn server_certificate(
    public: &Authority,
    cluster: &Cluster,
    secrets: &Secrets,
    now: Timestamp,
) -> Result<Data, KeyError> {
    let names = vec![cluster.spec.domain.clone(), cluster.names.service_host()];
    let ca = public.certificate();
    let found = secrets.own.get(&cluster.names.certificate());
    if let Some(found) = found.filter(|found| text(found, "ca.crt") == Some(ca)) {
        let good = found.get("tls.crt").is_some_and(|old| {
            let facts = std::str::from_utf8(old).ok().and_then(Facts::read);
            is_good(old, now)
                && facts.is_some_and(|facts| names.iter().all(|name| facts.covers(name)))
        });
        if good && found.contains_key("tls.key") {
            return Ok(found.clone());
        }
    }
    let pair = public.issue_server(&names, &[], now, LEAF_DAYS)?;
    let mut data = pair_data(&pair, "tls.crt", "tls.key");
    data.insert("ca.crt".to_owned(), ca.as_bytes().to_vec());
    Ok(data)
}

/// A copy of the certificate that the resource names, if it is good.
fn given_certificate(cluster: &Cluster, secrets: &Secrets, now: Timestamp) -> Option<Data> {
    let given = secrets.given.get(cluster.spec.tls_secret()?)?.as_ref()?;
    if certificate_fault(cluster, secrets, now).is_some() {
        return None;
    }
    let keys = ["tls.crt", "tls.key", "ca.crt"];
    let copy = keys
        .iter()
        .filter_map(|key| Some(((*key).to_owned(), given.get(*key)?.clone())));
    Some(copy.collect())
}

/// What a bridge must know, but its secret.
fn binding(cluster: &Cluster, bridge: &str, trust: Option<&str>) -> Data {
    let mut data: Data = [
        ("type", "xmpp-component"),
        ("provider", "xmpp-operator"),
        ("name", bridge),
        ("domain", &cluster.spec.domain),
        ("srv", &cluster.names.srv()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec()))
    .collect();
    if let Some(trust) = trust {
        data.insert("ca.crt".to_owned(), trust.as_bytes().to_vec());
    }
    data
}

fn bridge_secret(cluster: &Cluster, bridge: &str, data: &Data) -> Value {
    let mut meta = cluster.meta(&cluster.names.bridge(bridge));
    meta["labels"][BRIDGE] = bridge.into();
    secret(meta, "servicebinding.io/xmpp-component", data)
}

fn secret(meta: Value, kind: &str, data: &Data) -> Value {
    let data: BTreeMap<&String, String> = data
        .iter()
        .map(|(key, value)| (key, STANDARD.encode(value)))
        .collect();
    json!({ "apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": kind, "data": data })
}

fn pair_data(pair: &Pair, certificate: &str, key: &str) -> Data {
    Data::from([
        (
            certificate.to_owned(),
            pair.certificate.clone().into_bytes(),
        ),
        (key.to_owned(), pair.key.clone().into_bytes()),
    ])
}

fn text<'a>(data: &'a Data, key: &str) -> Option<&'a str> {
    std::str::from_utf8(data.get(key)?).ok()
}

fn is_good(certificate: &[u8], now: Timestamp) -> bool {
    let facts = std::str::from_utf8(certificate).ok().and_then(Facts::read);
    facts.is_some_and(|facts| !facts.is_due(now) && now >= facts.not_before)
}

/// Letters and digits, as some components read nothing else.
fn random_secret() -> Result<String, KeyError> {
    const KINDS: &[u8; 62] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let mut text = String::with_capacity(SECRET_CHARS);
    while text.len() < SECRET_CHARS {
        let mut bytes = [0; 64];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| KeyError::Random)?;
        // Bytes from 248 on would make the first letters likelier.
        let fair = bytes.into_iter().filter(|byte| *byte < 248);
        let fair = fair.take(SECRET_CHARS - text.len());
        text.extend(fair.map(|byte| char::from(KINDS[usize::from(byte) % KINDS.len()])));
    }
    Ok(text)
}

/// A new id for a cluster, of 16 hexadecimal digits.
///
/// # Errors
/// [`KeyError::Random`].
pub fn cluster_id() -> Result<String, KeyError> {
    let mut bytes = [0; 8];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| KeyError::Random)?;
    Ok(format!("{:016x}", u64::from_be_bytes(bytes)))
}

mod judge;
#[cfg(test)]
mod tests;

pub use self::judge::{certificate_ends, certificate_fault, secret_name, wanted_secret};

//! Whether a peer knows a secret of the bridge that it names (XEP-0114, 3), if it may be told now.
//!
//! The work is the same for a bridge with one secret, with two, and for none (XEP-0114, 3): as many secrets are opened and compared
//! as a bridge may have, with dummies for those that it has not.

use std::sync::PoisonError;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use secrecy::ExposeSecret as _;
use tokio::time::Instant;
use tracing::info;
use xmpp_core::handshake;
use xmpp_core::router::SealedSecret;
use xmpp_node_api::status::RefusalReason;

use super::StreamContext;
use crate::admission::Source;
use crate::metrics::Outcome;
use crate::sealing::SealingKey;
use crate::tls::is_valid_for;

/// Secrets that a bridge may have at once.
const SECRETS: usize = 2;
/// In place of a secret that a bridge has not: nonce, 24 characters, tag. It opens under no key.
const DUMMY_SEALED: [u8; 52] = [0; 52];
/// What is compared in its place, as long as a secret that we make.
const DUMMY: &[u8; 24] = b"no such bridge or secret";

/// What a handshake proved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// The secret of this generation.
    Right(u32),
    /// Nothing.
    Wrong,
    /// The secret, without a certificate that is valid for the bridge.
    Uncertified,
    /// Too many before it failed: it was not looked at, and need not come again before this time has passed.
    TooEarly(Duration),
}

/// What a peer says to prove itself.
#[derive(Debug)]
pub(super) struct Handshake<'a> {
    /// Where it comes from.
    pub(super) source: Source,
    /// Id of its stream.
    pub(super) stream: &'a str,
    /// What it showed, verified.
    pub(super) certificate: Option<&'a CertificateDer<'static>>,
    /// Domain of the bridge that it says it is.
    pub(super) domain: &'a str,
    /// The digest.
    pub(super) presented: &'a str,
}

impl Handshake<'_> {
    /// Whether its certificate is valid for its name, where one is asked for.
    fn is_certified(&self, context: &StreamContext) -> bool {
        let valid = |certificate| is_valid_for(certificate, self.domain);
        !context.certified_bridges || self.certificate.is_some_and(valid)
    }

    /// Checks it, and counts it.
    pub(super) fn check(&self, context: &StreamContext) -> Proof {
        check(context, self)
    }
}

fn check(context: &StreamContext, handshake: &Handshake<'_>) -> Proof {
    let Handshake { source, domain, .. } = *handshake;
    let throttle = || {
        context
            .throttle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    };
    let now = Instant::now();
    let allowed = throttle().check(source, domain, now);
    let proof = match allowed.map(|()| compare(context, handshake)) {
        Ok(Some(generation)) if handshake.is_certified(context) => {
            throttle().proved(source, domain, now);
            Proof::Right(generation)
        }
        Ok(Some(_)) => {
            throttle().failed(source, domain, now);
            info!(
                bridge = domain,
                ?source,
                "no certificate that is valid for the bridge"
            );
            Proof::Uncertified
        }
        Ok(None) => {
            throttle().failed(source, domain, now);
            info!(bridge = domain, ?source, "wrong secret, or no such bridge");
            Proof::Wrong
        }
        Err(wait) => Proof::TooEarly(wait),
    };
    // The peer is told the same either way; people who may read the status need to know.
    let known = || context.applied.router().bridge(domain).is_some();
    let reason = match proof {
        Proof::Right(_) => None,
        _ if !known() => Some(RefusalReason::UnknownBridge),
        Proof::Wrong => Some(RefusalReason::WrongSecret),
        Proof::Uncertified => Some(RefusalReason::WrongCertificate),
        Proof::TooEarly(_) => Some(RefusalReason::TooManyFailures),
    };
    if let Some(reason) = reason {
        context.refusals.refused(domain, reason, source);
    }
    context.metrics.handshake(match proof {
        Proof::Right(_) => Outcome::Proved,
        Proof::Wrong | Proof::Uncertified => Outcome::Failed,
        Proof::TooEarly(_) => Outcome::Throttled,
    });
    proof
}

fn compare(context: &StreamContext, handshake: &Handshake<'_>) -> Option<u32> {
    let Handshake {
        stream,
        domain,
        presented,
        ..
    } = *handshake;
    let sealing = context.sealing.load();
    let key = sealing.as_deref();
    let secrets = context
        .applied
        .router()
        .bridge(domain)
        .map(|bridge| bridge.secrets.clone())
        .unwrap_or_default();
    let mut found = None;
    for at in 0..SECRETS.max(secrets.len()) {
        let secret = secrets.get(at);
        if matches(key, stream, domain, secret, presented) {
            found = secret.map(|secret| secret.generation);
        }
    }
    found
}

fn matches(
    key: Option<&SealingKey>,
    stream: &str,
    domain: &str,
    secret: Option<&SealedSecret>,
    presented: &str,
) -> bool {
    let sealed = secret.map_or(&DUMMY_SEALED[..], |secret| &secret.sealed);
    let opened = key.and_then(|key| key.open(domain, sealed).ok());
    let known = opened.is_some();
    let text = opened
        .as_ref()
        .map_or(&DUMMY[..], |opened| opened.expose_secret());
    // The comparison comes first: it is made whether it can count or not.
    handshake::verify(stream, text, presented) & known
}

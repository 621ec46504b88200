//! What a client's user is checked with, if it may be told now.
//!
//! A user that does not exist is given keys too, always the same for a name on every node, and everything after that is the
//! same work. Failures are counted as those of bridges are, see [`crate::throttle`], by the user's bare address.

use std::sync::PoisonError;
use std::time::Duration;

use ring::hmac;
use secrecy::ExposeSecret as _;
use tokio::time::Instant;
use tracing::info;
use xmpp_core::scram::Credentials;
use xmpp_core::stream::Found;

use super::StreamContext;
use crate::admission::Source;
use crate::metrics::Outcome;

/// What there is of a user.
///
/// # Errors
/// How long to wait, after too many failures.
pub(super) fn find(context: &StreamContext, source: Source, user: &str) -> Result<Found, Duration> {
    let address = address(context, user);
    let throttle = context
        .throttle
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let allowed = throttle.check(source, &address, Instant::now());
    drop(throttle);
    allowed.inspect_err(|_| context.metrics.handshake(Outcome::Throttled))?;
    let key = context.sealing.load();
    let secret = key.as_ref().map_or(&[][..], |key| key.expose());
    // Not the key itself: what is made of it is shown to everybody.
    let secret = hmac::sign(
        &hmac::Key::new(hmac::HMAC_SHA256, secret),
        b"salts of users who do not exist",
    );
    let decoy = Credentials::decoy(secret.as_ref(), user);
    let sealed = context
        .applied
        .router()
        .account(user)
        .map(|account| account.credentials.clone());
    let known = sealed.and_then(|sealed| {
        let opened = key.as_ref()?.open(&address, &sealed.sealed).ok()?;
        let credentials = Credentials::decode(opened.expose_secret())?;
        Some((credentials, sealed.generation))
    });
    Ok(match known {
        Some((credentials, generation)) => Found {
            credentials,
            generation: Some(generation),
        },
        None => Found {
            credentials: decoy,
            generation: None,
        },
    })
}

/// Counts an attempt.
pub(super) fn judged(
    context: &StreamContext,
    source: Source,
    user: &str,
    mechanism: &str,
    proved: bool,
) {
    let address = address(context, user);
    let now = Instant::now();
    let mut throttle = context
        .throttle
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let outcome = if proved {
        throttle.proved(source, &address, now);
        info!(user, mechanism, "authenticated");
        Outcome::Proved
    } else {
        throttle.failed(source, &address, now);
        info!(user, mechanism, ?source, "wrong password, or no such user");
        Outcome::Failed
    };
    drop(throttle);
    context.metrics.handshake(outcome);
}

fn address(context: &StreamContext, user: &str) -> String {
    format!("{user}@{}", context.server.domain)
}

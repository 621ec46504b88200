//! A password that a client sent itself (PLAIN), on a thread where nobody waits, since it costs a PBKDF2.
//!
//! Bounds: [`AT_ONCE`] on a node, so that whoever tries many keeps a part of one core busy; the next ones wait, each as long as
//! its stream may take to authenticate. A stream tries one at a time and is not read meanwhile.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinHandle, spawn_blocking};
use xmpp_core::scram::Password;

use super::{StreamContext, users};
use crate::admission::Source;
use crate::passwords::prepared;

/// Passwords compared at once on a node.
pub const AT_ONCE: usize = 2;

/// A trial under way, or none.
#[derive(Debug, Default)]
pub(super) struct Trial(Option<JoinHandle<Option<u32>>>);

impl Trial {
    /// Begins one.
    ///
    /// # Errors
    /// How long to wait, after too many failures.
    pub(super) fn begin(
        context: &StreamContext,
        source: Source,
        user: &str,
        password: Password,
    ) -> Result<Self, Duration> {
        let found = users::find(context, source, user)?;
        let places = Arc::clone(&context.trials);
        Ok(Self(Some(tokio::spawn(async move {
            let place = places.acquire_owned().await.ok()?;
            let compare = move || {
                let _place = place;
                // Of a user that does not exist there are keys too, so it takes as long.
                let prepared = prepared(password.expose()).unwrap_or_default();
                let right = found.credentials.matches(&prepared) && !prepared.is_empty();
                found.generation.filter(|_| right)
            };
            spawn_blocking(compare).await.ok().flatten()
        }))))
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.0.is_some()
    }

    /// Waits for the outcome: the generation of the credentials, if it was the password. Cancel-safe.
    pub(super) async fn done(&mut self) -> Option<u32> {
        let Some(trial) = &mut self.0 else {
            return pending().await;
        };
        let generation = trial.await.ok().flatten();
        self.0 = None;
        generation
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        if let Some(trial) = &self.0 {
            trial.abort();
        }
    }
}

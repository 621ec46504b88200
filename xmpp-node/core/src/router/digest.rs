//! A digest of the state: nodes that applied the same entry show the same one.

use ring::digest::{Context, SHA256};

use super::Router;
use super::snapshot::Outline;

impl Router {
    /// SHA-256 over the whole state, as 64 hexadecimal digits. The text of a queued stanza is named by its place in the log,
    /// which Raft makes the same everywhere.
    ///
    /// # Panics
    /// Never: the outline can be encoded.
    #[must_use]
    pub fn digest(&self) -> String {
        let outline = postcard::to_stdvec(&Outline::new(self)).expect("the outline can be encoded");
        hex(&outline)
    }

    /// SHA-256 over what administrators set: cluster, domain, limits, bridges with their bounds, and users, with their (sealed) secrets.
    ///
    /// # Panics
    /// Never: the tuple can be encoded.
    #[must_use]
    pub fn configuration_digest(&self) -> String {
        let bridges: Vec<_> = self
            .bridges
            .iter()
            .map(|(domain, bridge)| (domain, &bridge.secrets, bridge.limits))
            .collect();
        let users: Vec<_> = self
            .accounts
            .iter()
            .map(|(name, account)| (name, &account.credentials))
            .collect();
        let configuration = (&self.cluster, &self.domain, self.limits, bridges, users);
        hex(&postcard::to_stdvec(&configuration).expect("the configuration can be encoded"))
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut context = Context::new(&SHA256);
    context.update(bytes);
    context
        .finish()
        .as_ref()
        .iter()
        .fold(String::with_capacity(64), |mut out, byte| {
            let _ = write!(out, "{byte:02x}");
            out
        })
}

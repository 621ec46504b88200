//! What a bridge knows about itself: one state machine that feeds command line, page and metrics.
//!
//! ```text
//! Resolving ─► Connecting ─► Tls ─► Authenticating ─► Registered
//!     ▲            ▲          │           │               │ lost: at once to another server
//!     └── WaitingToRetry ◄────┴───────────┴───────────────┘
//! ```

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::config::HostPort;
use crate::error::Failure;

/// Where a bridge is on its way to being registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
pub enum State {
    /// Asking DNS.
    Resolving,
    /// Opening a TCP connection.
    Connecting,
    /// Negotiating TLS.
    Tls,
    /// Stream header, handshake, and binding or resumption.
    Authenticating,
    /// Stanzas flow.
    Registered,
    /// The round failed; the next one comes after a wait.
    WaitingToRetry,
    /// Stopped for good.
    Stopped,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Server {
    /// Host and port as published or configured.
    pub target: HostPort,
    /// The address connected to.
    pub address: SocketAddr,
}

/// The last thing that went wrong.
#[derive(Debug, Clone)]
pub struct LastFailure {
    /// What it was.
    pub failure: Failure,
    /// With which server, when one was known.
    pub server: Option<Server>,
    /// When.
    pub at: SystemTime,
}

/// The state of a bridge at one moment.
#[derive(Debug, Clone)]
pub struct Status {
    /// The XMPP domain.
    pub domain: String,
    /// Where it is on its way.
    pub state: State,
    /// Since when.
    pub since: SystemTime,
    /// The server it is connected to or tries.
    pub server: Option<Server>,
    /// Whether the connection is under TLS.
    pub secure: bool,
    /// Whether the server acknowledges (XEP-0198).
    pub managed: bool,
    /// Whether the present stream continues a former session.
    pub resumed: bool,
    /// The last failure, kept when it is over.
    pub last_failure: Option<LastFailure>,
    /// Longest time without a registered stream, after the first one.
    pub longest_gap: Duration,
    /// What the side-car cannot vouch for any more: its local component does not answer pings.
    pub unconfirmed: bool,
}

impl Status {
    pub(crate) fn new(domain: &str, now: SystemTime) -> Self {
        Self {
            domain: domain.to_owned(),
            state: State::Resolving,
            since: now,
            server: None,
            secure: false,
            managed: false,
            resumed: false,
            last_failure: None,
            longest_gap: Duration::ZERO,
            unconfirmed: false,
        }
    }

    /// The state in one line, e.g. `connected to n1.example.test (secure) for 2 days, 3 hours`.
    pub fn line(&self, now: SystemTime) -> String {
        let host = |server: &Option<Server>| match server {
            Some(server) => server.target.host.clone(),
            None => self.domain.clone(),
        };
        let ago = |since: SystemTime| Spell(now.duration_since(since).unwrap_or_default());
        match (self.state, &self.last_failure) {
            (State::Registered, _) => {
                let secure = if self.secure { " (secure)" } else { "" };
                format!(
                    "connected to {}{secure} for {}",
                    host(&self.server),
                    ago(self.since)
                )
            }
            (State::Stopped, _) => "stopped".to_owned(),
            (_, Some(last)) => {
                let reason = last.failure.reason();
                format!(
                    "failed to connect to {} due to {reason} ({} ago)",
                    host(&last.server),
                    ago(last.at)
                )
            }
            (_, None) => format!(
                "connecting to {} for {}",
                host(&self.server),
                ago(self.since)
            ),
        }
    }

    /// State and figures as one JSON object; holds no secret.
    pub fn to_json(&self, counters: Counters, now: SystemTime) -> serde_json::Value {
        serde_json::json!({
            "state": self.state,
            "for_ms": now.duration_since(self.since).unwrap_or_default().as_millis() as u64,
            "line": self.line(now),
            "server": self.server.as_ref().map(|server| server.target.to_string()),
            "address": self.server.as_ref().map(|server| server.address.to_string()),
            "secure": self.secure,
            "managed": self.managed,
            "resumed": self.resumed,
            "unconfirmed": self.unconfirmed,
            "last_error": self.last_failure.as_ref().map(|last| serde_json::json!({
                "reason": last.failure.reason(),
                "detail": last.failure.to_string(),
                "server": last.server.as_ref().map(|server| server.target.to_string()),
                "ago_ms": now.duration_since(last.at).unwrap_or_default().as_millis() as u64,
            })),
            "longest_gap_ms": self.longest_gap.as_millis() as u64,
            "counters": counters,
        })
    }
}

/// What happened to a bridge, for logs and tests.
#[derive(Debug, Clone)]
pub enum Event {
    /// A stream stands.
    Registered {
        /// With which server.
        server: Server,
        /// Whether it continues the former session; if not, its counts began anew.
        resumed: bool,
    },
    /// A registered stream ended.
    Lost {
        /// With which server.
        server: Server,
        /// Why.
        failure: Failure,
    },
    /// A registered stream was ended to find a server anew, see [`Bridge::reconnect`](crate::Bridge::reconnect).
    Left {
        /// With which server.
        server: Server,
    },
    /// An attempt failed.
    Failed {
        /// With which server, when one was known.
        server: Option<Server>,
        /// Why.
        failure: Failure,
    },
    /// The server did not know the former session any more. What it had not acknowledged is sent again in a new one; when
    /// the server did not say how far it had got, some of that may arrive twice.
    ResumptionFailed {
        /// Stanzas that are sent again.
        sent_again: usize,
        /// Whether the server said how far it had got.
        count_known: bool,
    },
    /// A stanza ended two streams with an error that names what we sent; it is given up.
    GivenUp {
        /// The stanza.
        stanza: bytes::Bytes,
        /// The error.
        failure: Failure,
    },
}

/// Figures of a bridge since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Counters {
    /// Stanzas submitted.
    pub submitted: u64,
    /// Of these, accepted by a server (or given up, see [`Event::GivenUp`]).
    pub accepted: u64,
    /// Stanzas put into a stream, those sent again included.
    pub written: u64,
    /// Stanzas received, without repeats.
    pub received: u64,
    /// Repeats of stanzas already held, dropped.
    pub repeats: u64,
    /// Streams that stood.
    pub streams: u64,
    /// Of these, resumed.
    pub resumed: u64,
    /// Attempts that failed and streams that were lost.
    pub failures: u64,
    /// Stanzas given up.
    pub given_up: u64,
}

macro_rules! tally {
    ($($field:ident),*) => {
        /// The figures while they are counted.
        #[derive(Debug, Default)]
        pub(crate) struct Tally { $(pub(crate) $field: AtomicU64,)* }

        impl Tally {
            /// The figures now.
            pub(crate) fn read(&self) -> Counters {
                Counters { $($field: self.$field.load(Ordering::Relaxed),)* }
            }
        }
    };
}

tally!(
    submitted, accepted, written, received, repeats, streams, resumed, failures, given_up
);

/// Adds to a figure.
pub(crate) fn count(figure: &AtomicU64, by: u64) {
    figure.fetch_add(by, Ordering::Relaxed);
}

/// A duration as the status page spells it: its two largest units.
struct Spell(Duration);

impl fmt::Display for Spell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let parts = [
            (seconds / 86_400, "day"),
            (seconds / 3600 % 24, "hour"),
            (seconds / 60 % 60, "minute"),
            (seconds % 60, "second"),
        ];
        let first = parts.iter().position(|(count, _)| *count > 0).unwrap_or(3);
        let shown = parts[first..]
            .iter()
            .take(2)
            .filter(|(count, _)| *count > 0 || seconds == 0);
        for (index, (count, unit)) in shown.enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            let plural = if *count == 1 { "" } else { "s" };
            write!(f, "{separator}{count} {unit}{plural}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_like_those_of_the_status_page() {
        let start = SystemTime::UNIX_EPOCH;
        let mut status = Status::new("example.test", start);
        let server = Server {
            target: "n1.example.test:5223".parse().expect("a host with a port"),
            address: "127.0.0.1:5223".parse().expect("an address"),
        };
        status.server = Some(server.clone());
        status.state = State::Registered;
        status.secure = true;
        let later = start + Duration::from_secs(2 * 86_400 + 3 * 3600 + 59);
        assert_eq!(
            status.line(later),
            "connected to n1.example.test (secure) for 2 days, 3 hours"
        );
        status.state = State::WaitingToRetry;
        status.last_failure = Some(LastFailure {
            failure: Failure::Authentication,
            server: Some(server),
            at: start,
        });
        let later = start + Duration::from_secs(62);
        assert_eq!(
            status.line(later),
            "failed to connect to n1.example.test due to authentication failure (1 minute, 2 seconds ago)"
        );
    }

    #[test]
    fn durations_are_spelt_with_two_units() {
        for (seconds, text) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (61, "1 minute, 1 second"),
            (120, "2 minutes"),
        ] {
            assert_eq!(Spell(Duration::from_secs(seconds)).to_string(), text);
        }
    }
}

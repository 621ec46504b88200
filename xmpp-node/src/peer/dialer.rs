//! Keeps a link connected: resolves, dials, runs the connection, and dials again with growing
//! pauses.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::client::ClientSide;
use super::connection::{Opened, Shared, drive};
use super::event::DownReason;
use super::handshake::{self, DialError, Wanted};
use super::hello::Hello;
use super::identity::PeerTls;
use super::link::LinkCore;
use super::pipe::Pipe;
use super::registry::Registry;

/// Everything that dialling needs beside the address.
#[derive(Clone)]
pub(super) struct Dialer {
    pub(super) settings: Arc<Settings>,
    pub(super) tls: Arc<dyn PeerTls>,
    pub(super) local: watch::Receiver<Arc<Hello>>,
}

impl Dialer {
    /// Tries all addresses behind `address` (`host:port`) once, in the resolver's order. A refusal
    /// is the most telling error, so it wins over those of other addresses.
    pub(super) async fn dial(
        &self,
        address: &str,
        wanted: Option<&Wanted>,
    ) -> Result<Opened, DialError> {
        let unresolved = |source| DialError::Resolve {
            address: address.into(),
            source,
        };
        let limit = self.settings.connect_timeout;
        let found = timeout(self.settings.handshake_timeout, lookup_host(address)).await;
        let found = found
            .map_err(|_| DialError::Timeout)?
            .map_err(|error| unresolved(Some(error)))?;
        let mut failed = unresolved(None);
        for target in found.take(MAX_ADDRESSES) {
            let tcp = match timeout(limit, TcpStream::connect(target)).await {
                Ok(Ok(tcp)) => Ok(tcp),
                Ok(Err(source)) => Err(DialError::Connect {
                    address: target,
                    source,
                }),
                Err(_) => Err(DialError::Timeout),
            };
            let opened = match tcp {
                Ok(tcp) => self.open(tcp, address, wanted).await,
                Err(error) => Err(error),
            };
            match opened {
                Ok(opened) => return Ok(opened),
                Err(error) if failed.refusal().is_none() => failed = error,
                Err(_) => {}
            }
        }
        Err(failed)
    }

    async fn open(
        &self,
        tcp: TcpStream,
        address: &str,
        wanted: Option<&Wanted>,
    ) -> Result<Opened, DialError> {
        let opening = handshake::dial(
            tcp,
            host_of(address),
            &*self.tls,
            self.local.clone(),
            wanted,
        );
        timeout(self.settings.handshake_timeout, opening)
            .await
            .map_err(|_| DialError::Timeout)?
    }

    /// Puts a pipe to the peer in front of the link: from now on it is connected. `run` must
    /// follow.
    pub(super) fn connect(&self, hello: &Arc<Hello>, core: &LinkCore) -> ClientSide {
        let (pipe, commands) = Pipe::new(self.settings.queue_bytes, hello.clone());
        core.connect(pipe);
        ClientSide::new(commands)
    }

    /// Runs a dialled connection to its end; then the link is not connected any more.
    pub(super) async fn run(
        &self,
        opened: Opened,
        mut side: ClientSide,
        core: &LinkCore,
        stop: &CancellationToken,
    ) -> DownReason {
        let shared = Shared {
            settings: &self.settings,
            heard: core.heard(),
            stop,
        };
        let reason = drive(opened, &mut side, shared).await;
        core.disconnect();
        reason
    }
}

/// One member's link: dials until `stop`. `address` may change while it runs.
pub(super) async fn keep_connected(
    dialer: Dialer,
    wanted: Wanted,
    address: watch::Receiver<String>,
    core: Arc<LinkCore>,
    registry: Arc<Registry>,
    stop: CancellationToken,
) {
    let mut pause = Pause::new(&dialer.settings, dialer.local.borrow().node_id ^ wanted.id);
    let mut told = None;
    while !stop.is_cancelled() {
        let target = address.borrow().clone();
        // The peer dials us while our own attempt hangs: that one may be on its way to where the peer was before.
        let outdated = async {
            core.woken().await;
            sleep(OUTDATED_AFTER).await;
        };
        let dialled = tokio::select! {
            dialled = dialer.dial(&target, Some(&wanted)) => dialled,
            () = outdated => {
                pause.reset();
                continue;
            }
            () = stop.cancelled() => return,
        };
        let error = match dialled {
            Ok(opened) => {
                let hello = opened.hello.clone();
                let incarnation = hello.incarnation;
                tracing::info!(peer = %wanted.name, address = %target, incarnation, "link up");
                let side = dialer.connect(&hello, &core);
                let serial = registry.outgoing_up(&hello);
                let since = Instant::now();
                let reason = dialer.run(opened, side, &core, &stop).await;
                tracing::info!(peer = %wanted.name, ?reason, "link down");
                registry.outgoing_down(wanted.id, serial, reason);
                told = None;
                if since.elapsed() >= STABLE_AFTER {
                    pause.reset();
                    continue;
                }
                None
            }
            Err(error) => Some(error),
        };
        let refusal = error.as_ref().and_then(DialError::refusal);
        if let Some(error) = error {
            // Each cause is told once, not at each attempt.
            let text = error.to_string();
            if told.as_ref() == Some(&text) {
                tracing::debug!(peer = %wanted.name, address = %target, %error, "still no link");
            } else {
                let cause = cause(&error);
                tracing::warn!(peer = %wanted.name, address = %target, %error, cause, "no link");
                if let Some(reason) = &refusal {
                    registry.refused(wanted.id, reason.clone());
                }
                told = Some(text);
            }
        }
        let wait = if refusal.is_some() {
            dialer.settings.refused_retry
        } else {
            pause.next()
        };
        tokio::select! {
            () = sleep(wait) => {}
            () = core.woken() => pause.reset(),
            () = stop.cancelled() => return,
        }
    }
}

/// The pause before the next attempt: doubles, and is shortened by up to half at random, so that
/// nodes do not move in step.
struct Pause {
    first: Duration,
    most: Duration,
    next: Duration,
    /// State of an xorshift generator, never 0.
    random: u64,
}

impl Pause {
    fn new(settings: &Settings, seed: u64) -> Self {
        let (first, most) = (settings.retry_first, settings.retry_most);
        Self {
            first,
            most,
            next: first,
            random: seed | 1,
        }
    }

    fn reset(&mut self) {
        self.next = self.first;
    }

    fn next(&mut self) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let whole = self.next;
        self.next = (whole * 2).min(self.most);
        let share = u32::try_from(self.random % 1024).unwrap_or(0);
        whole - whole / 2 * share / 1024
    }
}

fn cause(error: &DialError) -> Option<String> {
    std::error::Error::source(error).map(ToString::to_string)
}

/// `host` of `host:port`, without the brackets of an IPv6 address.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(host)
}

/// Addresses tried behind one name.
const MAX_ADDRESSES: usize = 8;

/// An attempt that is under way when the peer dials us has so long until another one, with its address asked for anew, takes
/// its place.
const OUTDATED_AFTER: Duration = Duration::from_millis(200);

/// After a connection that lived this long the next attempt follows at once and the pauses start
/// anew: a node counts as lost soon after its link cannot be reopened. One that ends sooner may end
/// again, so the pauses keep growing.
const STABLE_AFTER: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_most_and_differ_by_at_most_half() {
        let settings = Settings::default();
        let mut pause = Pause::new(&settings, 42);
        let mut whole = settings.retry_first;
        for _ in 0..12 {
            let wait = pause.next();
            assert!(wait <= whole && wait >= whole / 2, "{wait:?} of {whole:?}");
            whole = (whole * 2).min(settings.retry_most);
        }
        assert_eq!(whole, settings.retry_most);
        pause.reset();
        assert!(pause.next() <= settings.retry_first);
    }

    #[test]
    fn the_host_of_an_address_has_neither_port_nor_brackets() {
        let hosts = ["xmpp-0.xmpp:7222", "[::1]:7222", "127.0.0.1:7222"].map(host_of);
        assert_eq!(hosts, ["xmpp-0.xmpp", "::1", "127.0.0.1"]);
    }
}

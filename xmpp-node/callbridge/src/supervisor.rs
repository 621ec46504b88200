//! The task of a bridge: rounds of attempts, each with a fresh answer of DNS, and the stream of the server that took us.

use std::time::{Duration, Instant, SystemTime};

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use xmpp_core::error::StreamCondition;

use crate::backoff::Backoff;
use crate::bridge::Shared;
use crate::config::{Config, ConfigError, Security};
use crate::connect::{self, Bound, Connection, Hello};
use crate::connection::{self, Ending, Link};
use crate::discovery::Discovery;
use crate::error::Failure;
use crate::random::Random;
use crate::status::{Event, LastFailure, Server, State, count};
use crate::tls::{self, Roots};

pub(crate) struct Supervisor {
    config: Config,
    jid: String,
    certificate_name: Option<ServerName<'static>>,
    link: Link,
    discovery: Discovery,
    roots: Roots,
    backoff: Backoff,
    random: Random,
    /// The server whose stream was lost last.
    lost: Option<Server>,
    /// When the last registered stream ended.
    ended: Option<Instant>,
    /// How many streams in a row ended with an error about what we sent, and how much was accepted then.
    blamed: (u32, u64),
}

/// How a round ended.
enum Round {
    /// A stop was asked for, and nothing is left to do.
    Stopped,
    /// No server took us.
    Failed,
    /// We left, to find a server anew.
    Left,
    /// A stream stood for this long and was lost.
    Lost(Duration, Failure),
}

impl Supervisor {
    pub(crate) fn new(config: Config, link: Link) -> Result<Self, ConfigError> {
        let certificate_name = match &config.security {
            Security::Tls { .. } => Some(tls::server_name(&config.domain)?),
            Security::LoopbackOnly => None,
        };
        Ok(Self {
            jid: config.jid(),
            certificate_name,
            link,
            discovery: Discovery::new(&config),
            roots: Roots::default(),
            backoff: Backoff::new(config.timing.retry_first, config.timing.retry_longest),
            random: Random::from_system(),
            lost: None,
            ended: None,
            blamed: (0, 0),
            config,
        })
    }

    /// Runs until a stop in good order is done, or until `kill`.
    pub(crate) async fn run(mut self, kill: CancellationToken, finish: watch::Sender<bool>) {
        tokio::select! {
            () = self.rounds() => (),
            () = kill.cancelled() => (),
        }
        self.enter(State::Stopped, None);
        self.shared().outbox.bury();
        finish.send_replace(true);
    }

    async fn rounds(&mut self) {
        let mut at_once = false;
        while !self.shared().may_end() {
            match self.round(at_once).await {
                Round::Stopped => return,
                Round::Failed => at_once = false,
                Round::Left => at_once = true,
                Round::Lost(held, failure) => {
                    let settled = self.backoff.lost(Instant::now(), held);
                    // Whoever took our name would lose it again to us: no haste.
                    at_once =
                        settled && !matches!(failure, Failure::Stream(StreamCondition::Conflict));
                }
            }
            if !at_once {
                self.wait().await;
            }
        }
    }

    /// Waits before the next round; a stop with nothing left to do ends the wait.
    async fn wait(&mut self) {
        let wait = self.backoff.wait(&mut self.random);
        self.enter(State::WaitingToRetry, None);
        tokio::select! {
            () = tokio::time::sleep(wait) => (),
            () = stopped_with_nothing_left(&self.link.shared) => (),
        }
    }

    async fn round(&mut self, at_once: bool) -> Round {
        let shared = self.link.shared.clone();
        let (server, connection, bound) = tokio::select! {
            established = self.establish(at_once) => match established {
                Some(established) => established,
                None => return Round::Failed,
            },
            () = stopped_with_nothing_left(&shared) => return Round::Stopped,
        };
        let since = self.registered(&server, connection.managed, bound);
        match connection::run(connection, &mut self.link).await {
            Ending::Stopped => Round::Stopped,
            Ending::Left => {
                self.ended = Some(Instant::now());
                self.lost = None;
                tracing::info!(server = %server.target, "left to find a server anew");
                shared.emit(Event::Left { server });
                Round::Left
            }
            Ending::Lost(failure) => {
                self.ended = Some(Instant::now());
                self.judge(&failure);
                tracing::warn!(server = %server.target, %failure, "stream lost");
                shared.emit(Event::Lost {
                    server: server.clone(),
                    failure: failure.clone(),
                });
                self.note(Some(server.clone()), &failure);
                self.lost = Some(server);
                Round::Lost(since.elapsed(), failure)
            }
        }
    }

    /// Tries the servers of this round one after the other until one has bound us.
    async fn establish(&mut self, at_once: bool) -> Option<(Server, Connection, Bound)> {
        self.enter(State::Resolving, None);
        let resolved = match at_once {
            true => {
                self.discovery
                    .resolve_within(self.config.timing.resolve_patience)
                    .await
            }
            false => self.discovery.resolve().await,
        };
        let mut servers = match resolved {
            Ok(servers) => servers,
            Err(error) => {
                self.failed(None, &Failure::Discovery(error));
                return None;
            }
        };
        if at_once {
            self.leave_out_lost(&mut servers);
        }
        if self.config.security == Security::LoopbackOnly {
            if let Some(far) = servers
                .iter()
                .find(|server| !server.address.ip().is_loopback())
            {
                let far = far.clone();
                self.failed(Some(far), &Failure::NotLoopback);
            }
            servers.retain(|server| server.address.ip().is_loopback());
        }
        while let Some(first) = servers.first().cloned() {
            self.enter(State::Connecting, Some(&first));
            let (server, tcp) = match connect::race(&mut servers, &self.config.timing).await {
                Ok(connected) => connected,
                Err((server, failure)) => {
                    self.failed(Some(server), &failure);
                    return None;
                }
            };
            match self.negotiate(&server, tcp).await {
                Ok((connection, bound)) => return Some((server, connection, bound)),
                Err(failure) => {
                    self.failed(Some(server), &failure);
                    if failure.is_final_for_round() {
                        return None;
                    }
                }
            }
        }
        None
    }

    /// TLS, authentication and binding with one server.
    async fn negotiate(
        &mut self,
        server: &Server,
        tcp: TcpStream,
    ) -> Result<(Connection, Bound), Failure> {
        let secret = self
            .config
            .secret
            .load()
            .await
            .map_err(|error| Failure::SecretFile(error.into()))?;
        let tls = self.tls().await?;
        self.enter(
            if tls.is_some() {
                State::Tls
            } else {
                State::Authenticating
            },
            Some(server),
        );
        let hello = Hello {
            jid: &self.jid,
            secret: &secret,
            management: self.config.management,
            limits: self.config.limits,
        };
        let this = &*self;
        let on_secured = || this.enter(State::Authenticating, Some(server));
        let authenticating = connect::authenticate(tcp, tls, hello, on_secured);
        let authenticated =
            tokio::time::timeout(self.config.timing.authenticate, authenticating).await;
        let mut connection = authenticated.map_err(|_| Failure::TimedOut("authenticating"))??;
        let session = &mut self.link.session;
        let (stanzas, bytes) = (session.unaccepted(), session.unaccepted_bytes());
        let bound = tokio::time::timeout(
            self.config.timing.bind,
            connect::bind(&mut connection, session),
        )
        .await;
        // Even a failed resumption may have told how far the server had got.
        let (stanzas, bytes) = (
            stanzas - session.unaccepted(),
            bytes - session.unaccepted_bytes(),
        );
        self.shared().outbox.accept(stanzas, bytes);
        let bound = bound.map_err(|_| Failure::TimedOut("binding"))??;
        Ok((connection, bound))
    }

    async fn tls(&mut self) -> Result<Option<(TlsConnector, ServerName<'static>)>, Failure> {
        let (Security::Tls { ca }, Some(name)) = (&self.config.security, &self.certificate_name)
        else {
            return Ok(None);
        };
        let connector = self.roots.connector(ca).await;
        let connector = connector.map_err(|error| Failure::TrustedCa(error.into()))?;
        Ok(Some((connector, name.clone())))
    }

    /// Leaves out the server just lost, if there is another.
    fn leave_out_lost(&self, servers: &mut Vec<Server>) {
        let Some(lost) = &self.lost else { return };
        let is_other =
            |server: &Server| server.address != lost.address && server.target != lost.target;
        if servers.iter().any(is_other) {
            servers.retain(is_other);
        }
    }

    fn registered(&mut self, server: &Server, managed: bool, bound: Bound) -> Instant {
        let shared = self.link.shared.clone();
        let since = Instant::now();
        let resumed = bound.resumed;
        if !resumed {
            self.link.drop_void();
        }
        if let Some(count_known) = bound.resumption_failed {
            let sent_again = self.link.session.unaccepted();
            tracing::warn!(
                sent_again,
                count_known,
                "the server did not know the session any more"
            );
            shared.emit(Event::ResumptionFailed {
                sent_again,
                count_known,
            });
        }
        self.give_up_blamed();
        count(&shared.tally.streams, 1);
        count(&shared.tally.resumed, u64::from(resumed));
        let gap = self
            .ended
            .map_or(Duration::ZERO, |ended| since.duration_since(ended));
        let secure = self.certificate_name.is_some();
        self.link.anew.mark_unchanged();
        shared.status.send_modify(|status| {
            status.state = State::Registered;
            status.since = SystemTime::now();
            status.server = Some(server.clone());
            (status.secure, status.managed, status.resumed) = (secure, managed, resumed);
            status.longest_gap = status.longest_gap.max(gap);
        });
        tracing::info!(server = %server.target, resumed, managed, gap_ms = gap.as_millis() as u64, "registered");
        shared.emit(Event::Registered {
            server: server.clone(),
            resumed,
        });
        since
    }

    /// Remembers whether the stream ended because of what we sent, with nothing accepted since the last time.
    fn judge(&mut self, failure: &Failure) {
        let (_, accepted) = self.shared().outbox.figures();
        self.blamed = match self.blamed {
            _ if !failure.blames_stanza() => (0, accepted),
            (strikes, before) if before == accepted => (strikes + 1, accepted),
            _ => (1, accepted),
        };
    }

    /// Gives up the first stanza when it ended two streams: sent again, it would end every other.
    fn give_up_blamed(&mut self) {
        let shared = self.link.shared.clone();
        let (_, accepted) = shared.outbox.figures();
        if self.blamed.0 < STRIKES || self.blamed.1 != accepted {
            return;
        }
        self.blamed = (0, accepted);
        let last = shared.status.borrow().last_failure.clone();
        let stanza = self.link.accepting(|session| session.give_up_first());
        if let (Some(stanza), Some(last)) = (stanza, last) {
            tracing::error!(failure = %last.failure, bytes = stanza.len(), "a stanza ended two streams, given up");
            count(&shared.tally.given_up, 1);
            shared.emit(Event::GivenUp {
                stanza,
                failure: last.failure,
            });
        }
    }

    /// An attempt failed.
    fn failed(&mut self, server: Option<Server>, failure: &Failure) {
        if matches!(failure, Failure::Acknowledgement(_)) {
            self.link.session.abandon();
        }
        match &server {
            Some(server) => tracing::warn!(server = %server.target, %failure, "cannot register"),
            None => tracing::warn!(%failure, "cannot register"),
        }
        self.shared().emit(Event::Failed {
            server: server.clone(),
            failure: failure.clone(),
        });
        self.note(server, failure);
    }

    fn note(&self, server: Option<Server>, failure: &Failure) {
        count(&self.shared().tally.failures, 1);
        let last = LastFailure {
            failure: failure.clone(),
            server,
            at: SystemTime::now(),
        };
        self.shared()
            .status
            .send_modify(|status| status.last_failure = Some(last));
    }

    fn enter(&self, state: State, server: Option<&Server>) {
        self.shared().status.send_modify(|status| {
            if status.state != state {
                status.since = SystemTime::now();
            }
            status.state = state;
            status.server = server.cloned();
            (status.secure, status.managed, status.resumed) = (false, false, false);
        });
    }

    fn shared(&self) -> &Shared {
        &self.link.shared
    }
}

/// Waits for a stop, and then for ever unless nothing is left to be accepted.
async fn stopped_with_nothing_left(shared: &Shared) {
    shared.stop.cancelled().await;
    if !shared.may_end() {
        std::future::pending::<()>().await;
    }
}

/// Streams in a row that must end because of one stanza before it is given up.
const STRIKES: u32 = 2;

//! The bridge an application holds, and the task behind it that finds servers and keeps a stream to one of them.
//!
//! One task does everything in turn: resolve, connect, authenticate, bind or resume, run the stream; so there is never more
//! than one connection. A lost stream is followed at once by a round of attempts that leaves out the server just lost, if
//! there is another; further rounds follow after waits, see `backoff`.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::{broadcast, mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use xmpp_core::framer::Element;
use xmpp_core::stanza::Kind;

use crate::config::{Config, ConfigError};
use crate::connection::Link;
use crate::error::{Stopped, TrySendError};
use crate::outbox::{Outbox, SendId};
use crate::session::{Receipt, Session};
use crate::status::{Counters, Event, State, Status, Tally};
use crate::supervisor::Supervisor;

/// A running bridge. Clones are the same bridge; when the last one is dropped, the connection is cut without ceremony.
#[derive(Debug, Clone)]
pub struct Bridge {
    shared: Arc<Shared>,
    finished: watch::Receiver<bool>,
    stop_patience: Duration,
    _alive: Arc<DropGuard>,
}

impl Bridge {
    /// Starts a bridge on the present tokio runtime. Dropping the receiver means that what arrives is thrown away.
    ///
    /// # Errors
    /// [`ConfigError`] names the field that is wrong. Nothing that needs the network fails here: see [`status`](Self::status).
    pub fn start(config: Config) -> Result<(Self, Receiver), ConfigError> {
        config.check()?;
        let (inbox, incoming) = mpsc::channel(config.inbox);
        let (confirm, confirmed) = watch::channel(None);
        let shared = Arc::new(Shared {
            outbox: Outbox::new(config.window),
            status: watch::Sender::new(Status::new(&config.domain, SystemTime::now())),
            events: broadcast::Sender::new(EVENTS),
            tally: Tally::default(),
            confirm,
            anew: watch::Sender::new(()),
            stop: CancellationToken::new(),
        });
        let link = Link {
            session: Session::new(config.timing),
            pending: VecDeque::new(),
            inbox,
            confirmation: config.confirmation,
            confirmed,
            anew: shared.anew.subscribe(),
            shared: shared.clone(),
        };
        let kill = CancellationToken::new();
        let stop_patience = config.timing.stop;
        let (finish, finished) = watch::channel(false);
        let supervisor = Supervisor::new(config, link)?;
        tokio::spawn(supervisor.run(kill.clone(), finish));
        let bridge = Self {
            shared,
            finished,
            stop_patience,
            _alive: Arc::new(kill.drop_guard()),
        };
        Ok((bridge, Receiver { incoming }))
    }

    /// Submits one stanza; waits while the window of unaccepted stanzas is full. Stanzas are sent in the order of their numbers.
    ///
    /// The bytes must be one well-formed message, presence or iq in the namespace of the stream (no `xmlns` needed) with `from`
    /// and `to`; only their beginning and end are looked at. Use [`check_stanza`] for what other people wrote.
    ///
    /// # Errors
    /// [`TrySendError::Stopped`], [`TrySendError::NotAStanza`]; never [`TrySendError::Full`].
    pub async fn send(&self, stanza: Bytes) -> Result<SendId, TrySendError> {
        self.shared.outbox.send(stanza).await
    }

    /// Submits one stanza if the window has room, see [`send`](Self::send).
    ///
    /// # Errors
    /// [`TrySendError`]
    pub fn try_send(&self, stanza: Bytes) -> Result<SendId, TrySendError> {
        self.shared.outbox.try_send(stanza)
    }

    /// Waits until the window has room for a stanza of this many bytes, or the bridge is stopped.
    pub async fn has_room_for(&self, bytes: usize) {
        self.shared.outbox.has_room_for(bytes).await;
    }

    /// Waits until this stanza and all before it are accepted: the cluster will deliver or answer them.
    ///
    /// # Errors
    /// [`Stopped`] when that can no longer be known.
    pub async fn accepted(&self, id: SendId) -> Result<(), Stopped> {
        self.shared.outbox.accepted(id).await
    }

    /// Says that the application has taken this stanza and all before it; only with
    /// [`Confirmation::Explicit`](crate::Confirmation::Explicit).
    pub fn confirm(&self, receipt: Receipt) {
        self.shared.confirm.send_replace(Some(receipt));
    }

    /// The state, and every change of it.
    pub fn status(&self) -> watch::Receiver<Status> {
        self.shared.status.subscribe()
    }

    /// What happens from now on; who falls more than 256 events behind misses some.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events.subscribe()
    }

    /// The figures now.
    pub fn counters(&self) -> Counters {
        let (submitted, accepted) = self.shared.outbox.figures();
        Counters {
            submitted,
            accepted,
            ..self.shared.tally.read()
        }
    }

    /// Waits until a stream is registered.
    ///
    /// # Errors
    /// [`Stopped`]
    pub async fn registered(&self) -> Result<(), Stopped> {
        let mut status = self.status();
        let ready = |status: &Status| matches!(status.state, State::Registered | State::Stopped);
        let state = status.wait_for(ready).await.map_err(|_| Stopped)?.state;
        if state == State::Registered {
            Ok(())
        } else {
            Err(Stopped)
        }
    }

    /// Leaves the present server and finds one anew, as if there had been none before: the first of the list, or by a fresh
    /// draw of the SRV records, which may name the same again. The session goes on there, so nothing is lost or doubled; of
    /// use once servers came back, as a bridge stays where it is by itself. Without XEP-0198 it is as if the stream was lost;
    /// without a registered stream nothing happens.
    pub fn reconnect(&self) {
        self.shared.anew.send_replace(());
    }

    /// Stops: takes nothing more, waits at most [`Timing::stop`](crate::Timing) for acceptance of what was submitted, closes the
    /// stream. Returns how many submitted stanzas were not accepted.
    pub async fn stop(&self) -> u64 {
        self.shared.outbox.close();
        self.shared.stop.cancel();
        let mut finished = self.finished.clone();
        if tokio::time::timeout(self.stop_patience, finished.wait_for(|done| *done))
            .await
            .is_err()
        {
            tracing::warn!("stopped before everything sent was accepted");
            self.shared.outbox.bury();
        }
        let (submitted, accepted) = self.shared.outbox.figures();
        submitted - accepted
    }

    /// Tells in the status whether the local component of a side-car no longer proves what it reads.
    pub(crate) fn set_unconfirmed(&self, unconfirmed: bool) {
        self.shared.status.send_if_modified(|status| {
            let changed = status.unconfirmed != unconfirmed;
            status.unconfirmed = unconfirmed;
            changed
        });
    }
}

/// Where received stanzas come out, in order.
///
/// Take from it all the time, also while sending waits: acknowledgements come behind stanzas in the same stream, so an
/// application that does not take will find its window full.
#[derive(Debug)]
pub struct Receiver {
    incoming: mpsc::Receiver<Incoming>,
}

impl Receiver {
    /// The next stanza; `None` when the bridge is stopped. Cancel safe.
    pub async fn recv(&mut self) -> Option<Incoming> {
        self.incoming.recv().await
    }

    /// Appends up to `limit` stanzas to `into`, waiting for the first; 0 when the bridge is stopped. Cancel safe.
    pub async fn recv_many(&mut self, into: &mut Vec<Incoming>, limit: usize) -> usize {
        self.incoming.recv_many(into, limit).await
    }

    /// The next stanza, if it is there.
    pub fn try_recv(&mut self) -> Option<Incoming> {
        self.incoming.try_recv().ok()
    }
}

/// A received stanza, checked to be well-formed.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// Message, presence or iq.
    pub kind: Kind,
    /// Names the stanza towards [`Bridge::confirm`].
    pub receipt: Receipt,
    pub(crate) element: Element,
}

impl Incoming {
    /// The stanza as received; its namespace is `jabber:component:accept` without saying so.
    pub fn bytes(&self) -> &Bytes {
        self.element.bytes()
    }

    /// The element, for its other attributes and its text.
    pub fn element(&self) -> &Element {
        &self.element
    }

    /// Sender, unescaped.
    pub fn from(&self) -> Option<Cow<'_, str>> {
        self.element.attribute("from")
    }

    /// Recipient, unescaped.
    pub fn to(&self) -> Option<Cow<'_, str>> {
        self.element.attribute("to")
    }

    /// The `id`, unescaped.
    pub fn id(&self) -> Option<Cow<'_, str>> {
        self.element.attribute("id")
    }

    /// The `type`, unescaped.
    pub fn stanza_type(&self) -> Option<Cow<'_, str>> {
        self.element.attribute("type")
    }
}

/// Checks that the bytes are exactly one well-formed message, presence or iq as [`Bridge::send`] wants it.
///
/// # Errors
/// [`TrySendError::NotAStanza`]
pub fn check_stanza(stanza: &Bytes) -> Result<(), TrySendError> {
    use xmpp_core::framer::{Frame, Framer, Limits};
    let refused = || TrySendError::NotAStanza(stanza.clone());
    let limits = Limits {
        max_stanza_bytes: stanza.len().max(10_000),
        ..Limits::default()
    };
    let mut framer = Framer::new(limits);
    let header = format!(
        "<stream:stream xmlns='{}' xmlns:stream='{}'>",
        xmpp_core::ns::COMPONENT_ACCEPT,
        xmpp_core::ns::STREAMS
    );
    framer.buffer().extend_from_slice(header.as_bytes());
    if !matches!(framer.next_frame(), Ok(Some(Frame::Open(_)))) {
        return Err(refused());
    }
    framer.buffer().extend_from_slice(stanza);
    match framer.next_frame() {
        Ok(Some(Frame::Element(element)))
            if element.bytes() == stanza
                && !element.has_prefix()
                && element.ns() == xmpp_core::ns::COMPONENT_ACCEPT
                && matches!(element.name(), "message" | "presence" | "iq") =>
        {
            Ok(())
        }
        _ => Err(refused()),
    }
}

/// What the handles and the task have in common.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) outbox: Outbox,
    pub(crate) status: watch::Sender<Status>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) tally: Tally,
    pub(crate) confirm: watch::Sender<Option<Receipt>>,
    /// A server is to be found anew.
    pub(crate) anew: watch::Sender<()>,
    /// A stop in good order was asked for.
    pub(crate) stop: CancellationToken,
}

impl Shared {
    /// Whether a stop was asked for and nothing is left to be accepted.
    pub(crate) fn may_end(&self) -> bool {
        let (submitted, accepted) = self.outbox.figures();
        self.stop.is_cancelled() && submitted == accepted
    }

    pub(crate) fn emit(&self, event: Event) {
        // Nobody may be listening.
        let _ = self.events.send(event);
    }
}

/// Events kept for a slow listener.
const EVENTS: usize = 256;

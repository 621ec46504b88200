//! One task a stream: socket to framer to stream machine, and the session's queue back out.
//!
//! Reading and writing go on side by side in one task: a peer that does not read is still read from, so two components that
//! never read each other stop only themselves. Bounds: one stanza's size and one read of buffered input, [`crate::egress::FILL_BYTES`]
//! and the machine's own short answers of buffered output, the session's window of stanzas that are not yet applied.
//!
//! Length: one arm an action of the machines, beside the loop that they drive.

mod bound;
mod context;
mod ending;
mod machine;
mod outgoing;
mod pace;
mod proof;
mod serving;
mod starttls;
mod trial;
mod users;
mod window;

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadHalf, WriteHalf, split};
use tokio::time::{Instant, sleep_until, timeout};
use xmpp_core::error::{StreamCondition, StreamError};
use xmpp_core::framer::Framer;
use xmpp_core::jid::Jid;
use xmpp_core::router::Refusal;
use xmpp_core::stream::client::ClientStream;
use xmpp_core::stream::component::ComponentStream;
use xmpp_core::stream::{Action, Input, handled_too_high};
use xmpp_node_api::status::RefusalReason;

use crate::admission::{Source, Unproved};
use crate::metrics::StreamEnd;
use crate::sealing;
pub use context::{Resources, StreamContext, StreamLimits, Welcome};
use ending::close;
use machine::Machine;
use outgoing::Outgoing;
use proof::Proof;
use serving::Serving;
pub use starttls::starttls;
pub use trial::AT_ONCE as TRIALS_AT_ONCE;
use trial::Trial;

/// Bytes asked for in one read of a peer that sends much.
const READ_BYTES: usize = 16 * 1024;
/// Of a peer that sends little: so much is kept for it while it is idle.
const FEW_BYTES: usize = 1024;
/// How long the peer may take to close its side after we closed ours (RFC 6120, 4.4).
const CLOSING: Duration = Duration::from_secs(3);

/// How long our end of the stream waits for what the peer sent before its own to be accepted.
const ACCEPTANCE: Duration = Duration::from_secs(5);

/// Serves a component until its stream is over. It must have proved a secret by `prove_by`; `unproved` is given back once it has.
/// `certificate` is what it showed, verified.
pub fn serve_component<S: AsyncRead + AsyncWrite + Unpin>(
    socket: S,
    certificate: Option<CertificateDer<'static>>,
    context: Arc<StreamContext>,
    unproved: Unproved,
    prove_by: Instant,
) -> impl Future<Output = ()> {
    let connection = stream_id().ok().map(|id| {
        let machine = ComponentStream::new(context.server.clone(), id);
        let machine = Machine::Component(machine);
        let mut connection = Connection::new(context, machine, unproved.source(), prove_by);
        connection.certificate = certificate;
        Box::new(connection)
    });
    serve(split(socket), connection, unproved)
}

/// Serves a client inside TLS until its stream is over, as [`serve_component`]. `channel` is what TLS exports for channel
/// binding, `certified` the addresses in the certificate that it showed, verified.
pub fn serve_client<S: AsyncRead + AsyncWrite + Unpin>(
    socket: S,
    channel: Option<Vec<u8>>,
    certified: &[Jid],
    context: Arc<StreamContext>,
    unproved: Unproved,
    prove_by: Instant,
) -> impl Future<Output = ()> + use<S> {
    let connection = sealing::random().ok().map(|entropy| {
        let machine = ClientStream::new(context.server.clone(), entropy, channel, certified);
        let machine = Machine::Client(Box::new(machine));
        let connection = Connection::new(context, machine, unproved.source(), prove_by);
        Box::new(connection)
    });
    serve(split(socket), connection, unproved)
}

/// Whatever is large is given in boxes: this future lives as long as its stream, and has room for each of its values twice.
async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    (mut reader, mut writer): (ReadHalf<S>, WriteHalf<S>),
    connection: Option<Box<Connection>>,
    unproved: Unproved,
) {
    // There is none if the system gave no random numbers.
    let Some(mut connection) = connection else {
        return;
    };
    let mut unproved = Some(unproved);
    let mut welcome = connection.context.welcome.subscribe();
    let mut flushed = true;
    loop {
        if *welcome.borrow_and_update() == Welcome::Shut && connection.has_header() {
            connection.close(StreamError::new(StreamCondition::SystemShutdown));
        }
        let reading = connection.advance();
        if connection.proved {
            unproved = None;
        }
        if connection.finished {
            break;
        }
        let writing = if connection.out.is_empty() {
            !flushed
        } else {
            connection.may_write()
        };
        let deadline = connection.deadline();
        let Connection {
            framer,
            out,
            serving,
            start,
            trial,
            room,
            ..
        } = &mut *connection;
        let mut tried = None;
        let heard = tokio::select! {
            read = reader.read_buf(framer.buffer()), if reading => match read {
                Ok(0) | Err(_) => break,
                Ok(bytes) => {
                    *room = if bytes < FEW_BYTES { FEW_BYTES } else { READ_BYTES };
                    true
                }
            },
            done = out.put(&mut writer), if writing => {
                let Ok(all) = done else { break };
                flushed = all;
                serving.taken_by_socket(out.position(), *start);
                false
            }
            () = serving.changed() => false,
            generation = trial.done() => {
                tried = Some(generation);
                false
            }
            _ = welcome.changed() => false,
            () = displaced(unproved.as_ref()) => {
                connection.context.metrics.displaced();
                connection.close(StreamError::new(StreamCondition::ResourceConstraint));
                false
            }
            () = sleep_until(deadline) => false,
        };
        if let Some(generation) = tried {
            connection.input(Input::Tried(generation));
        }
        if heard {
            connection.heard();
        }
    }
    let detached = connection.detach();
    drop(unproved);
    connection
        .context
        .metrics
        .stream_closed(connection.ending());
    if let Some(request) = detached
        && connection.closed_by_peer
    {
        // A peer that ends its stream in order may take our end as the word that all it sent was accepted.
        let _ = timeout(ACCEPTANCE, connection.context.applied.saw(request)).await;
    }
    let _ = timeout(CLOSING, close(&mut reader, &mut writer, &mut connection)).await;
}

/// Waits until somebody else needs the place of a peer that has proved nothing yet.
async fn displaced(unproved: Option<&Unproved>) {
    match unproved {
        Some(unproved) => unproved.displaced().await,
        None => std::future::pending().await,
    }
}

/// 128 random bits (RFC 6120, 4.7.3).
fn stream_id() -> Result<String, sealing::SealingError> {
    Ok(format!("{:032x}", u128::from_le_bytes(sealing::random()?)))
}

struct Connection {
    context: Arc<StreamContext>,
    source: Source,
    /// What a component showed, verified.
    certificate: Option<CertificateDer<'static>>,
    trial: Trial,
    /// Bytes asked for in the next read.
    room: usize,
    /// The peer knows a secret.
    proved: bool,
    machine: Machine,
    framer: Framer,
    out: Outgoing,
    actions: Vec<Action>,
    serving: Serving,
    start: Instant,
    /// The step of the negotiation under way must be over by then.
    negotiate_by: Instant,
    heard_at: Instant,
    finished: bool,
    closed_by_peer: bool,
}

impl Connection {
    fn new(
        context: Arc<StreamContext>,
        machine: Machine,
        source: Source,
        prove_by: Instant,
    ) -> Self {
        let now = Instant::now();
        Self {
            machine,
            framer: Framer::new(context.limits.framer),
            out: Outgoing::default(),
            actions: Vec::new(),
            serving: Serving::Nothing,
            start: now,
            negotiate_by: prove_by,
            heard_at: now,
            finished: false,
            closed_by_peer: false,
            context,
            source,
            certificate: None,
            trial: Trial::default(),
            room: FEW_BYTES,
            proved: false,
        }
    }

    /// Does all that can be done without waiting; returns whether more may be read.
    fn advance(&mut self) -> bool {
        self.observe();
        while self.reads() {
            match self.framer.next_frame() {
                Ok(None) => break,
                Ok(Some(frame)) => self.input(Input::Frame(frame)),
                Err(error) => self.close(error.into()),
            }
        }
        if self.serving.is_paced() {
            // We do not listen, so its silence says nothing.
            self.heard_at = Instant::now();
        }
        self.tick();
        self.serving.submit(&self.context.ingress);
        self.serving.fill(&self.context, self.start, &mut self.out);
        let reading = self.reads();
        if reading {
            self.framer.buffer().reserve(self.room);
        }
        reading
    }

    fn reads(&mut self) -> bool {
        !self.finished && !self.trial.is_under_way() && self.serving.reads(&self.context.limits)
    }

    /// Looks at what the applied state says of the session.
    fn observe(&mut self) {
        if let Some(input) = self
            .serving
            .observe(&self.context, self.start, &mut self.out)
        {
            self.note(&input);
            self.input(input);
        }
    }

    /// Tells people what became of a bridge that proved its secret.
    fn note(&self, input: &Input) {
        let Some(domain) = self.machine.bridge() else {
            return;
        };
        let refusals = &self.context.refusals;
        match input {
            Input::Bound { .. } => refusals.registered(domain),
            Input::Refused(Refusal::Conflict) => {
                refusals.refused(domain, RefusalReason::Conflict, self.source);
            }
            _ => {}
        }
    }

    fn input(&mut self, input: Input) {
        let mut actions = std::mem::take(&mut self.actions);
        self.machine.handle(input, &mut actions);
        for action in actions.drain(..) {
            self.perform(action);
        }
        self.actions = actions;
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Write(text) => self.out.bytes.extend_from_slice(text.as_bytes()),
            Action::Verify { domain, presented } => self.verify(&domain, &presented),
            Action::Bind {
                domain,
                generation,
                managed,
            } => match Serving::bind(&self.context, domain, generation, managed) {
                Ok(serving) => self.serving = serving,
                Err(_) => self.close(StreamError::new(StreamCondition::InternalServerError)),
            },
            Action::Resume {
                name,
                generation,
                session,
                h,
            } => {
                self.serving = Serving::resume(&self.context, name, generation, session, h);
            }
            Action::Submit { stanza, to, reject } => {
                if let Some(condition) = reject {
                    self.context.metrics.rejected(condition);
                }
                self.serving.take(&stanza, &to, reject);
            }
            Action::Lookup { user } => self.look_up(&user),
            Action::Try { user, password } => {
                match Trial::begin(&self.context, self.source, &user, password) {
                    Ok(trial) => self.trial = trial,
                    Err(wait) => self.too_early(wait),
                }
            }
            Action::Judged {
                user,
                mechanism,
                proved,
            } => self.judged(&user, mechanism, proved),
            Action::Restart => self.framer.reset(),
            Action::BindResource {
                user,
                generation,
                resource,
            } => match Serving::bind_resource(&self.context, &user, generation, &resource) {
                Ok(serving) => self.serving = serving,
                Err(_) => self.close(StreamError::new(StreamCondition::InternalServerError)),
            },
            Action::Enable => self.serving.enable(&self.context.ingress),
            Action::PingAnswered(number) => self.serving.answered(number),
            Action::Acknowledged(h) => {
                if let Err(sent) = self.serving.acknowledged(h) {
                    self.close(handled_too_high(h, sent));
                }
            }
            Action::Finish { closed_by_peer } => {
                self.finished = true;
                self.closed_by_peer = closed_by_peer;
            }
        }
    }

    /// The machine waits for the answer in its next input; it is known at once.
    fn verify(&mut self, domain: &str, presented: &str) {
        let certificate = self.certificate.as_ref();
        let proof = proof::Handshake {
            source: self.source,
            stream: self.machine.id(),
            certificate,
            domain,
            presented,
        };
        let proof = proof.check(&self.context);
        match proof {
            Proof::Right(generation) => {
                self.has_proved();
                self.input(Input::Verified(Some(generation)));
            }
            Proof::Wrong | Proof::Uncertified => self.input(Input::Verified(None)),
            Proof::TooEarly(wait) => self.too_early(wait),
        }
    }

    /// The machine waits for the answer in its next input; it is known at once.
    fn look_up(&mut self, user: &str) {
        match users::find(&self.context, self.source, user) {
            Ok(found) => self.input(Input::Credentials(Box::new(found))),
            Err(wait) => self.too_early(wait),
        }
    }

    fn judged(&mut self, user: &str, mechanism: &str, proved: bool) {
        users::judged(&self.context, self.source, user, mechanism, proved);
        if proved {
            self.has_proved();
        }
    }

    fn has_proved(&mut self) {
        self.proved = true;
        self.negotiate_by = Instant::now() + self.context.limits.enable;
    }

    fn too_early(&mut self, wait: Duration) {
        let seconds = wait.as_secs() + 1;
        let text = format!("too many failed handshakes, try again in {seconds} s");
        self.close(StreamError::new(StreamCondition::PolicyViolation).with_text(text));
    }

    fn tick(&mut self) {
        let now = Instant::now();
        if !self.machine.is_established() && now >= self.negotiate_by {
            self.close(StreamError::new(StreamCondition::ConnectionTimeout));
            return;
        }
        if self.machine.owes_answer()
            && self.serving.owed_since(now) + self.context.limits.answer <= now
        {
            self.input(Input::AnswerNow);
        }
        if !self.machine.owes_answer() {
            self.serving.answered_peer();
        }
        let silent = now - self.heard_at;
        let fault = self
            .serving
            .tick(&self.context, self.start, silent, &mut self.out);
        if let Some(fault) = fault {
            self.close(fault);
        }
    }

    fn deadline(&self) -> Instant {
        let negotiation = (!self.machine.is_established()).then_some(self.negotiate_by);
        let session = self
            .serving
            .deadline(&self.context, self.start, self.heard_at);
        let far = Instant::now() + Duration::from_secs(60);
        [negotiation, session]
            .into_iter()
            .flatten()
            .fold(far, Instant::min)
    }

    fn heard(&mut self) {
        self.heard_at = Instant::now();
        self.serving.heard(&self.context.ingress);
    }

    /// A node that may have been declared down says nothing to a bound peer.
    fn may_write(&self) -> bool {
        !self.machine.is_established() || self.context.contact.is_open()
    }

    fn ending(&self) -> StreamEnd {
        match (self.machine.error(), self.finished) {
            (Some(condition), _) => StreamEnd::Error(condition),
            (None, false) => StreamEnd::Lost,
            (None, true) if self.closed_by_peer => StreamEnd::Closed,
            (None, true) => StreamEnd::PeerError,
        }
    }

    fn has_header(&self) -> bool {
        self.machine.has_header()
    }

    fn close(&mut self, error: StreamError) {
        if !self.finished {
            self.input(Input::Close(error));
        }
    }

    /// The stream is over: what was read is submitted, then the session is given up by the request that is returned.
    fn detach(&mut self) -> Option<u64> {
        let serving = std::mem::replace(&mut self.serving, Serving::Nothing);
        serving.detach(&self.context, self.closed_by_peer)
    }
}

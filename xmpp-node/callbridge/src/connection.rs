//! The task of one bound stream: reads and writes at once, many stanzas a call.
//!
//! It never waits in one direction: a server that does not read stops our writing only, an application that does not take
//! stops our reading only. Bounds: [`READ`] bytes a read, [`WRITE`] bytes prepared, [`PENDING`] stanzas between framer and inbox.

use std::collections::VecDeque;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use xmpp_core::framer::{Element, Frame, Framer};
use xmpp_core::ns;
use xmpp_core::stanza::Kind;

use crate::bridge::{Incoming, Shared};
use crate::config::Confirmation;
use crate::connect::{Connection, count as acknowledged_count, now, stream_error};
use crate::error::Failure;
use crate::session::{Receipt, Session};
use crate::status::count;

/// What outlives a connection.
pub(crate) struct Link {
    pub(crate) session: Session,
    /// Received, not yet handed over.
    pub(crate) pending: VecDeque<Incoming>,
    pub(crate) inbox: mpsc::Sender<Incoming>,
    pub(crate) confirmation: Confirmation,
    pub(crate) confirmed: watch::Receiver<Option<Receipt>>,
    /// What was asked before the stream was registered counts as seen.
    pub(crate) anew: watch::Receiver<()>,
    pub(crate) shared: Arc<Shared>,
}

/// How the stream of a connection ended.
pub(crate) enum Ending {
    /// As we wished: everything sent was accepted.
    Stopped,
    /// As we wished, to go on at a server found anew.
    Left,
    /// Otherwise.
    Lost(Failure),
}

/// Runs a bound stream until it ends.
pub(crate) async fn run(connection: Connection, link: &mut Link) -> Ending {
    let (mut reader, mut writer) = tokio::io::split(connection.io);
    let mut framer = connection.framer;
    let mut out = BytesMut::with_capacity(2 * WRITE);
    let ending = drive(&mut reader, &mut writer, &mut framer, &mut out, link).await;
    link.session.lost();
    match ending {
        Ok(ending) => {
            let _ = tokio::time::timeout(FAREWELL, writer.shutdown()).await;
            ending
        }
        Err(failure) => {
            // What is half written stays half written; an error of ours can only be told between stanzas. The closing tag is
            // left out: it would end the session that the next connection takes up (XEP-0198, 5).
            if let Some(error) = failure.to_stream_error().filter(|_| out.is_empty()) {
                let told = async {
                    writer.write_all(error.to_xml().as_bytes()).await?;
                    writer.shutdown().await
                };
                let _ = tokio::time::timeout(FAREWELL, told).await;
            }
            Ending::Lost(failure)
        }
    }
}

async fn drive(
    reader: &mut (impl tokio::io::AsyncRead + Unpin),
    writer: &mut (impl AsyncWrite + Unpin),
    framer: &mut Framer,
    out: &mut BytesMut,
    link: &mut Link,
) -> Result<Ending, Failure> {
    let shared = link.shared.clone();
    let mut anew = link.anew.clone();
    let inbox = link.inbox.clone();
    let mut confirmed = link.confirmed.clone();
    confirmed.mark_changed();
    let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
    let mut flushed = true;
    let mut closing = false;
    loop {
        let closed = receive(framer, link, closing)?;
        if closed {
            return if closing {
                Ok(Ending::Stopped)
            } else {
                Err(Failure::Closed)
            };
        }
        link.hand_over();
        if link.confirmation == Confirmation::Explicit
            && confirmed.has_changed().unwrap_or(false)
            && let Some(receipt) = *confirmed.borrow_and_update()
        {
            link.session.confirm(receipt, now());
        }
        if !closing {
            shared.outbox.take(|stanza| link.session.push(stanza));
            let nothing_left = link.session.unaccepted() == 0;
            if shared.stop.is_cancelled() {
                link.session.hasten();
            }
            if out.len() < WRITE {
                let written = link.session.fill(out, 2 * WRITE, now());
                count(&shared.tally.written, written as u64);
            }
            if shared.stop.is_cancelled() && nothing_left {
                out.extend_from_slice(b"</stream:stream>");
                closing = true;
                timer.as_mut().reset(Instant::now() + CLOSING);
            }
        }
        if !closing && let Some(deadline) = link.session.deadline() {
            let deadline = Instant::from_std(deadline);
            // Resetting costs; a timer that fires early does no harm.
            if deadline < timer.deadline() || timer.is_elapsed() {
                timer.as_mut().reset(deadline);
            }
        }
        let reading = closing || link.pending.len() < PENDING;
        let timed = closing || link.session.deadline().is_some();
        if framer.buffer().capacity() - framer.buffer().len() < READ / 4 {
            framer.buffer().reserve(READ);
        }
        tokio::select! {
            read = reader.read_buf(framer.buffer()), if reading => match read? {
                0 if closing => return Ok(Ending::Stopped),
                0 => return Err(Failure::Closed),
                _ => link.session.heard(now()),
            },
            wrote = write_some(writer, out), if !out.is_empty() || !flushed => {
                let wrote = wrote?;
                flushed = wrote == 0;
                link.accepting(|session| session.left(wrote));
            }
            permit = inbox.reserve(), if !link.pending.is_empty() => match permit {
                Ok(permit) => link.hand_over_by(permit),
                Err(_) => link.discard(),
            },
            () = shared.outbox.work(), if !closing => (),
            Ok(()) = confirmed.changed(), if link.confirmation == Confirmation::Explicit => {
                confirmed.mark_changed();
            }
            () = &mut timer, if timed => {
                if closing {
                    return Ok(Ending::Stopped);
                }
                if !reading {
                    link.session.heard(now());
                } else if link.session.is_silent(now()) {
                    // We may have been the ones who slept: what arrived meanwhile counts.
                    tokio::select! {
                        biased;
                        read = reader.read_buf(framer.buffer()) => match read? {
                            0 => return Err(Failure::Closed),
                            _ => link.session.heard(now()),
                        },
                        () = std::future::ready(()) => return Err(Failure::Silent),
                    }
                }
            }
            // The closing tag is left out: it would end the session (XEP-0198, 5).
            Ok(()) = anew.changed(), if !closing => return Ok(Ending::Left),
            () = shared.stop.cancelled(), if !closing && !shared.stop.is_cancelled() => (),
        }
    }
}

/// Takes complete frames out of the framer. `true`: the server closed the stream.
fn receive(framer: &mut Framer, link: &mut Link, closing: bool) -> Result<bool, Failure> {
    while link.pending.len() < PENDING {
        match framer.next_frame()? {
            None => return Ok(false),
            Some(Frame::Close) => return Ok(true),
            Some(Frame::Open(_)) => return Err(Failure::Unexpected("second stream header")),
            Some(Frame::Element(element)) => receive_element(element, link, closing)?,
        }
    }
    Ok(false)
}

fn receive_element(element: Element, link: &mut Link, closing: bool) -> Result<(), Failure> {
    if element.is("a", ns::SM) {
        let h =
            acknowledged_count(&element).ok_or(Failure::Unexpected("acknowledgement without h"))?;
        return link
            .accepting(|session| session.acknowledged(h))
            .map(|_| ())
            .map_err(Failure::from);
    }
    if element.is("r", ns::SM) {
        link.session.asked();
        return Ok(());
    }
    if let Some(failure) = stream_error(&element) {
        return Err(failure);
    }
    let Some(kind) = stanza_kind(&element) else {
        tracing::debug!(
            name = element.name(),
            namespace = element.ns(),
            "ignored an element that is no stanza"
        );
        return Ok(());
    };
    // What arrives after our closing tag can no longer be acknowledged: the server answers it otherwise.
    if closing {
        return Ok(());
    }
    match link.session.received() {
        None => count(&link.shared.tally.repeats, 1),
        Some(receipt) => {
            count(&link.shared.tally.received, 1);
            link.pending.push_back(Incoming {
                kind,
                receipt,
                element,
            });
        }
    }
    Ok(())
}

fn stanza_kind(element: &Element) -> Option<Kind> {
    let kind = match element.name() {
        "message" => Kind::Message,
        "presence" => Kind::Presence,
        "iq" => Kind::Iq,
        _ => return None,
    };
    (element.ns() == ns::COMPONENT_ACCEPT).then_some(kind)
}

impl Link {
    /// Runs something that may make stanzas accepted, and tells the outbox.
    pub(crate) fn accepting<T>(&mut self, act: impl FnOnce(&mut Session) -> T) -> T {
        let (stanzas, bytes) = (self.session.unaccepted(), self.session.unaccepted_bytes());
        let result = act(&mut self.session);
        let (stanzas, bytes) = (
            stanzas - self.session.unaccepted(),
            bytes - self.session.unaccepted_bytes(),
        );
        self.shared.outbox.accept(stanzas, bytes);
        result
    }

    /// Forgets what was received in a session that is over: the server answers it otherwise.
    pub(crate) fn drop_void(&mut self) {
        let session = &self.session;
        self.pending
            .retain(|incoming| session.is_current(incoming.receipt));
    }

    /// Hands over as much as the inbox takes at once.
    fn hand_over(&mut self) {
        let room = self.pending.len().min(self.inbox.capacity());
        if room == 0 {
            return;
        }
        let inbox = self.inbox.clone();
        match inbox.try_reserve_many(room) {
            Ok(permits) => {
                let mut last = None;
                for (permit, incoming) in permits.zip(self.pending.drain(..room)) {
                    last = Some(incoming.receipt);
                    permit.send(incoming);
                }
                self.handed_over(last);
            }
            Err(mpsc::error::TrySendError::Closed(())) => self.discard(),
            Err(mpsc::error::TrySendError::Full(())) => (),
        }
    }

    fn hand_over_by(&mut self, permit: mpsc::Permit<'_, Incoming>) {
        if let Some(incoming) = self.pending.pop_front() {
            let receipt = incoming.receipt;
            permit.send(incoming);
            self.handed_over(Some(receipt));
        }
    }

    /// The application dropped its receiver: it wants nothing.
    fn discard(&mut self) {
        let last = self.pending.back().map(|incoming| incoming.receipt);
        self.pending.clear();
        if let Some(last) = last {
            self.session.confirm(last, now());
        }
    }

    fn handed_over(&mut self, last: Option<Receipt>) {
        if self.confirmation == Confirmation::OnHandover
            && let Some(last) = last
        {
            self.session.confirm(last, now());
        }
    }
}

/// Writes some of `out`, or flushes when it is empty. Cancel safe.
async fn write_some(
    writer: &mut (impl AsyncWrite + Unpin),
    out: &mut BytesMut,
) -> io::Result<usize> {
    if !out.has_remaining() {
        return writer.flush().await.map(|()| 0);
    }
    match writer.write_buf(out).await? {
        0 => Err(io::ErrorKind::WriteZero.into()),
        count => Ok(count),
    }
}

/// Room made for one read, in bytes.
const READ: usize = 64 * 1024;
/// More is prepared for writing while less than this is, in bytes.
const WRITE: usize = 32 * 1024;
/// Received stanzas that may wait for room in the inbox; above it reading stops.
const PENDING: usize = 512;
/// How long the server may take to answer our closing tag.
const CLOSING: Duration = Duration::from_secs(1);
/// How long a last word may take to leave.
const FAREWELL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;

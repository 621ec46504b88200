//! The dialled end of a connection: turns queued commands into frames, and frames into answers.
//!
//! Everything lives in the connection's task, so there is no lock and no task a request.

use std::collections::HashMap;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::connection::{Fault, Next, Side};
use super::frame::{Failure, Frame, Header, Tag};
use super::outbox::{Outbox, Outgoing};
use super::pipe::{Command, LinkError, Queued};

/// The state of one dialled connection.
pub(super) struct ClientSide {
    commands: mpsc::UnboundedReceiver<Queued>,
    pending: HashMap<u64, oneshot::Sender<Result<Bytes, LinkError>>>,
    next_id: u64,
    /// At most one for each kind.
    streams: HashMap<u8, OpenStream>,
}

/// The task's end of an ordered stream; dropping it ends both ends of the caller.
struct OpenStream {
    id: u64,
    answers: mpsc::Sender<Bytes>,
    window: Arc<Semaphore>,
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.window.close();
    }
}

impl ClientSide {
    pub(super) fn new(commands: mpsc::UnboundedReceiver<Queued>) -> Self {
        Self {
            commands,
            pending: HashMap::new(),
            next_id: 1,
            streams: HashMap::new(),
        }
    }

    /// The frame for a command, if it makes one. The command's share of the queue ends here.
    fn perform(&mut self, queued: Queued) -> Option<Outgoing> {
        match queued.take() {
            Command::Request { answer, .. } if answer.is_closed() => None,
            Command::Request {
                kind,
                parts,
                answer,
            } => {
                let id = self.next_id;
                self.next_id += 1;
                if self.pending.len() >= SWEEP_AT {
                    self.sweep();
                }
                self.pending.insert(id, answer);
                Some(Outgoing::new(Header::new(Tag::Request, kind, id), parts))
            }
            Command::Message { kind, parts } => {
                Some(Outgoing::new(Header::new(Tag::Message, kind, 0), parts))
            }
            Command::Open {
                kind,
                id,
                answers,
                window,
            } => {
                let stream = OpenStream {
                    id,
                    answers,
                    window,
                };
                self.streams.insert(kind, stream);
                None
            }
            Command::Item { kind, id, parts } if self.has_stream(kind, id) => {
                Some(Outgoing::new(Header::new(Tag::Item, kind, id), parts))
            }
            Command::EndItems { kind, id } if self.has_stream(kind, id) => {
                Some(end_of_items(kind, id))
            }
            Command::Item { .. } | Command::EndItems { .. } => None,
        }
    }

    fn has_stream(&self, kind: u8, id: u64) -> bool {
        self.streams
            .get(&kind)
            .is_some_and(|stream| stream.id == id)
    }

    /// Forgets requests whose caller has gone.
    fn sweep(&mut self) {
        self.pending.retain(|_, answer| !answer.is_closed());
    }

    fn answer(&mut self, id: u64, result: Result<Bytes, LinkError>) {
        // An unknown id was given up by its caller, and so may be this one.
        if let Some(answer) = self.pending.remove(&id) {
            let _ = answer.send(result);
        }
    }

    fn answer_item(
        &mut self,
        Header { kind, id, .. }: Header,
        body: Bytes,
    ) -> Result<Option<Outgoing>, Fault> {
        let Some(stream) = self.streams.get(&kind).filter(|stream| stream.id == id) else {
            return Ok(None);
        };
        match stream.answers.try_send(body) {
            Ok(()) => Ok(None),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Fault::Overrun),
            Err(mpsc::error::TrySendError::Closed(_)) => {
                self.streams.remove(&kind);
                Ok(Some(end_of_items(kind, id)))
            }
        }
    }
}

impl Side for ClientSide {
    fn take(&mut self, frame: Frame, outbox: &mut Outbox) -> Result<(), Fault> {
        let header = frame.header;
        match header.tag {
            Tag::Answer => self.answer(header.id, Ok(frame.body)),
            Tag::Failed => self.answer(header.id, Err(failure(&frame.body))),
            Tag::Item => {
                if let Some(end) = self.answer_item(header, frame.body)? {
                    outbox.push(end);
                }
            }
            Tag::ItemEnd => {
                if self.has_stream(header.kind, header.id) {
                    self.streams.remove(&header.kind);
                }
            }
            tag => return Err(Fault::Unexpected(tag)),
        }
        Ok(())
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, may_write: bool) -> Poll<Next> {
        if !may_write {
            return Poll::Pending;
        }
        loop {
            let Some(command) = ready!(self.commands.poll_recv(cx)) else {
                return Poll::Ready(Next::Close);
            };
            if let Some(frame) = self.perform(command) {
                return Poll::Ready(Next::Write(frame));
            }
        }
    }

    fn try_next(&mut self) -> Option<Outgoing> {
        loop {
            let command = self.commands.try_recv().ok()?;
            if let Some(frame) = self.perform(command) {
                return Some(frame);
            }
        }
    }

    fn tick(&mut self) {
        self.sweep();
    }

    fn close(&mut self) {
        self.commands.close();
    }
}

fn end_of_items(kind: u8, id: u64) -> Outgoing {
    Outgoing::empty(Header::new(Tag::ItemEnd, kind, id))
}

fn failure(body: &[u8]) -> LinkError {
    match body {
        [code] if *code == Failure::Busy as u8 => LinkError::Busy,
        [code] if *code == Failure::TooLarge as u8 => LinkError::TooLarge,
        _ => LinkError::Failed,
    }
}

/// Requests waiting for an answer at which those without a caller are swept out at once, not by the
/// next tick. Twice the number that callers can have in flight, so at least half of them go.
const SWEEP_AT: usize = 2 * super::link::MAX_IN_FLIGHT;

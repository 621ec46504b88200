//! What a node does for its peers: the trait behind the peer port, and the accepted end of a
//! connection.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::PollSender;

use super::connection::{Fault, Next, Side};
use super::frame::{Failure, Frame, Header, MAX_BODY_BYTES, Tag};
use super::hello::Hello;
use super::outbox::{Outbox, Outgoing};
use super::stream::FIRST_STREAM_KIND;

/// Requests of one connection that are being answered; above this the peer gets `Busy`.
pub const MAX_REQUESTS: usize = 256;

/// Streams of one connection, counted by their kinds.
pub const MAX_STREAMS: usize = 8;

/// Items for a stream, and where its answers come from, one each and in the same order. See
/// [`Service::stream`].
pub type StreamEnds = (mpsc::Sender<Bytes>, mpsc::Receiver<Bytes>);

/// What answers the peers of a node. Bodies are slices of a connection's read buffer (64 KiB and
/// more): copy what is kept long.
pub trait Service: Send + Sync + 'static {
    /// Whether a peer, whose hello is good, may connect.
    ///
    /// # Errors
    /// The reason, which the peer is told.
    fn admit(&self, _from: &Hello) -> Result<(), String> {
        Ok(())
    }

    /// Answers a request. Runs in a task of its own, at most [`MAX_REQUESTS`] a connection, and is
    /// dropped when the connection ends.
    fn request(&self, from: &Hello, kind: u8, body: Bytes) -> BoxFuture<'static, Bytes>;

    /// Takes a one-way message; those of one connection come in order. Must not block: nothing is
    /// read meanwhile.
    fn message(&self, from: &Hello, kind: u8, body: Bytes);

    /// A peer opens a stream of `kind` (from [`FIRST_STREAM_KIND`] on); `None`: there is no such
    /// stream. The first end takes its items; while it is full nothing else is read from this
    /// connection, so let it hold [`STREAM_WINDOW`](super::STREAM_WINDOW), which is never exceeded.
    /// The second yields the answers. When it ends the stream ends, and the peer may open another.
    fn stream(&self, from: &Hello, kind: u8) -> Option<StreamEnds>;
}

/// The state of one accepted connection.
pub(super) struct ServiceSide {
    service: Arc<dyn Service>,
    from: Arc<Hello>,
    requests: JoinSet<Outgoing>,
    /// By kind. Stays after its end, so that items still on their way to it are known as late.
    streams: HashMap<u8, Stream>,
    /// An item that its full stream did not take yet.
    stalled: Option<Stalled>,
}

struct Stalled {
    kind: u8,
    items: PollSender<Bytes>,
    body: Bytes,
}

struct Stream {
    id: u64,
    /// `None`: the peer sends no more, or we take no more.
    items: Option<mpsc::Sender<Bytes>>,
    /// `None`: ended.
    answers: Option<mpsc::Receiver<Bytes>>,
}

impl ServiceSide {
    pub(super) fn new(service: Arc<dyn Service>, from: Arc<Hello>) -> Self {
        Self {
            service,
            from,
            requests: JoinSet::new(),
            streams: HashMap::new(),
            stalled: None,
        }
    }

    fn request(&mut self, Frame { header, body }: Frame, outbox: &mut Outbox) {
        if self.requests.len() >= MAX_REQUESTS {
            outbox.push(failed(header, Failure::Busy));
            return;
        }
        let (service, from) = (self.service.clone(), self.from.clone());
        self.requests.spawn(async move {
            let answering = async { service.request(&from, header.kind, body).await };
            match AssertUnwindSafe(answering).catch_unwind().await {
                Ok(answer) if answer.len() > MAX_BODY_BYTES => failed(header, Failure::TooLarge),
                Ok(answer) => {
                    Outgoing::new(Header::new(Tag::Answer, header.kind, header.id), answer)
                }
                Err(_) => failed(header, Failure::Panicked),
            }
        });
    }

    fn item(&mut self, Frame { header, body }: Frame, outbox: &mut Outbox) {
        let Header { kind, id, .. } = header;
        let newest = self.streams.get(&kind).map_or(0, |stream| stream.id);
        if id > newest {
            let room = self.streams.len() < MAX_STREAMS || newest > 0;
            let ends = if room {
                self.service.stream(&self.from, kind)
            } else {
                None
            };
            let Some((items, answers)) = ends else {
                outbox.push(end_of_answers(kind, id));
                return;
            };
            self.streams.insert(
                kind,
                Stream {
                    id,
                    items: Some(items),
                    answers: Some(answers),
                },
            );
        }
        let Some(stream) = self.streams.get_mut(&kind).filter(|stream| stream.id == id) else {
            return;
        };
        let Some(items) = &stream.items else { return };
        match items.try_send(body) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(body)) => {
                self.stalled = Some(Stalled {
                    kind,
                    items: PollSender::new(items.clone()),
                    body,
                });
            }
            // The service takes no more; the end of its answers will tell the peer.
            Err(mpsc::error::TrySendError::Closed(_)) => stream.items = None,
        }
    }

    fn end_of_items(&mut self, Header { kind, id, .. }: Header) {
        if let Some(stream) = self.streams.get_mut(&kind).filter(|stream| stream.id == id) {
            stream.items = None;
        }
    }

    /// An answer that is ready. `poll` asks one stream, so that the same code serves with and
    /// without a waker.
    fn next_answer(
        &mut self,
        mut poll: impl FnMut(&mut mpsc::Receiver<Bytes>) -> Poll<Option<Bytes>>,
    ) -> Option<Outgoing> {
        for (&kind, stream) in &mut self.streams {
            let Some(answers) = &mut stream.answers else {
                continue;
            };
            match poll(answers) {
                Poll::Ready(Some(body)) if body.len() <= MAX_BODY_BYTES => {
                    let header = Header::new(Tag::Item, kind, stream.id);
                    return Some(Outgoing::new(header, body));
                }
                Poll::Ready(_) => {
                    (stream.items, stream.answers) = (None, None);
                    self.stalled.take_if(|stalled| stalled.kind == kind);
                    return Some(end_of_answers(kind, stream.id));
                }
                Poll::Pending => {}
            }
        }
        None
    }

    /// Whether the stalled item was taken, or its stream has ended.
    fn poll_unstalled(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(stalled) = &mut self.stalled else {
            return false;
        };
        let Poll::Ready(reserved) = stalled.items.poll_reserve(cx) else {
            return false;
        };
        if let Some(Stalled {
            mut items, body, ..
        }) = self.stalled.take()
            && reserved.is_ok()
        {
            // An error only says that the stream has ended meanwhile.
            let _ = items.send_item(body);
        }
        true
    }
}

impl Side for ServiceSide {
    fn take(&mut self, frame: Frame, outbox: &mut Outbox) -> Result<(), Fault> {
        let Header { tag, kind, .. } = frame.header;
        let is_stream = kind >= FIRST_STREAM_KIND;
        match tag {
            Tag::Request if !is_stream => self.request(frame, outbox),
            Tag::Message if !is_stream => self.service.message(&self.from, kind, frame.body),
            Tag::Item if is_stream => self.item(frame, outbox),
            Tag::ItemEnd if is_stream => self.end_of_items(frame.header),
            tag => return Err(Fault::Unexpected(tag)),
        }
        Ok(())
    }

    fn stalled(&self) -> bool {
        self.stalled.is_some()
    }

    fn poll_next(&mut self, cx: &mut Context<'_>, may_write: bool) -> Poll<Next> {
        if self.poll_unstalled(cx) {
            return Poll::Ready(Next::Unstalled);
        }
        if !may_write {
            return Poll::Pending;
        }
        if let Some(frame) = self.next_answer(|answers| answers.poll_recv(cx)) {
            return Poll::Ready(Next::Write(frame));
        }
        while let Poll::Ready(Some(done)) = self.requests.poll_join_next(cx) {
            // A task fails to join only when aborted, which happens only by dropping the set.
            if let Ok(frame) = done {
                return Poll::Ready(Next::Write(frame));
            }
        }
        Poll::Pending
    }

    fn try_next(&mut self) -> Option<Outgoing> {
        let ready = self.next_answer(|answers| match answers.try_recv() {
            Ok(body) => Poll::Ready(Some(body)),
            // The end of a stream is told by `poll_next`, with all its answers before it.
            Err(_) => Poll::Pending,
        });
        ready.or_else(|| self.requests.try_join_next()?.ok())
    }

    fn close(&mut self) {
        self.streams
            .values_mut()
            .for_each(|stream| stream.items = None);
    }
}

fn failed(header: Header, failure: Failure) -> Outgoing {
    let body = Bytes::from(vec![failure as u8]);
    Outgoing::new(Header::new(Tag::Failed, header.kind, header.id), body)
}

fn end_of_answers(kind: u8, id: u64) -> Outgoing {
    Outgoing::empty(Header::new(Tag::ItemEnd, kind, id))
}

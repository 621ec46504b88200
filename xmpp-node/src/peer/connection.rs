//! One established connection: reads and writes at the same time, keeps it alive, and closes it
//! properly.
//!
//! One task runs [`drive`] for each connection. What frames mean is the business of a [`Side`]:
//! `client.rs` for connections we dialled, `serving.rs` for those we accepted.
//!
//! Bounds: [`WRITE_BYTES`](super::WRITE_BYTES) are gathered before the side is asked for no more;
//! nothing is read while [`PAUSE_READING_BYTES`] wait to be written or while the side is stalled.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::TlsStream;
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::event::DownReason;
use super::frame::{Decoder, Frame, FrameError, Header, MAX_HELLO_BYTES, Tag};
use super::heard::Heard;
use super::hello::Hello;
use super::outbox::{Outbox, Outgoing};

/// Reading pauses while this much waits to be written: answers to what is read would only add to
/// it.
pub const PAUSE_READING_BYTES: usize = 1024 * 1024;

/// Longest time for writing what waits and the `bye` frame, and for the other side to close in
/// turn.
pub const CLOSE_TIMEOUT: Duration = Duration::from_millis(250);

/// What one end of a connection does with frames.
pub(super) trait Side {
    /// Takes one frame; called only while not stalled. Frames to be written at once go into
    /// `outbox`.
    fn take(&mut self, frame: Frame, outbox: &mut Outbox) -> Result<(), Fault>;

    /// Whether `take` must wait.
    fn stalled(&self) -> bool {
        false
    }

    /// The next thing to do. Frames are asked for only if `may_write`; the end of a stall is always
    /// told.
    fn poll_next(&mut self, cx: &mut Context<'_>, may_write: bool) -> Poll<Next>;

    /// A frame that is ready now, to be carried by the write that is being gathered.
    fn try_next(&mut self) -> Option<Outgoing>;

    /// The connection closes on purpose: accept nothing new; what `try_next` still gives is written
    /// if time allows.
    fn close(&mut self);

    /// Called about every [`Settings::ping_after`].
    fn tick(&mut self) {}
}

/// What a side wants next.
pub(super) enum Next {
    /// Write this frame.
    Write(Outgoing),
    /// Frames may be taken again.
    Unstalled,
    /// Nobody needs this connection any more.
    Close,
}

/// What the peer did wrong; its connection is closed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("frame {0:?} has no place here")]
    Unexpected(Tag),
    #[error("more answers than items on a stream")]
    Overrun,
}

/// A connection on which both sides accepted each other.
pub(super) struct Opened {
    pub(super) stream: TlsStream<TcpStream>,
    /// May already hold frames that came right behind the hello.
    pub(super) decoder: Decoder,
    /// The peer.
    pub(super) hello: Arc<Hello>,
    /// Who we are; what we said to this peer is marked as seen. A later change of our cluster id
    /// ends the connection, unless the peer had that id already.
    pub(super) local: watch::Receiver<Arc<Hello>>,
}

/// What a connection shares with the rest of the node.
pub(super) struct Shared<'a> {
    pub(super) settings: &'a Settings,
    pub(super) heard: &'a Heard,
    pub(super) stop: &'a CancellationToken,
}

/// Runs a connection to its end and says why it ended.
pub(super) async fn drive<S: Side>(opened: Opened, side: &mut S, shared: Shared<'_>) -> DownReason {
    let Opened {
        stream,
        decoder,
        hello,
        local,
    } = opened;
    let (reader, writer) = tokio::io::split(stream);
    let now = Instant::now();
    let mut line = Line {
        reader,
        writer,
        decoder,
        local,
        outbox: Outbox::default(),
        write_failed: false,
        wrote: now,
        read: now,
        suspect: false,
    };
    shared.heard.touch(now);
    match line.run(side, &shared, &hello).await {
        End::Peer(reason) => reason,
        End::Fault(fault) => {
            tracing::warn!(peer = %hello.name, %fault, "closing a peer connection");
            DownReason::Closed
        }
        End::Purpose => {
            // Past the time there is nothing left to do for a peer that does not read.
            let _ = timeout(CLOSE_TIMEOUT, line.close(side)).await;
            DownReason::Bye
        }
    }
}

enum End {
    /// The peer ended it, or the socket did.
    Peer(DownReason),
    /// The peer broke the protocol.
    Fault(Fault),
    /// We end it.
    Purpose,
}

struct Line {
    reader: ReadHalf<TlsStream<TcpStream>>,
    writer: WriteHalf<TlsStream<TcpStream>>,
    decoder: Decoder,
    local: watch::Receiver<Arc<Hello>>,
    outbox: Outbox,
    /// A write failed. Reading goes on for one keep-alive period, as a `bye` may still be on its
    /// way to us.
    write_failed: bool,
    wrote: Instant,
    read: Instant,
    /// Silence was seen once. It counts only when seen again, so that a pause of our own process is
    /// not taken for one.
    suspect: bool,
}

impl Line {
    async fn run<S: Side>(&mut self, side: &mut S, shared: &Shared<'_>, hello: &Hello) -> End {
        let mut alarm = std::pin::pin!(sleep_until(self.wrote + shared.settings.ping_after));
        let mut stopped = std::pin::pin!(shared.stop.cancelled());
        loop {
            if let Err(end) = self.take_frames(side) {
                return end;
            }
            let may_read = !side.stalled() && self.outbox.size() < PAUSE_READING_BYTES;
            let may_write = self.outbox.has_room() && !self.write_failed;
            let writing = !self.outbox.is_done() && !self.write_failed;
            tokio::select! {
                count = self.reader.read_buf(self.decoder.buffer()), if may_read => match count {
                    Ok(0) | Err(_) => return End::Peer(DownReason::Closed),
                    Ok(_) => {
                        self.read = Instant::now();
                        self.suspect = false;
                        shared.heard.touch(self.read);
                    }
                },
                written = self.outbox.write_once(&mut self.writer), if writing => {
                    self.write_failed = written.is_err();
                    self.wrote = Instant::now();
                }
                next = poll_fn(|cx| side.poll_next(cx, may_write)) => match next {
                    Next::Write(frame) => {
                        self.outbox.push(frame);
                        self.gather(side);
                    }
                    Next::Unstalled => self.read = Instant::now(),
                    Next::Close => return End::Purpose,
                },
                () = alarm.as_mut() => {
                    side.tick();
                    let now = Instant::now();
                    if self.is_over(now, may_read, shared.settings) {
                        return End::Peer(match self.write_failed {
                            true => DownReason::Closed,
                            false => DownReason::Silent,
                        });
                    }
                    let mut due = self.wrote + shared.settings.ping_after;
                    if due <= now {
                        if self.outbox.is_empty() {
                            self.outbox.push(Outgoing::empty(Header::bare(Tag::Ping)));
                        }
                        due = now + shared.settings.ping_after;
                    }
                    alarm.as_mut().reset(due);
                }
                changed = self.local.changed() => {
                    let ours = self.local.borrow_and_update().cluster_id.clone();
                    if changed.is_err() || ours != hello.cluster_id {
                        return End::Purpose;
                    }
                }
                () = stopped.as_mut() => return End::Purpose,
            }
        }
    }

    /// Hands all whole frames at hand to the side.
    fn take_frames<S: Side>(&mut self, side: &mut S) -> Result<(), End> {
        while !side.stalled() && self.outbox.size() < PAUSE_READING_BYTES {
            let Some(frame) = self
                .decoder
                .next_frame()
                .map_err(|fault| End::Fault(fault.into()))?
            else {
                break;
            };
            match frame.header.tag {
                Tag::Ping => {}
                Tag::Bye => return Err(End::Peer(DownReason::Bye)),
                Tag::Refused => {
                    let text = &frame.body[..frame.body.len().min(MAX_HELLO_BYTES)];
                    let reason = String::from_utf8_lossy(text).into_owned();
                    return Err(End::Peer(DownReason::Refused(reason)));
                }
                _ => side.take(frame, &mut self.outbox).map_err(End::Fault)?,
            }
        }
        Ok(())
    }

    /// Takes what else is ready, so that one write carries it.
    fn gather<S: Side>(&mut self, side: &mut S) {
        while self.outbox.has_room()
            && let Some(frame) = side.try_next()
        {
            self.outbox.push(frame);
        }
    }

    fn is_over(&mut self, now: Instant, may_read: bool, settings: &Settings) -> bool {
        if !may_read {
            // We do not listen; that is not the peer's silence.
            self.read = now;
            self.suspect = false;
        }
        let silent = now - self.read >= settings.silent_after;
        let over = self.write_failed || (silent && self.suspect);
        self.suspect = silent;
        over
    }

    /// Writes what is ready for half the time, then `bye`, then waits for the other side to close:
    /// closing first with bytes unread would reset the connection and could destroy the `bye` on
    /// its way.
    async fn close<S: Side>(&mut self, side: &mut S) -> io::Result<()> {
        side.close();
        if let Ok(written) = timeout(CLOSE_TIMEOUT / 2, self.drain(side)).await {
            written?;
        }
        self.outbox.push(Outgoing::empty(Header::bare(Tag::Bye)));
        while !self.outbox.is_empty() {
            self.outbox.write_once(&mut self.writer).await?;
        }
        self.writer.shutdown().await?;
        let mut sink = [0; 4096];
        while self.reader.read(&mut sink).await? > 0 {}
        Ok(())
    }

    async fn drain<S: Side>(&mut self, side: &mut S) -> io::Result<()> {
        loop {
            self.gather(side);
            if self.outbox.is_empty() {
                return Ok(());
            }
            self.outbox.write_once(&mut self.writer).await?;
        }
    }
}

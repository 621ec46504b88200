//! The task of the side-car: moves stanzas between the bridge and whichever local component is there.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use xmpp_core::error::{StanzaCondition, StreamCondition, StreamError};
use xmpp_core::framer::Frame;
use xmpp_core::ns;
use xmpp_core::stanza::Stanza;

use super::barrier::{Barrier, Pong};
use super::local::{Local, LocalError};
use super::{Arrival, Settings};
use crate::bridge::{Bridge, Incoming, Receiver};
use crate::connect::now;
use crate::error::TrySendError;

pub(super) struct Serving {
    pub(super) bridge: Bridge,
    pub(super) receiver: Receiver,
    pub(super) barrier: Barrier,
    pub(super) settings: Arc<Settings>,
    pub(super) absence: Duration,
    pub(super) arrivals: mpsc::Receiver<Arrival>,
}

impl Serving {
    /// Serves one component after the other until `shutdown`.
    pub(super) async fn run(mut self, shutdown: &CancellationToken) {
        loop {
            let local = tokio::select! {
                local = self.next_local() => local,
                () = shutdown.cancelled() => return,
            };
            let Some(Arrival { mut local, _turn }) = local else {
                return;
            };
            self.barrier.connected();
            self.bridge.set_unconfirmed(false);
            tracing::info!("local component connected");
            let error = tokio::select! {
                error = self.serve(&mut local) => error,
                () = shutdown.cancelled() => StreamCondition::SystemShutdown.into(),
            };
            tracing::info!(%error, "local component gone");
            local.refuse(error).await;
        }
    }

    /// Waits for a component. After `absence`, what is kept and what arrives is answered with an error.
    async fn next_local(&mut self) -> Option<Arrival> {
        if let Ok(local) = tokio::time::timeout(self.absence, self.arrivals.recv()).await {
            return local;
        }
        tracing::warn!("no local component: stanzas are answered with errors");
        loop {
            while let Some(incoming) = self.barrier.pop() {
                if let Some(reply) = absent_reply(&incoming) {
                    // Room is waited for between stanzas, so that a component may come meanwhile.
                    if let Err(TrySendError::Full(_)) = self.bridge.try_send(reply) {
                        self.barrier.unpop(incoming);
                        break;
                    }
                }
                self.bridge.confirm(incoming.receipt);
            }
            let full = self.barrier.first_bytes();
            tokio::select! {
                local = self.arrivals.recv() => return local,
                incoming = self.receiver.recv(), if full.is_none() => self.barrier.push(incoming?),
                () = self.bridge.has_room_for(full.unwrap_or(0)), if full.is_some() => (),
            }
        }
    }

    async fn serve(&mut self, local: &mut Local) -> LocalError {
        match self.exchange(local).await {
            Ok(()) => LocalError::Closed,
            Err(error) => error,
        }
    }

    async fn exchange(&mut self, local: &mut Local) -> Result<(), LocalError> {
        local.welcome().await?;
        let mut out = BytesMut::new();
        let mut batch: Vec<Incoming> = Vec::new();
        // What the component sent while the bridge's window was full; nothing more is read before it is taken.
        let mut stalled: Option<Bytes> = None;
        let mut timer = pin!(tokio::time::sleep(Duration::ZERO));
        loop {
            while stalled.is_none()
                && let Some(frame) = local.framer.next_frame().map_err(StreamError::from)?
            {
                stalled = self.take(local, frame)?;
            }
            if out.len() < WRITE {
                self.barrier.fill(&mut out, 2 * WRITE, now());
            }
            if let Some(deadline) = self.barrier.deadline() {
                timer.as_mut().reset(Instant::from_std(deadline));
            }
            let timed = self.barrier.deadline().is_some();
            let (mut reader, mut writer) = local.stream.split();
            let buffer = local.framer.buffer();
            if buffer.capacity() - buffer.len() < READ / 4 {
                buffer.reserve(READ);
            }
            let stalled_bytes = stalled.as_ref().map_or(0, Bytes::len);
            tokio::select! {
                read = reader.read_buf(buffer), if stalled.is_none() => {
                    if read? == 0 {
                        return Ok(());
                    }
                }
                wrote = writer.write_buf(&mut out), if !out.is_empty() => {
                    wrote?;
                    if out.is_empty() {
                        self.confirm(|barrier| barrier.drained());
                    }
                }
                count = self.receiver.recv_many(&mut batch, self.barrier.room()), if self.barrier.has_room() => {
                    if count == 0 {
                        return Err(StreamCondition::SystemShutdown.into());
                    }
                    batch.drain(..).for_each(|incoming| self.barrier.push(incoming));
                }
                () = self.bridge.has_room_for(stalled_bytes), if stalled.is_some() => {
                    if let Some(stanza) = stalled.take() {
                        stalled = self.to_bridge(stanza)?;
                    }
                }
                // While our writes do not leave, the component is busy, not deaf: it will be asked for its reply later.
                () = &mut timer, if timed && out.is_empty() => {
                    if self.barrier.check_patience(now()) {
                        tracing::warn!("the local component answers no ping: what is written to it counts as read");
                        self.bridge.set_unconfirmed(true);
                        self.confirm(|barrier| barrier.drained());
                    }
                }
            }
        }
    }

    /// Takes what the component sent; gives a stanza back for which there is no room.
    fn take(&mut self, local: &Local, frame: Frame) -> Result<Option<Bytes>, LocalError> {
        let element = match frame {
            Frame::Element(element) => element,
            Frame::Close => return Err(LocalError::Closed),
            Frame::Open(_) => return Err(StreamCondition::NotWellFormed.into()),
        };
        if let Pong::Proves(receipt) = self.barrier.pong(&element) {
            self.confirm(|_| receipt);
            self.bridge.set_unconfirmed(false);
            return Ok(None);
        }
        self.to_bridge(local.to_cluster(&element, &self.settings.jid)?)
    }

    fn to_bridge(&self, stanza: Bytes) -> Result<Option<Bytes>, LocalError> {
        match self.bridge.try_send(stanza) {
            Ok(_) => Ok(None),
            Err(TrySendError::Full(stanza)) => Ok(Some(stanza)),
            Err(TrySendError::Stopped) => Err(StreamCondition::SystemShutdown.into()),
            Err(TrySendError::NotAStanza(_)) => Err(StreamCondition::UnsupportedStanzaType.into()),
        }
    }

    fn confirm(&mut self, proven: impl FnOnce(&mut Barrier) -> Option<crate::session::Receipt>) {
        if let Some(receipt) = proven(&mut self.barrier) {
            self.bridge.confirm(receipt);
        }
    }
}

/// The error that answers a stanza for a component that is not there.
fn absent_reply(incoming: &Incoming) -> Option<Bytes> {
    let stanza = Stanza::parse(incoming.element(), None, ns::COMPONENT_ACCEPT, "").ok()??;
    let text = "the component is not connected; the stanza may not have been read";
    let reply = stanza
        .to_routed()
        .error_reply(StanzaCondition::RemoteServerTimeout, Some(text))?;
    Some(reply.bytes)
}

/// Room made for one read, in bytes.
const READ: usize = 64 * 1024;
/// More is prepared for writing while less than this is, in bytes.
const WRITE: usize = 32 * 1024;

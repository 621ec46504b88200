//! The peer port: accepts connections, shakes hands and runs them.
//!
//! Bounds: [`MAX_HANDSHAKES`] connections whose peer is not known yet, each for at most
//! [`Settings::handshake_timeout`](super::Settings::handshake_timeout);
//! [`MAX_CONNECTIONS`](super::MAX_CONNECTIONS) afterwards.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::{Opened, Shared, drive};
use super::dialer::Dialer;
use super::event::DownReason;
use super::handshake::{self, DialError};
use super::hello::Refusal;
use super::registry::{Admission, Registry};
use super::service::{Service, ServiceSide};

/// Connections that shake hands at the same time; more wait in the kernel's queue.
pub const MAX_HANDSHAKES: usize = 32;

/// What the accept loop and its connections need.
#[derive(Clone)]
pub(super) struct Server {
    pub(super) dialer: Dialer,
    pub(super) registry: Arc<Registry>,
    pub(super) service: Arc<dyn Service>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
    pub(super) refusals: Arc<Refusals>,
}

impl Server {
    /// Accepts until `stop`.
    pub(super) async fn run(self, listener: TcpListener) {
        let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
        let mut pause = ACCEPT_PAUSE_FIRST;
        loop {
            let place = tokio::select! {
                place = handshakes.clone().acquire_owned() => place,
                () = self.stop.cancelled() => return,
            };
            let Ok(place) = place else { return };
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.stop.cancelled() => return,
            };
            match accepted {
                Ok((tcp, from)) => {
                    pause = ACCEPT_PAUSE_FIRST;
                    self.tasks
                        .spawn(self.clone().serve(tcp, from.ip().to_canonical(), place));
                }
                Err(error) => {
                    // Mostly a lack of file descriptors, which passes.
                    tracing::warn!(%error, ?pause, "cannot accept a peer connection");
                    tokio::select! {
                        () = sleep(pause) => {}
                        () = self.stop.cancelled() => return,
                    }
                    pause = (pause * 2).min(ACCEPT_PAUSE_MOST);
                }
            }
        }
    }

    async fn serve(self, tcp: TcpStream, from: IpAddr, place: OwnedSemaphorePermit) {
        let stop = self.stop.child_token();
        let opening = timeout(
            self.dialer.settings.handshake_timeout,
            self.open(tcp, &stop),
        );
        let opened = tokio::select! {
            opened = opening => opened.unwrap_or(Err(DialError::Timeout)),
            () = stop.cancelled() => return,
        };
        drop(place);
        let (opened, held) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.refusals.tell(from, &error),
        };
        self.refusals.forget(from);
        let hello = opened.hello.clone();
        tracing::debug!(peer = %hello.name, %from, "a peer connected");
        let mut side = ServiceSide::new(self.service.clone(), hello.clone());
        let shared = Shared {
            settings: &self.dialer.settings,
            heard: &held.admission.heard,
            stop: &stop,
        };
        let reason = drive(opened, &mut side, shared).await;
        tracing::debug!(peer = %hello.name, %from, ?reason, "a peer's connection ended");
        held.release(reason);
    }

    /// Shakes hands and takes the peer into the registry, before it is told so: it may talk to
    /// others about it at once.
    async fn open(
        &self,
        tcp: TcpStream,
        stop: &CancellationToken,
    ) -> Result<(Opened, Held), DialError> {
        let guest = handshake::receive(tcp, &*self.dialer.tls, self.dialer.local.clone()).await?;
        let hello = guest.hello().clone();
        let admitted = match self.service.admit(&hello) {
            Ok(()) => self.registry.incoming_up(&hello, stop.clone()),
            Err(reason) => Err(Refusal::NotAdmitted(reason)),
        };
        match admitted {
            Ok(admission) => {
                let held = Held {
                    registry: self.registry.clone(),
                    admission,
                    released: false,
                };
                Ok((guest.welcome().await?, held))
            }
            Err(refusal) => Err(guest.refuse(refusal).await),
        }
    }
}

/// A place in the registry, given back whatever ends the connection's task.
struct Held {
    registry: Arc<Registry>,
    admission: Admission,
    released: bool,
}

impl Held {
    fn release(mut self, reason: DownReason) {
        self.released = true;
        self.registry.incoming_down(&self.admission, reason);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.released {
            self.registry
                .incoming_down(&self.admission, DownReason::Closed);
        }
    }
}

/// The last failed handshake of each address, so that the same one is logged once and not at each
/// attempt.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<IpAddr, String>>);

impl Refusals {
    fn tell(&self, from: IpAddr, error: &DialError) {
        let text = error.to_string();
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.get(&from) == Some(&text) {
            tracing::debug!(%from, %error, "a peer connection was not accepted again");
            return;
        }
        tracing::warn!(%from, %error, "a peer connection was not accepted");
        if last.len() >= MAX_REFUSALS {
            last.clear();
        }
        last.insert(from, text);
    }

    fn forget(&self, from: IpAddr) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&from);
    }
}

/// Addresses whose last refusal is remembered.
const MAX_REFUSALS: usize = 64;

/// Pause after the first failed accept.
const ACCEPT_PAUSE_FIRST: Duration = Duration::from_millis(5);

/// Longest pause after a failed accept.
const ACCEPT_PAUSE_MOST: Duration = Duration::from_secs(1);

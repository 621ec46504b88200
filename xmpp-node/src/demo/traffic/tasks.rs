//! The two tasks of each bridge: one submits, one enters what arrives into the books.

use std::sync::Arc;
use std::time::Duration;

use callbridge::{Incoming, Receiver, TrySendError};
use tokio::time::{Instant, sleep_until};

use super::{ARREARS, Inner, lock};
use crate::demo::accounts::{Accounts, Direction};
use crate::demo::message::{self, Arrival};

impl Inner {
    /// Submits the next message of a pair, waiting for room; `false` if the bridge is stopped. Cancel safe: a message is
    /// in the books if and only if the bridge took it.
    async fn submit(&self, direction: Direction) -> bool {
        let (from, to) = (&self.jids[direction.from], &self.jids[direction.to]);
        let bridge = &self.bridges[direction.from];
        // Waiting for room is part of how long a message takes.
        let now = self.now();
        loop {
            let bytes = {
                let mut accounts = self.accounts();
                let number = accounts.submit(direction, now);
                let message = message::write(from, to, number, now);
                let Err(refused) = bridge.try_send(message) else {
                    return true;
                };
                accounts.withdraw(direction, number);
                match refused {
                    TrySendError::Full(message) => message.len(),
                    TrySendError::Stopped | TrySendError::NotAStanza(_) => return false,
                }
            };
            bridge.has_room_for(bytes).await;
        }
    }

    fn number_of(&self, jid: &str) -> Option<usize> {
        self.jids.iter().position(|known| known == jid)
    }

    /// Enters what arrived at bridge `at` into the books; returns an answer that has to be sent.
    fn enter(
        &self,
        accounts: &mut Accounts,
        at: usize,
        incoming: &Incoming,
    ) -> Option<bytes::Bytes> {
        let now = self.now();
        let other = |jid: &str| self.number_of(jid).filter(|other| *other != at);
        match message::read(incoming) {
            Arrival::Message {
                from,
                number,
                submitted,
            } if other(&from).is_some() => {
                let from = other(&from)?;
                accounts.deliver(Direction { from, to: at }, number, submitted, now);
                return None;
            }
            Arrival::Error { from, number } if other(&from).is_some() => {
                let to = other(&from)?;
                accounts.fail(Direction { from: at, to }, number);
                return None;
            }
            Arrival::Question { answer } => {
                *lock(&self.foreign) += 1;
                return Some(answer);
            }
            Arrival::Message { .. } | Arrival::Error { .. } | Arrival::Foreign => {}
        }
        *lock(&self.foreign) += 1;
        None
    }
}

pub(super) async fn send(inner: Arc<Inner>, from: usize, first: Instant, pace: Duration) {
    let partners = inner.partners[from].clone();
    let mut next = first;
    for to in partners.into_iter().cycle() {
        let submitted = async {
            sleep_until(next).await;
            inner.submit(Direction { from, to }).await
        };
        if inner.stop.run_until_cancelled(submitted).await != Some(true) {
            return;
        }
        next = (next + pace).max(Instant::now() - ARREARS);
    }
}

pub(super) async fn receive(inner: Arc<Inner>, at: usize, mut receiver: Receiver) {
    let mut batch = Vec::new();
    while receiver.recv_many(&mut batch, BATCH).await > 0 {
        let answers: Vec<_> = {
            let mut accounts = inner.accounts();
            let enter = |incoming: &Incoming| inner.enter(&mut accounts, at, incoming);
            batch.iter().filter_map(enter).collect()
        };
        batch.clear();
        for answer in answers {
            // Never waiting: two bridges that ask each other without end must not stop receiving.
            let _ = inner.bridges[at].try_send(answer);
        }
    }
}

/// Stanzas entered into the books under one lock.
const BATCH: usize = 64;

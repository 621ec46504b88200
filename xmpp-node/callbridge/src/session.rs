//! The bridge's end of an acknowledged session (XEP-0198), from one connection to the next.
//!
//! Pure: no socket, no clock (`now` is an argument). It holds every stanza until the server has accepted it, writes each one
//! once a connection and in order, and counts what the application has taken.
//!
//! | State | Input | Does |
//! |---|---|---|
//! | no connection | [`enabled`](Session::enabled) | counts begin at 0; everything held is written anew |
//! | no connection | [`resumed`](Session::resumed)`(h)` | forgets what `h` covers; the rest is written again; as many received stanzas as we hold unconfirmed come again and are dropped |
//! | no connection | [`resume_failed`](Session::resume_failed)`(h)` | forgets what `h` covers; `enabled` follows |
//! | no connection | [`plain`](Session::plain) | a stanza counts as accepted when its last byte is written |
//! | connected | [`acknowledged`](Session::acknowledged)`(h)` | forgets what `h` covers |
//! | connected | [`asked`](Session::asked) | the next [`fill`](Session::fill) answers with `<a/>` |
//! | connected | [`lost`](Session::lost) | keeps what was not accepted |
//!
//! Invariants: `written <= held`; a stanza is written at most once between two of `enabled`, `resumed`, `plain`;
//! `told <= confirmed <= received` (all mod 2^32). What is held is bounded by whoever pushes, see [`Window`](crate::Window).

mod up;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::Instant;

use bytes::{BufMut, Bytes, BytesMut};
use xmpp_core::ns;

use self::up::Up;
use crate::config::Timing;

/// Counts, and stanzas that are not accepted yet.
#[derive(Debug)]
pub struct Session {
    timing: Timing,
    link: Link,
    /// Not accepted; the first has number `acked + 1`.
    held: VecDeque<Bytes>,
    held_bytes: usize,
    /// How many of `held` were put into the present stream.
    written: usize,
    /// Plain streams: bytes that left for the first stanza held.
    left: usize,
    acked: u32,
    previd: Option<Box<str>>,
    generation: u32,
    received: u32,
    confirmed: u32,
    told: u32,
    /// Received stanzas that come again after a resumption.
    repeats: u32,
}

impl Session {
    /// A session that was never on a server.
    pub fn new(timing: Timing) -> Self {
        Self {
            timing,
            link: Link::Down,
            held: VecDeque::new(),
            held_bytes: 0,
            written: 0,
            left: 0,
            acked: 0,
            previd: None,
            generation: 0,
            received: 0,
            confirmed: 0,
            told: 0,
            repeats: 0,
        }
    }

    /// What to ask the server for once it has authenticated us.
    pub fn opening(&self) -> Opening<'_> {
        match &self.previd {
            Some(previd) => Opening::Resume {
                previd,
                h: self.confirmed,
            },
            None => Opening::Enable,
        }
    }

    /// The server began a new session, with `id` when it can be resumed. Receipts of the former one are void.
    pub fn enabled(&mut self, id: Option<&str>, now: Instant) {
        self.previd = id.map(Into::into);
        self.restart_counts();
        self.link = Link::Up(Up::new(now));
    }

    /// The server took up the former session and has accepted our stanzas up to number `h`. Returns how many are newly accepted.
    ///
    /// # Errors
    /// [`AckError`] when that cannot be; the former session is given up.
    pub fn resumed(&mut self, h: u32, now: Instant) -> Result<usize, AckError> {
        let newly = self
            .forget(h, self.held.len())
            .inspect_err(|_| self.previd = None)?;
        self.repeats = self.received.wrapping_sub(self.confirmed);
        self.told = self.confirmed;
        self.written = 0;
        self.link = Link::Up(Up::new(now));
        Ok(newly)
    }

    /// The server does not know the former session; `h` is what it had accepted, if it still knows. Returns how many are
    /// newly accepted. An `h` that cannot be is not believed.
    pub fn resume_failed(&mut self, h: Option<u32>) -> usize {
        self.previd = None;
        h.and_then(|h| self.forget(h, self.held.len()).ok())
            .unwrap_or(0)
    }

    /// The server does not acknowledge: ordinary XEP-0114. Receipts of the former session are void.
    pub fn plain(&mut self) {
        self.previd = None;
        self.restart_counts();
        self.link = Link::Plain;
    }

    /// The connection is gone. What was not accepted is kept.
    pub fn lost(&mut self) {
        self.link = Link::Down;
        self.written = 0;
        self.left = 0;
    }

    /// Gives up the former session: the next connection begins a new one.
    pub fn abandon(&mut self) {
        self.previd = None;
    }

    /// Takes a stanza to be sent.
    pub fn push(&mut self, stanza: Bytes) {
        self.held_bytes += stanza.len();
        self.held.push_back(stanza);
    }

    /// Takes the first stanza out, when it is known that no server will take it. Only between `resumed` or `enabled` and the
    /// first `fill`: only then is it known that the server has not counted it. Else nothing is taken out.
    pub fn give_up_first(&mut self) -> Option<Bytes> {
        if matches!(self.link, Link::Down) || self.written > 0 {
            return None;
        }
        let stanza = self.held.pop_front()?;
        self.held_bytes -= stanza.len();
        Some(stanza)
    }

    /// Stanzas that are not accepted.
    pub fn unaccepted(&self) -> usize {
        self.held.len()
    }

    /// Their bytes.
    pub fn unaccepted_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Whether [`fill`](Self::fill) would write a stanza.
    pub fn has_unwritten(&self) -> bool {
        self.written < self.held.len()
    }

    /// Appends what is due to `out` until it holds `limit` bytes or more: an answer, stanzas, a question.
    /// Returns how many stanzas were appended.
    pub fn fill(&mut self, out: &mut BytesMut, limit: usize, now: Instant) -> usize {
        if matches!(self.link, Link::Down) {
            return 0;
        }
        self.write_answer(out, now);
        let before = self.written;
        while out.len() < limit
            && let Some(stanza) = self.held.get(self.written)
        {
            out.put_slice(stanza);
            self.written += 1;
        }
        let count = self.written - before;
        self.write_question(out, count, now);
        count
    }

    /// Something was received, whatever it was: the server lives.
    pub fn heard(&mut self, now: Instant) {
        if let Link::Up(up) = &mut self.link {
            up.heard(now);
        }
    }

    /// A stanza was received. `None`: it is held already and came again.
    pub fn received(&mut self) -> Option<Receipt> {
        if let Some(left) = self.repeats.checked_sub(1) {
            self.repeats = left;
            return None;
        }
        self.received = self.received.wrapping_add(1);
        Some(Receipt {
            generation: self.generation,
            number: self.received,
        })
    }

    /// The application has taken this stanza and all before it. A void or older receipt changes nothing.
    pub fn confirm(&mut self, receipt: Receipt, now: Instant) {
        let ahead = receipt.number.wrapping_sub(self.confirmed);
        let possible = self.received.wrapping_sub(self.confirmed);
        if receipt.generation != self.generation || ahead == 0 || ahead > possible {
            return;
        }
        self.confirmed = receipt.number;
        if let Link::Up(up) = &mut self.link {
            up.owes(now);
        }
    }

    /// Whether the receipt belongs to the present session; a void one will be, or was, answered by the server otherwise.
    pub fn is_current(&self, receipt: Receipt) -> bool {
        receipt.generation == self.generation
    }

    /// `<a h='..'/>` was received. Returns how many stanzas are newly accepted.
    ///
    /// # Errors
    /// [`AckError`] when more is acknowledged than was sent, or less than before; the session is given up.
    pub fn acknowledged(&mut self, h: u32) -> Result<usize, AckError> {
        let newly = self
            .forget(h, self.written)
            .inspect_err(|_| self.previd = None)?;
        self.written -= newly;
        if let Link::Up(up) = &mut self.link {
            up.answered(self.written);
        }
        Ok(newly)
    }

    /// `<r/>` was received.
    pub fn asked(&mut self) {
        if let Link::Up(up) = &mut self.link {
            up.asked();
        }
    }

    /// `count` bytes have left in a plain stream. Returns how many stanzas have left with them; with acknowledgements none.
    pub fn left(&mut self, count: usize) -> usize {
        if !matches!(self.link, Link::Plain) {
            return 0;
        }
        self.left += count;
        let mut newly = 0;
        while newly < self.written
            && let Some(first) = self.held.front()
            && first.len() <= self.left
        {
            self.left -= first.len();
            self.held_bytes -= first.len();
            self.held.pop_front();
            newly += 1;
        }
        self.written -= newly;
        newly
    }

    /// When [`fill`](Self::fill) and [`is_silent`](Self::is_silent) must be called next at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.link {
            Link::Up(up) => Some(up.deadline(&self.timing)),
            Link::Down | Link::Plain => None,
        }
    }

    /// Whether the server was asked and has been silent for too long since. Call it only after what can be read was read.
    pub fn is_silent(&self, now: Instant) -> bool {
        matches!(&self.link, Link::Up(up) if up.is_silent(&self.timing, now))
    }

    /// Makes everything that waits for a time due now: the stream is about to be closed.
    pub fn hasten(&mut self) {
        if let Link::Up(up) = &mut self.link {
            up.hasten();
        }
    }

    fn restart_counts(&mut self) {
        self.generation = self.generation.wrapping_add(1);
        (self.acked, self.written, self.left) = (0, 0, 0);
        (self.received, self.confirmed, self.told, self.repeats) = (0, 0, 0, 0);
    }

    /// Forgets the stanzas up to number `h`, at most the first `sent`.
    fn forget(&mut self, h: u32, sent: usize) -> Result<usize, AckError> {
        let newly = h.wrapping_sub(self.acked) as usize;
        if newly > sent {
            let sent = self.acked.wrapping_add(sent as u32);
            return Err(AckError {
                h,
                sent,
                before: self.acked,
            });
        }
        for stanza in self.held.drain(..newly) {
            self.held_bytes -= stanza.len();
        }
        self.acked = h;
        Ok(newly)
    }

    fn write_answer(&mut self, out: &mut BytesMut, now: Instant) {
        let Link::Up(up) = &mut self.link else { return };
        let owed = self.confirmed.wrapping_sub(self.told);
        if up.must_answer(owed, &self.timing, now) {
            self.told = self.confirmed;
            // Writing to a BytesMut cannot fail.
            let _ = write!(out, "<a xmlns='{}' h='{}'/>", ns::SM, self.told);
        }
    }

    fn write_question(&mut self, out: &mut BytesMut, appended: usize, now: Instant) {
        let Link::Up(up) = &mut self.link else { return };
        if up.must_ask(appended, &self.timing, now) {
            let _ = write!(out, "<r xmlns='{}'/>", ns::SM);
        }
    }
}

/// What to ask the server for once it has authenticated us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening<'a> {
    /// `<enable/>`: a new session.
    Enable,
    /// `<resume/>`: the former one.
    Resume {
        /// Its id.
        previd: &'a str,
        /// Number of stanzas the application has taken.
        h: u32,
    },
}

/// Names one received stanza, so that it can be confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Receipt {
    generation: u32,
    number: u32,
}

/// The server acknowledged what cannot be (XEP-0198, 4; `handled-count-too-high`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the server acknowledged stanza {h}, but {sent} were sent and {before} were acknowledged before"
)]
pub struct AckError {
    /// What was acknowledged.
    pub h: u32,
    /// Number of the last stanza sent.
    pub sent: u32,
    /// What had been acknowledged before.
    pub before: u32,
}

impl AckError {
    /// The application-specific condition that tells the server.
    pub fn to_xml(&self) -> String {
        let (h, sent) = (self.h, self.sent);
        format!(
            "<handled-count-too-high xmlns='{}' h='{h}' send-count='{sent}'/>",
            ns::SM
        )
    }
}

#[derive(Debug)]
enum Link {
    Down,
    Plain,
    Up(Up),
}

#[cfg(test)]
mod property_tests;
#[cfg(test)]
mod tests;

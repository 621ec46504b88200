//! How a stream learns what its peer has: by `<r/>` and `<a/>` (XEP-0198), or, from a plain component or client, by an
//! XEP-0199 ping of ours, whose reply (result or error) proves that everything written before it was read.
//!
//! At most one question is outstanding. The next is asked after 64 stanzas, or 50 ms after the one before; a plain client
//! is asked after a second ([`Confirmation::with_patience`]). A plain component
//! that answers nothing for 10 s (see [`Confirmation::with_silence`]) after its socket took the question is treated as
//! unconfirmed: delivery then counts when written, until it answers after all. Whoever does not even read, so that the socket
//! takes no more, is not: its queue waits, and fills.

use std::time::Duration;

use crate::ns;

/// Unconfirmed stanzas that are worth a question at once.
const STANZAS_PER_QUESTION: u64 = 64;
/// The least time between two questions when fewer wait.
const QUESTION_INTERVAL: Duration = Duration::from_millis(50);
/// As that, for plain clients.
const CLIENT_INTERVAL: Duration = Duration::from_secs(1);
/// A plain component that is silent for so long is not asked for proof any more, by default.
const SILENCE: Duration = Duration::from_secs(10);
/// What the id of every ping of ours begins with.
const PING_ID: &str = "xc-barrier-";

/// How a peer confirms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// XEP-0198.
    Managed,
    /// Pings.
    Plain,
}

#[derive(Debug, Clone, Copy)]
struct Question {
    number: u64,
    position: u64,
    /// When the socket took the first one of those that were not answered; `None` while it has not.
    sent: Option<Duration>,
}

/// What a tick found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing to do.
    Fine,
    /// The peer answers no pings: everything written counts as delivered from now on.
    Unconfirmed,
}

/// Follows one stream. Positions are those of the session's queue.
#[derive(Debug)]
pub struct Confirmation {
    mode: Mode,
    written: u64,
    confirmed: u64,
    /// Position at which the peer's counter was 0.
    base: u64,
    outstanding: Option<Question>,
    asked: Option<Duration>,
    questions: u64,
    unconfirmed: bool,
    silence: Duration,
    interval: Duration,
}

impl Confirmation {
    /// Begins at a position up to which everything is confirmed.
    #[must_use]
    pub fn new(mode: Mode, confirmed: u64) -> Self {
        Self {
            mode,
            written: confirmed,
            confirmed,
            base: 0,
            outstanding: None,
            asked: None,
            questions: 0,
            unconfirmed: false,
            silence: SILENCE,
            interval: QUESTION_INTERVAL,
        }
    }

    /// The same with another time in which a plain component must answer, above 0.
    #[must_use]
    pub fn with_silence(self, silence: Duration) -> Self {
        Self { silence, ..self }
    }

    /// The same for a client, which gets little and may be about to enable XEP-0198, to leave, or not to know pings: it is asked a
    /// second after `now` or after the question before.
    #[must_use]
    pub fn with_patience(self, now: Duration) -> Self {
        Self {
            interval: CLIENT_INTERVAL,
            asked: Some(now),
            ..self
        }
    }

    /// The same where the peer's counter was 0 at position `base` of the queue, not at its beginning.
    #[must_use]
    pub fn with_base(self, base: u64) -> Self {
        Self { base, ..self }
    }

    /// The peer counts what is written from now on (XEP-0198, 3).
    pub fn manage(&mut self) {
        self.mode = Mode::Managed;
        self.interval = QUESTION_INTERVAL;
        self.base = self.written;
        self.outstanding = None;
        self.unconfirmed = false;
    }

    /// How the peer confirms.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Position of the last stanza written to the stream.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Position of the last stanza confirmed.
    #[must_use]
    pub fn confirmed(&self) -> u64 {
        self.confirmed
    }

    /// Whether delivery counts when written.
    #[must_use]
    pub fn is_unconfirmed(&self) -> bool {
        self.unconfirmed
    }

    /// Everything up to `position` was handed to the socket. Returns the position that this alone confirms, if any.
    pub fn wrote(&mut self, position: u64) -> Option<u64> {
        self.written = position;
        self.unconfirmed.then(|| self.confirm(position))?
    }

    /// Appends a question if one is due, to be written after what [`Self::wrote`] told of. [`Self::sent`] is to follow.
    pub fn ask(&mut self, now: Duration, server: &str, peer: &str, out: &mut impl Extend<u8>) {
        let waiting = self.written - self.confirmed;
        let due = self.asked.is_none_or(|asked| now >= asked + self.interval);
        if self.outstanding.is_some() || (waiting < STANZAS_PER_QUESTION && !(due && waiting > 0)) {
            return;
        }
        self.question(now, server, peer, out);
    }

    /// A question that the caller needs answered now, whatever waits: somebody wants the peer's name.
    pub fn probe(&mut self, now: Duration, server: &str, peer: &str, out: &mut impl Extend<u8>) {
        self.question(now, server, peer, out);
    }

    fn question(&mut self, now: Duration, server: &str, peer: &str, out: &mut impl Extend<u8>) {
        self.questions += 1;
        self.asked = Some(now);
        // The peer is silent since the oldest question that it did not answer.
        let sent = self.outstanding.and_then(|question| question.sent);
        self.outstanding = Some(Question {
            number: self.questions,
            position: self.written,
            sent,
        });
        match self.mode {
            Mode::Managed => out.extend(format!("<r xmlns='{}'/>", ns::SM).into_bytes()),
            Mode::Plain => {
                let id = format!("{PING_ID}{}", self.questions);
                let ping = format!(
                    "<iq type='get' id='{id}' from='{server}' to='{peer}'><ping xmlns='{}'/></iq>",
                    ns::PING
                );
                out.extend(ping.into_bytes());
            }
        }
    }

    /// The socket took the question that is outstanding.
    pub fn sent(&mut self, now: Duration) {
        if let Some(question) = &mut self.outstanding {
            question.sent.get_or_insert(now);
        }
    }

    /// When [`Self::ask`] or [`Self::tick`] should be called again.
    #[must_use]
    pub fn next_tick(&self) -> Option<Duration> {
        match (self.outstanding, self.asked) {
            (Some(question), _) => question
                .sent
                .filter(|_| self.mode == Mode::Plain && !self.unconfirmed)
                .map(|sent| sent + self.silence),
            (None, Some(asked)) if self.written > self.confirmed => Some(asked + self.interval),
            _ => None,
        }
    }

    /// Judges the peer's silence. `stalled`: the socket takes no more, so the peer does not read, and the question may still be
    /// in buffers on the way.
    pub fn tick(&mut self, now: Duration, stalled: bool) -> Verdict {
        let silence = self.silence;
        let sent = self
            .outstanding
            .as_mut()
            .and_then(|question| question.sent.as_mut());
        let Some(sent) = sent.filter(|sent| now >= **sent + silence) else {
            return Verdict::Fine;
        };
        if self.mode != Mode::Plain || self.unconfirmed {
            return Verdict::Fine;
        }
        if stalled {
            *sent = now;
            return Verdict::Fine;
        }
        self.unconfirmed = true;
        Verdict::Unconfirmed
    }

    /// The number of a ping of ours, if `id` is that of one.
    #[must_use]
    pub fn ping_number(id: &str) -> Option<u64> {
        id.strip_prefix(PING_ID)?.parse().ok()
    }

    /// A reply to ping `number` came: returns the position that it confirms.
    pub fn answered(&mut self, number: u64) -> Option<u64> {
        let question = self
            .outstanding
            .filter(|question| question.number == number)?;
        self.outstanding = None;
        self.unconfirmed = false;
        self.confirm(question.position)
    }

    /// `<a h='…'/>` came.
    ///
    /// # Errors
    /// The number of stanzas sent, modulo 2^32, if `h` is more than that (XEP-0198, 4).
    pub fn acknowledged(&mut self, h: u32) -> Result<Option<u64>, u32> {
        self.outstanding = None;
        // Whatever the peer counts, it has read what came before it began.
        let known = self.confirmed.max(self.base);
        let handled = known - self.base;
        let step = u64::from(h.wrapping_sub(handled as u32));
        if known + step > self.written {
            // An acknowledgement older than one that we have is late, not wrong.
            let late = u64::from((handled as u32).wrapping_sub(h)) <= handled.min(1 << 16);
            return if late {
                Ok(None)
            } else {
                Err((self.written - self.base) as u32)
            };
        }
        Ok(self.confirm(known + step))
    }

    fn confirm(&mut self, position: u64) -> Option<u64> {
        (position > self.confirmed).then(|| {
            self.confirmed = position;
            position
        })
    }
}

#[cfg(test)]
mod tests;

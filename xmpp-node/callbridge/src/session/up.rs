//! What a session knows only while a connection stands: who owes whom an answer, and since when.

use std::time::Instant;

use crate::config::Timing;

/// Questions, answers and silence of one connection.
#[derive(Debug)]
pub(super) struct Up {
    /// When anything was received last.
    heard: Instant,
    /// When `<r/>` was sent because nothing was heard.
    probed: Option<Instant>,
    /// An `<r/>` is not answered yet.
    outstanding: bool,
    /// Stanzas written since the last `<r/>`, and since when there are any.
    unasked: u32,
    unasked_since: Option<Instant>,
    /// The server asked.
    answer: bool,
    /// Since when something is confirmed and not told.
    owing_since: Option<Instant>,
    /// Nothing waits for its time any more.
    hasty: bool,
}

impl Up {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            heard: now,
            probed: None,
            outstanding: false,
            unasked: 0,
            unasked_since: None,
            answer: false,
            owing_since: None,
            hasty: false,
        }
    }

    /// Something was received.
    pub(super) fn heard(&mut self, now: Instant) {
        self.heard = now;
        self.probed = None;
    }

    /// The server asked.
    pub(super) fn asked(&mut self) {
        self.answer = true;
    }

    /// The server answered; `rest` stanzas are written and not acknowledged. They are asked for again in a while, should
    /// the server not tell by itself.
    pub(super) fn answered(&mut self, rest: usize) {
        self.outstanding = false;
        if rest > 0 {
            self.unasked = self.unasked.max(1);
        }
    }

    /// Something is confirmed and not told.
    pub(super) fn owes(&mut self, now: Instant) {
        self.owing_since.get_or_insert(now);
    }

    /// Nothing waits for its time any more.
    pub(super) fn hasten(&mut self) {
        self.hasty = true;
    }

    /// Whether `<a/>` must be sent now, `owed` stanzas being confirmed and not told; if so it counts as sent.
    pub(super) fn must_answer(&mut self, owed: u32, timing: &Timing, now: Instant) -> bool {
        let waited = self
            .owing_since
            .is_some_and(|since| now >= since + timing.acknowledge_after);
        let due = owed >= timing.acknowledge_every || (owed > 0 && (waited || self.hasty));
        let must = due || self.answer;
        if must {
            self.answer = false;
            self.owing_since = None;
        }
        must
    }

    /// Whether `<r/>` must be sent now, after `appended` more stanzas; if so it counts as sent. One question at a time, except
    /// that silence is always asked about.
    pub(super) fn must_ask(&mut self, appended: usize, timing: &Timing, now: Instant) -> bool {
        self.unasked = self.unasked.saturating_add(appended as u32);
        if self.unasked > 0 {
            self.unasked_since.get_or_insert(now);
        }
        let waited = self
            .unasked_since
            .is_some_and(|since| now >= since + timing.ask_after);
        let due = self.unasked >= timing.ask_every || (self.unasked > 0 && (waited || self.hasty));
        let idle = self.probed.is_none() && now >= self.heard + timing.ask_when_idle;
        if idle {
            self.probed = Some(now);
        }
        let must = idle || (due && !self.outstanding);
        if must {
            self.outstanding = true;
            self.unasked = 0;
            self.unasked_since = None;
        }
        must
    }

    /// Whether the server was asked about its silence and kept it.
    pub(super) fn is_silent(&self, timing: &Timing, now: Instant) -> bool {
        let patience = timing.silence - timing.ask_when_idle;
        self.probed.is_some_and(|probed| now >= probed + patience)
    }

    /// When one of the questions above may get another answer by the passing of time alone.
    pub(super) fn deadline(&self, timing: &Timing) -> Instant {
        let silence = match self.probed {
            None => self.heard + timing.ask_when_idle,
            Some(probed) => probed + (timing.silence - timing.ask_when_idle),
        };
        let answer = self
            .owing_since
            .map(|since| since + timing.acknowledge_after);
        let question = self.unasked_since.filter(|_| !self.outstanding);
        let question = question.map(|since| since + timing.ask_after);
        [answer, question]
            .into_iter()
            .flatten()
            .fold(silence, Instant::min)
    }
}

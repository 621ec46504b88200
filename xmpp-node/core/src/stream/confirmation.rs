//! How a stream learns what its peer has: by `<r/>` and `<a/>` (XEP-0198), or, from a plain XEP-0114 component, by an
//! XEP-0199 ping of ours, whose reply (result or error) proves that everything written before it was read.
//!
//! At most one question is outstanding. The next is asked after 64 stanzas, or 50 ms after the one before. A plain component
//! that answers nothing for 10 s (see [`Confirmation::with_silence`]) after its socket took the question is treated as
//! unconfirmed: delivery then counts when written, until it answers after all. Whoever does not even read is not: its queue
//! waits, and fills.

use std::time::Duration;

use crate::ns;

/// Unconfirmed stanzas that are worth a question at once.
const STANZAS_PER_QUESTION: u64 = 64;
/// The least time between two questions when fewer wait.
const QUESTION_INTERVAL: Duration = Duration::from_millis(50);
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
    outstanding: Option<Question>,
    asked: Option<Duration>,
    questions: u64,
    unconfirmed: bool,
    silence: Duration,
}

impl Confirmation {
    /// Begins at a position up to which everything is confirmed.
    #[must_use]
    pub fn new(mode: Mode, confirmed: u64) -> Self {
        Self {
            mode,
            written: confirmed,
            confirmed,
            outstanding: None,
            asked: None,
            questions: 0,
            unconfirmed: false,
            silence: SILENCE,
        }
    }

    /// The same with another time in which a plain component must answer, above 0.
    #[must_use]
    pub fn with_silence(self, silence: Duration) -> Self {
        Self { silence, ..self }
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
        let due = self
            .asked
            .is_none_or(|asked| now >= asked + QUESTION_INTERVAL);
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
            (None, Some(asked)) if self.written > self.confirmed => Some(asked + QUESTION_INTERVAL),
            _ => None,
        }
    }

    /// Judges the peer's silence.
    pub fn tick(&mut self, now: Duration) -> Verdict {
        let silent = self
            .outstanding
            .and_then(|question| question.sent)
            .is_some_and(|sent| now >= sent + self.silence);
        if self.mode == Mode::Plain && silent && !self.unconfirmed {
            self.unconfirmed = true;
            return Verdict::Unconfirmed;
        }
        Verdict::Fine
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
        let step = u64::from(h.wrapping_sub(self.confirmed as u32));
        if self.confirmed + step > self.written {
            // An acknowledgement older than one that we have is late, not wrong.
            let late =
                u64::from((self.confirmed as u32).wrapping_sub(h)) <= self.confirmed.min(1 << 16);
            return if late {
                Ok(None)
            } else {
                Err(self.written as u32)
            };
        }
        Ok(self.confirm(self.confirmed + step))
    }

    fn confirm(&mut self, position: u64) -> Option<u64> {
        (position > self.confirmed).then(|| {
            self.confirmed = position;
            position
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn asked(confirmation: &mut Confirmation, now: Duration) -> String {
        let mut out = Vec::new();
        confirmation.ask(now, "example.test", "cb1.example.test", &mut out);
        confirmation.sent(now);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn one_ping_is_outstanding_and_its_reply_confirms_what_was_written_before_it() {
        let mut plain = Confirmation::new(Mode::Plain, 5);
        assert_eq!(plain.wrote(7), None);
        assert!(asked(&mut plain, MS).contains("id='xc-barrier-1'"));
        assert_eq!(plain.wrote(500), None);
        assert_eq!(asked(&mut plain, MS * 60), "");
        assert_eq!(plain.answered(9), None);
        assert_eq!(plain.answered(1), Some(7));
        assert!(asked(&mut plain, MS * 2).contains("xc-barrier-2"));
        assert_eq!(plain.answered(2), Some(500));
        assert_eq!(plain.next_tick(), None);
    }

    #[test]
    fn few_stanzas_wait_for_the_interval() {
        let mut plain = Confirmation::new(Mode::Plain, 0);
        plain.wrote(1);
        assert!(!asked(&mut plain, MS).is_empty());
        plain.answered(1);
        plain.wrote(2);
        assert_eq!(asked(&mut plain, MS * 20), "");
        assert_eq!(plain.next_tick(), Some(MS * 51));
        assert!(!asked(&mut plain, MS * 51).is_empty());
    }

    #[test]
    fn a_component_that_answers_no_ping_counts_when_written() {
        let mut plain = Confirmation::new(Mode::Plain, 0);
        plain.wrote(3);
        asked(&mut plain, MS);
        assert_eq!(plain.tick(Duration::from_secs(9)), Verdict::Fine);
        assert_eq!(plain.tick(Duration::from_secs(11)), Verdict::Unconfirmed);
        assert_eq!(plain.wrote(4), Some(4));
        assert_eq!(plain.answered(1), None);
        assert!(!plain.is_unconfirmed());
    }

    #[test]
    fn a_component_that_does_not_read_is_not_taken_as_one_that_does_not_answer() {
        let mut plain = Confirmation::new(Mode::Plain, 0);
        plain.wrote(3);
        plain.ask(MS, "example.test", "cb1.example.test", &mut Vec::new());
        assert_eq!(plain.next_tick(), None);
        assert_eq!(plain.tick(SILENCE * 9), Verdict::Fine);
        plain.sent(SILENCE * 9);
        assert_eq!(plain.next_tick(), Some(SILENCE * 10));
        assert_eq!(plain.tick(SILENCE * 10), Verdict::Unconfirmed);
    }

    #[test]
    fn an_acknowledgement_of_more_than_was_sent_is_an_error_and_a_late_one_is_not() {
        let mut managed = Confirmation::new(Mode::Managed, u64::from(u32::MAX) - 1);
        managed.wrote(u64::from(u32::MAX) + 3);
        assert_eq!(managed.acknowledged(1), Ok(Some(u64::from(u32::MAX) + 2)));
        assert_eq!(managed.acknowledged(0), Ok(None));
        assert_eq!(managed.acknowledged(3), Err(2));
    }

    #[test]
    fn a_probe_asks_even_when_nothing_waits() {
        for mode in [Mode::Plain, Mode::Managed] {
            let mut idle = Confirmation::new(mode, 4);
            let mut out = Vec::new();
            idle.probe(MS, "example.test", "cb1.example.test", &mut out);
            assert!(!out.is_empty());
            assert_eq!((idle.confirmed(), idle.written()), (4, 4));
        }
    }

    #[test]
    fn whoever_asks_for_the_name_does_not_let_a_silent_holder_seem_to_answer() {
        let mut plain = Confirmation::new(Mode::Plain, 0);
        plain.wrote(1);
        asked(&mut plain, MS);
        for seconds in 1..10 {
            let now = Duration::from_secs(seconds);
            plain.probe(now, "example.test", "cb1.example.test", &mut Vec::new());
            assert_eq!(plain.tick(now), Verdict::Fine);
        }
        assert_eq!(plain.next_tick(), Some(SILENCE + MS));
        assert_eq!(plain.tick(SILENCE + MS), Verdict::Unconfirmed);
        assert_eq!(plain.tick(SILENCE * 9), Verdict::Fine, "told once");
        let mut hurried = Confirmation::new(Mode::Plain, 0).with_silence(MS * 20);
        hurried.wrote(1);
        asked(&mut hurried, MS);
        assert_eq!(hurried.tick(MS * 20), Verdict::Fine);
        assert_eq!(hurried.next_tick(), Some(MS * 21));
        assert_eq!(hurried.tick(MS * 21), Verdict::Unconfirmed);
        assert_eq!(plain.next_tick(), None);
    }

    #[test]
    fn an_acknowledgement_is_judged_by_what_was_written_and_confirmed() {
        let wrap = 1_u64 << 32;
        let cases = [
            // confirmed, written, h, result
            (0, 0, 0, Ok(None)),
            (0, 0, 1, Err(0)),
            (0, 5, 0, Ok(None)),
            (0, 5, 5, Ok(Some(5))),
            (0, 5, 6, Err(5)),
            (0, 5, u32::MAX, Err(5)),
            (7, 9, 8, Ok(Some(8))),
            (7, 9, 6, Ok(None)),
            (7, 9, 0, Ok(None)),
            (7, 9, u32::MAX, Err(9)),
            (100_000, 100_001, 0, Err(100_001)),
            (wrap - 1, wrap + 1, 0, Ok(Some(wrap))),
            (wrap - 1, wrap + 1, 1, Ok(Some(wrap + 1))),
            (wrap - 1, wrap + 1, 2, Err(1)),
            (wrap + 1, wrap + 1, u32::MAX, Ok(None)),
        ];
        for (confirmed, written, h, result) in cases {
            let mut managed = Confirmation::new(Mode::Managed, confirmed);
            managed.wrote(written);
            assert_eq!(managed.acknowledged(h), result, "{confirmed} {written} {h}");
            let last = result.ok().flatten().unwrap_or(confirmed);
            assert_eq!(managed.confirmed(), last, "{confirmed} {written} {h}");
        }
    }

    #[test]
    fn a_question_is_due_after_64_stanzas_or_after_50_ms_and_never_beside_another() {
        let cases = [
            // waiting, milliseconds since the last question, due
            (0, 1000, false),
            (1, 49, false),
            (1, 50, true),
            (63, 49, false),
            (64, 0, true),
        ];
        for mode in [Mode::Plain, Mode::Managed] {
            for (waiting, since, due) in cases {
                let mut peer = Confirmation::new(mode, 10);
                peer.wrote(11);
                assert!(!asked(&mut peer, MS).is_empty(), "the first at once");
                peer.wrote(11 + waiting);
                assert_eq!(asked(&mut peer, MS * 9999), "", "one is outstanding");
                match mode {
                    Mode::Plain => assert_eq!(peer.answered(1), Some(11)),
                    Mode::Managed => assert_eq!(peer.acknowledged(11), Ok(Some(11))),
                }
                let question = asked(&mut peer, MS * (1 + since));
                assert_eq!(!question.is_empty(), due, "{mode:?} {waiting} {since}");
            }
        }
    }

    #[test]
    fn a_peer_with_xep_0198_is_never_taken_as_unconfirmed() {
        let mut managed = Confirmation::new(Mode::Managed, 0);
        managed.wrote(3);
        assert_eq!(asked(&mut managed, MS), "<r xmlns='urn:xmpp:sm:3'/>");
        assert_eq!(managed.next_tick(), None);
        assert_eq!(managed.tick(SILENCE * 9), Verdict::Fine);
        assert_eq!(managed.wrote(4), None);
    }

    #[test]
    fn only_the_answer_to_the_ping_that_is_outstanding_confirms() {
        assert_eq!(Confirmation::ping_number("xc-barrier-12"), Some(12));
        for id in [
            "xc-barrier-",
            "xc-barrier-x",
            "barrier-1",
            "xc-barrier--1",
            "",
        ] {
            assert_eq!(Confirmation::ping_number(id), None, "{id}");
        }
        let mut plain = Confirmation::new(Mode::Plain, 0);
        assert_eq!(plain.answered(1), None, "nothing was asked");
        plain.wrote(1);
        asked(&mut plain, MS);
        assert_eq!(plain.answered(1), Some(1));
        assert_eq!(plain.answered(1), None, "answered twice");
        plain.wrote(2);
        plain.probe(MS, "s", "p", &mut Vec::new());
        plain.wrote(3);
        plain.probe(MS, "s", "p", &mut Vec::new());
        assert_eq!(
            plain.answered(2),
            None,
            "asked anew since, after more was written"
        );
        assert_eq!(plain.answered(3), Some(3));
    }
}

//! What the local component has certainly read: its reply to a ping of ours proves everything written before (XEP-0199).
//!
//! Pure: no socket, no clock. Holds every stanza until it is proven, over any number of local connections.
//!
//! Invariants: `covered <= written <= kept.len()`; at most one ping is outstanding; what a receipt is given for is forgotten.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use xmpp_core::framer::Element;
use xmpp_core::ns;
use xmpp_core::text::escape;

use crate::bridge::Incoming;
use crate::config::Window;
use crate::session::Receipt;

/// Bounds and waits of a [`Barrier`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// A ping follows after this many stanzas,
    pub(crate) every: usize,
    /// or when one was written this long ago.
    pub(crate) after: Duration,
    /// Without a reply for this long, being written counts as being read.
    pub(crate) patience: Duration,
    /// What may be kept unproven.
    pub(crate) window: Window,
}

/// Stanzas on their way to the local component.
#[derive(Debug)]
pub(crate) struct Barrier {
    rules: Rules,
    /// Start of every ping's id; no other stanza has one like it.
    prefix: String,
    /// `from` and `to` of the pings, escaped.
    addresses: String,
    kept: VecDeque<Incoming>,
    bytes: usize,
    /// How many of `kept` were written to the present connection.
    written: usize,
    /// Since when something is written that no ping follows.
    unpinged_since: Option<Instant>,
    ping: Option<Ping>,
    pings: u64,
    trusting: bool,
}

#[derive(Debug)]
struct Ping {
    number: u64,
    /// How many of `kept` it follows.
    covered: usize,
    sent: Instant,
}

impl Barrier {
    /// Nothing is kept; pings go from `domain` to `jid` with ids that begin with `token`.
    pub(crate) fn new(rules: Rules, domain: &str, jid: &str, token: &str) -> Self {
        Self {
            rules,
            prefix: format!("xc-sidecar-{token}-"),
            addresses: format!("from='{}' to='{}'", escape(domain), escape(jid)),
            kept: VecDeque::new(),
            bytes: 0,
            written: 0,
            unpinged_since: None,
            ping: None,
            pings: 0,
            trusting: false,
        }
    }

    /// Whether more may be pushed.
    pub(crate) fn has_room(&self) -> bool {
        self.kept.len() < self.rules.window.stanzas && self.bytes < self.rules.window.bytes
    }

    /// How many stanzas more may be pushed, at least one.
    pub(crate) fn room(&self) -> usize {
        self.rules
            .window
            .stanzas
            .saturating_sub(self.kept.len())
            .max(1)
    }

    pub(crate) fn push(&mut self, incoming: Incoming) {
        self.bytes += incoming.bytes().len();
        self.kept.push_back(incoming);
    }

    /// The oldest stanza kept, taken out.
    pub(crate) fn pop(&mut self) -> Option<Incoming> {
        let incoming = self.kept.pop_front()?;
        self.bytes -= incoming.bytes().len();
        self.written = self.written.saturating_sub(1);
        Some(incoming)
    }

    /// Puts back what [`pop`](Self::pop) took out.
    pub(crate) fn unpop(&mut self, incoming: Incoming) {
        self.bytes += incoming.bytes().len();
        self.kept.push_front(incoming);
    }

    /// Size of the oldest stanza kept, in bytes.
    pub(crate) fn first_bytes(&self) -> Option<usize> {
        self.kept.front().map(|incoming| incoming.bytes().len())
    }

    /// Whether being written counts as being read.
    #[cfg(test)]
    pub(crate) fn is_trusting(&self) -> bool {
        self.trusting
    }

    /// A new local connection: everything kept is written to it, first and in order.
    pub(crate) fn connected(&mut self) {
        self.written = 0;
        self.unpinged_since = None;
        self.ping = None;
        self.trusting = false;
    }

    /// Appends stanzas until `out` holds `limit` bytes, and a ping when one is due.
    pub(crate) fn fill(&mut self, out: &mut BytesMut, limit: usize, now: Instant) {
        while out.len() < limit
            && let Some(incoming) = self.kept.get(self.written)
        {
            out.put_slice(incoming.bytes());
            self.written += 1;
            self.unpinged_since.get_or_insert(now);
        }
        let waited = self
            .unpinged_since
            .is_some_and(|since| now >= since + self.rules.after);
        if self.ping.is_none()
            && !self.trusting
            && (waited || self.written >= self.rules.every)
            && self.written > 0
        {
            self.pings += 1;
            self.unpinged_since = None;
            self.ping = Some(Ping {
                number: self.pings,
                covered: self.written,
                sent: now,
            });
            let (prefix, number, addresses) = (&self.prefix, self.pings, &self.addresses);
            // Writing to a BytesMut cannot fail.
            let _ = write!(
                out,
                "<iq type='get' id='{prefix}{number}' {addresses}><ping xmlns='{}'/></iq>",
                ns::PING
            );
        }
    }

    /// Whether the element answers a ping of ours, and what is proven by it. A late reply ends the trust.
    pub(crate) fn pong(&mut self, element: &Element) -> Pong {
        let id = element.attribute("id");
        let Some(number) = id.as_deref().and_then(|id| id.strip_prefix(&self.prefix)) else {
            return Pong::NotOurs;
        };
        let replies = matches!(
            element.attribute("type").as_deref(),
            Some("result" | "error")
        );
        if element.name() != "iq" || !replies {
            return Pong::NotOurs;
        }
        match self.ping.take() {
            Some(ping) if number.parse() == Ok(ping.number) => {
                self.trusting = false;
                Pong::Proves(self.forget(ping.covered))
            }
            other => {
                self.ping = other;
                Pong::Proves(None)
            }
        }
    }

    /// Everything appended has left. With trust, that proves it.
    pub(crate) fn drained(&mut self) -> Option<Receipt> {
        if !self.trusting {
            return None;
        }
        self.unpinged_since = None;
        self.forget(self.written)
    }

    /// Whether the ping is unanswered for too long, though it has left; then trust begins.
    pub(crate) fn check_patience(&mut self, now: Instant) -> bool {
        let overdue = self
            .ping
            .as_ref()
            .is_some_and(|ping| now >= ping.sent + self.rules.patience);
        let begins = overdue && !self.trusting;
        self.trusting |= overdue;
        begins
    }

    /// When [`fill`](Self::fill) or [`check_patience`](Self::check_patience) must be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match &self.ping {
            _ if self.trusting => None,
            Some(ping) => Some(ping.sent + self.rules.patience),
            None => self.unpinged_since.map(|since| since + self.rules.after),
        }
    }

    fn forget(&mut self, count: usize) -> Option<Receipt> {
        let mut last = None;
        for incoming in self.kept.drain(..count.min(self.kept.len())) {
            self.bytes -= incoming.bytes().len();
            last = Some(incoming.receipt);
        }
        self.written = self.written.saturating_sub(count);
        if let Some(ping) = &mut self.ping {
            ping.covered = ping.covered.saturating_sub(count);
        }
        last
    }
}

/// What an element says about our pings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pong {
    /// Nothing: it goes to the cluster.
    NotOurs,
    /// It is a reply; this stanza and all before it are proven, if any.
    Proves(Option<Receipt>),
}

#[cfg(test)]
mod tests {
    use xmpp_core::framer::{Frame, Framer, Limits};
    use xmpp_core::stanza::Kind;

    use super::*;
    use crate::config::Timing;
    use crate::session::Session;

    const RULES: Rules = Rules {
        every: 4,
        after: Duration::from_millis(50),
        patience: Duration::from_secs(10),
        window: Window {
            stanzas: 8,
            bytes: 100_000,
        },
    };

    fn element(xml: &str) -> Element {
        let mut framer = Framer::new(Limits::default());
        let header = "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'>";
        framer.buffer().extend_from_slice(header.as_bytes());
        framer.buffer().extend_from_slice(xml.as_bytes());
        loop {
            match framer.next_frame().expect("well-formed") {
                Some(Frame::Element(element)) => return element,
                other => assert!(matches!(other, Some(Frame::Open(_)))),
            }
        }
    }

    /// A barrier with this many stanzas, and their receipts.
    fn barrier(count: usize) -> (Barrier, Vec<Receipt>) {
        let mut session = Session::new(Timing::default());
        let mut barrier = Barrier::new(RULES, "example.test", "cb1.example.test", "t");
        let receipts: Vec<_> = (0..count).filter_map(|_| session.received()).collect();
        for (number, receipt) in receipts.iter().enumerate() {
            let element = element(&format!("<message id='m{number}'/>"));
            barrier.push(Incoming {
                kind: Kind::Message,
                receipt: *receipt,
                element,
            });
        }
        (barrier, receipts)
    }

    fn filled(barrier: &mut Barrier, now: Instant) -> String {
        let mut out = BytesMut::new();
        barrier.fill(&mut out, usize::MAX, now);
        String::from_utf8(out.to_vec()).expect("text")
    }

    fn pong(number: u32) -> Element {
        element(&format!("<iq type='error' id='xc-sidecar-t-{number}'/>"))
    }

    #[test]
    fn a_ping_follows_after_enough_stanzas_or_a_while() {
        let now = Instant::now();
        let (mut four, _) = barrier(4);
        assert!(filled(&mut four, now).contains("<ping "));
        let (mut one, _) = barrier(1);
        assert!(!filled(&mut one, now).contains("<ping "));
        assert_eq!(one.deadline(), Some(now + RULES.after));
        assert!(filled(&mut one, now + RULES.after).contains("<ping "));
        assert!(
            !filled(&mut one, now + 2 * RULES.after).contains("<ping "),
            "one at a time"
        );
    }

    #[test]
    fn a_reply_proves_what_was_written_before_the_ping_only() {
        let now = Instant::now();
        let (mut barrier, receipts) = barrier(5);
        let mut out = BytesMut::new();
        barrier.fill(&mut out, 4 * "<message id='m0'/>".len(), now);
        filled(&mut barrier, now);
        assert_eq!(barrier.pong(&pong(1)), Pong::Proves(Some(receipts[3])));
        assert_eq!(
            barrier.pong(&pong(1)),
            Pong::Proves(None),
            "a second reply proves nothing"
        );
        assert_eq!(
            barrier.pong(&element("<iq type='result' id='other'/>")),
            Pong::NotOurs
        );
        assert!(filled(&mut barrier, now + RULES.after).contains("xc-sidecar-t-2"));
        assert_eq!(barrier.pong(&pong(2)), Pong::Proves(Some(receipts[4])));
    }

    #[test]
    fn a_new_connection_gets_what_is_not_proven_again() {
        let now = Instant::now();
        let (mut barrier, _) = barrier(2);
        let first = filled(&mut barrier, now);
        barrier.connected();
        assert_eq!(filled(&mut barrier, now), first);
        filled(&mut barrier, now + RULES.after);
        barrier.connected();
        assert_eq!(
            barrier.pong(&pong(1)),
            Pong::Proves(None),
            "a reply of the former connection"
        );
    }

    #[test]
    fn without_a_reply_written_counts_as_read_until_one_comes() {
        let now = Instant::now();
        let (mut barrier, receipts) = barrier(4);
        filled(&mut barrier, now);
        assert!(!barrier.check_patience(now + Duration::from_secs(9)));
        assert_eq!(barrier.drained(), None);
        assert!(barrier.check_patience(now + RULES.patience));
        assert!(
            !barrier.check_patience(now + RULES.patience),
            "it begins once"
        );
        assert_eq!(barrier.drained(), Some(receipts[3]));
        assert_eq!(barrier.deadline(), None);
        barrier.pong(&pong(1));
        assert!(!barrier.is_trusting());
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let (barrier, _) = barrier(8);
        assert!(!barrier.has_room());
    }
}

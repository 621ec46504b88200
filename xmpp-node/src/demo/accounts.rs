//! The bridges' own books: what each submitted, received and was answered with an error, and what follows from that alone.
//!
//! Messages of each ordered pair (sender, recipient) are numbered from 1. A number is *open* from its submission until it
//! is delivered or answered by an error, once. So, for every pair at all times,
//! `sent = delivered + errors + open`; what is still open when all is over is `unaccounted`.
//!
//! | What arrives | Counts as |
//! |---|---|
//! | an open number, higher than every number delivered to the pair before | delivered |
//! | an open number below one that was delivered before | delivered, and out of order |
//! | an error that answers an open number | error |
//! | anything else: a number delivered, answered, or never sent | duplicate |
//!
//! Memory is bounded by what is open, which the bridges' windows and the cluster's queues bound. No clock: times are given,
//! since a start that all share.

use std::collections::BTreeSet;
use std::time::Duration;

use super::gaps::Gaps;
use super::histogram::Histogram;

/// The books of all pairs.
#[derive(Clone, Debug)]
pub struct Accounts {
    bridges: usize,
    pairs: Vec<Pair>,
    /// Whether messages are being offered.
    offering: bool,
    latency: Histogram,
}

/// An ordered pair of bridges by number, counted from 0, `from != to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direction {
    /// The sender.
    pub from: usize,
    /// The recipient.
    pub to: usize,
}

#[derive(Clone, Debug, Default)]
struct Pair {
    sent: u64,
    delivered: u64,
    errors: u64,
    duplicates: u64,
    out_of_order: u64,
    highest: u64,
    open: BTreeSet<u64>,
    /// Since when this pair waits for a delivery; none when nothing is offered or open.
    waiting: Option<Duration>,
    gaps: Gaps,
}

/// What the books say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Messages submitted.
    pub sent: u64,
    /// Messages received, each once.
    pub delivered: u64,
    /// Messages answered by an error.
    pub errors: u64,
    /// Arrivals beyond the first.
    pub duplicates: u64,
    /// Messages received after a later one of their pair.
    pub out_of_order: u64,
    /// Messages neither received nor answered: under way, or lost if all is over.
    pub unaccounted: u64,
    /// Longest gap of any pair, see [`super::gaps`].
    pub longest_gap: Duration,
    /// Longest gap of any pair by fault.
    pub gap_by_fault: Vec<Duration>,
    /// From submission to receipt: median, in microseconds.
    pub latency_p50_us: u64,
    /// From submission to receipt: 99 %, in microseconds.
    pub latency_p99_us: u64,
}

impl Totals {
    /// What must not be, in words.
    #[must_use]
    pub fn complaints(&self) -> Vec<String> {
        let figures = [
            ("unaccounted for", self.unaccounted),
            ("duplicated", self.duplicates),
            ("out of order", self.out_of_order),
        ];
        figures
            .into_iter()
            .filter(|(_, count)| *count != 0)
            .map(|(what, count)| format!("{count} messages are {what}"))
            .collect()
    }
}

impl Accounts {
    /// Empty books of that many bridges.
    #[must_use]
    pub fn new(bridges: usize) -> Self {
        Self {
            bridges,
            pairs: vec![Pair::default(); bridges * bridges],
            offering: true,
            latency: Histogram::default(),
        }
    }

    /// A message is about to be submitted; returns its number.
    pub fn submit(&mut self, direction: Direction, now: Duration) -> u64 {
        let pair = self.pair(direction);
        pair.sent += 1;
        pair.open.insert(pair.sent);
        pair.waiting.get_or_insert(now);
        pair.sent
    }

    /// The bridge did not take the message of that number after all, as it was stopped.
    pub fn withdraw(&mut self, direction: Direction, number: u64) {
        let pair = self.pair(direction);
        if number == pair.sent && pair.open.remove(&number) {
            pair.sent -= 1;
        }
    }

    /// A message arrived, submitted at `submitted`.
    pub fn deliver(
        &mut self,
        direction: Direction,
        number: u64,
        submitted: Duration,
        now: Duration,
    ) {
        let offering = self.offering;
        let pair = self.pair(direction);
        if !pair.open.remove(&number) {
            pair.duplicates += 1;
            return;
        }
        pair.delivered += 1;
        if number < pair.highest {
            pair.out_of_order += 1;
        }
        pair.highest = pair.highest.max(number);
        let goes_on = offering || !pair.open.is_empty();
        pair.end_gap(now);
        pair.waiting = goes_on.then_some(now);
        let latency = now.saturating_sub(submitted).as_micros();
        self.latency.add(u64::try_from(latency).unwrap_or(u64::MAX));
    }

    /// An error arrived that answers a message.
    pub fn fail(&mut self, direction: Direction, number: u64) {
        let pair = self.pair(direction);
        if pair.open.remove(&number) {
            pair.errors += 1;
        } else {
            pair.duplicates += 1;
        }
    }

    /// A fault happens.
    pub fn fault(&mut self, now: Duration) {
        self.pairs.iter_mut().for_each(|pair| pair.gaps.fault(now));
    }

    /// The last fault is over; see [`Gaps::over`].
    pub fn over(&mut self, now: Duration) {
        self.pairs.iter_mut().for_each(|pair| pair.gaps.over(now));
    }

    /// Nothing more is offered; pairs with nothing open wait for nothing from now on.
    pub fn close(&mut self, now: Duration) {
        self.offering = false;
        let idle = self.pairs.iter_mut().filter(|pair| pair.open.is_empty());
        idle.for_each(|pair| pair.end_gap(now));
    }

    /// All is over; what is open stays so.
    pub fn finish(&mut self, now: Duration) {
        self.offering = false;
        self.pairs.iter_mut().for_each(|pair| pair.end_gap(now));
    }

    /// Messages neither received nor answered.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.pairs.iter().map(|pair| pair.open.len() as u64).sum()
    }

    /// What is open, in words: at most `most` numbers, such as `1>2:17`.
    #[must_use]
    pub fn open_numbers(&self, most: usize) -> Vec<String> {
        let pairs = self.pairs.iter().enumerate();
        let named = pairs.flat_map(|(index, pair)| {
            let (from, to) = (index / self.bridges + 1, index % self.bridges + 1);
            let name = move |number| format!("{from}>{to}:{number}");
            pair.open.iter().map(name)
        });
        named.take(most).collect()
    }

    /// Messages delivered to one pair.
    #[must_use]
    pub fn delivered(&self, direction: Direction) -> u64 {
        self.pairs[self.index(direction)].delivered
    }

    /// The gaps of one pair.
    #[must_use]
    pub fn gaps(&self, direction: Direction) -> &Gaps {
        &self.pairs[self.index(direction)].gaps
    }

    /// The sums.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let sum = |figure: fn(&Pair) -> u64| self.pairs.iter().map(figure).sum();
        let gaps = || self.pairs.iter().map(|pair| &pair.gaps);
        let mut gap_by_fault: Vec<Duration> = Vec::new();
        for of_pair in gaps() {
            let by_fault = of_pair.by_fault();
            gap_by_fault.resize(by_fault.len(), Duration::ZERO);
            for (longest, gap) in gap_by_fault.iter_mut().zip(by_fault) {
                *longest = (*longest).max(gap);
            }
        }
        Totals {
            sent: sum(|pair| pair.sent),
            delivered: sum(|pair| pair.delivered),
            errors: sum(|pair| pair.errors),
            duplicates: sum(|pair| pair.duplicates),
            out_of_order: sum(|pair| pair.out_of_order),
            unaccounted: self.open(),
            longest_gap: gaps().map(Gaps::longest).max().unwrap_or_default(),
            gap_by_fault,
            latency_p50_us: self.latency.quantile(0.5),
            latency_p99_us: self.latency.quantile(0.99),
        }
    }

    fn pair(&mut self, direction: Direction) -> &mut Pair {
        let index = self.index(direction);
        &mut self.pairs[index]
    }

    const fn index(&self, direction: Direction) -> usize {
        direction.from * self.bridges + direction.to
    }
}

impl Pair {
    /// What the pair waited for has come, or is not awaited any more.
    fn end_gap(&mut self, now: Duration) {
        if let Some(since) = self.waiting.take() {
            self.gaps.note(since, now);
        }
    }
}

#[cfg(test)]
#[path = "accounts_tests.rs"]
mod tests;

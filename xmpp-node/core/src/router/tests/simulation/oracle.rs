//! What must hold. It follows the log with two routers of its own: one takes whole entries, as every replica must; the other
//! takes one command at a time, so that the effect of each can be seen.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;
use crate::router::batch::open_batch;
use crate::router::command::next_command;
use crate::router::packing::next_stanza;
use crate::stanza::Kind;

/// What became of one accepted stanza.
#[derive(Debug, Default)]
struct Outcome {
    delivered: u32,
    answered: u32,
}

/// What happened, added up over all seeds: a simulation in which nothing goes wrong shows nothing.
#[derive(Debug, Default)]
pub(super) struct Sums {
    ledger: [u64; 6],
    repeats: u64,
    resumed: u64,
    taken_over: u64,
    skipped: u64,
    /// Stanzas that waited for a user who was away.
    stored: u64,
    /// Sessions of clients whose end left something for the next one.
    redirected: u64,
}

impl Sums {
    pub(super) fn add(&mut self, other: &Self) {
        self.ledger
            .iter_mut()
            .zip(other.ledger)
            .for_each(|(sum, more)| *sum += more);
        self.repeats += other.repeats;
        self.resumed += other.resumed;
        self.taken_over += other.taken_over;
        self.skipped += other.skipped;
        self.stored += other.stored;
        self.redirected += other.redirected;
    }

    pub(super) fn check_that_everything_happened(&self) {
        let all = [
            self.repeats,
            self.resumed,
            self.taken_over,
            self.skipped,
            self.stored,
            self.redirected,
        ];
        assert!(
            all.iter().chain(&self.ledger).all(|sum| *sum > 10),
            "{self:?}"
        );
    }
}

#[derive(Default)]
pub(super) struct Oracle {
    /// The state after the last entry, by whole entries.
    pub(super) router: Router,
    /// The digest after each entry.
    pub(super) digests: Vec<String>,
    single: Router,
    commands: u64,
    /// Accepted stanzas by the number in their id.
    accepted: BTreeMap<u64, Outcome>,
    /// The last one accepted from a sender to a recipient.
    accepted_last: BTreeMap<(String, String), u64>,
    /// What stands where in the log.
    places: BTreeMap<(u64, u32), String>,
    /// Which stanzas each name has read.
    read: BTreeSet<(String, u64)>,
    /// The last one that a name read from a sender, and the last on one stream.
    read_last: BTreeMap<(String, String), u64>,
    stream_last: BTreeMap<(u64, String), u64>,
    /// What each session with XEP-0198 has read.
    session_read: BTreeSet<(SessionId, String)>,
    /// Answers of the cluster that waited in a queue which ended, and presences for which there was no room.
    replies_lost: u64,
    sums: Sums,
}

/// The number in the id of a stanza of the simulation.
fn number(item: &Item) -> u64 {
    let id = item.stanza.id().unwrap_or_default().into_owned();
    id.parse().unwrap_or_else(|_| panic!("unknown stanza {id}"))
}

/// A bridge's domain or a user's bare address: what order holds for.
fn party(address: Option<std::borrow::Cow<'_, str>>) -> String {
    let address = address.unwrap_or_default();
    address.split('/').next().unwrap_or_default().to_owned()
}

impl Oracle {
    /// An entry was committed.
    pub(super) fn entry(&mut self, batch: &Bytes) {
        let index = self.digests.len() as u64 + 1;
        self.router
            .apply(index, batch, &mut Vec::new())
            .expect("readable");
        check(&self.router);
        self.digests.push(self.router.digest());
        let sessions = self.router.sessions().map(|(_, session)| &session.queue);
        let users = self.router.accounts().map(|(_, account)| &account.offline);
        for queue in sessions.chain(users) {
            for item in queue.after(0).filter(|item| item.index == index) {
                let old = self.places.insert((index, item.offset), short(item));
                assert_eq!(old, None, "two stanzas at place {index}-{}", item.offset);
            }
        }
        let (stamp, mut chunks) = open_batch(batch).expect("readable");
        while !chunks.is_empty() {
            let (header, commands, rest) = ChunkHeader::split(chunks).expect("readable");
            chunks = rest;
            self.chunk(stamp, header, commands);
        }
        assert_eq!(
            self.single.ledger(),
            self.router.ledger(),
            "one by one or all at once"
        );
    }

    fn chunk(&mut self, stamp: u64, header: ChunkHeader, mut commands: &[u8]) {
        for request in header.first..=header.last() {
            let whole = commands;
            let (command, _) = next_command(&mut commands).expect("readable");
            let own = Bytes::copy_from_slice(&whole[..whole.len() - commands.len()]);
            let mut batch = BatchBuilder::new(stamp, own.len());
            let header = ChunkHeader {
                first: request,
                count: 1,
                ..header
            };
            batch.chunk(header, std::slice::from_ref(&own));
            let before = self.single.clone();
            self.commands += 1;
            self.single
                .apply(self.commands, &batch.finish(), &mut Vec::new())
                .expect("readable");
            self.effect(&before, header, &command, &own);
        }
    }

    /// One command was applied.
    fn effect(&mut self, before: &Router, header: ChunkHeader, command: &Command<'_>, own: &Bytes) {
        let skipped =
            before.ledger() == self.single.ledger() && before.sessions == self.single.sessions;
        self.sums.skipped += u64::from(skipped);
        if let Command::Stanzas {
            session, stream, ..
        }
        | Command::Detach {
            session, stream, ..
        }
        | Command::Acknowledge {
            session, stream, ..
        }
        | Command::Unconfirmed {
            session, stream, ..
        }
        | Command::Enable {
            session, stream, ..
        }
        | Command::Keep { session, stream } = *command
            // The first sign of a new start detaches what the start before had, whatever it says.
            && before.node(header.node).is_some_and(|node| node.incarnation == header.incarnation)
            && let Some(old) = before.session(session)
            && !(old.attached.is_some_and(|at| at.node == header.node) && old.stream == stream)
        {
            assert!(
                skipped,
                "{command:?} of a stream that serves {old:?} no longer"
            );
        }
        if let Command::Stanzas { session, count, .. } = *command {
            let taken =
                |router: &Router| router.session(session).map_or(0, |session| session.taken);
            if taken(&self.single) > taken(before) {
                // Each is shown to the client itself, if there is room.
                let presences = self.accept(own, count);
                self.replies_lost += presences - self.presences_shown();
            }
        }
        for (id, old) in before.sessions() {
            match self.single.session(id) {
                Some(new) => {
                    let confirmed = new.queue.confirmed() - old.queue.confirmed();
                    let items = old.queue.after(0).take(confirmed as usize);
                    let items: Vec<_> = items.cloned().collect();
                    if new.epoch != old.epoch {
                        self.sums.resumed += 1;
                        assert_eq!(new.carried, new.queue.end(), "repeats are known as such");
                    }
                    self.confirmed(old.name.bare_str(), &items);
                }
                // The name's next session has the queue, and nothing of it is lost.
                None if self
                    .single
                    .bridge(old.name.as_str())
                    .is_some_and(|bridge| bridge.session.is_some()) =>
                {
                    let bridge = self
                        .single
                        .bridge(old.name.as_str())
                        .and_then(|bridge| bridge.session);
                    let next = bridge
                        .and_then(|id| self.single.session(id))
                        .expect("it has a session");
                    assert!(
                        next.queue.after(0).eq(old.queue.after(0)),
                        "the queue is handed over"
                    );
                    assert_eq!(next.carried, next.queue.end(), "repeats are known as such");
                    self.sums.taken_over += u64::from(!old.queue.is_empty());
                }
                None => {
                    if let Command::Expire { epoch, .. } = *command {
                        assert_eq!((old.attached, old.epoch), (None, epoch), "it waits still");
                    }
                    let lost = old.queue.after(0).filter(|item| !item.original).count();
                    self.sums.redirected += u64::from(old.is_client() && lost < old.queue.len());
                    self.replies_lost += lost as u64;
                }
            }
        }
        for (name, account) in self.single.accounts() {
            let waited = before.account(name).map_or(0, |old| old.offline.len());
            let stored = account.offline.len().saturating_sub(waited);
            self.sums.stored += stored as u64;
        }
        let commands = self.commands;
        for (_, session) in self.single.sessions() {
            for item in session.queue.after(0) {
                let own = item.stanza.kind == Kind::Presence;
                if item.index == commands && !item.original && !own {
                    let number = number(item);
                    let outcome = self.accepted.get_mut(&number);
                    outcome.expect("an answer to what was accepted").answered += 1;
                }
            }
        }
    }

    /// Presences that the last command put into queues.
    fn presences_shown(&self) -> u64 {
        let queues = self.single.sessions().map(|(_, session)| &session.queue);
        let items = queues.flat_map(|queue| queue.after(0));
        let shown = items.filter(|item| {
            item.index == self.commands && item.stanza.kind == Kind::Presence && !item.original
        });
        shown.count() as u64
    }

    /// Returns how many of them are presences.
    fn accept(&mut self, own: &Bytes, count: u32) -> u64 {
        let mut presences = 0;
        let mut bytes = &own[..];
        let (_, mut packed) = next_command(&mut bytes).expect("readable");
        for _ in 0..count {
            let stanza = next_stanza(own, &mut packed).expect("readable").stanza;
            let id = stanza.id().unwrap_or_default().into_owned();
            let number: u64 = id.parse().expect("a number");
            let mut outcome = Outcome::default();
            // What a client says of itself, the cluster itself takes.
            outcome.delivered += u32::from(stanza.kind == Kind::Presence);
            presences += u64::from(stanza.kind == Kind::Presence);
            let old = self.accepted.insert(number, outcome);
            assert!(old.is_none(), "stanza {number} was accepted twice");
            let pair = (party(stanza.from()), party(stanza.to()));
            let last = self.accepted_last.insert(pair.clone(), number);
            assert!(last < Some(number), "{pair:?}: {last:?} before {number}");
        }
        presences
    }

    fn confirmed(&mut self, name: &str, items: &[Item]) {
        for item in items.iter().filter(|item| item.original) {
            let number = number(item);
            let read = self.read.contains(&(name.to_owned(), number));
            assert!(
                read,
                "{name} never read {number}, which counts as delivered"
            );
            let outcome = self.accepted.get_mut(&number).expect("accepted");
            outcome.delivered += 1;
        }
    }

    /// A component read a stanza on a stream.
    pub(super) fn read(
        &mut self,
        name: &str,
        session: Option<SessionId>,
        stream: u64,
        item: &Item,
    ) {
        let text = short(item);
        let place = self.places.get(&(item.index, item.offset));
        assert_eq!(place, Some(&text), "the stanza's place in the log");
        if let Some(session) = session {
            let new = self.session_read.insert((session, text.clone()));
            assert!(new, "{name} was sent {text} twice in {session:?}");
        }
        if !item.original {
            return;
        }
        assert!(
            super::super::text(item).ends_with("<body>text</body></message>"),
            "whole"
        );
        let (number, sender) = (number(item), party(item.stanza.from()));
        let last = self.stream_last.insert((stream, sender.clone()), number);
        assert!(
            last < Some(number),
            "on one stream to {name}: {last:?} before {number}"
        );
        if !self.read.insert((name.to_owned(), number)) {
            self.sums.repeats += 1;
            return;
        }
        let last = self.read_last.insert((sender, name.to_owned()), number);
        assert!(last < Some(number), "to {name}: {last:?} before {number}");
    }

    /// A component was told that a stanza of it was handled.
    pub(super) fn acknowledged(&self, number: u64) {
        assert!(
            self.accepted.contains_key(&number),
            "{number} is not in the log"
        );
    }

    /// Everything has come to rest.
    pub(super) fn end(mut self) -> Sums {
        let ledger = self.router.ledger();
        assert_eq!(self.router.queued(), 0);
        let mut without = 0;
        for (number, outcome) in &self.accepted {
            match (outcome.delivered, outcome.answered) {
                (0, 0) => without += 1,
                (1, 0) | (0, 1) => {}
                _ => panic!("stanza {number}: {outcome:?}"),
            }
        }
        let unanswered = ledger.discarded + ledger.replies_dropped - self.replies_lost;
        assert_eq!(
            without, unanswered,
            "stanzas without an outcome: {ledger:?}"
        );
        assert_eq!(self.accepted.len() as u64, ledger.accepted);
        self.sums.ledger = [
            ledger.delivered,
            ledger.bounced,
            ledger.expired,
            ledger.discarded,
            ledger.replies,
            ledger.replies_dropped,
        ];
        self.sums
    }
}

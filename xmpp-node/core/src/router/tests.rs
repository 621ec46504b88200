//! Tests of the router: one file a group of rules, the simulation last.
//!
//! Length: the harness that all tests of the router share.

mod bridges;
mod clients;
mod contacts;
mod expiry;
mod limits;
mod log;
mod names;
mod resumption;
mod routing;
mod simulation;
mod snapshots;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

use super::*;
use crate::error::StanzaCondition;
use crate::framer::{Frame, Framer};
use crate::ns;
use crate::stanza::Kind;
use crate::stanza::Stanza;

/// The XMPP domain of all tests.
pub(super) const DOMAIN: &str = "example.test";

/// Reads a stanza as a component stream does.
pub(super) fn stanza(text: &str) -> Stanza {
    let mut framer = Framer::new(crate::framer::Limits::default());
    let header = "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'>";
    framer
        .buffer()
        .extend_from_slice(format!("{header}{text}").as_bytes());
    let mut last = None;
    while let Some(frame) = framer.next_frame().expect("well-formed") {
        last = Some(frame);
    }
    let Some(Frame::Element(element)) = last else {
        panic!("no element: {text}");
    };
    Stanza::parse(&element, None, ns::COMPONENT_ACCEPT, DOMAIN)
        .expect("a stanza")
        .expect("a stanza")
}

/// Packs stanzas for a stream of a session, as a connection does.
pub(super) fn pack(session: SessionId, stream: u64, texts: &[&str]) -> [Bytes; 2] {
    let mut packer = StanzaPacker::default();
    for text in texts {
        let stanza = stanza(text);
        let to = match &stanza.to {
            Some(to) => to.domain(),
            None if stanza.to_fault.is_some() => "",
            // What a client says of itself.
            None => DOMAIN,
        };
        let to = to.to_owned();
        packer.push(&stanza, &to, stanza.reject());
    }
    let (command, raw) = packer.finish(session, stream);
    [command, raw]
}

/// A message from one bridge to another.
pub(super) fn message(from: &str, to: &str, id: &str) -> String {
    format!(
        "<message from='{from}.{DOMAIN}' to='{to}.{DOMAIN}' id='{id}'><body>{id}</body></message>"
    )
}

/// A router's snapshot.
pub(super) fn snapshot(router: &Router) -> Bytes {
    let mut bytes = Vec::new();
    router
        .write_snapshot(&mut bytes)
        .expect("a vector takes all");
    bytes.into()
}

/// The router of a snapshot.
pub(super) fn restored(mut snapshot: &[u8]) -> std::io::Result<Router> {
    Router::read_snapshot(&mut snapshot)
}

/// A session's id, for tests.
pub(super) fn id(number: u128) -> SessionId {
    SessionId(number << 96 | number)
}

/// A router with a log that takes one command an entry, and checks the state after each.
pub(super) struct Harness {
    pub(super) router: Router,
    pub(super) index: u64,
    pub(super) news: Vec<News>,
    incarnations: BTreeMap<u64, u64>,
    requests: BTreeMap<Attachment, u64>,
}

impl Harness {
    /// Configured, with the bridges `a`, `b` and `c`, each with a secret of generation 1.
    pub(super) fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    pub(super) fn with_limits(limits: Limits) -> Self {
        let mut harness = Self {
            router: Router::new(),
            index: 0,
            news: Vec::new(),
            incarnations: BTreeMap::new(),
            requests: BTreeMap::new(),
        };
        harness.propose(
            1,
            &Command::Configure {
                cluster: "cluster",
                domain: DOMAIN,
                limits,
                expected: 0,
            },
        );
        for name in ["a", "b", "c"] {
            let domain = format!("{name}.{DOMAIN}");
            harness.propose(
                1,
                &Command::PutBridge {
                    domain: &domain,
                    sealed: b"sealed",
                },
            );
        }
        harness.news.clear();
        harness
    }

    pub(super) fn at(&self, node: u64) -> Attachment {
        Attachment {
            node,
            incarnation: self.incarnations.get(&node).copied().unwrap_or(1),
        }
    }

    /// The node starts again: its next command is the first of a new incarnation.
    pub(super) fn restart(&mut self, node: u64) {
        let next = self.at(node).incarnation + 1;
        self.incarnations.insert(node, next);
    }

    /// The number that the node's next request will have.
    pub(super) fn next_request(&self, node: u64) -> u64 {
        self.requests.get(&self.at(node)).map_or(1, |last| last + 1)
    }

    /// Applies one command of a node; returns the number of its request.
    pub(super) fn propose(&mut self, node: u64, command: &Command<'_>) -> u64 {
        self.push(node, &[command.encode(), Bytes::new()])
    }

    pub(super) fn push(&mut self, node: u64, command: &[Bytes; 2]) -> u64 {
        let first = self.next_request(node);
        self.requests.insert(self.at(node), first);
        self.chunk(self.header(node, first, 1), command);
        first
    }

    pub(super) fn header(&self, node: u64, first: u64, count: u32) -> ChunkHeader {
        let Attachment { node, incarnation } = self.at(node);
        ChunkHeader {
            node,
            incarnation,
            first,
            count,
        }
    }

    /// Applies one entry of one chunk.
    pub(super) fn chunk(&mut self, header: ChunkHeader, pieces: &[Bytes]) {
        let mut batch = BatchBuilder::new(self.index * 1000, 64);
        batch.chunk(header, pieces);
        self.entry(&batch.finish());
    }

    pub(super) fn entry(&mut self, batch: &Bytes) {
        self.index += 1;
        self.router
            .apply(self.index, batch, &mut self.news)
            .expect("readable");
        check(&self.router);
    }

    /// Binds a name with the secret of generation 1; returns the stream.
    pub(super) fn bind(&mut self, node: u64, session: u128, name: &str, managed: bool) -> u64 {
        let domain = format!("{name}.{DOMAIN}");
        self.propose(
            node,
            &Command::Bind {
                session: id(session),
                domain: &domain,
                generation: 1,
                managed,
            },
        )
    }

    pub(super) fn resume(&mut self, node: u64, session: u128, name: &str, h: u32) -> u64 {
        let domain = format!("{name}.{DOMAIN}");
        self.propose(
            node,
            &Command::Resume {
                session: id(session),
                name: &domain,
                generation: 1,
                h,
            },
        )
    }

    pub(super) fn send(&mut self, node: u64, session: u128, stream: u64, texts: &[&str]) {
        let command = pack(id(session), stream, texts);
        self.push(node, &command);
    }

    pub(super) fn detach(&mut self, node: u64, session: u128, stream: u64, closed: bool) {
        self.propose(
            node,
            &Command::Detach {
                session: id(session),
                stream,
                closed,
            },
        );
    }

    pub(super) fn acknowledge(&mut self, node: u64, session: u128, stream: u64, upto: u64) {
        self.propose(
            node,
            &Command::Acknowledge {
                session: id(session),
                stream,
                upto,
            },
        );
    }

    pub(super) fn expire(&mut self, session: u128, epoch: u32) {
        let session = id(session);
        self.propose(1, &Command::Expire { session, epoch });
    }

    pub(super) fn session(&self, session: u128) -> &Session {
        self.router
            .session(id(session))
            .expect("the session is there")
    }

    pub(super) fn is_served(&self, session: u128, node: u64, stream: u64) -> bool {
        self.router
            .session(id(session))
            .is_some_and(|session| session.is_served_by(self.at(node), stream))
    }

    /// What waits for a session, as text.
    pub(super) fn queue(&self, session: u128) -> Vec<String> {
        self.session(session).queue.after(0).map(text).collect()
    }

    /// `id` of what waits for a session but presences of its own user; errors as `id!condition`.
    pub(super) fn waiting(&self, session: u128) -> Vec<String> {
        let session = self.session(session);
        let own = session.name.bare_str();
        let told = |item: &&Item| {
            let from = item.stanza.from().unwrap_or_default();
            item.stanza.kind != Kind::Presence || from.split('/').next() != Some(own)
        };
        let items = session.queue.after(0);
        items.filter(told).map(short).collect()
    }

    /// The news since the last call.
    pub(super) fn take_news(&mut self) -> Vec<News> {
        std::mem::take(&mut self.news)
    }

    /// The refusals among the news since the last call.
    pub(super) fn refusals(&mut self) -> Vec<(SessionId, Refusal)> {
        self.take_news()
            .into_iter()
            .filter_map(|news| match news {
                News::Refused {
                    session, refusal, ..
                } => Some((session, refusal)),
                _ => None,
            })
            .collect()
    }
}

pub(super) fn text(item: &Item) -> String {
    String::from_utf8(item.stanza.bytes.to_vec()).expect("UTF-8")
}

/// `id`, or `id!condition` for an error.
pub(super) fn short(item: &Item) -> String {
    let whole = text(item);
    let id = item.stanza.id().unwrap_or_default().into_owned();
    let condition = StanzaCondition::ALL
        .iter()
        .find(|condition| whole.contains(&format!("><{condition} xmlns='{}'", ns::STANZA_ERRORS)));
    match condition {
        Some(condition) => format!("{id}!{condition}"),
        None => id,
    }
}

/// What must hold in every state (design, section 4; module documentation of the router).
pub(super) fn check(router: &Router) {
    assert_eq!(router.unaccounted(), 0, "every stanza has one outcome");
    let ledger = router.ledger();
    assert!(ledger.replies_dropped <= ledger.replies, "{ledger:?}");
    let limits = router.limits();
    let mut names = BTreeSet::new();
    let mut bytes = 0;
    let (mut detached, mut held) = (Vec::new(), Vec::new());
    let newest = |at: Attachment| {
        let node = router.node(at.node);
        node.is_some_and(|node| node.incarnation == at.incarnation)
    };
    for (id, session) in router.sessions() {
        assert!(session.attached.is_none_or(newest), "its node is there");
        let newcomer = session.newcomer.map(|newcomer| newcomer.at);
        assert!(newcomer.is_none_or(newest), "who waits is there");
        assert!(names.insert(&session.name), "a name has one session");
        let holder = if session.is_client() {
            let account = router.account(session.name.local().expect("a client's"));
            let account = account.expect("a session has a user");
            let resource = session.name.resource().expect("a resource");
            account.sessions.get(resource).copied()
        } else {
            let bridge = router.bridge(session.name.as_str());
            bridge.expect("a session has a bridge").session
        };
        assert_eq!(holder, Some(id), "the name's session is this one");
        let queue = &session.queue;
        let cost: u64 = queue.after(0).map(Item::cost).sum();
        let originals = queue.after(0).filter(|item| item.original).count() as u64;
        assert_eq!((queue.cost(), queue.originals()), (cost, originals));
        assert_eq!(queue.end(), queue.confirmed() + queue.len() as u64);
        assert!(session.carried <= queue.end());
        assert!(originals <= u64::from(limits.queue_stanzas));
        assert!(queue.len() as u64 <= 2 * u64::from(limits.queue_stanzas));
        assert!(cost <= limits.queue_bytes.saturating_mul(2));
        bytes += cost;
        if session.attached.is_none() {
            detached.push((id, session.epoch));
            assert_eq!(session.newcomer, None, "a free name is given at once");
            assert!(
                session.managed || !session.is_client(),
                "nobody can resume it"
            );
        }
        held.extend(
            session
                .newcomer
                .map(|newcomer| (id, session.epoch, newcomer.session)),
        );
    }
    for (name, account) in router.accounts() {
        for (resource, id) in &account.sessions {
            let session = router.session(*id).expect("a resource has a session");
            assert_eq!(session.name.as_str(), format!("{name}@{DOMAIN}/{resource}"));
        }
        let offline = &account.offline;
        assert!(offline.len() as u64 <= 2 * u64::from(limits.queue_stanzas));
        assert!(offline.cost() <= 2 * limits.queue_bytes);
        assert!(
            offline.after(0).all(|item| item.original),
            "only what was taken waits"
        );
        let available = |id: &SessionId| {
            let session = router.session(*id).expect("checked above");
            session
                .availability
                .is_some_and(|found| found.priority >= 0)
        };
        let busy = |id: &SessionId| {
            router
                .session(*id)
                .is_some_and(|session| !session.queue.is_empty())
        };
        let mut there = account
            .sessions
            .values()
            .filter(|id| available(id))
            .peekable();
        assert!(
            offline.is_empty() || there.peek().is_none() || there.any(busy),
            "what waits for a user who is there comes with the next confirmation"
        );
        bytes += offline.cost();
    }
    assert_eq!(router.queued_bytes(), bytes);
    let presences = router
        .sessions()
        .filter_map(|(_, session)| session.presence.as_ref());
    let presences: usize = presences.map(|presence| presence.bytes.len()).sum();
    let contacts = router.accounts().flat_map(|(_, account)| &account.roster);
    let contacts: u64 = contacts.map(|(jid, contact)| contact.cost(jid)).sum();
    assert_eq!(router.kept_bytes(), presences as u64 + contacts);
    assert!(bytes <= limits.state_bytes.saturating_mul(2));
    assert_eq!(router.detached().collect::<Vec<_>>(), detached);
    assert_eq!(router.held().collect::<Vec<_>>(), held);
    for (domain, bridge) in router.bridges() {
        let served = bridge.session.map(|id| router.session(id));
        assert!(
            served.is_none_or(
                |session| session.is_some_and(|session| session.name.as_str() == domain)
            ),
            "a name's session serves it"
        );
        assert!((1..=2).contains(&bridge.secrets.len()));
    }
}

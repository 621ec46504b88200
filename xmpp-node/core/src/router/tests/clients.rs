//! Users and their clients: accounts, resources, what is sent to them, and what becomes of it when they go.
//!
//! Length: one test a rule of RFC 6121, 8.5 and of XEP-0198, on one harness.

use super::*;

/// A user's name in these tests.
const USER: &str = "u";

fn put(expected: u32) -> Command<'static> {
    Command::PutAccount {
        name: USER,
        expected,
        sealed: b"sealed",
        most: 2,
    }
}

fn bind<'a>(session: u128, resource: &'a str, on_conflict: OnConflict) -> Command<'a> {
    Command::BindResource {
        session: id(session),
        account: USER,
        generation: 1,
        resource,
        on_conflict,
        most: 3,
    }
}

/// A client of the user.
struct Client {
    session: u128,
    stream: u64,
    resource: &'static str,
}

impl Client {
    fn address(&self) -> String {
        format!("{USER}@{DOMAIN}/{}", self.resource)
    }
}

/// The bridge `a` and the user, and how they talk.
struct Place {
    harness: Harness,
    bridge: u64,
    sent: u32,
}

const BRIDGE: u128 = 99;

impl Place {
    fn new() -> Self {
        Self::with_limits(Limits::default())
    }

    fn with_limits(limits: Limits) -> Self {
        let mut harness = Harness::with_limits(limits);
        harness.propose(1, &put(0));
        let bridge = harness.bind(1, BRIDGE, "a", true);
        harness.take_news();
        Self {
            harness,
            bridge,
            sent: 0,
        }
    }

    fn client(&mut self, session: u128, resource: &'static str) -> Client {
        let stream = self
            .harness
            .propose(2, &bind(session, resource, OnConflict::Replace));
        assert!(self.harness.is_served(session, 2, stream));
        Client {
            session,
            stream,
            resource,
        }
    }

    fn available(&mut self, client: &Client, priority: i8) {
        let text = format!(
            "<presence from='{}'><show>chat</show><priority>{priority}</priority></presence>",
            client.address()
        );
        self.send(client, &text);
    }

    /// A client with a presence.
    fn present(&mut self, session: u128, resource: &'static str, priority: i8) -> Client {
        let client = self.client(session, resource);
        self.available(&client, priority);
        client
    }

    fn send(&mut self, client: &Client, text: &str) {
        self.harness.send(2, client.session, client.stream, &[text]);
    }

    /// The bridge sends; returns the id.
    fn hear(&mut self, to: &str, kind: &str, stanza_type: &str) -> String {
        self.sent += 1;
        let id = format!("m{}", self.sent);
        let inner = if kind == "iq" {
            "<query xmlns='urn:x'/>"
        } else {
            "<body>text</body>"
        };
        let text = format!(
            "<{kind} from='bot@a.{DOMAIN}/r' to='{to}' id='{id}' type='{stanza_type}'>{inner}</{kind}>"
        );
        self.harness.send(1, BRIDGE, self.bridge, &[&text]);
        id
    }

    fn message(&mut self, to: &str) -> String {
        self.hear(to, "message", "chat")
    }

    fn offline(&self) -> Vec<String> {
        let account = self.harness.router.account(USER).expect("there");
        account.offline.after(0).map(short).collect()
    }

    /// The client confirms all that waits.
    fn read_all(&mut self, client: &Client) {
        let end = self.harness.session(client.session).queue.end();
        self.harness
            .acknowledge(2, client.session, client.stream, end);
    }

    fn drop_stream(&mut self, client: &Client) {
        self.harness.detach(2, client.session, client.stream, false);
    }

    fn is_over(&self, client: &Client) -> bool {
        self.harness.router.session(id(client.session)).is_none()
    }

    fn ledger(&self) -> Ledger {
        self.harness.router.ledger()
    }
}

fn bare() -> String {
    format!("{USER}@{DOMAIN}")
}

#[test]
fn users_are_put_replaced_and_removed_by_generation() {
    let mut harness = Harness::new();
    let mut decide = |command: &Command<'_>| {
        harness.propose(1, command);
        let news = harness.take_news().pop();
        let Some(News::Configured { result, .. }) = news else {
            panic!("{news:?}");
        };
        (
            result,
            harness.router.account(USER).map(Account::generation),
        )
    };
    assert_eq!(decide(&put(1)), (Err(ConfigureError::Unknown), None));
    assert_eq!(decide(&put(0)), (Ok(()), Some(1)));
    assert_eq!(decide(&put(0)), (Err(ConfigureError::Exists), Some(1)));
    assert_eq!(decide(&put(1)), (Ok(()), Some(2)));
    assert_eq!(decide(&put(1)), (Err(ConfigureError::Changed), Some(2)));
    let other = |name| Command::PutAccount {
        name,
        expected: 0,
        sealed: b"x",
        most: 2,
    };
    assert_eq!(decide(&other("v")).0, Ok(()));
    assert_eq!(decide(&other("w")).0, Err(ConfigureError::Full));
    let remove = Command::RemoveAccount { name: USER };
    assert_eq!(decide(&remove), (Ok(()), None));
    assert_eq!(decide(&remove), (Err(ConfigureError::Unknown), None));
}

#[test]
fn only_the_present_credentials_bind() {
    let mut place = Place::new();
    place.harness.propose(1, &put(1));
    place.harness.take_news();
    place.harness.propose(2, &bind(1, "r", OnConflict::Replace));
    assert_eq!(place.harness.refusals(), [(id(1), Refusal::NotAuthorized)]);
}

#[test]
fn rfc_6120_7_6_the_server_makes_a_resource_that_cannot_be_guessed() {
    let mut place = Place::new();
    for session in [1, 2] {
        place
            .harness
            .propose(2, &bind(session, "", OnConflict::Replace));
    }
    let name = |session| place.harness.session(session).name.clone();
    let (one, two) = (name(1), name(2));
    assert_ne!(one, two);
    let resource = one.resource().expect("a full address");
    assert_eq!(resource.len(), 12);
    assert!(!id(1).previd().contains(resource));
}

#[test]
fn rfc_6120_7_7_2_2_a_taken_resource_is_replaced_refused_or_renamed() {
    let mut place = Place::new();
    let old = place.client(1, "r");
    place.harness.propose(2, &bind(2, "r", OnConflict::Refuse));
    assert_eq!(place.harness.refusals(), [(id(2), Refusal::Conflict)]);
    place.harness.propose(2, &bind(3, "r", OnConflict::Rename));
    let renamed = place.harness.session(3).name.clone();
    assert!(
        renamed
            .resource()
            .is_some_and(|found| found.starts_with("r-")),
        "{renamed}"
    );
    assert!(!place.is_over(&old));
    let new = place.client(4, "r");
    assert!(place.is_over(&old));
    assert_eq!(place.harness.session(4).name.as_str(), new.address());
}

#[test]
fn a_resource_without_a_stream_is_given_away_whatever_the_policy() {
    for policy in [OnConflict::Refuse, OnConflict::Rename, OnConflict::Replace] {
        let mut place = Place::new();
        let old = place.client(1, "r");
        place.enable(&old);
        place.drop_stream(&old);
        assert!(!place.is_over(&old));
        place.harness.propose(2, &bind(2, "r", policy));
        assert!(place.is_over(&old));
        assert_eq!(place.harness.session(2).name.as_str(), old.address());
    }
}

#[test]
fn a_user_has_no_more_resources_than_may_be() {
    let mut place = Place::new();
    for (session, resource) in [(1, "x"), (2, "y"), (3, "z")] {
        place.client(session, resource);
    }
    place.harness.take_news();
    place.harness.propose(2, &bind(4, "w", OnConflict::Replace));
    assert_eq!(
        place.harness.refusals(),
        [(id(4), Refusal::TooManyResources)]
    );
    // One that takes another's place needs none of its own.
    place.client(5, "x");
}

#[test]
fn rfc_6121_8_5_2_1_1_a_message_goes_to_the_highest_priority_and_of_equals_to_the_latest() {
    let mut place = Place::new();
    let low = place.present(1, "low", 1);
    let high = place.present(2, "high", 5);
    let silent = place.client(3, "silent");
    let first = place.message(&bare());
    place.available(&low, 5);
    let second = place.message(&bare());
    place.available(&low, -1);
    let third = place.message(&bare());
    assert_eq!(place.harness.waiting(high.session), [first, third]);
    assert_eq!(place.harness.waiting(low.session), [second]);
    assert_eq!(place.harness.waiting(silent.session), [""; 0]);
}

#[test]
fn rfc_6121_8_5_3_1_a_resource_gets_what_is_sent_to_it_whatever_its_priority() {
    let mut place = Place::new();
    let negative = place.present(1, "negative", -1);
    let silent = place.client(2, "silent");
    for client in [&negative, &silent] {
        let mut expected = Vec::new();
        for (kind, stanza_type) in [
            ("message", "chat"),
            ("message", "headline"),
            ("iq", "get"),
            ("presence", "unavailable"),
        ] {
            expected.push(place.hear(&client.address(), kind, stanza_type));
        }
        assert_eq!(place.harness.waiting(client.session), expected);
    }
}

#[test]
fn rfc_6121_8_5_what_finds_no_resource_is_stored_answered_or_passes_in_silence() {
    let gone = format!("{}/gone", bare());
    let nobody = format!("nobody@{DOMAIN}");
    #[derive(Debug, PartialEq)]
    enum Outcome {
        Stored,
        Answered,
        Silent,
    }
    use Outcome::{Answered, Silent, Stored};
    for (kind, stanza_type, to, expected) in [
        ("message", "chat", bare(), Stored),
        ("message", "normal", bare(), Stored),
        ("message", "unheard-of", bare(), Stored),
        ("message", "chat", gone.clone(), Stored),
        ("message", "groupchat", bare(), Answered),
        ("message", "groupchat", gone.clone(), Answered),
        ("message", "headline", bare(), Silent),
        ("message", "headline", gone.clone(), Silent),
        ("message", "error", bare(), Silent),
        ("message", "chat", nobody.clone(), Answered),
        ("presence", "unavailable", bare(), Silent),
        ("presence", "unavailable", gone.clone(), Silent),
        ("presence", "unavailable", nobody.clone(), Silent),
        ("iq", "get", bare(), Answered),
        ("iq", "get", gone.clone(), Answered),
        ("iq", "set", nobody.clone(), Answered),
        ("iq", "result", gone, Silent),
        ("iq", "error", nobody, Silent),
    ] {
        let mut place = Place::new();
        let sent = place.hear(&to, kind, stanza_type);
        let answers = place.harness.waiting(BRIDGE);
        let outcome = match (place.offline().as_slice(), answers.as_slice()) {
            ([id], []) if *id == sent => Stored,
            ([], [answer]) if *answer == format!("{sent}!service-unavailable") => Answered,
            ([], []) if place.ledger().discarded == 1 => Silent,
            other => panic!("{kind} {stanza_type} to {to}: {other:?}"),
        };
        assert_eq!(outcome, expected, "{kind} {stanza_type} to {to}");
    }
}

#[test]
fn rfc_6121_8_5_2_1_1_a_headline_and_presence_go_to_all_that_are_available() {
    let mut place = Place::new();
    let one = place.present(1, "one", 0);
    let two = place.present(2, "two", 3);
    let negative = place.present(3, "negative", -1);
    let headline = place.hear(&bare(), "message", "headline");
    let presence = place.hear(&bare(), "presence", "unavailable");
    let both = [headline, presence.clone()];
    assert_eq!(place.harness.waiting(one.session), both);
    assert_eq!(place.harness.waiting(two.session), both);
    assert_eq!(place.harness.waiting(negative.session), [presence]);
    assert_eq!(place.harness.router.queued(), 2, "each counts once");
}

#[test]
fn what_waited_for_the_user_comes_first_in_order_and_delayed() {
    let mut place = Place::new();
    let early: Vec<String> = (0..3).map(|_| place.message(&bare())).collect();
    let negative = place.present(1, "negative", -1);
    assert_eq!(place.harness.waiting(negative.session), [""; 0]);
    let client = place.present(2, "r", 0);
    let carried = place.harness.session(client.session).carried;
    let late = place.message(&bare());
    let expected: Vec<String> = early.into_iter().chain([late]).collect();
    assert_eq!(place.harness.waiting(client.session), expected);
    assert_eq!(
        carried, 3,
        "those that waited are told from those that did not"
    );
    assert_eq!(place.offline(), [""; 0]);
}

#[test]
fn what_does_not_fit_at_once_comes_later_and_nothing_overtakes_it() {
    let limits = Limits {
        queue_stanzas: 3,
        ..Limits::default()
    };
    let mut place = Place::with_limits(limits);
    let client = place.client(1, "r");
    let direct = place.message(&client.address());
    let early: Vec<String> = (0..3).map(|_| place.message(&bare())).collect();
    let refused = place.message(&bare());
    assert_eq!(
        place.harness.waiting(BRIDGE),
        [format!("{refused}!resource-constraint")]
    );
    place.available(&client, 0);
    assert_eq!(
        place.harness.waiting(client.session),
        [&direct, &early[0], &early[1]].map(Clone::clone)
    );
    let late = place.message(&bare());
    assert_eq!(place.offline(), [early[2].clone(), late.clone()]);
    // The two messages before, and its own presence.
    place
        .harness
        .acknowledge(2, client.session, client.stream, 4);
    assert_eq!(
        place.harness.waiting(client.session),
        [early[2].clone(), late]
    );
}

#[test]
fn a_client_without_xep_0198_loses_its_session_with_its_stream_and_nothing_else() {
    let mut place = Place::new();
    let (first, second) = (place.present(1, "first", 5), place.present(2, "second", 0));
    let chat = place.message(&bare());
    let iq = place.hear(&first.address(), "iq", "get");
    place.hear(&first.address(), "iq", "result");
    let group = place.hear(&first.address(), "message", "groupchat");
    place.drop_stream(&first);
    assert!(place.is_over(&first));
    assert_eq!(
        place.harness.waiting(second.session),
        std::slice::from_ref(&chat)
    );
    let found = place.harness.session(second.session);
    assert_eq!(found.carried, found.queue.end(), "it was delayed");
    let answers = [&iq, &group].map(|id| format!("{id}!service-unavailable"));
    assert_eq!(place.harness.waiting(BRIDGE), answers);
    place.harness.detach(2, second.session, second.stream, true);
    assert_eq!(place.offline(), [chat]);
    let ledger = place.ledger();
    assert_eq!((ledger.expired, ledger.discarded), (2, 1));
}

impl Place {
    fn enable(&mut self, client: &Client) {
        let written = self.harness.session(client.session).queue.end();
        self.harness.propose(
            2,
            &Command::Enable {
                session: id(client.session),
                stream: client.stream,
                written,
            },
        );
    }

    fn resume(&mut self, client: &Client, h: u32) -> u64 {
        let name = bare();
        self.harness.propose(
            3,
            &Command::Resume {
                session: id(client.session),
                name: &name,
                generation: 1,
                h,
            },
        )
    }
}

#[test]
fn xep_0198_counters_of_a_client_begin_where_it_enabled_them() {
    let mut place = Place::new();
    let client = place.present(1, "r", 0);
    place.message(&bare());
    place.enable(&client);
    assert_eq!(place.harness.session(1).handled(), 0);
    place.available(&client, 1);
    assert_eq!(place.harness.session(1).handled(), 1);
    let (counted, lost) = (place.message(&bare()), place.message(&bare()));
    place.drop_stream(&client);
    let late = place.message(&bare());
    place.harness.take_news();
    // Its own presence is one of them.
    place.resume(&client, 5);
    let refused = [(id(1), Refusal::HandledTooHigh { h: 5, sent: 4 })];
    assert_eq!(place.harness.refusals(), refused);
    let stream = place.resume(&client, 2);
    assert!(place.harness.is_served(1, 3, stream));
    // What came before is confirmed too: the answer that began the counters was read after it.
    assert_eq!(place.harness.waiting(1), [lost, late]);
    assert_ne!(place.harness.waiting(1)[0], counted);
}

#[test]
fn a_session_is_resumed_only_by_its_own_user_with_the_present_password() {
    let mut place = Place::new();
    let client = place.client(1, "r");
    place.enable(&client);
    place.drop_stream(&client);
    place.harness.take_news();
    let mut refuse = |name: &str, generation| {
        let command = Command::Resume {
            session: id(1),
            name,
            generation,
            h: 0,
        };
        place.harness.propose(2, &command);
        place.harness.refusals().pop().map(|(_, refusal)| refusal)
    };
    let address = bare();
    assert_eq!(refuse(&address, 2), Some(Refusal::NotAuthorized));
    assert_eq!(refuse("u@elsewhere.test", 1), Some(Refusal::NotAuthorized));
    assert_eq!(
        refuse(&format!("a.{DOMAIN}"), 1),
        Some(Refusal::ItemNotFound)
    );
    assert_eq!(
        refuse(&format!("{address}/r"), 1),
        Some(Refusal::NotAuthorized)
    );
    assert_eq!(refuse(&address, 1), None);
}

#[test]
fn xep_0198_5_a_session_that_is_not_resumed_gives_back_what_it_did_not_confirm() {
    let mut place = Place::new();
    let client = place.present(1, "r", 0);
    place.enable(&client);
    place.drop_stream(&client);
    let (chat, iq) = (
        place.message(&bare()),
        place.hear(&client.address(), "iq", "set"),
    );
    assert_eq!(place.harness.waiting(1), [chat.clone(), iq.clone()]);
    place.harness.expire(1, 1);
    assert!(place.is_over(&client));
    assert_eq!(place.offline(), [chat]);
    assert_eq!(
        place.harness.waiting(BRIDGE),
        [format!("{iq}!service-unavailable")]
    );
}

#[test]
fn a_user_who_is_removed_takes_everything_along_and_senders_learn_it() {
    let mut place = Place::new();
    let stored = place.message(&bare());
    let client = place.client(1, "r");
    let queued = place.message(&client.address());
    place
        .harness
        .propose(1, &Command::RemoveAccount { name: USER });
    assert!(place.is_over(&client));
    let answers = [&queued, &stored].map(|id| format!("{id}!service-unavailable"));
    assert_eq!(place.harness.waiting(BRIDGE), answers);
    assert_eq!(place.harness.router.queued(), 0);
}

#[test]
fn what_is_asked_of_a_user_is_answered_to_the_own_clients_alone() {
    let mut place = Place::new();
    let client = place.client(1, "r");
    let ask = |payload: &str, kind: &str| {
        format!(
            "<iq from='{}' to='{}' id='q' type='{kind}'>{payload}</iq>",
            client.address(),
            bare()
        )
    };
    for (payload, kind, answered) in [
        ("<ping xmlns='urn:xmpp:ping'/>", "get", true),
        (
            "<query xmlns='http://jabber.org/protocol/disco#info'/>",
            "get",
            true,
        ),
        (
            "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>",
            "set",
            true,
        ),
        ("<query xmlns='jabber:iq:roster'/>", "get", true),
        ("<query xmlns='jabber:iq:private'/>", "get", false),
        ("<ping xmlns='urn:xmpp:ping'/>", "set", false),
    ] {
        place.send(&client, &ask(payload, kind));
        let answer = place.harness.waiting(1).pop();
        let expected = if answered {
            "q"
        } else {
            "q!service-unavailable"
        };
        assert_eq!(answer.as_deref(), Some(expected), "{payload}");
    }
    let answer = &place.harness.queue(1)[0];
    assert!(answer.contains(&format!("from='{}'", bare())), "{answer}");
}

#[test]
fn client_and_bridge_talk_both_ways_and_each_error_comes_back() {
    let mut place = Place::new();
    let client = place.present(1, "r", 0);
    let say = |to: &str, id: &str| {
        format!(
            "<message from='{}' to='{to}' id='{id}'><body>text</body></message>",
            client.address()
        )
    };
    place.send(&client, &say(&format!("bot@a.{DOMAIN}"), "1"));
    assert_eq!(place.harness.waiting(BRIDGE), ["1"]);
    place.send(&client, &say("elsewhere.test", "2"));
    place.send(&client, &say(&format!("b.{DOMAIN}"), "3"));
    let answers = ["2!remote-server-not-found", "3!remote-server-timeout"];
    assert_eq!(place.harness.waiting(1), answers);
    place.harness.detach(1, BRIDGE, place.bridge, false);
    place.harness.expire(BRIDGE, 1);
    assert_eq!(place.harness.waiting(1)[2..], ["1!remote-server-timeout"]);
}

#[test]
fn clients_users_and_what_waits_for_them_survive_a_snapshot() {
    let mut place = Place::new();
    let client = place.present(1, "r", -3);
    place.enable(&client);
    place.message(&bare());
    place.message(&client.address());
    let router = &place.harness.router;
    let again = restored(&snapshot(router)).expect("whole");
    assert_eq!(&again, router);
    assert_eq!(again.digest(), router.digest());
    assert_eq!(again.configuration_digest(), router.configuration_digest());
}

#[test]
fn what_waits_behind_a_full_resource_goes_to_another_when_that_one_ends() {
    let limits = Limits {
        queue_stanzas: 3,
        ..Limits::default()
    };
    let mut place = Place::with_limits(limits);
    let first = place.client(1, "first");
    let direct = [0, 1].map(|_| place.message(&first.address()));
    place.hear(&first.address(), "iq", "get");
    let stored = place.message(&bare());
    place.available(&first, 5);
    let second = place.present(2, "second", 0);
    place.read_all(&second);
    assert_eq!(place.offline(), std::slice::from_ref(&stored));
    // That the first is gone takes one of the three places, and what waited for it the others.
    place.drop_stream(&first);
    assert_eq!(place.harness.waiting(second.session), direct);
    assert_eq!(place.offline(), std::slice::from_ref(&stored));
    place.read_all(&second);
    assert_eq!(place.harness.waiting(second.session), [stored]);
}

//! Contact lists and presence: between users, and between a user and addresses below a bridge.
//!
//! Length: one harness, and both sides of each rule on it.

use super::*;
use crate::router::roster::CONTACTS;

const BRIDGE: u128 = 99;
const BOT: &str = "bot@a.example.test";

/// The users `u` and `v`, each with a client `r`, and the bridge `a`.
struct Place {
    harness: Harness,
    bridge: u64,
    streams: [u64; 2],
    requests: u32,
}

fn full(user: usize) -> String {
    format!("{}/r", bare(user))
}

fn bare(user: usize) -> String {
    format!("{}@{DOMAIN}", ["u", "v"][user])
}

fn session(user: usize) -> u128 {
    user as u128 + 1
}

impl Place {
    /// The clients are there, know their lists, and are not available yet.
    fn new() -> Self {
        let mut harness = Harness::new();
        let bridge = harness.bind(1, BRIDGE, "a", true);
        let mut streams = [0; 2];
        for user in 0..2 {
            let account = ["u", "v"][user];
            harness.propose(
                1,
                &Command::PutAccount {
                    name: account,
                    expected: 0,
                    sealed: b"sealed",
                    most: 9,
                },
            );
            streams[user] = harness.propose(2, &bind(account, session(user)));
        }
        let mut place = Self {
            harness,
            bridge,
            streams,
            requests: 0,
        };
        for user in 0..2 {
            assert_eq!(place.roster(user), [""; 0]);
        }
        place
    }

    fn send(&mut self, user: usize, text: &str) {
        let (session, stream) = (session(user), self.streams[user]);
        self.harness.send(2, session, stream, &[text]);
    }

    fn available(&mut self, user: usize) {
        self.send(
            user,
            &format!(
                "<presence from='{}'><show>chat</show></presence>",
                full(user)
            ),
        );
    }

    fn presence(&mut self, user: usize, to: &str, kind: &str) {
        let kind = match kind {
            "" => String::new(),
            kind => format!(" type='{kind}'"),
        };
        self.send(
            user,
            &format!(
                "<presence from='{}' to='{to}'{kind}><status>s</status></presence>",
                full(user)
            ),
        );
    }

    fn bot(&mut self, to: &str, kind: &str) {
        let text = format!("<presence from='{BOT}/x' to='{to}' type='{kind}'/>");
        self.harness.send(1, BRIDGE, self.bridge, &[&text]);
    }

    /// What a session got since the last look, in short; it confirms it.
    fn got(&mut self, id: u128) -> Vec<String> {
        let found = self.harness.session(id).queue.after(0);
        let found: Vec<String> = found.map(told).collect();
        let end = self.harness.session(id).queue.end();
        match id {
            BRIDGE => self.harness.acknowledge(1, id, self.bridge, end),
            id => self
                .harness
                .acknowledge(2, id, self.streams[id as usize - 1], end),
        }
        found
    }

    fn heard(&mut self, user: usize) -> Vec<String> {
        self.got(session(user))
    }

    fn request(&mut self, user: usize, kind: &str, query: &str) -> String {
        self.requests += 1;
        let id = format!("q{}", self.requests);
        let text = format!(
            "<iq from='{}' to='{}' id='{id}' type='{kind}'><query xmlns='jabber:iq:roster'>{query}</query></iq>",
            full(user),
            bare(user)
        );
        self.send(user, &text);
        id
    }

    /// The list as the client gets it.
    fn roster(&mut self, user: usize) -> Vec<String> {
        let id = self.request(user, "get", "");
        let waiting = self.harness.session(session(user)).queue.after(0);
        let answer = waiting
            .map(text)
            .find(|text| text.contains(&format!("id='{id}'")))
            .expect("an answer");
        self.heard(user);
        answer
            .split("<item ")
            .skip(1)
            .map(|item| item.split("</item>").next().unwrap_or_default().to_owned())
            .collect()
    }
}

fn bind(account: &str, session: u128) -> Command<'_> {
    Command::BindResource {
        session: id(session),
        account,
        generation: 1,
        resource: "r",
        on_conflict: OnConflict::Replace,
        most: 9,
    }
}

/// `kind from type`, and for a push the item.
fn told(item: &Item) -> String {
    let whole = text(item);
    let stanza = &item.stanza;
    match whole.split("<item ").nth(1) {
        Some(item) => format!("push {}", item.split(['>', '/']).next().unwrap_or_default()),
        None => {
            let kind = stanza.stanza_type().unwrap_or_default().into_owned();
            let from = stanza.from().unwrap_or_default().into_owned();
            format!("{} {from} {kind}", stanza.kind.as_str())
                .trim_end()
                .to_owned()
        }
    }
}

#[test]
fn rfc_6121_3_1_two_users_subscribe_to_each_other_and_end_it() {
    let mut place = Place::new();
    place.available(0);
    place.available(1);
    assert_eq!(place.heard(0), [format!("presence {}", full(0))]);
    assert_eq!(place.heard(1), [format!("presence {}", full(1))]);

    place.presence(0, &full(1), "subscribe");
    let asked = format!("push jid='{}' subscription='none' ask='subscribe'", bare(1));
    assert_eq!(place.heard(0), [asked]);
    assert_eq!(place.heard(1), [format!("presence {} subscribe", bare(0))]);

    place.presence(1, &bare(0), "subscribed");
    let pushed = format!("push jid='{}' subscription='from'", bare(0));
    assert_eq!(place.heard(1), [pushed]);
    assert_eq!(
        place.heard(0),
        [
            format!("presence {} subscribed", bare(1)),
            format!("push jid='{}' subscription='to'", bare(1)),
            format!("presence {}", full(1)),
        ]
    );
    // The other way it is the same; then both get what the other says.
    place.presence(1, &bare(0), "subscribe");
    place.presence(0, &bare(1), "subscribed");
    place.heard(0);
    let heard = place.heard(1);
    assert_eq!(heard.last(), Some(&format!("presence {}", full(0))));
    assert_eq!(
        place.roster(0),
        [format!("jid='{}' subscription='both'>", bare(1))]
    );
    place.available(0);
    assert_eq!(place.heard(1), [format!("presence {}", full(0))]);

    // Taken out of the list, each is told as RFC 6121, 2.5.2 says.
    place.heard(0);
    place.request(
        0,
        "set",
        &format!("<item jid='{}' subscription='remove'/>", bare(1)),
    );
    assert_eq!(
        place.heard(0),
        [
            format!("push jid='{}' subscription='remove'", bare(1)),
            format!("presence {} unavailable", full(1)),
            format!("iq {} result", bare(0)),
        ]
    );
    assert_eq!(
        place.heard(1),
        [
            format!("presence {} unsubscribe", bare(0)),
            format!("push jid='{}' subscription='to'", bare(0)),
            format!("presence {} unsubscribed", bare(0)),
            format!("push jid='{}' subscription='none'", bare(0)),
            format!("presence {} unavailable", full(0)),
        ]
    );
    assert_eq!(place.roster(0), [""; 0]);
    place.available(1);
    assert_eq!(place.heard(0), [""; 0], "nothing is shown any more");
}

#[test]
fn a_request_waits_for_a_user_who_is_away_and_nobody_sees_it_in_the_list() {
    let mut place = Place::new();
    place.harness.detach(2, session(1), place.streams[1], true);
    place.presence(0, &bare(1), "subscribe");
    place.presence(0, &bare(1), "subscribe");
    place.streams[1] = place.harness.propose(2, &bind("v", session(1)));
    assert_eq!(place.roster(1), [""; 0]);
    place.available(1);
    assert_eq!(
        place.heard(1),
        [
            format!("presence {}", full(1)),
            format!("presence {} subscribe", bare(0)),
        ]
    );
    // Taken back before it was answered, it is gone.
    place.presence(0, &bare(1), "unsubscribe");
    place.heard(1);
    place.presence(1, &bare(0), "subscribed");
    assert_eq!(place.heard(1), [""; 0]);
}

#[test]
fn an_address_below_a_bridge_is_a_contact_as_others_are() {
    let mut place = Place::new();
    place.available(0);
    place.heard(0);
    place.presence(0, BOT, "subscribe");
    assert_eq!(
        place.got(BRIDGE),
        [format!("presence {} subscribe", bare(0))]
    );
    place.bot(&bare(0), "subscribed");
    place.bot(&bare(0), "subscribe");
    assert_eq!(
        place.heard(0),
        [
            format!("push jid='{BOT}' subscription='none' ask='subscribe'"),
            format!("presence {BOT} subscribed"),
            format!("push jid='{BOT}' subscription='to'"),
            format!("presence {BOT} subscribe"),
        ]
    );
    place.presence(0, BOT, "subscribed");
    assert_eq!(
        place.got(BRIDGE),
        [
            format!("presence {} subscribed", bare(0)),
            format!("presence {}", full(0)),
        ]
    );
    place.bot(&bare(0), "probe");
    assert_eq!(place.got(BRIDGE), [format!("presence {}", full(0))]);
    // The stream ends; on the next one the bridge is asked.
    place.harness.detach(2, session(0), place.streams[0], true);
    assert_eq!(
        place.got(BRIDGE),
        [format!("presence {} unavailable", full(0))]
    );
    place.bot(&bare(0), "probe");
    assert_eq!(
        place.got(BRIDGE),
        [format!("presence {} unavailable", bare(0))]
    );
    place.streams[0] = place.harness.propose(2, &bind("u", session(0)));
    place.available(0);
    assert_eq!(
        place.got(BRIDGE),
        [
            format!("presence {}", full(0)),
            format!("presence {} probe", full(0)),
        ]
    );
}

#[test]
fn a_probe_by_somebody_who_is_not_subscribed_shows_nothing() {
    let mut place = Place::new();
    place.available(0);
    for to in [bare(0), format!("nobody@{DOMAIN}")] {
        place.bot(&to, "probe");
        assert_eq!(place.got(BRIDGE), [format!("presence {to} unsubscribed")]);
    }
    place.bot(&format!("nobody@{DOMAIN}"), "subscribe");
    assert_eq!(
        place.got(BRIDGE),
        [format!("presence nobody@{DOMAIN} unsubscribed")]
    );
}

#[test]
fn rfc_6121_4_6_whoever_was_told_that_a_client_is_there_is_told_that_it_has_gone() {
    for by_itself in [true, false] {
        let mut place = Place::new();
        place.available(0);
        place.presence(0, &format!("{BOT}/room"), "");
        place.presence(0, &full(1), "");
        place.presence(0, &format!("{BOT}/left"), "");
        place.presence(0, &format!("{BOT}/left"), "unavailable");
        place.got(BRIDGE);
        place.heard(1);
        if by_itself {
            place.send(
                0,
                &format!("<presence from='{}' type='unavailable'/>", full(0)),
            );
        } else {
            place.harness.detach(2, session(0), place.streams[0], true);
        }
        let gone = format!("presence {} unavailable", full(0));
        assert_eq!(place.got(BRIDGE), std::slice::from_ref(&gone));
        assert_eq!(place.heard(1), [gone]);
    }
}

#[test]
fn a_session_that_may_be_resumed_stays_available() {
    let mut place = Place::new();
    place.available(0);
    place.presence(0, &full(1), "");
    place.harness.propose(
        2,
        &Command::Enable {
            session: id(session(0)),
            stream: place.streams[0],
            written: 0,
        },
    );
    place.heard(1);
    place.harness.detach(2, session(0), place.streams[0], false);
    assert_eq!(place.heard(1), [""; 0]);
    place.harness.expire(session(0), 1);
    assert_eq!(
        place.heard(1),
        [format!("presence {} unavailable", full(0))]
    );
}

#[test]
fn items_are_changed_by_the_user_alone_and_within_bounds() {
    let mut place = Place::new();
    place.request(
        0,
        "set",
        "<item jid='x@y.test' name='X'><group>g</group></item>",
    );
    assert_eq!(
        place.heard(0),
        [
            "push jid='x@y.test' subscription='none' name='X'".to_owned(),
            format!("iq {} result", bare(0)),
        ]
    );
    assert_eq!(
        place.roster(0),
        ["jid='x@y.test' subscription='none' name='X'><group>g</group>"]
    );
    for query in [
        format!("<item jid='{}'/>", bare(0)),
        "<item jid='nobody@y.test' subscription='remove'/>".to_owned(),
        String::new(),
    ] {
        place.request(0, "set", &query);
        assert_eq!(place.heard(0), [format!("iq {} error", bare(0))], "{query}");
    }
    for number in 1..CONTACTS {
        place.request(0, "set", &format!("<item jid='c{number}@y.test'/>"));
        place.heard(0);
    }
    place.request(0, "set", "<item jid='more@y.test'/>");
    assert_eq!(place.heard(0), [format!("iq {} error", bare(0))]);
    let text = format!(
        "<iq from='{}' to='{}' id='o' type='get'><query xmlns='jabber:iq:roster'/></iq>",
        full(0),
        bare(1)
    );
    place.send(0, &text);
    assert_eq!(place.heard(0), [format!("iq {} error", bare(1))]);
    let router = &place.harness.router;
    let again = restored(&snapshot(router)).expect("whole");
    assert_eq!(&again, router);
    assert_eq!(again.digest(), router.digest());
}

#[test]
fn a_user_who_is_removed_is_gone_for_contacts_too() {
    let mut place = Place::new();
    place.available(0);
    place.available(1);
    place.presence(0, &bare(1), "subscribe");
    place.presence(1, &bare(0), "subscribed");
    place.heard(0);
    place
        .harness
        .propose(1, &Command::RemoveAccount { name: "v" });
    assert_eq!(
        place.heard(0),
        [format!("presence {} unavailable", full(1))]
    );
}

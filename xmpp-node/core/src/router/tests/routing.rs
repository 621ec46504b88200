//! Where a stanza goes, and its one outcome.

use super::*;

/// Bridge `a` at session 1 and `b` at session 2, both at node 2; `c` has no session.
fn cluster() -> (Harness, u64) {
    let mut cluster = Harness::new();
    let a = cluster.bind(2, 1, "a", true);
    cluster.bind(2, 2, "b", true);
    cluster.take_news();
    (cluster, a)
}

#[test]
fn a_stanza_arrives_whole_with_its_place_in_the_log() {
    let (mut cluster, a) = cluster();
    cluster.send(
        2,
        1,
        a,
        &[&message("a", "b", "m1"), &message("a", "b", "m2")],
    );
    assert_eq!(
        cluster.queue(2),
        [
            "<message from='a.example.test' to='b.example.test' id='m1'><body>m1</body></message>",
            "<message from='a.example.test' to='b.example.test' id='m2'><body>m2</body></message>"
        ]
    );
    let places: Vec<_> = cluster
        .session(2)
        .queue
        .after(0)
        .map(|item| (item.index, item.offset, item.original))
        .collect();
    assert_eq!(places, [(cluster.index, 0, true), (cluster.index, 1, true)]);
    assert_eq!(
        cluster.take_news(),
        [News::Session(id(2)), News::Session(id(1))]
    );
}

#[test]
fn offsets_count_the_stanzas_taken_in_the_whole_entry() {
    let (mut cluster, a) = cluster();
    let first = cluster.next_request(2);
    let mut pieces = Vec::new();
    pieces.extend(pack(
        id(1),
        a,
        &[&message("a", "b", "m1"), &message("a", "x", "m2")],
    ));
    pieces.extend(pack(id(1), a + 9, &[&message("a", "b", "skipped")]));
    pieces.extend(pack(id(1), a, &[&message("a", "b", "m3")]));
    cluster.chunk(cluster.header(2, first, 3), &pieces);
    let offsets: Vec<_> = cluster
        .session(2)
        .queue
        .after(0)
        .map(|item| item.offset)
        .collect();
    assert_eq!(offsets, [0, 2]);
}

#[test]
fn every_stanza_has_the_outcome_of_the_table() {
    let body = "<body>x</body>";
    let iq = |to: &str, kind: &str, payload: &str| {
        format!("<iq from='a.example.test/r' to='{to}' type='{kind}' id='q'>{payload}</iq>")
    };
    let message = |to: &str, kind: &str| {
        format!("<message from='a.example.test/r' to='{to}' type='{kind}' id='q'>{body}</message>")
    };
    let ping = "<ping xmlns='urn:xmpp:ping'/>";
    let cases = [
        (
            "no session",
            message("u@c.example.test", "chat"),
            Some("q!remote-server-timeout"),
        ),
        (
            "no session, iq",
            iq("c.example.test", "get", ping),
            Some("q!remote-server-timeout"),
        ),
        (
            "unknown name",
            message("u@elsewhere.test", "chat"),
            Some("q!remote-server-not-found"),
        ),
        (
            "unknown name below",
            message("x.a.example.test", "chat"),
            Some("q!remote-server-not-found"),
        ),
        (
            "domain itself",
            message("example.test", "chat"),
            Some("q!service-unavailable"),
        ),
        (
            "user of the domain",
            message("u@example.test", "chat"),
            Some("q!service-unavailable"),
        ),
        (
            "unknown request",
            iq("example.test", "get", "<x xmlns='y'/>"),
            Some("q!service-unavailable"),
        ),
        (
            "request to change",
            iq("example.test", "set", ping),
            Some("q!service-unavailable"),
        ),
        (
            "ping to a user",
            iq("u@example.test", "get", ping),
            Some("q!service-unavailable"),
        ),
        (
            "ping to a resource",
            iq("example.test/r", "get", ping),
            Some("q!service-unavailable"),
        ),
        (
            "two children",
            iq("b.example.test", "get", "<a/><b/>"),
            Some("q!bad-request"),
        ),
        ("no address", message("@@", "chat"), Some("q!jid-malformed")),
        (
            "error to an unknown name",
            message("elsewhere.test", "error"),
            None,
        ),
        (
            "error to no session",
            message("c.example.test", "error"),
            None,
        ),
        (
            "result to the domain",
            iq("example.test", "result", ""),
            None,
        ),
        ("error to no address", message("@@", "error"), None),
        (
            "result with two children",
            iq("b.example.test", "result", "<a/><b/>"),
            None,
        ),
    ];
    for (what, text, answer) in cases {
        let (mut cluster, a) = cluster();
        cluster.send(2, 1, a, &[&text]);
        assert_eq!(
            cluster.waiting(1),
            answer.into_iter().collect::<Vec<_>>(),
            "{what}"
        );
        assert_eq!(cluster.waiting(2), [""; 0], "{what}");
        let ledger = cluster.router.ledger();
        let outcome = (
            ledger.accepted,
            ledger.bounced,
            ledger.discarded,
            ledger.replies,
        );
        let bounced = u64::from(answer.is_some());
        assert_eq!(outcome, (1, bounced, 1 - bounced, bounced), "{what}");
        assert_eq!(cluster.session(1).taken, 1, "{what}: counted by XEP-0198");
    }
}

#[test]
fn every_answer_has_both_addresses() {
    let (mut cluster, a) = cluster();
    for to in ["u@c.example.test/r", "elsewhere.test", "@@", "example.test"] {
        let text = format!("<message from='x@a.example.test/y' to='{to}' id='1'/>");
        cluster.send(2, 1, a, &[&text]);
    }
    let tags: Vec<String> = cluster
        .queue(1)
        .iter()
        .map(|text| {
            text.split_inclusive('>')
                .next()
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    let tag = |from| format!("<message from='{from}' to='x@a.example.test/y' id='1' type='error'>");
    assert_eq!(
        tags,
        [
            tag("u@c.example.test/r"),
            tag("elsewhere.test"),
            tag("example.test"),
            tag("example.test")
        ]
    );
}

#[test]
fn p53_and_p54_the_domain_answers_pings_and_discovery() {
    let (mut cluster, a) = cluster();
    let get = |payload: &str| {
        format!("<iq from='a.example.test' to='example.test' type='get' id='q&lt;1'>{payload}</iq>")
    };
    cluster.send(
        2,
        1,
        a,
        &[
            &get("<ping xmlns='urn:xmpp:ping'/>"),
            &get("<query xmlns='http://jabber.org/protocol/disco#info'/>"),
            &get("<query xmlns='http://jabber.org/protocol/disco#items'/>"),
        ],
    );
    let answers = cluster.queue(1);
    let start = "<iq from='example.test' to='a.example.test' id='q&lt;1' type='result'>";
    assert_eq!(answers[0], format!("{start}</iq>"));
    assert!(
        answers[1].contains("<identity category='server' type='im'"),
        "{}",
        answers[1]
    );
    assert!(answers[1].contains("<feature var='http://jabber.org/protocol/disco#info'/>"));
    assert_eq!(
        answers[2],
        format!(
            "{start}<query xmlns='http://jabber.org/protocol/disco#items'><item jid='a.example.test'/>\
             <item jid='b.example.test'/><item jid='c.example.test'/></query></iq>"
        )
    );
    let ledger = cluster.router.ledger();
    assert_eq!(
        (ledger.delivered, ledger.bounced, ledger.replies),
        (3, 0, 3)
    );
}

#[test]
fn a_list_of_components_has_a_bounded_length() {
    let (mut cluster, a) = cluster();
    for number in 0..300 {
        let domain = format!("n{number}.example.test");
        cluster.propose(
            1,
            &Command::PutBridge {
                domain: &domain,
                sealed: b"s",
            },
        );
    }
    let items = "<query xmlns='http://jabber.org/protocol/disco#items'/>";
    let get = format!("<iq from='a.example.test' to='example.test' type='get' id='q'>{items}</iq>");
    cluster.send(2, 1, a, &[&get]);
    assert_eq!(cluster.queue(1)[0].matches("<item ").count(), 256);
}

#[test]
fn stanzas_of_one_sender_wait_in_sending_order_also_across_streams_and_while_detached() {
    let (mut cluster, a) = cluster();
    let ids: Vec<String> = (0..20).map(|number| format!("m{number}")).collect();
    let mut stream = a;
    for (at, chunk) in ids.chunks(4).enumerate() {
        let texts: Vec<String> = chunk.iter().map(|id| message("a", "b", id)).collect();
        cluster.send(
            2 + at as u64 % 2,
            1,
            stream,
            &texts.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        stream = cluster.resume(2 + (at as u64 + 1) % 2, 1, "a", 0);
    }
    assert_eq!(cluster.waiting(2), ids);
}

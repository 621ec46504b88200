//! The session, input by input.

use std::time::Duration;

use super::*;

const fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn stanza(number: u32) -> Bytes {
    Bytes::from(format!("<message id='{number}'/>"))
}

fn started(count: u32) -> (Session, Instant) {
    let now = Instant::now();
    let mut session = Session::new(Timing::default());
    (1..=count).for_each(|number| session.push(stanza(number)));
    session.enabled(Some("s1"), now);
    (session, now)
}

fn written(session: &mut Session, now: Instant) -> String {
    let mut out = BytesMut::new();
    session.fill(&mut out, usize::MAX, now);
    String::from_utf8(out.to_vec()).expect("text")
}

fn ids(text: &str) -> Vec<u32> {
    let ids = text.split("id='").skip(1);
    ids.map(|rest| {
        rest.split('\'')
            .next()
            .expect("a quote")
            .parse()
            .expect("a number")
    })
    .collect()
}

#[test]
fn nothing_is_written_without_a_connection() {
    let mut session = Session::new(Timing::default());
    session.push(stanza(1));
    assert_eq!(written(&mut session, Instant::now()), "");
    assert!(session.deadline().is_none());
}

#[test]
fn a_stanza_is_written_once_a_connection() {
    let (mut session, now) = started(2);
    assert_eq!(ids(&written(&mut session, now)), [1, 2]);
    assert_eq!(written(&mut session, now), "");
    session.push(stanza(3));
    assert_eq!(ids(&written(&mut session, now)), [3]);
}

#[test]
fn filling_stops_at_the_limit_and_goes_on_from_there() {
    let (mut session, now) = started(3);
    let mut out = BytesMut::new();
    assert_eq!(session.fill(&mut out, 1, now), 1);
    assert_eq!(session.fill(&mut out, 1, now), 0);
    assert_eq!(ids(&written(&mut session, now)), [2, 3]);
}

#[test]
fn after_a_resumption_only_what_was_not_accepted_is_written_again() {
    let (mut session, now) = started(5);
    written(&mut session, now);
    assert_eq!(session.acknowledged(2), Ok(2));
    session.lost();
    assert_eq!(session.opening(), Opening::Resume { previd: "s1", h: 0 });
    assert_eq!(session.resumed(4, now), Ok(2));
    assert_eq!(ids(&written(&mut session, now)), [5]);
    assert_eq!(session.acknowledged(5), Ok(1));
    assert_eq!(session.unaccepted(), 0);
    assert_eq!(session.unaccepted_bytes(), 0);
}

#[test]
fn after_a_failed_resumption_the_rest_is_written_in_a_new_session() {
    let (mut session, now) = started(5);
    written(&mut session, now);
    session.lost();
    assert_eq!(session.resume_failed(Some(3)), 3);
    assert_eq!(session.opening(), Opening::Enable);
    session.enabled(None, now);
    assert_eq!(ids(&written(&mut session, now)), [4, 5]);
    assert_eq!(session.acknowledged(2), Ok(2), "counts begin anew");
    session.lost();
    assert_eq!(
        session.opening(),
        Opening::Enable,
        "without an id there is nothing to resume"
    );
}

#[test]
fn a_failed_resumption_without_a_count_writes_everything_again() {
    let (mut session, now) = started(3);
    written(&mut session, now);
    session.lost();
    for unbelievable in [None, Some(4), Some(u32::MAX)] {
        assert_eq!(session.resume_failed(unbelievable), 0);
    }
    session.enabled(None, now);
    assert_eq!(ids(&written(&mut session, now)), [1, 2, 3]);
}

#[test]
fn acknowledging_what_was_not_sent_is_an_error_that_ends_the_session() {
    let (mut session, now) = started(3);
    let mut out = BytesMut::new();
    session.fill(&mut out, 1, now);
    let error = AckError {
        h: 2,
        sent: 1,
        before: 0,
    };
    assert_eq!(session.acknowledged(2), Err(error));
    assert!(error.to_xml().contains("handled-count-too-high"));
    session.lost();
    assert_eq!(session.opening(), Opening::Enable);
    session.enabled(None, now);
    assert_eq!(
        ids(&written(&mut session, now)),
        [1, 2, 3],
        "nothing is lost by it"
    );
}

#[test]
fn acknowledging_less_than_before_is_an_error() {
    let (mut session, now) = started(3);
    written(&mut session, now);
    assert_eq!(session.acknowledged(2), Ok(2));
    assert_eq!(
        session.acknowledged(1),
        Err(AckError {
            h: 1,
            sent: 3,
            before: 2
        })
    );
}

#[test]
fn resuming_below_what_was_acknowledged_is_an_error() {
    let (mut session, now) = started(3);
    written(&mut session, now);
    session.acknowledged(2).expect("possible");
    session.lost();
    assert!(session.resumed(1, now).is_err());
    assert_eq!(session.opening(), Opening::Enable);
}

#[test]
fn counts_wrap_around() {
    let (mut session, now) = started(0);
    session.acked = u32::MAX - 1;
    (session.received, session.confirmed, session.told) = (u32::MAX, u32::MAX, u32::MAX);
    (1..=4).for_each(|number| session.push(stanza(number)));
    written(&mut session, now);
    assert_eq!(session.acknowledged(u32::MAX), Ok(1));
    assert_eq!(session.acknowledged(1), Ok(2));
    session.lost();
    assert_eq!(session.resumed(2, now), Ok(1));
    let receipt = session.received().expect("new");
    session.confirm(receipt, now);
    assert!(written(&mut session, now + ms(50)).contains("h='0'"));
}

#[test]
fn received_stanzas_are_acknowledged_every_sixteenth_or_after_a_while() {
    let (mut session, now) = started(0);
    for number in 1..=16 {
        let receipt = session.received().expect("new");
        session.confirm(receipt, now);
        let expected = if number == 16 {
            "<a xmlns='urn:xmpp:sm:3' h='16'/>"
        } else {
            ""
        };
        assert_eq!(written(&mut session, now), expected);
    }
    let receipt = session.received().expect("new");
    session.confirm(receipt, now);
    assert_eq!(session.deadline(), Some(now + ms(50)));
    assert_eq!(written(&mut session, now + ms(49)), "");
    assert_eq!(
        written(&mut session, now + ms(50)),
        "<a xmlns='urn:xmpp:sm:3' h='17'/>"
    );
}

#[test]
fn only_what_is_confirmed_is_acknowledged() {
    let (mut session, now) = started(0);
    let first = session.received().expect("new");
    session.received().expect("new");
    session.confirm(first, now);
    session.asked();
    assert_eq!(
        written(&mut session, now),
        "<a xmlns='urn:xmpp:sm:3' h='1'/>"
    );
}

#[test]
fn what_is_held_unconfirmed_is_dropped_when_it_comes_again() {
    let (mut session, now) = started(0);
    let receipts: Vec<_> = (0..3).filter_map(|_| session.received()).collect();
    session.confirm(receipts[0], now);
    session.lost();
    assert_eq!(session.opening(), Opening::Resume { previd: "s1", h: 1 });
    session.resumed(0, now).expect("possible");
    session.confirm(receipts[1], now);
    assert_eq!(session.received(), None);
    assert_eq!(session.received(), None);
    let fourth = session.received().expect("new");
    session.confirm(fourth, now);
    session.asked();
    assert_eq!(
        written(&mut session, now),
        "<a xmlns='urn:xmpp:sm:3' h='4'/>"
    );
}

#[test]
fn a_receipt_of_a_former_session_confirms_nothing() {
    let (mut session, now) = started(0);
    let old = session.received().expect("new");
    session.lost();
    session.enabled(Some("s2"), now);
    session.received().expect("new");
    assert!(!session.is_current(old));
    session.confirm(old, now);
    session.asked();
    assert_eq!(
        written(&mut session, now),
        "<a xmlns='urn:xmpp:sm:3' h='0'/>"
    );
}

#[test]
fn an_idle_server_is_asked_and_then_given_up() {
    let (mut session, now) = started(0);
    assert_eq!(session.deadline(), Some(now + ms(500)));
    assert_eq!(written(&mut session, now + ms(499)), "");
    assert_eq!(
        written(&mut session, now + ms(500)),
        "<r xmlns='urn:xmpp:sm:3'/>"
    );
    assert_eq!(
        written(&mut session, now + ms(600)),
        "",
        "one question is enough"
    );
    assert_eq!(session.deadline(), Some(now + ms(1500)));
    assert!(!session.is_silent(now + ms(1499)));
    assert!(session.is_silent(now + ms(1500)));
    session.heard(now + ms(1400));
    assert!(!session.is_silent(now + ms(1500)));
    assert_eq!(session.deadline(), Some(now + ms(1900)));
}

#[test]
fn who_slept_asks_before_it_calls_the_server_silent() {
    let (mut session, now) = started(0);
    assert!(!session.is_silent(now + ms(60_000)));
    written(&mut session, now + ms(60_000));
    assert!(!session.is_silent(now + ms(60_999)));
    assert!(session.is_silent(now + ms(61_000)));
}

#[test]
fn written_stanzas_are_asked_for_soon_but_one_question_at_a_time() {
    let (mut session, now) = started(1);
    assert_eq!(written(&mut session, now), "<message id='1'/>");
    assert_eq!(session.deadline(), Some(now + ms(50)));
    assert_eq!(
        written(&mut session, now + ms(50)),
        "<r xmlns='urn:xmpp:sm:3'/>"
    );
    (2..=100).for_each(|number| session.push(stanza(number)));
    assert!(!written(&mut session, now + ms(60)).contains("<r "));
    session.acknowledged(1).expect("possible");
    assert_eq!(
        written(&mut session, now + ms(61)),
        "<r xmlns='urn:xmpp:sm:3'/>"
    );
}

#[test]
fn what_an_answer_leaves_open_is_asked_for_again() {
    let (mut session, now) = started(2);
    written(&mut session, now);
    written(&mut session, now + ms(50));
    session.acknowledged(1).expect("possible");
    assert_eq!(written(&mut session, now + ms(60)), "");
    assert_eq!(session.deadline(), Some(now + ms(110)));
    let asked = written(&mut session, now + ms(110));
    assert_eq!(asked, "<r xmlns='urn:xmpp:sm:3'/>");
    session.acknowledged(2).expect("possible");
    assert_eq!(written(&mut session, now + ms(300)), "");
}

#[test]
fn a_stop_lets_nothing_wait() {
    let (mut session, now) = started(1);
    let receipt = session.received().expect("new");
    session.confirm(receipt, now);
    session.hasten();
    let text = written(&mut session, now);
    assert!(text.contains("<a xmlns='urn:xmpp:sm:3' h='1'/>"), "{text}");
    assert!(text.ends_with("<r xmlns='urn:xmpp:sm:3'/>"), "{text}");
}

#[test]
fn in_a_plain_stream_a_stanza_is_accepted_when_its_last_byte_left() {
    let now = Instant::now();
    let mut session = Session::new(Timing::default());
    (1..=3).for_each(|number| session.push(stanza(number)));
    session.plain();
    let text = written(&mut session, now);
    let one = stanza(1).len();
    assert_eq!(text.len(), 3 * one, "only stanzas");
    assert_eq!(session.left(one - 1), 0);
    assert_eq!(session.left(1), 1);
    assert_eq!(session.left(one + 3), 1);
    session.lost();
    session.plain();
    assert_eq!(
        ids(&written(&mut session, now)),
        [3],
        "half a stanza is none"
    );
    assert!(session.deadline().is_none());
}

#[test]
fn a_stanza_is_given_up_only_before_anything_is_written() {
    let (mut session, now) = started(2);
    written(&mut session, now);
    assert_eq!(session.give_up_first(), None);
    session.lost();
    assert_eq!(session.give_up_first(), None);
    session.resumed(0, now).expect("possible");
    assert_eq!(session.give_up_first(), Some(stanza(1)));
    assert_eq!(ids(&written(&mut session, now)), [2]);
    assert_eq!(session.acknowledged(1), Ok(1));
}

//! When a peer is asked, and what its answers prove.

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
    assert_eq!(plain.tick(Duration::from_secs(9), false), Verdict::Fine);
    assert_eq!(
        plain.tick(Duration::from_secs(11), false),
        Verdict::Unconfirmed
    );
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
    assert_eq!(plain.tick(SILENCE * 9, false), Verdict::Fine);
    plain.sent(SILENCE * 9);
    assert_eq!(plain.next_tick(), Some(SILENCE * 10));
    assert_eq!(plain.tick(SILENCE * 10, false), Verdict::Unconfirmed);
}

#[test]
fn silence_of_a_component_whose_socket_is_stalled_is_judged_once_it_reads() {
    let mut plain = Confirmation::new(Mode::Plain, 0);
    plain.wrote(3);
    asked(&mut plain, MS);
    // What the question went into are buffers on the way.
    assert_eq!(plain.tick(SILENCE + MS, true), Verdict::Fine);
    assert_eq!(plain.next_tick(), Some(SILENCE * 2 + MS));
    assert_eq!(plain.tick(SILENCE * 2, false), Verdict::Fine);
    assert_eq!(plain.wrote(4), None, "delivery does not count when written");
    assert_eq!(plain.tick(SILENCE * 2 + MS, false), Verdict::Unconfirmed);
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
        assert_eq!(plain.tick(now, false), Verdict::Fine);
    }
    assert_eq!(plain.next_tick(), Some(SILENCE + MS));
    assert_eq!(plain.tick(SILENCE + MS, false), Verdict::Unconfirmed);
    assert_eq!(plain.tick(SILENCE * 9, false), Verdict::Fine, "told once");
    let mut hurried = Confirmation::new(Mode::Plain, 0).with_silence(MS * 20);
    hurried.wrote(1);
    asked(&mut hurried, MS);
    assert_eq!(hurried.tick(MS * 20, false), Verdict::Fine);
    assert_eq!(hurried.next_tick(), Some(MS * 21));
    assert_eq!(hurried.tick(MS * 21, false), Verdict::Unconfirmed);
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
    assert_eq!(managed.tick(SILENCE * 9, false), Verdict::Fine);
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

#[test]
fn xep_0198_3_a_peer_that_enables_later_counts_from_there() {
    let mut confirmation = Confirmation::new(Mode::Plain, 0);
    confirmation.wrote(5);
    confirmation.manage();
    assert_eq!(confirmation.mode(), Mode::Managed);
    confirmation.wrote(8);
    assert_eq!(confirmation.acknowledged(4), Err(3));
    // Even nothing counted says that it read the answer, and so what was before it.
    assert_eq!(confirmation.acknowledged(0), Ok(Some(5)));
    assert_eq!(confirmation.acknowledged(2), Ok(Some(7)));
    assert_eq!(confirmation.acknowledged(1), Ok(None));
    assert_eq!(confirmation.acknowledged(3), Ok(Some(8)));
}

#[test]
fn a_resumed_stream_counts_from_where_the_session_began_to() {
    let mut confirmation = Confirmation::new(Mode::Managed, 3).with_base(5);
    confirmation.wrote(7);
    assert_eq!(confirmation.acknowledged(3), Err(2));
    assert_eq!(confirmation.acknowledged(1), Ok(Some(6)));
}

#[test]
fn a_plain_client_is_asked_after_a_second_and_as_others_once_it_counts() {
    let second = Duration::from_secs(1);
    let mut client = Confirmation::new(Mode::Plain, 0).with_patience(Duration::ZERO);
    client.wrote(1);
    let mut out = Vec::new();
    client.ask(second / 2, "example.test", "juliet", &mut out);
    assert!(out.is_empty());
    assert_eq!(client.next_tick(), Some(second));
    client.ask(second, "example.test", "juliet", &mut out);
    assert!(!out.is_empty());

    let mut busy = Confirmation::new(Mode::Plain, 0).with_patience(Duration::ZERO);
    busy.wrote(STANZAS_PER_QUESTION);
    let mut out = Vec::new();
    busy.ask(Duration::ZERO, "example.test", "juliet", &mut out);
    assert!(!out.is_empty(), "much is worth a question at once");

    let mut managed = Confirmation::new(Mode::Plain, 0).with_patience(Duration::ZERO);
    managed.manage();
    managed.wrote(1);
    let mut out = Vec::new();
    managed.ask(second / 10, "example.test", "juliet", &mut out);
    assert!(!out.is_empty());
}

//! The tables of RFC 6121, appendix A, and what clients may ask for.

use super::*;

/// A contact as RFC 6121 names its state.
fn contact(state: &str) -> Contact {
    let has = |word: &str| state.split('+').any(|part| part == word);
    Contact {
        listed: state != "asks",
        to: has("to") || has("both"),
        from: has("from") || has("both"),
        asked: has("out"),
        asks: has("in") || has("asks"),
        ..Contact::default()
    }
}

/// Each row: state before, what, state after, and the effect as words.
fn check(
    rows: &[(&str, Subscription, &str, &str)],
    act: impl Fn(&mut Contact, Subscription) -> Effect,
) {
    for (before, what, after, words) in rows {
        let mut found = contact(before);
        let effect = act(&mut found, *what);
        assert_eq!(found, contact(after), "{before} {what:?}");
        let has = |word: &str| words.split(' ').any(|one| one == word);
        let expected = Effect {
            changed: has("changed"),
            passes: has("passes"),
            shows: has("shows"),
            hides: has("hides"),
            granted: has("granted"),
        };
        assert_eq!(effect, expected, "{before} {what:?}");
    }
}

#[test]
fn rfc_6121_a_2_what_a_user_sends() {
    use Subscription::{Subscribe, Subscribed, Unsubscribe, Unsubscribed};
    check(
        &[
            ("none", Subscribe, "out", "passes changed"),
            ("out", Subscribe, "out", "passes"),
            ("in", Subscribe, "out+in", "passes changed"),
            ("to", Subscribe, "to", "passes"),
            ("from", Subscribe, "from+out", "passes changed"),
            ("both", Subscribe, "both", "passes"),
            ("none", Unsubscribe, "none", "passes"),
            ("out", Unsubscribe, "none", "passes changed"),
            ("to", Unsubscribe, "none", "passes changed"),
            ("to+in", Unsubscribe, "in", "passes changed"),
            ("both", Unsubscribe, "from", "passes changed"),
            ("none", Subscribed, "none", ""),
            ("out", Subscribed, "out", ""),
            ("in", Subscribed, "from", "passes shows changed"),
            ("out+in", Subscribed, "from+out", "passes shows changed"),
            ("to+in", Subscribed, "both", "passes shows changed"),
            ("both", Subscribed, "both", ""),
            ("none", Unsubscribed, "none", ""),
            ("in", Unsubscribed, "none", "passes"),
            ("to+in", Unsubscribed, "to", "passes"),
            ("from", Unsubscribed, "none", "passes hides changed"),
            ("both", Unsubscribed, "to", "passes hides changed"),
        ],
        Contact::sends,
    );
}

#[test]
fn rfc_6121_a_3_what_comes_from_a_contact() {
    use Subscription::{Subscribe, Subscribed, Unsubscribe, Unsubscribed};
    check(
        &[
            ("none", Subscribe, "in", "passes"),
            ("in", Subscribe, "in", ""),
            ("to", Subscribe, "to+in", "passes"),
            ("from", Subscribe, "from", "granted"),
            ("both", Subscribe, "both", "granted"),
            ("none", Unsubscribe, "none", ""),
            ("in", Unsubscribe, "none", "passes"),
            ("from", Unsubscribe, "none", "passes hides changed"),
            ("both", Unsubscribe, "to", "passes hides changed"),
            ("none", Subscribed, "none", ""),
            ("out", Subscribed, "to", "passes changed"),
            ("from+out", Subscribed, "both", "passes changed"),
            ("to", Subscribed, "to", ""),
            ("none", Unsubscribed, "none", ""),
            ("out", Unsubscribed, "none", "passes changed"),
            ("to", Unsubscribed, "none", "passes changed"),
            ("both", Unsubscribed, "from", "passes changed"),
        ],
        Contact::receives,
    );
}

#[test]
fn whoever_only_asks_is_not_in_the_list_and_goes_when_it_takes_that_back() {
    let mut stranger = Contact::default();
    let effect = stranger.receives(Subscription::Subscribe);
    assert!(effect.passes && !effect.changed && stranger.is_kept());
    let effect = stranger.receives(Subscription::Unsubscribe);
    assert!(!effect.changed && !stranger.is_kept());
}

fn request(query: &str) -> Routed {
    let query = format!("<query xmlns='jabber:iq:roster'>{query}</query>");
    Routed::made(
        crate::stanza::Kind::Iq,
        &[("id", "1"), ("type", "set")],
        &query,
    )
}

#[test]
fn an_item_is_read_whole() {
    let wanted = Wanted::read(&request(
        "<item jid='Romeo@Example.test/x' name='R &amp; J' ask='subscribe' subscription='both'>\
         <group>a&lt;b</group><group><![CDATA[c<d]]></group></item>",
    ));
    let wanted = wanted.expect("an item");
    assert_eq!(wanted.jid.as_str(), "romeo@example.test");
    assert_eq!((wanted.name.as_str(), wanted.remove), ("R & J", false));
    assert_eq!(wanted.groups, ["a<b", "c<d"]);
    let gone = Wanted::read(&request("<item jid='a@b' subscription='remove'/>"));
    assert!(gone.expect("an item").remove);
}

#[test]
fn rfc_6121_2_3_3_what_cannot_be_is_refused() {
    let long = "x".repeat(TEXT_BYTES + 1);
    for (query, expected) in [
        (String::new(), StanzaCondition::BadRequest),
        ("<item/>".to_owned(), StanzaCondition::BadRequest),
        ("<item jid='@'/>".to_owned(), StanzaCondition::BadRequest),
        (
            "<item jid='a@b'/><item jid='c@d'/>".to_owned(),
            StanzaCondition::BadRequest,
        ),
        (
            "<item jid='a@b'><group>g</group><group>g</group></item>".to_owned(),
            StanzaCondition::BadRequest,
        ),
        (
            "<item jid='a@b'><group/></item>".to_owned(),
            StanzaCondition::NotAcceptable,
        ),
        (
            format!("<item jid='a@b' name='{long}'/>"),
            StanzaCondition::NotAcceptable,
        ),
        (
            format!("<item jid='a@b'><group>{long}</group></item>"),
            StanzaCondition::NotAcceptable,
        ),
    ] {
        assert_eq!(Wanted::read(&request(&query)), Err(expected), "{query}");
    }
}

#[test]
fn an_item_is_written_with_what_it_has() {
    let mut both = contact("both");
    assert_eq!(
        both.item("a@b"),
        "<item jid='a@b' subscription='both'></item>"
    );
    both.name = "A'".to_owned();
    both.groups = vec!["g&h".to_owned()];
    both.asked = true;
    assert_eq!(
        both.item("a@b"),
        "<item jid='a@b' subscription='both' ask='subscribe' name='A&apos;'><group>g&amp;h</group></item>"
    );
}

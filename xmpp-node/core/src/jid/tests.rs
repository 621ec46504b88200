//! Tests of addresses.

use proptest::prelude::*;

use super::*;

fn parse(text: &str) -> Jid {
    Jid::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
}

#[test]
fn rfc_7622_3_1_parts_are_found_by_the_first_slash_and_the_first_at_before_it() {
    let jid = parse("juliet@example.com/balcony@night/b");
    assert_eq!(jid.local(), Some("juliet"));
    assert_eq!(jid.domain(), "example.com");
    assert_eq!(jid.resource(), Some("balcony@night/b"));
    let jid = parse("example.com/a@b");
    assert_eq!(
        (jid.local(), jid.domain(), jid.resource()),
        (None, "example.com", Some("a@b"))
    );
    assert_eq!(parse("example.com").resource(), None);
}

/// The valid examples of RFC 7622, 3.5, table 1.
#[test]
fn rfc_7622_3_5_valid_examples_are_accepted() {
    for text in [
        "juliet@example.com",
        "juliet@example.com/foo",
        "juliet@example.com/foo bar",
        "juliet@example.com/foo@bar",
        "foo\\20bar@example.com",
        "fussball@example.com",
        "fu\u{df}ball@example.com",
        "\u{3c0}@example.com",
        "\u{3a3}@example.com/foo",
        "\u{3c3}@example.com/foo",
        "\u{3c2}@example.com/foo",
        "king@example.com/\u{265a}",
        "example.com",
        "example.com/foobar",
        "a.example.com/b@example.net",
    ] {
        parse(text);
    }
}

/// The invalid examples of RFC 7622, 3.5, table 2, and some more.
#[test]
fn rfc_7622_3_5_invalid_examples_are_refused() {
    for text in [
        "\"juliet\"@example.com",
        "foo bar@example.com",
        "juliet@example.com/ foo\u{7}",
        "@example.com/",
        "henry\u{2163}@example.com",
        "\u{265a}@example.com",
        "juliet@",
        "/foobar",
        "",
        "@",
        "a@b/",
        "a@x..y",
        "a@.x",
        "a@x,y",
        "a@-x",
        "a@x y",
        "a'b@x",
        "a&b@x",
        "a@b@c",
        "a@[::1",
        "a@[1.2.3.4]",
        "\u{ff20}@x",
        "a@x\u{0}",
        "a\u{200b}@x",
        "a@\u{200b}",
        "a@x/\u{200e}\u{0}",
        "a@xn--a",
    ] {
        assert!(Jid::parse(text).is_err(), "{text:?} was accepted");
    }
}

#[test]
fn rfc_7622_3_3_case_of_local_and_domain_does_not_matter_but_that_of_the_resource_does() {
    assert_eq!(
        parse("Juliet@EXAMPLE.com/Balcony"),
        parse("juliet@example.com/Balcony")
    );
    assert_ne!(
        parse("juliet@example.com/Balcony"),
        parse("juliet@example.com/balcony")
    );
    assert_eq!(parse("\u{3a3}@x"), parse("\u{3c3}@x"));
    assert_eq!(parse("\u{ff41}@x").local(), Some("a"));
    assert_eq!(parse("e\u{301}@x"), parse("\u{e9}@x"));
    assert_eq!(parse("x/a\u{3000}b").resource(), Some("a b"));
}

#[test]
fn rfc_8264_7_a_part_that_its_profile_would_change_again_is_refused() {
    // Cherokee capital letter a, whose lower case is not allowed.
    assert_eq!(
        Jid::parse("\u{13a0}@x"),
        Err(JidError::Disallowed(Part::Local))
    );
}

#[test]
fn rfc_7622_3_2_a_label_and_u_label_of_a_domain_are_one_address() {
    assert_eq!(
        parse("a@xn--bcher-kva.example").domain(),
        "b\u{fc}cher.example"
    );
    assert_eq!(parse("B\u{dc}CHER.example"), parse("XN--bcher-KVA.example"));
    assert_eq!(parse("a\u{3002}b").domain(), "a.b");
}

#[test]
fn rfc_7622_3_2_trailing_dot_of_the_domain_is_dropped() {
    assert_eq!(parse("a@x.").as_str(), "a@x");
    assert_eq!(parse("a@x./r").as_str(), "a@x/r");
    assert_eq!(parse("b\u{fc}cher\u{3002}").domain(), "b\u{fc}cher");
    assert!(Jid::parse("a@.").is_err());
    assert!(Jid::parse("a@x..").is_err());
}

#[test]
fn rfc_7622_3_2_addresses_are_domains() {
    assert_eq!(parse("a@192.0.2.1/r").domain(), "192.0.2.1");
    assert_eq!(parse("a@[2001:DB8:0::1]").domain(), "[2001:db8::1]");
    assert_eq!(parse("[::1]/r").resource(), Some("r"));
}

#[test]
fn rfc_7622_3_1_parts_of_1023_bytes_are_accepted_and_longer_ones_refused() {
    let fits = "a".repeat(MAX_PART_BYTES);
    let long = "a".repeat(MAX_PART_BYTES + 1);
    assert_eq!(
        parse(&format!("{fits}@x/{fits}")).local().map(str::len),
        Some(MAX_PART_BYTES)
    );
    assert_eq!(
        Jid::parse(&format!("{long}@x")),
        Err(JidError::TooLong(Part::Local))
    );
    assert_eq!(
        Jid::parse(&format!("x/{long}")),
        Err(JidError::TooLong(Part::Resource))
    );
    let domain = vec!["a"; 512].join(".");
    assert_eq!(parse(&domain).domain().len(), MAX_PART_BYTES);
    assert_eq!(
        Jid::parse(&format!("{domain}.a")),
        Err(JidError::TooLong(Part::Domain))
    );
    assert_eq!(
        Jid::parse(&"a".repeat(64)),
        Err(JidError::TooLong(Part::Domain))
    );
    assert_eq!(
        Jid::parse(&format!("{}@x", "\u{e9}".repeat(512))),
        Err(JidError::TooLong(Part::Local))
    );
}

#[test]
fn bare_and_full_addresses_turn_into_each_other() {
    let full = parse("juliet@example.com/balcony");
    assert_eq!(full.bare(), parse("juliet@example.com"));
    assert_eq!(full.bare().bare().as_str(), full.bare_str());
    assert!(full.bare().is_bare() && !full.is_bare());
    assert_eq!(full.bare().with_resource("balcony"), Ok(full.clone()));
    assert_eq!(full.with_resource(""), Err(JidError::Empty(Part::Resource)));
}

#[test]
fn addresses_survive_the_log() {
    let jid = parse("juliet@b\u{fc}cher.example/\u{265a}");
    let bytes = postcard::to_stdvec(&jid).expect("a JID is a string");
    assert_eq!(postcard::from_bytes::<Jid>(&bytes), Ok(jid));
    assert!(postcard::from_bytes::<Jid>(&postcard::to_stdvec("@").expect("a string")).is_err());
}

proptest! {
    #[test]
    fn any_text_is_either_refused_or_normalised_once_and_for_all(text in "\\PC{0,20}(@\\PC{1,10})?(/\\PC{0,10})?") {
        if let Ok(jid) = Jid::parse(&text) {
            prop_assert_eq!(Jid::parse(jid.as_str()), Ok(jid.clone()));
            prop_assert_eq!(Jid::from_normalized(jid.as_str()), Ok(jid));
        }
    }

    #[test]
    fn ascii_parts_are_treated_as_the_precis_profiles_treat_them(text in "[ -~]{1,8}") {
        use precis_profiles::precis_core::profile::PrecisFastInvocation;
        let excluded = |text: &str| text.contains(['"', '&', '\'', '/', ':', '<', '>', '@']);
        let local = precis_profiles::UsernameCaseMapped::enforce(text.as_str()).ok().filter(|local| !excluded(local));
        prop_assert_eq!(parts::local(&text).ok(), local);
        prop_assert_eq!(parts::resource(&text).ok(), precis_profiles::OpaqueString::enforce(text.as_str()).ok());
    }
}

//! PLAIN and EXTERNAL on the machine.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::tests::{HEADER, Run};
use crate::ns;

fn auth(mechanism: &str, message: &str) -> String {
    let text = match message {
        "=" => "=".to_owned(),
        message => BASE64_STANDARD.encode(message),
    };
    let sasl = ns::SASL;
    format!("<auth xmlns='{sasl}' mechanism='{mechanism}'>{text}</auth>")
}

#[test]
fn a_password_itself_is_taken_only_where_it_is_offered() {
    let mut off = Run::new(false);
    assert!(!off.send(HEADER).contains("PLAIN"));
    let out = off.send(&auth("PLAIN", "\0juliet\0secret"));
    assert!(out.contains("<invalid-mechanism/>"), "{out}");

    for message in ["\0juliet\0secret", "juliet@example.test\0Juliet\0secret"] {
        let mut on = Run::offering(false, true, &[]);
        let features = on.send(HEADER);
        assert!(
            features.contains("<mechanism>PLAIN</mechanism></mechanisms>"),
            "the last of all"
        );
        let out = on.send(&auth("PLAIN", message));
        assert!(out.contains("proved: true"), "{out}");
        assert!(on.send(HEADER).contains("xmpp-bind"));
    }
}

#[test]
fn what_is_no_message_of_plain_or_a_wrong_one_fails() {
    let cases = [
        ("\0juliet\0wrong", "not-authorized"),
        ("\0nobody\0secret", "not-authorized"),
        ("\0ju liet\0secret", "not-authorized"),
        ("romeo@example.test\0juliet\0secret", "invalid-authzid"),
        ("\0juliet\0", "malformed-request"),
        ("\0juliet", "malformed-request"),
        ("juliet secret", "malformed-request"),
        ("\0juliet\0sec\0ret", "malformed-request"),
        ("=", "malformed-request"),
    ];
    for (message, condition) in cases {
        let mut run = Run::offering(false, true, &[]);
        run.send(HEADER);
        let out = run.send(&auth("PLAIN", message));
        assert!(
            out.contains(&format!("<{condition}/>")),
            "{message:?}: {out}"
        );
        assert!(!out.contains("secret"), "{out}");
    }
}

#[test]
fn a_certificate_is_one_users_or_says_which() {
    let jids = ["juliet@example.test"];
    let both = ["nobody@example.test", "juliet@example.test"];
    let cases: [(&[&str], &str, &str); 8] = [
        (&jids, "=", "proved: true"),
        (&jids, "juliet@example.test", "proved: true"),
        (&jids, "romeo@example.test", "invalid-authzid"),
        (&jids, "juliet@example.test/balcony", "invalid-authzid"),
        (&both, "=", "invalid-authzid"),
        (&both, "juliet@example.test", "proved: true"),
        (&both, "nobody@example.test", "not-authorized"),
        (&["juliet@elsewhere.test"], "=", "invalid-mechanism"),
    ];
    for (certified, message, expected) in cases {
        let mut run = Run::offering(false, false, certified);
        let features = run.send(HEADER);
        assert_eq!(
            features.contains(
                "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL<"
            ),
            expected != "invalid-mechanism",
            "the first of all: {features}"
        );
        let out = run.send(&auth("EXTERNAL", message));
        assert!(out.contains(expected), "{certified:?} {message}: {out}");
    }
}

#[test]
fn a_certificate_may_be_presented_in_two_steps() {
    let mut run = Run::offering(true, false, &["juliet@example.test"]);
    run.send(HEADER);
    let sasl = ns::SASL;
    let out = run.send(&format!("<auth xmlns='{sasl}' mechanism='EXTERNAL'/>"));
    assert!(out.contains("<challenge "), "{out}");
    let out = run.send(&format!("<response xmlns='{sasl}'/>"));
    assert!(out.contains("proved: true"), "{out}");
}

//! Limits hold before anything is built, and time stays linear (RFC 6120, 13.12).

use super::tests::{HEADER, frames};
use super::*;

/// How the stream ends when `text` follows the header, whole and in single bytes.
fn error(limits: Limits, text: &str) -> Option<FrameError> {
    let whole = frames(limits, &[HEADER.as_bytes(), text.as_bytes()]);
    let bytes: Vec<&[u8]> = HEADER
        .as_bytes()
        .chunks(1)
        .chain(text.as_bytes().chunks(1))
        .collect();
    assert_eq!(frames(limits, &bytes), whole, "{:.100}", text);
    assert!(matches!(whole.0.first(), Some(Frame::Open(_))));
    whole.1
}

fn is_limit(error: Option<FrameError>) -> bool {
    matches!(error, Some(FrameError::LimitExceeded(_)))
}

#[test]
fn rfc_6120_13_12_elements_of_the_largest_size_are_accepted_and_larger_ones_refused() {
    let limits = Limits {
        max_stanza_bytes: 12_000,
        ..Limits::default()
    };
    for (start, filling, end) in [
        ("<a>", "b", "</a>"),
        ("<a b='", "c", "'/>"),
        ("<a>", "<b/>", "</a>"),
        ("<a><![CDATA[", "]", "]]></a>"),
    ] {
        let room = 12_000 - start.len() - end.len();
        let mut fits = filling.repeat(room / filling.len());
        while fits.len() < room {
            fits.insert(0, ' ');
        }
        if filling != "<b/>" {
            assert_eq!(
                error(limits, &format!("{start}{fits}{end}")),
                None,
                "{start}"
            );
        }
        assert!(
            is_limit(error(limits, &format!("{start} {fits}{filling}{end}"))),
            "{start}"
        );
        // The end is not waited for.
        assert!(
            is_limit(error(
                limits,
                &format!("{start} {}", filling.repeat(12_000))
            )),
            "{start}"
        );
    }
    let many = "<a>b</a>".repeat(10_000);
    assert_eq!(error(limits, &many), None);
}
#[test]
fn rfc_6120_13_12_no_configuration_refuses_10_000_bytes() {
    let limits = Limits {
        max_stanza_bytes: 0,
        ..Limits::default()
    };
    assert_eq!(
        error(limits, &format!("<a>{}</a>", "b".repeat(9_993))),
        None
    );
    assert!(is_limit(error(
        limits,
        &format!("<a>{}</a>", "b".repeat(9_994))
    )));
}

#[test]
fn fault_behind_the_largest_size_is_never_reached() {
    let limits = Limits {
        max_stanza_bytes: 10_000,
        ..Limits::default()
    };
    for fault in ["<!-", "<?", "</b>", "&", "<1>"] {
        assert!(
            is_limit(error(limits, &format!("<a>{}{fault}", "b".repeat(9_998)))),
            "{fault}"
        );
    }
}

#[test]
fn depth_attributes_and_names_have_limits() {
    let limits = Limits {
        max_depth: 3,
        max_attributes: 3,
        max_name_bytes: 13,
        ..Limits::default()
    };
    assert_eq!(error(limits, "<a><b><c/></b></a>"), None);
    assert!(is_limit(error(limits, "<a><b><c><d/>")));
    assert_eq!(error(limits, "<a a='' b='' c=''/>"), None);
    assert!(is_limit(error(limits, "<a a='' b='' c='' d=''/>")));
    assert!(is_limit(error(limits, "<a a='' b='' c='' xmlns='d'/>")));
    assert_eq!(error(limits, "<abcdefghijklm/>"), None);
    assert!(is_limit(error(limits, "<abcdefghijklmn/>")));
    assert!(is_limit(error(limits, "<a bcdefghijklmno=''/>")));
    let declared: String = (0..129).map(|n| format!("<a xmlns:p{n}='u'>")).collect();
    assert!(is_limit(error(
        Limits {
            max_depth: 1000,
            ..Limits::default()
        },
        &declared
    )));
}

#[test]
fn header_and_declaration_have_a_limit_of_their_own() {
    let limits = Limits {
        max_header_bytes: HEADER.len(),
        ..Limits::default()
    };
    assert_eq!(frames(limits, &[HEADER.as_bytes()]).1, None);
    let limits = Limits {
        max_header_bytes: HEADER.len() - 1,
        ..Limits::default()
    };
    assert!(is_limit(frames(limits, &[HEADER.as_bytes()]).1));
    let long = format!("<?xml version='1.0'{}", " ".repeat(5000));
    assert!(is_limit(frames(Limits::default(), &[long.as_bytes()]).1));
    let long = format!("<a b='{}", "c".repeat(5000));
    assert!(is_limit(frames(Limits::default(), &[long.as_bytes()]).1));
}

/// The scanner goes on where it stopped and stops only at the end, so a byte is looked at once.
#[test]
fn single_bytes_are_taken_in_linear_time() {
    let text = format!(
        "{HEADER}<a b='{}' c=\"'\">{}<![CDATA[{}]]></a>",
        "c".repeat(1000),
        "d".repeat(1000),
        "]>".repeat(1000)
    );
    let mut framer = Framer::new(Limits::default());
    for byte in text.bytes() {
        let before = framer.scanner.at();
        framer.buffer().extend_from_slice(&[byte]);
        match framer.next_frame() {
            Ok(None) => assert_eq!(framer.scanner.at(), before + 1),
            Ok(Some(_)) => assert_eq!(framer.scanner.at(), 0),
            Err(error) => panic!("{error}"),
        }
    }
    assert!(framer.is_empty());
}

/// Names of namespaces are compared when they are declared, not at each use, which would cost a
/// peer 16 bytes and us a megabyte.
#[test]
fn many_attributes_of_many_equal_namespaces_are_refused_when_two_are_the_same() {
    let limits = Limits {
        max_stanza_bytes: 1 << 24,
        ..Limits::default()
    };
    let name = "x&amp;".repeat(1000);
    let declarations: String = (0..60)
        .map(|n| format!(" xmlns:p{n}='urn:{n}{name}'"))
        .collect();
    let uses: String = (0..60).map(|n| format!(" p{n}:a=''")).collect();
    let text = format!("<a{declarations}>{}", format!("<b{uses}/>").repeat(500));
    assert_eq!(error(limits, &text), None);
    let text = format!("{text}<c xmlns:q='urn:59{name}'><d p59:a='' q:a=''/>");
    assert!(matches!(
        error(limits, &text),
        Some(FrameError::NotWellFormed(_))
    ));
}

//! Generated streams: any splitting gives the same frames, and nothing is accepted that rxml
//! refuses.

use proptest::prelude::*;
use rxml::{Parse, WithOptions};

use super::tests::{HEADER, frames};
use super::*;

/// Whether rxml, a strict parser, takes all of `bytes` as the beginning of a document.
///
/// It is shown line feeds for carriage returns, as XML 1.0, 2.11 has it before parsing: left alone,
/// version 0.14 refuses a carriage return in an attribute value that no line feed follows.
fn rxml_accepts(bytes: &[u8]) -> bool {
    let bytes: Vec<u8> = bytes
        .iter()
        .map(|byte| if *byte == b'\r' { b'\n' } else { *byte })
        .collect();
    let options = rxml::Options {
        max_token_length: 1 << 20,
        ..rxml::Options::default()
    };
    let mut parser = rxml::Parser::with_options(options);
    let mut rest = &bytes[..];
    loop {
        match parser.parse(&mut rest, false) {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(rxml::error::EndOrError::NeedMoreData) => return true,
            Err(rxml::error::EndOrError::Error(_)) => return false,
        }
    }
}

/// Checks one stream: what we accept rxml accepts too, and single bytes give the same as the whole.
fn compare(text: &[u8]) -> Result<(), TestCaseError> {
    let limits = Limits::default();
    let whole = frames(limits, &[HEADER.as_bytes(), text]);
    let mut single: Vec<&[u8]> = vec![HEADER.as_bytes()];
    single.extend(text.chunks(1));
    prop_assert_eq!(&frames(limits, &single), &whole);
    // What was not cut out as a frame is not accepted yet, so rxml is shown only the frames.
    let mut accepted = HEADER.as_bytes().to_vec();
    for frame in &whole.0 {
        match frame {
            Frame::Element(element) => accepted.extend_from_slice(element.bytes()),
            Frame::Close => accepted.extend_from_slice(b"</stream:stream>"),
            Frame::Open(_) => {}
        }
    }
    prop_assert!(
        rxml_accepts(&accepted),
        "rxml refuses {}",
        String::from_utf8_lossy(&accepted)
    );
    Ok(())
}

/// A piece of XML, well-formed or nearly so.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => prop::sample::select(PIECES).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
        1 => "[a-z:'\"<>&;#x=/ \\]\\[!?-]{1,4}",
    ]
}

/// A well-formed element.
fn element() -> impl Strategy<Value = String> {
    let name = "[a-z\u{e9}][a-z0-9.-]{0,4}";
    let value = prop_oneof![
        "[a-zA-Z0-9>\" \u{e9}\u{1f600}]{0,8}",
        Just("&lt;&#x41;".to_owned())
    ];
    let tag = (name, prop::collection::btree_map("[b-w]{1,4}", value, 0..4)).prop_map(
        |(name, attributes)| {
            let attributes: String = attributes
                .iter()
                .map(|(name, value)| format!(" {name}='{value}'"))
                .collect();
            (name, attributes)
        },
    );
    let leaf = prop_oneof![
        "[a-z \n\u{e9}\u{65e5}\u{1f600}]{0,12}",
        Just("<![CDATA[<&]] >]]]]>".to_owned()),
        Just("&amp;&#10;".to_owned()),
        tag.clone()
            .prop_map(|(name, attributes)| format!("<{name}{attributes}/>")),
    ];
    let content = leaf.prop_recursive(4, 32, 5, move |inner| {
        (tag.clone(), prop::collection::vec(inner, 0..5)).prop_map(|((name, attributes), inner)| {
            format!("<{name}{attributes}>{}</{name}>", inner.concat())
        })
    });
    ("[a-z]{1,5}", content).prop_map(|(name, content)| format!("<{name}>{content}</{name}>"))
}

/// What generated streams are made of: all that is easy to get wrong.
const PIECES: &[&str] = &[
    "<a>",
    "</a>",
    "<b/>",
    "<a b='c'>",
    "<a b='c' d=\"e\"/>",
    "<p:a xmlns:p='u'>",
    "</p:a>",
    "<p:a/>",
    "p:b='1'",
    "<a xmlns:p='u' xmlns:q='u' ",
    "q:b='2'",
    " xmlns=''",
    " xmlns='u'",
    " xmlns:p=''",
    "xmlns:xml='u'",
    "xmlns:xmlns='u'",
    "&lt;",
    "&#65;",
    "&#x10FFFF;",
    "&#1;",
    "&#xFFFF;",
    "&foo;",
    "&",
    "<![CDATA[",
    "]]>",
    "]]",
    "<!--",
    "-->",
    "<?a?>",
    "<!DOCTYPE a>",
    " ",
    "\n",
    "\r\n",
    "text",
    "'",
    "\"",
    "=",
    "<",
    ">",
    "/>",
    "</",
    "<a",
    "a:b:c",
    "\u{1}",
    "\u{7f}",
    "\u{fffe}",
    "\u{ffff}",
    "\u{fffd}",
    "\u{e9}",
    "\u{300}",
    "\u{b7}",
    "\u{1f600}",
    "xml:lang='en'",
    "<xml:a/>",
    "<1/>",
    "<-a/>",
    "<stream:a/>",
    "</stream:stream>",
    "<a b='<'/>",
    "<a b='1'c='2'/>",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn nothing_is_accepted_that_rxml_refuses(pieces in prop::collection::vec(piece(), 0..12)) {
        compare(pieces.concat().as_bytes())?;
    }

    #[test]
    fn nothing_inside_an_element_is_accepted_that_rxml_refuses(pieces in prop::collection::vec(piece(), 0..6)) {
        compare(format!("<m>{}</m>", pieces.concat()).as_bytes())?;
        compare(format!("<m {}/>", pieces.concat()).as_bytes())?;
    }

    #[test]
    fn bytes_that_are_no_text_are_never_accepted_more_than_by_rxml(
        text in element(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = text.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        compare(&bytes)?;
    }

    #[test]
    fn well_formed_elements_are_accepted_whatever_the_splitting(
        elements in prop::collection::vec(element(), 1..4),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let text = format!("{HEADER}{}\n</stream:stream>", elements.join(" \n"));
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len())).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let chunks: Vec<&[u8]> = cuts.windows(2).map(|cut| &text.as_bytes()[cut[0]..cut[1]]).collect();
        let (frames, error) = frames(Limits::default(), &chunks);
        prop_assert_eq!(error, None);
        prop_assert_eq!(frames.len(), elements.len() + 2);
        for (frame, expected) in frames[1..].iter().zip(&elements) {
            match frame {
                Frame::Element(element) => prop_assert_eq!(element.bytes(), expected.as_bytes()),
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}

//! What is accepted and refused, by the sections of the standards.

use super::*;
use crate::error::{StreamCondition, StreamError};

pub(super) const HEADER: &str = "<stream:stream xmlns='jabber:component:accept' \
     xmlns:stream='http://etherx.jabber.org/streams' to='cb1.example.test'>";

/// All frames of `bytes`, and the error that ended them.
pub(super) fn frames(limits: Limits, chunks: &[&[u8]]) -> (Vec<Frame>, Option<FrameError>) {
    let mut framer = Framer::new(limits);
    let mut frames = Vec::new();
    for chunk in chunks {
        framer.buffer().extend_from_slice(chunk);
        loop {
            match framer.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

fn read(text: &str) -> (Vec<Frame>, Option<FrameError>) {
    frames(Limits::default(), &[text.as_bytes()])
}

/// The condition that ends a stream which begins with a good header and goes on with `text`.
fn condition_after_header(text: &str) -> Option<StreamCondition> {
    let (frames, error) = read(&format!("{HEADER}{text}"));
    assert!(matches!(frames.first(), Some(Frame::Open(_))), "{text}");
    error.map(|error| StreamError::from(error).condition)
}

pub(super) fn condition(text: &str) -> Option<StreamCondition> {
    read(text).1.map(|error| StreamError::from(error).condition)
}

pub(super) fn header(text: &str) -> StreamHeader {
    match read(text) {
        (frames, None) => match frames.into_iter().next() {
            Some(Frame::Open(header)) => header,
            other => panic!("{text}: {other:?}"),
        },
        (_, Some(error)) => panic!("{text}: {error}"),
    }
}

fn element(text: &str) -> Element {
    match read(&format!("{HEADER}{text}")).0.pop() {
        Some(Frame::Element(element)) => element,
        other => panic!("{text}: {other:?}"),
    }
}
/// A prefix of the header would mean nothing on the stream the stanza is forwarded to.
#[test]
fn prefix_that_only_the_header_declares_is_refused_in_elements() {
    let start = "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' xmlns:x='urn:x'>";
    for (text, expected) in [
        ("<x:a/>", Some(StreamCondition::BadNamespacePrefix)),
        ("<a x:b='c'/>", Some(StreamCondition::BadNamespacePrefix)),
        ("<a><x:b/></a>", Some(StreamCondition::BadNamespacePrefix)),
        ("<a xmlns:x='urn:y'><x:b/></a>", None),
        ("<stream:error/>", None),
        ("<a><stream:b/></a>", None),
    ] {
        assert_eq!(condition(&format!("{start}{text}")), expected, "{text}");
    }
}
#[test]
fn rfc_6120_11_1_comments_instructions_dtds_and_entities_are_restricted_xml() {
    for text in [
        "<!-- -->",
        "<!",
        "<a><!-- --></a>",
        "<?php ?>",
        "<?xml version='1.0'?>",
        "<a><?b?></a>",
        "<!DOCTYPE a>",
        "<a><!ENTITY b 'c'></a>",
        "<a>&nbsp;</a>",
        "<a b='&c;'/>",
        "<a>&a.b-c;</a>",
    ] {
        let expected = (text != "<!").then_some(StreamCondition::RestrictedXml);
        assert_eq!(condition_after_header(text), expected, "{text}");
    }
    for text in [
        "<!DOCTYPE a>",
        "<!-- -->",
        "<?php ?>",
        "<?xml-stylesheet ?>",
        "\n<?xml version='1.0'?>",
    ] {
        assert_eq!(
            condition(text),
            Some(StreamCondition::RestrictedXml),
            "{text}"
        );
    }
}

/// The first rows are what quick-xml lets pass.
#[test]
fn rfc_6120_11_3_ill_formed_xml_is_not_well_formed() {
    for text in [
        "<a>\u{1}</a>",
        "<a>\u{fffe}</a>",
        "<a>&#1;</a>",
        "<a>&#xFFFE;</a>",
        "<a b='\u{1}'/>",
        "<a b='\u{ffff}'/>",
        "<a b='&#1;'/>",
        "<1message/>",
        "<a:b:c/>",
        "<message<a/>",
        "<a b='<'/>",
        "<a>]]></a>",
        "<a b='1'c='2'/>",
        "<a xmlns:p=''/>",
        "<a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/>",
        "<a xmlns:p='u&#x76;' xmlns:q='uv' p:b='1' q:b='2'/>",
        "<a xmlns:p='http://etherx.jabber.org/streams' p:b='1' stream:b='2'/>",
        // What it refuses as well.
        "<a></b>",
        "<a><b></a></b>",
        "<a></a b>",
        "<a b='1' b='2'/>",
        "<a b=1/>",
        "<a b/>",
        "<a>&</a>",
        "<a>& </a>",
        "<a>&#0;</a>",
        "<a>&#xD800;</a>",
        "<a>&lt</a>",
        "<p:a/>",
        "<a p:b='c'/>",
        "<a><b xmlns:p='u'/><p:c/></a>",
        "<a xmlns:xml='u'/>",
        "<a xmlns:xmlns='u'/>",
        "<a xmlns='http://www.w3.org/2000/xmlns/'/>",
        "<a xmlns='http://www.w3.org/XML/1998/namespace'/>",
        "<a xmlns:p='http://www.w3.org/XML/1998/namespace'/>",
        "<xmlns:a/>",
        "<a><![CDAT[]]></a>",
        "<a><![cdata[]]></a>",
        "<a><![CDATA[\u{1}]]></a>",
        "<a><![CDATA[\u{ffff}]]></a>",
        "< a/>",
        "<a / >",
        "<a/b>",
        "<>",
        "</a>",
        "</stream:streams>",
        "<a></></a>",
        "<\u{d7}/>",
    ] {
        assert_eq!(
            condition_after_header(text),
            Some(StreamCondition::NotWellFormed),
            "{text}"
        );
    }
}

#[test]
fn rfc_6120_11_4_whatever_xml_allows_inside_an_element_is_accepted() {
    for text in [
        "<a/>",
        "<a />",
        "<a\n></a\t>",
        "<a b = \"it's\" c='say \"x\"' d='>'/>",
        "<a>&lt;&gt;&amp;&apos;&quot;&#10;&#x1F600;</a>",
        "<a><![CDATA[<b>&c;]] ]>]]></a>",
        "<a><![CDATA[]]></a>",
        "<a><![CDATA[>]]]]></a>",
        "<a>]] > ] > ]&gt;</a>",
        "<p:a xmlns:p='u' p:b='1' b='2'/>",
        "<a xml:lang='de' xmlns:xml='http://www.w3.org/XML/1998/namespace'/>",
        "<a xmlns=''><b xmlns='u'/></a>",
        "<\u{e9}l\u{e9}ment \u{540d}='\u{1f600}'>\u{e9}\u{fffd}\u{7f}\u{85}</\u{e9}l\u{e9}ment>",
        "<a\r\n>\r\n\t</a>",
    ] {
        let (frames, error) = read(&format!("{HEADER}{text}</stream:stream>"));
        assert_eq!(error, None, "{text}");
        assert_eq!(frames.len(), 3, "{text}");
        assert!(
            matches!(&frames[1], Frame::Element(element) if element.bytes() == text.as_bytes()),
            "{text}"
        );
    }
}
#[test]
fn rfc_6120_11_6_anything_but_utf_8_is_unsupported_encoding() {
    let header = HEADER.as_bytes();
    for bytes in [
        &b"<a>\xff</a>"[..],
        b"<a b='\xc3'/>",
        b"<a>\xed\xa0\x80</a>",
        b"<a><![CDATA[\xc0\x80]]></a>",
        b"<\xe9/>",
    ] {
        let error = frames(Limits::default(), &[header, bytes]).1;
        assert_eq!(error, Some(FrameError::UnsupportedEncoding), "{bytes:?}");
    }
    for bytes in [
        &b"\xff\xfe<\0"[..],
        b"\xfe\xff\0<",
        b"\0<\0?",
        b"<?xml version='1.0' encoding='UTF-16'?>",
    ] {
        let error = frames(Limits::default(), &[bytes]).1;
        assert_eq!(error, Some(FrameError::UnsupportedEncoding), "{bytes:?}");
    }
}
#[test]
fn rfc_6120_4_6_1_white_space_between_elements_is_dropped_at_once() {
    let mut framer = Framer::new(Limits::default());
    framer.buffer().extend_from_slice(HEADER.as_bytes());
    assert!(matches!(framer.next_frame(), Ok(Some(Frame::Open(_)))));
    for _ in 0..100_000 {
        framer.buffer().extend_from_slice(b" \n\r\t");
        assert_eq!(framer.next_frame(), Ok(None));
        assert!(framer.is_empty());
    }
    framer.buffer().extend_from_slice(b" <a/>");
    assert!(matches!(framer.next_frame(), Ok(Some(Frame::Element(_)))));
}

#[test]
fn text_between_elements_is_bad_format() {
    for text in ["a", "<a/>b", "&lt;", "<![CDATA[a]]>", "\u{feff}", "]]>"] {
        assert_eq!(
            condition_after_header(text),
            Some(StreamCondition::BadFormat),
            "{text}"
        );
    }
}

#[test]
fn a_second_header_is_bad_format_at_once() {
    let second = HEADER.trim_start_matches(|c| c != '<');
    for text in [
        second,
        "<stream:stream>",
        "<stream:stream/>",
        "<a/><stream:stream\tb=''>",
    ] {
        assert_eq!(
            condition_after_header(text),
            Some(StreamCondition::BadFormat),
            "{text}"
        );
    }
    for element in ["<stream:streams/>", "<a><stream:stream/></a>"] {
        let (frames, error) = read(&format!("{HEADER}{element}"));
        assert_eq!((frames.len(), error), (2, None), "{element}");
    }
}

#[test]
fn rfc_6120_4_4_end_tag_of_the_header_closes_the_stream() {
    let (frames, error) = read(&format!("{HEADER}<a/></stream:stream >\n"));
    assert_eq!((frames.len(), error), (3, None));
    assert_eq!(frames[2], Frame::Close);
    assert_eq!(
        condition_after_header("</stream:stream><a/>"),
        Some(StreamCondition::NotWellFormed)
    );
    assert_eq!(
        condition_after_header("</stream:stream>a"),
        Some(StreamCondition::NotWellFormed)
    );
    let (frames, error) = read("<stream:stream xmlns:stream='http://etherx.jabber.org/streams'/>");
    assert_eq!((frames.len(), error), (2, None));
    assert_eq!(frames[1], Frame::Close);
}
#[test]
fn rfc_6120_4_3_3_a_restarted_stream_begins_with_a_new_header() {
    let mut framer = Framer::new(Limits::default());
    framer
        .buffer()
        .extend_from_slice(format!("{HEADER}<a/>\n<?xml version='1.0'?>").as_bytes());
    assert!(matches!(framer.next_frame(), Ok(Some(Frame::Open(_)))));
    assert!(matches!(framer.next_frame(), Ok(Some(Frame::Element(_)))));
    assert!(!framer.is_empty());
    framer.reset();
    assert_eq!(framer.next_frame(), Ok(None));
    framer.buffer().extend_from_slice(HEADER.as_bytes());
    assert!(matches!(framer.next_frame(), Ok(Some(Frame::Open(_)))));
    assert!(framer.is_empty());
}

#[test]
fn an_error_stays() {
    let mut framer = Framer::new(Limits::default());
    framer.buffer().extend_from_slice(b"a");
    let error = framer.next_frame();
    assert!(error.is_err());
    framer.buffer().extend_from_slice(HEADER.as_bytes());
    assert_eq!(framer.next_frame(), error);
}

#[test]
fn names_namespaces_and_text_of_elements_are_at_hand() {
    let shaken = element("<handshake>aa&amp;<b>no</b><![CDATA[<c>\r\n]]> </handshake>");
    assert!(shaken.is("handshake", "jabber:component:accept"));
    assert_eq!(shaken.text(), "aa&<c>\n ");
    assert_eq!(shaken.child_count(), 1);
    let resume =
        element("<resume xmlns='urn:xmpp:sm&#58;3' h='5' previd='a&lt;b' x:h='6' xmlns:x='u'/>");
    assert!(resume.is("resume", "urn:xmpp:sm:3"));
    assert_eq!(resume.attribute("previd").as_deref(), Some("a<b"));
    assert_eq!(resume.attribute("h").as_deref(), Some("5"));
    assert_eq!(resume.attribute("max"), None);
    assert_eq!(resume.text(), "");
    let error = element("<stream:error><conflict xmlns='urn:a'/><b/><xml:c/></stream:error>");
    assert!(error.is("error", "http://etherx.jabber.org/streams") && error.has_prefix());
    let children: Vec<_> = error.children().collect();
    assert_eq!(
        children,
        [
            ("conflict", "urn:a".into()),
            ("b", "jabber:component:accept".into()),
            ("c", "http://www.w3.org/XML/1998/namespace".into()),
        ]
    );
    let nested = element("<p:a xmlns:p='u' xmlns='v'>t<p:b><c/></p:b><d/></p:a>");
    let children: Vec<_> = nested.children().collect();
    assert_eq!(children, [("b", "u".into()), ("d", "v".into())]);
}

//! The stream header and what stands before it.

use super::tests::{HEADER, condition, header};
use crate::error::StreamCondition;

#[test]
fn rfc_6120_4_7_attributes_of_the_header_are_read_unescaped() {
    let header = header(
        "<?xml version='1.0'?>\n<stream:stream from='a&amp;b' to=\"c\" id='d' version='1.0' xml:lang='en'
         xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>",
    );
    assert_eq!(header.content_ns, "jabber:client");
    assert_eq!(header.from.as_deref(), Some("a&b"));
    assert_eq!(header.to.as_deref(), Some("c"));
    assert_eq!(header.id.as_deref(), Some("d"));
    assert_eq!(header.version.as_deref(), Some("1.0"));
    assert_eq!(header.lang.as_deref(), Some("en"));
    assert!(!header.management && !header.foreign_prefixes);
}

#[test]
fn management_is_asked_for_by_an_attribute_of_our_namespace_under_any_prefix() {
    let with = |rest: &str| {
        header(&format!(
            "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' {rest}>"
        ))
    };
    let ours = with("xmlns:xc='urn:xmppcluster:management:0' xc:management='1'");
    assert!(ours.management && !ours.foreign_prefixes);
    assert!(with("p:management='true' xmlns:p='urn:xmppcluster:management:0'").management);
    assert!(!with("xmlns:xc='urn:xmppcluster:management:0' xc:management='0'").management);
    assert!(!with("xmlns:xc='urn:other' xc:management='1'").management);
    assert!(!with("management='1'").management);
}

#[test]
fn prefixes_of_the_header_other_than_the_standard_ones_are_reported() {
    let foreign = |rest: &str| {
        header(&format!(
            "<stream:stream xmlns:stream='http://etherx.jabber.org/streams' {rest}>"
        ))
        .foreign_prefixes
    };
    assert!(!foreign("xmlns:db='jabber:server:dialback'"));
    assert!(!foreign("xmlns:xml='http://www.w3.org/XML/1998/namespace'"));
    assert!(foreign("xmlns:db='urn:other'"));
    assert!(foreign("xmlns:x='urn:other'"));
}

#[test]
fn rfc_6120_4_8_1_wrong_stream_namespace_is_invalid_namespace() {
    for text in [
        "<stream:stream xmlns:stream='http://etherx.jabber.org/stream'>",
        "<stream xmlns='jabber:client'>",
        "<stream>",
    ] {
        assert_eq!(
            condition(text),
            Some(StreamCondition::InvalidNamespace),
            "{text}"
        );
    }
}

#[test]
fn rfc_6120_4_8_5_wrong_or_missing_stream_prefix_is_bad_namespace_prefix() {
    for text in [
        "<s:stream xmlns:s='http://etherx.jabber.org/streams'>",
        "<stream xmlns='http://etherx.jabber.org/streams'>",
    ] {
        assert_eq!(
            condition(text),
            Some(StreamCondition::BadNamespacePrefix),
            "{text}"
        );
    }
}

#[test]
fn root_of_the_streams_namespace_that_is_no_stream_is_bad_format() {
    let text = "<stream:features xmlns:stream='http://etherx.jabber.org/streams'>";
    assert_eq!(condition(text), Some(StreamCondition::BadFormat));
}

#[test]
fn rfc_6120_11_5_xml_declaration_is_accepted_at_the_beginning_only() {
    for text in [
        "<?xml version='1.0'?>",
        "<?xml version=\"1.0\" encoding='utf-8' ?>",
        "<?xml\tversion = '1.0'\nencoding='UTF-8' standalone='yes'?>\n",
    ] {
        header(&format!("{text}{HEADER}"));
    }
    for text in [
        "<?xml ?>",
        "<?xml version='1.1'?>",
        "<?xml encoding='UTF-8'?>",
        "<?xml encoding='UTF-8' version='1.0'?>",
        "<?xml version='1.0' version='1.0'?>",
        "<?xml version='1.0'encoding='UTF-8'?>",
        "<?xml version='1.0' standalone='maybe'?>",
        "<?xml version='1.0' a='b'?>",
        "<?xml version='1.0>",
        "<?xml version='1.0' encoding='?'?>",
        "\u{feff}<?xml version='1.0'?>",
        "text",
        "</stream:stream>",
    ] {
        assert_eq!(
            condition(text),
            Some(StreamCondition::NotWellFormed),
            "{text}"
        );
    }
    assert_eq!(
        condition("<?xml version='1.0'?><?xml version='1.0'?>"),
        Some(StreamCondition::RestrictedXml)
    );
    assert_eq!(condition("<![CDATA[a]]>"), Some(StreamCondition::BadFormat));
}

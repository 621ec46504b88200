//! Tests of stanzas.

use super::*;
use crate::framer::{Frame, Framer, Limits};
use crate::ns;

const CONTENT: &str = ns::COMPONENT_ACCEPT;

fn element(text: &str) -> Element {
    let mut framer = Framer::new(Limits::default());
    let header = "<stream:stream xmlns='jabber:component:accept' \
                  xmlns:stream='http://etherx.jabber.org/streams'>";
    framer.buffer().extend_from_slice(header.as_bytes());
    framer.buffer().extend_from_slice(text.as_bytes());
    let mut last = None;
    while let Some(frame) = framer
        .next_frame()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
    {
        last = Some(frame);
    }
    match last {
        Some(Frame::Element(element)) => element,
        other => panic!("{text}: {other:?}"),
    }
}

fn stanza(text: &str) -> Stanza {
    match Stanza::parse(&element(text), None, CONTENT, "example.test") {
        Ok(Some(stanza)) => stanza,
        other => panic!("{text}: {other:?}"),
    }
}

fn rewritten(text: &str) -> String {
    String::from_utf8(stanza(text).to_routed().bytes.to_vec()).expect("UTF-8 in, UTF-8 out")
}

fn condition(text: &str) -> Option<StreamCondition> {
    Stanza::parse(&element(text), None, CONTENT, "example.test")
        .err()
        .map(|error| error.condition)
}

fn xml(routed: Option<Routed>) -> String {
    let routed = routed.expect("an answer");
    assert_eq!(routed.bytes[routed.tag_len as usize - 1], b'>');
    String::from_utf8(routed.bytes.to_vec()).expect("UTF-8")
}

#[test]
fn rfc_6120_4_9_3_elements_that_are_no_stanzas_of_this_stream_are_told_apart() {
    assert_eq!(
        condition("<message xmlns='jabber:client'/>"),
        Some(StreamCondition::InvalidNamespace)
    );
    assert_eq!(
        condition("<iq xmlns=''/>"),
        Some(StreamCondition::InvalidNamespace)
    );
    assert_eq!(
        condition("<c:message xmlns:c='jabber:component:accept'/>"),
        Some(StreamCondition::BadNamespacePrefix)
    );
    assert_eq!(
        condition("<route/>"),
        Some(StreamCondition::UnsupportedStanzaType)
    );
    assert_eq!(
        condition("<Message/>"),
        Some(StreamCondition::UnsupportedStanzaType)
    );
    for nonza in [
        "<r xmlns='urn:xmpp:sm:3'/>",
        "<stream:error/>",
        "<a xmlns='u'/>",
    ] {
        let parsed = Stanza::parse(&element(nonza), None, CONTENT, "example.test");
        assert!(matches!(parsed, Ok(None)), "{nonza}");
    }
}

#[test]
fn start_tag_is_rewritten_and_content_stays_as_sent() {
    assert_eq!(
        rewritten(
            "<message  type=\"chat\"\n to='B@Example.test/R'  xmlns='jabber:component:accept' \
             x:y='&lt;' from='cb1.example.test' xmlns:x = 'u' id='a&amp;\"1\"'\n><body >a&#10;</body \
             ><b xmlns='c'/></message >"
        ),
        "<message from='cb1.example.test' to='b@example.test/R' type=\"chat\" x:y='&lt;' \
         xmlns:x = 'u' id='a&amp;\"1\"'><body >a&#10;</body ><b xmlns='c'/></message >"
    );
    assert_eq!(rewritten("<presence/>"), "<presence></presence>");
    assert_eq!(rewritten("<iq id='1' />"), "<iq id='1'></iq>");
}

#[test]
fn content_is_not_copied() {
    let element = element("<message><body>hello</body></message>");
    let stanza = Stanza::parse(&element, None, CONTENT, "example.test");
    let content = stanza
        .ok()
        .flatten()
        .map(|stanza| stanza.content)
        .expect("a stanza");
    assert_eq!(content.as_ptr(), element.bytes()[9..].as_ptr());
}

#[test]
fn written_tag_has_the_length_that_is_returned() {
    let mut out = BytesMut::from(&b"before"[..]);
    let length = stanza("<message to='a'><b/></message>").write_to(&mut out);
    assert_eq!(&out[..], b"before<message to='a'>");
    assert_eq!(length, 16);
}
#[test]
fn rfc_6120_8_1_2_1_sender_can_be_stamped_before_writing() {
    let mut stanza = stanza("<message from='forged@example.test' to='b@example.test'/>");
    stanza.from = Jid::parse("a@example.test/it's").ok();
    let routed = stanza.to_routed();
    assert_eq!(
        routed.bytes,
        "<message from='a@example.test/it&apos;s' to='b@example.test'></message>"
    );
    assert_eq!(routed.from().as_deref(), Some("a@example.test/it's"));
}
#[test]
fn rfc_6120_8_1_5_language_of_the_stream_is_made_explicit_and_an_own_one_is_kept() {
    let with_lang = |text: &str| {
        let stanza = Stanza::parse(&element(text), Some("d'e"), CONTENT, "example.test");
        stanza.ok().flatten().expect("a stanza").to_routed().bytes
    };
    assert_eq!(
        with_lang("<message/>"),
        "<message xml:lang='d&apos;e'></message>"
    );
    assert_eq!(
        with_lang("<message xml:lang=\"fr\"/>"),
        "<message xml:lang=\"fr\"></message>"
    );
    assert_eq!(
        with_lang("<message lang='fr'/>"),
        "<message lang='fr' xml:lang='d&apos;e'></message>"
    );
}

#[test]
fn xep_0359_stanza_ids_by_us_are_dropped_and_those_by_others_stay() {
    let ours = "<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='example.test'/>";
    let other = "<stanza-id xmlns='urn:xmpp:sid:0' id='1' by='other.test'/>";
    assert_eq!(
        rewritten(&format!("<message>{ours}a{other}<b/>{ours}</message>")),
        format!("<message>a{other}<b/></message>")
    );
    for hidden in [
        "<stanza-id by='EXAMPLE.test.' xmlns='urn:xmpp:sid&#58;0'> <a/> </stanza-id>",
        "<s:stanza-id xmlns:s='urn:xmpp:sid:0' by='ex&#97;mple.test'/>",
        "<stanza-id by=\"example.test\" a='/>' xmlns='urn:xmpp:sid:0'></stanza-id >",
    ] {
        assert_eq!(
            rewritten(&format!("<message>{hidden}</message>")),
            "<message></message>"
        );
    }
    assert_eq!(
        rewritten("<message xmlns:s='urn:xmpp:sid:0'><s:stanza-id by='example.test'/></message>"),
        "<message xmlns:s='urn:xmpp:sid:0'></message>"
    );
    for kept in [
        format!("<message><a>{ours}</a></message>"),
        "<message><stanza-id by='example.test'></stanza-id></message>".to_owned(),
        format!("<iq>{ours}</iq>"),
    ] {
        assert_eq!(rewritten(&kept), kept);
    }
}
#[test]
fn rfc_6120_8_2_3_iq_needs_an_id_a_known_type_and_one_child_for_a_request() {
    for (text, expected) in [
        ("<iq type='get' id='1'><a xmlns='u'/></iq>", None),
        ("<iq type='set' id='1'> <a xmlns='u'><b/></a> </iq>", None),
        ("<iq type='result' id='1'/>", None),
        ("<iq type='error' id='1'><a/><b/></iq>", None),
        ("<iq type='g&#101;t' id=''><a/></iq>", None),
        ("<iq type='get' id='1'/>", Some(StanzaCondition::BadRequest)),
        (
            "<iq type='get' id='1'>text</iq>",
            Some(StanzaCondition::BadRequest),
        ),
        (
            "<iq type='set' id='1'><a/><b/></iq>",
            Some(StanzaCondition::BadRequest),
        ),
        (
            "<iq type='result' id='1'><a/><b/></iq>",
            Some(StanzaCondition::BadRequest),
        ),
        (
            "<iq type='get'><a/></iq>",
            Some(StanzaCondition::BadRequest),
        ),
        ("<iq id='1'><a/></iq>", Some(StanzaCondition::BadRequest)),
        (
            "<iq type='GET' id='1'><a/></iq>",
            Some(StanzaCondition::BadRequest),
        ),
        ("<presence/>", None),
        ("<presence type='subscribe'/>", None),
        (
            "<presence type='available'/>",
            Some(StanzaCondition::BadRequest),
        ),
        ("<message type='unheard-of'/>", None),
    ] {
        assert_eq!(stanza(text).reject(), expected, "{text}");
    }
}

#[test]
fn rfc_6120_8_3_3_8_recipient_that_is_no_address_is_jid_malformed() {
    for to in ["", "@", "a b@c", "a@b/"] {
        let stanza = stanza(&format!("<message to='{to}'/>"));
        assert_eq!(stanza.reject(), Some(StanzaCondition::JidMalformed), "{to}");
        assert!(stanza.to.is_none() && stanza.to_fault.is_some());
    }
    let stanza = stanza("<message from='@'/>");
    assert_eq!(stanza.reject(), None);
    assert!(stanza.from.is_none() && stanza.from_fault.is_some());
}
#[test]
fn rfc_6120_8_3_1_errors_and_results_are_never_answered() {
    for (text, answerable) in [
        ("<iq type='get'/>", true),
        ("<iq type='foo'/>", true),
        ("<iq/>", true),
        ("<message/>", true),
        ("<presence type='probe'/>", true),
        ("<iq type='result'/>", false),
        ("<iq type='&#101;rror'/>", false),
        ("<message type='error'/>", false),
        ("<presence type='error'/>", false),
    ] {
        let stanza = stanza(text);
        assert_eq!(stanza.answerable, answerable, "{text}");
        let routed = stanza.to_routed();
        let reply = routed.error_reply(StanzaCondition::BadRequest, None);
        assert_eq!(reply.is_some(), answerable, "{text}");
        assert!(reply.is_none_or(|reply| !reply.answerable));
    }
}
#[test]
fn rfc_6120_8_3_1_error_reply_keeps_the_id_and_swaps_the_addresses() {
    let routed = stanza(
        "<iq type='get' id=\"it's&lt;\" from='a@example.test/r' to='cb1.example.test' \
         xml:lang='de'><query xmlns='u'/></iq>",
    )
    .to_routed();
    assert_eq!(
        xml(routed.error_reply(StanzaCondition::RemoteServerTimeout, Some("not <here>"))),
        "<iq from='cb1.example.test' to='a@example.test/r' id=\"it's&lt;\" type='error'>\
         <error type='wait'><remote-server-timeout xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
         <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas' xml:lang='en'>not &lt;here&gt;</text>\
         </error></iq>"
    );
    let routed = stanza("<message from='a@example.test'/>").to_routed();
    assert_eq!(
        xml(routed.error_reply(StanzaCondition::JidMalformed, None)),
        "<message to='a@example.test' type='error'><error type='modify'>\
         <jid-malformed xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></message>"
    );
    assert!(
        xml(routed.error_reply_from("example.test", StanzaCondition::JidMalformed, None))
            .starts_with("<message from='example.test' to='a@example.test' type='error'>")
    );
}

#[test]
fn answers_are_well_formed_and_read_back() {
    let routed = stanza("<iq type='set' id='&quot;&apos;' from='a' to='b'><c/></iq>").to_routed();
    for reply in [
        routed.error_reply(StanzaCondition::Gone, Some("a\u{1}]]>")),
        routed.result_reply("<d xmlns='u'/>"),
    ] {
        let read = stanza(&xml(reply));
        assert_eq!(read.reject(), None);
        assert_eq!(read.id().as_deref(), Some("\"'"));
        assert_eq!(read.to.as_ref().map(Jid::as_str), Some("a"));
        assert_eq!(read.from.as_ref().map(Jid::as_str), Some("b"));
    }
    assert!(
        stanza("<iq type='result' id='1'/>")
            .to_routed()
            .result_reply("")
            .is_none()
    );
    assert!(stanza("<message/>").to_routed().result_reply("").is_none());
}

#[test]
fn payload_of_a_routed_stanza_is_named_with_its_namespace() {
    let payload = |text: &str| {
        let routed = stanza(text).to_routed();
        routed
            .payload()
            .map(|(name, ns)| (name.to_owned(), ns.map(Cow::into_owned)))
    };
    let named = |name: &str, ns: &str| Some((name.to_owned(), Some(ns.to_owned())));
    assert_eq!(
        payload("<iq><ping xmlns='urn:xmpp:ping'/></iq>"),
        named("ping", ns::PING)
    );
    assert_eq!(payload("<iq>\n<p:a xmlns:p='u'/></iq>"), named("a", "u"));
    assert_eq!(payload("<iq xmlns:p='u'><p:a/></iq>"), named("a", "u"));
    assert_eq!(payload("<iq><stream:a/></iq>"), named("a", ns::STREAMS));
    assert_eq!(
        payload("<message><body/></message>"),
        Some(("body".to_owned(), None))
    );
    assert_eq!(payload("<iq/>"), None);
    assert_eq!(payload("<iq>text</iq>"), None);
}

#[test]
fn delivery_has_what_is_inserted_directly_after_the_start_tag() {
    let routed = stanza("<message to='a'><body/></message>").to_routed();
    let mut out = BytesMut::new();
    routed.write_delivery(&mut out, b"<stanza-id/>");
    assert_eq!(&out[..], b"<message to='a'><stanza-id/><body/></message>");
}

#[test]
fn bytes_that_are_no_stanza_give_nothing() {
    for (tag_len, bytes) in [
        (0, &b""[..]),
        (100, b"<"),
        (3, b"\xff\xfe\xfd"),
        (2, b"<a b='"),
        (1, b"<iq"),
    ] {
        let routed = Routed {
            kind: Kind::Iq,
            answerable: true,
            tag_len,
            bytes: Bytes::copy_from_slice(bytes),
        };
        assert_eq!(
            (routed.from(), routed.to(), routed.id(), routed.payload()),
            (None, None, None, None)
        );
        assert!(routed.error_reply(StanzaCondition::Gone, None).is_some());
        routed.write_delivery(&mut BytesMut::new(), b"");
    }
}

#[test]
fn kinds_are_read_back_from_their_numbers() {
    for kind in [Kind::Message, Kind::Presence, Kind::Iq] {
        assert_eq!(Kind::from_code(kind as u8), Some(kind));
    }
    assert_eq!(Kind::from_code(3), None);
}

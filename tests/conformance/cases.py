"""What a server must do on component streams, a case each. A case raises `Unexpected` with what it saw.

A case says its clause, and whether it is a MUST of that clause or a SHOULD, or nothing but what a careful server does ("care").
"""

import time

from wire import ACCEPT, STREAMS, Unexpected, condition, show

CASES = []
#: Seconds that a server may wait for a component to come back.
AWAY = 40
PING = "<ping xmlns='urn:xmpp:ping'/>"


def case(clause, level):
    def kept(function):
        CASES.append((function.__name__.replace("_", " "), clause, level, function))
        return function

    return kept


def expect(truth, otherwise):
    if not truth:
        raise Unexpected(otherwise)


def body(number):
    return f"<body>{number}</body>"


# --- streams ----------------------------------------------------------------------------------------------------------


@case("XEP-0114, 3", "MUST")
def a_header_is_answered_by_one_from_the_components_name_with_an_id(server):
    attributes = server.connect().open(server.one.name)
    expect(attributes.get("from") == server.one.name, f"from {attributes.get('from')!r}")
    expect(attributes.get("id"), "no id")


@case("RFC 6120, 4.7.3", "MUST")
def ids_of_streams_are_unique_and_long(server):
    ids = {server.connect().open(server.one.name)["id"] for _ in range(20)}
    expect(len(ids) == 20, "repeated ids")
    expect(min(map(len, ids)) >= 10, f"ids as short as {min(ids, key=len)!r}")


@case("XEP-0114, 3", "MUST")
def the_right_handshake_is_answered(server):
    server.bound(server.one)


@case("XEP-0114, 3", "MUST")
def a_wrong_handshake_ends_the_stream_with_not_authorized(server):
    peer = server.connect()
    peer.open(server.one.name)
    peer.shake("not " + server.one.secret)
    peer.error("not-authorized")
    peer.ended()


@case("XEP-0114, 3", "MUST")
def one_components_secret_does_not_open_another_name(server):
    peer = server.connect()
    peer.open(server.two.name)
    peer.shake(server.one.secret)
    peer.error("not-authorized")


@case("RFC 6120, 4.9.1.2", "MUST")
def a_name_that_is_not_known_gets_a_header_and_a_stream_error(server):
    peer = server.connect()
    peer.open(f"nobody.{server.domain}")
    peer.shake("secret")
    peer.error("host-unknown", "not-authorized")


@case("RFC 6120, 4.9.3.10", "MUST")
def a_wrong_content_namespace_is_invalid_namespace(server):
    peer = server.connect()
    peer.open(server.one.name, content="jabber:nothing")
    peer.error("invalid-namespace")


@case("RFC 6120, 4.9.3.10", "MUST")
def a_wrong_stream_namespace_is_invalid_namespace(server):
    peer = server.connect()
    peer.open(server.one.name, streams="http://etherx.jabber.org/nothing")
    peer.error("invalid-namespace", "bad-namespace-prefix")


@case("RFC 6120, 4.9.3.12", "MUST")
def a_stanza_before_the_handshake_is_not_authorized_and_goes_nowhere(server):
    other = server.bound(server.two)
    peer = server.connect()
    peer.open(server.one.name)
    peer.send(f"<message from='{server.one.name}' to='{server.two.name}'>{body('early')}</message>")
    peer.error("not-authorized")
    other.silence()


@case("RFC 6120, 4.4", "MUST")
def the_end_of_a_stream_is_answered_by_the_servers_end(server):
    peer = server.bound(server.one)
    peer.send("</stream:stream>")
    expect(peer.next()[0] == "close", "no closing tag")


@case("RFC 6120, 4.6.1", "MUST")
def white_space_between_stanzas_is_a_sign_of_life(server):
    peer = server.bound(server.one)
    peer.send(" \n\t ")
    answers(server, peer)


@case("RFC 6120, 4.9.3.3", "care")
def of_two_streams_of_one_name_one_ends_with_conflict(server):
    first, second = server.bound(server.one), server.connect()
    second.open(server.one.name)
    second.shake(server.one.secret)
    ends = []
    for peer in (first, second):
        try:
            ends.append(peer.error("conflict"))
        except Unexpected:
            pass
    expect(ends == ["conflict"], f"{len(ends)} of them")


# --- XML --------------------------------------------------------------------------------------------------------------


def broken(name, clause, level, text, *conditions):
    def run(server):
        peer = server.bound(server.one)
        peer.send(text if isinstance(text, bytes) else text.format(one=server.one.name, two=server.two.name))
        peer.error(*conditions)
        peer.ended()

    CASES.append((name, clause, level, run))


MESSAGE = "<message from='{one}' to='{two}'>%s</message>"
broken("a comment is restricted-xml", "RFC 6120, 11.1", "MUST", MESSAGE % "<!-- x -->", "restricted-xml")
broken("a processing instruction is restricted-xml", "RFC 6120, 11.1", "MUST", MESSAGE % "<?x y?>", "restricted-xml")
broken("a document type is restricted-xml", "RFC 6120, 11.1", "MUST", "<!DOCTYPE x [<!ENTITY e 'e'>]>", "restricted-xml", "not-well-formed")
broken("an entity that is not predefined is refused", "RFC 6120, 11.1", "MUST", MESSAGE % "&e;", "restricted-xml", "not-well-formed")
broken("tags that do not match are not-well-formed", "RFC 6120, 4.9.3.13", "MUST", MESSAGE % "<a></b>", "not-well-formed")
broken("an attribute given twice is not-well-formed", "RFC 6120, 4.9.3.13", "MUST", MESSAGE % "<a b='1' b='2'/>", "not-well-formed")
broken("a character that XML forbids is not-well-formed", "RFC 6120, 4.9.3.13", "MUST", MESSAGE % "&#1;", "not-well-formed")
broken("a raw control character is not-well-formed", "RFC 6120, 4.9.3.13", "MUST", MESSAGE % "\x01", "not-well-formed")
broken("a prefix that is not declared is refused", "RFC 6120, 11.3", "MUST", MESSAGE % "<p:a/>", "not-well-formed", "bad-namespace-prefix")
broken("bytes that are no UTF-8 are refused", "RFC 6120, 11.6", "MUST", b"<message>\xff\xfe</message>", "not-well-formed", "unsupported-encoding", "bad-format")
broken("text between stanzas is refused", "RFC 6120, 4.9.3.1", "MUST", "hello", "bad-format", "not-well-formed", "invalid-xml")


@case("RFC 6120, 11.5", "MUST")
def the_five_predefined_entities_and_cdata_arrive_as_characters(server):
    text = delivered(server, "<body>&lt;&gt;&amp;&quot;&apos;<![CDATA[<x/>]]>&#x1F600;</body>").find(f"{{{ACCEPT}}}body").text
    expect(text == "<>&\"'<x/>\U0001f600", repr(text))


@case("RFC 6120, 11.1", "care")
def a_hundred_thousand_nested_elements_end_one_stream_and_no_more(server):
    other, peer = server.bound(server.two), server.bound(server.one)
    peer.send("<message>" + "<a>" * 100_000)
    peer.error("policy-violation", "not-well-formed", "resource-constraint", "restricted-xml", "bad-format")
    answers(server, other)


@case("RFC 6120, 13.12", "MUST")
def a_stanza_of_ten_thousand_bytes_is_taken(server):
    delivered(server, f"<body>{'x' * 9_800}</body>")


@case("RFC 6120, 13.12", "care")
def a_stanza_without_end_ends_with_policy_violation(server):
    peer = server.bound(server.one)
    peer.send("<message><body>" + "x" * 20_000_000)
    peer.error("policy-violation", "resource-constraint")


@case("RFC 6120, 3", "care")
def bytes_may_come_one_by_one(server):
    other, peer = pair(server)
    for byte in f"<message from='{server.one.name}' to='{server.two.name}'><body>é</body></message>".encode():
        peer.send(bytes([byte]))
    expect(other.element().find(f"{{{ACCEPT}}}body").text == "é", "another text")


# --- stanzas ----------------------------------------------------------------------------------------------------------


def answers(server, peer):
    """The server answers a question on this stream."""
    peer.send(ask(server, peer))
    while (answer := peer.element()).get("id") != "alive":
        pass
    return answer


def ask(server, peer):
    """A question to the server by whoever this stream is."""
    own = server.one.name if peer.root.get("from") == server.one.name else server.two.name
    return f"<iq type='get' id='alive' from='{own}' to='{server.domain}'>{PING}</iq>"


def pair(server):
    """Streams of both components, once what the first sends reaches the second: a server may take its time to know a stream."""
    other, peer = server.bound(server.two), server.bound(server.one)
    probe = f"<message id='%s' from='{server.one.name}' to='{server.two.name}'>{body('probe')}</message>"
    for attempt in range(10):
        peer.send(probe % f"probe-{attempt}")
        try:
            other.element(patience=0.3)
            break
        except Unexpected:
            pass
    peer.send(probe % "last")
    while other.element().get("id") != "last":
        pass
    answers(server, peer)  # whatever came back of the first probes came before this
    return other, peer


def delivered(server, content, attributes=""):
    """What the other component gets of a message with this content."""
    other, peer = pair(server)
    peer.send(f"<message from='{server.one.name}' to='{server.two.name}'{attributes}>{content}</message>")
    return other.element()


def bounced(server, stanza):
    """What a component gets back for a stanza of its own."""
    peer = server.bound(server.one)
    peer.send(stanza.format(one=server.one.name, two=server.two.name, domain=server.domain))
    return peer.element()


@case("RFC 6120, 10.1", "MUST")
def two_hundred_messages_arrive_in_order(server):
    other, peer = pair(server)
    for number in range(200):
        peer.send(f"<message from='a@{server.one.name}/{number % 3}' to='b@{server.two.name}'>{body(number)}</message>")
    found = [int(other.element().find(f"{{{ACCEPT}}}body").text) for _ in range(200)]
    expect(found == list(range(200)), "another order")


@case("RFC 6120, 8.1.5", "MUST")
def the_language_of_a_stanza_is_kept(server):
    lang = delivered(server, body(1), " xml:lang='de'").get("{http://www.w3.org/XML/1998/namespace}lang")
    expect(lang == "de", f"xml:lang {lang!r}")


@case("RFC 6120, 8.4", "MUST")
def content_of_other_namespaces_arrives_as_it_was(server):
    element = delivered(server, "<p:a xmlns:p='urn:x' p:b='1'><c xmlns='urn:y'>t</c></p:a>").find("{urn:x}a")
    expect(element is not None and element.get("{urn:x}b") == "1" and element.findtext("{urn:y}c") == "t", "something else")


@case("RFC 6120, 4.9.3.9", "MUST")
def a_stanza_from_another_domain_is_not_delivered(server):
    other, peer = pair(server)
    peer.send(f"<message from='someone@elsewhere.invalid' to='{server.two.name}'>{body('forged')}</message>")
    other.silence()


@case("RFC 6120, 4.9.3.9", "SHOULD")
def a_stanza_from_another_domain_ends_the_stream_with_invalid_from(server):
    peer = server.bound(server.one)
    peer.send(f"<message from='someone@elsewhere.invalid' to='{server.two.name}'>{body('forged')}</message>")
    peer.error("invalid-from")


@case("RFC 6120, 4.9.3.7", "SHOULD")
def a_stanza_without_from_ends_the_stream_or_is_answered(server):
    peer = server.bound(server.one)
    peer.send(f"<iq type='get' id='x' to='{server.domain}'>{PING}</iq>")
    kind = peer.element()
    expect(kind.tag.endswith("}error") or kind.get("id") == "x", show(kind))


@case("RFC 6120, 4.9.3.24", "MUST")
def a_child_that_is_no_stanza_is_unsupported_stanza_type(server):
    peer = server.bound(server.one)
    peer.send("<pizza/>")
    peer.error("unsupported-stanza-type")


@case("RFC 6120, 8.2.3", "MUST")
def a_question_to_a_component_that_is_away_is_answered_once_with_its_id(server):
    """It may come back first: a server may wait for that, so this one is given time."""
    peer = server.bound(server.one)
    addresses = f"from='a@{server.one.name}/r' to='b@{server.two.name}'"
    peer.send(f"<iq type='get' id='q' {addresses}>{PING}</iq><message id='m' {addresses}>{body(1)}</message>")
    answers = {}
    while "q" not in answers:
        answer = peer.element(patience=AWAY)
        expect(answer.get("id") not in answers, "two answers")
        answers[answer.get("id")] = answer
    answer = answers["q"]
    expect(answer.get("type") == "error", show(answer))
    expect((answer.get("to"), answer.get("from")) == (f"a@{server.one.name}/r", f"b@{server.two.name}"), "other addresses")
    expect(condition(answer) is not None, "no condition")


@case("RFC 6120, 8.3.1", "MUST")
def an_error_is_never_answered_by_an_error(server):
    peer = server.bound(server.one)
    error = "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    peer.send(f"<message type='error' from='a@{server.one.name}' to='b@{server.two.name}'>{error}</message>")
    peer.send(f"<iq type='result' id='r' from='a@{server.one.name}' to='b@{server.two.name}'/>")
    peer.silence()


@case("RFC 6120, 8.2.3", "MUST")
def a_question_that_the_server_does_not_know_is_answered_with_an_error(server):
    answer = bounced(server, "<iq type='get' id='u' from='a@{one}' to='{domain}'><x xmlns='urn:unknown'/></iq>")
    expect((answer.get("type"), answer.get("id")) == ("error", "u"), show(answer))


@case("RFC 6120, 8.2.3", "MUST")
def a_question_without_id_is_refused(server):
    answer = bounced(server, "<iq type='get' from='a@{one}' to='{domain}'>" + PING + "</iq>")
    expect(answer.get("type") == "error" or answer.tag == f"{{{STREAMS}}}error", show(answer))


@case("RFC 6120, 8.2.3", "MUST")
def a_question_with_two_children_is_refused(server):
    answer = bounced(server, "<iq type='get' id='t' from='a@{one}' to='{domain}'>" + 2 * PING + "</iq>")
    expect(answer.get("type") == "error" or answer.tag == f"{{{STREAMS}}}error", show(answer))


@case("RFC 6120, 8.3.3.8", "MUST")
def an_address_that_cannot_be_is_answered_with_jid_malformed(server):
    answer = bounced(server, "<iq type='get' id='j' from='a@{one}' to='@{two}'>" + PING + "</iq>")
    expect(answer.get("type") == "error" or answer.tag == f"{{{STREAMS}}}error", show(answer))


@case("RFC 6120, 8.3.3.16", "MUST")
def a_question_to_a_domain_that_is_not_served_is_answered(server):
    peer = server.bound(server.one)
    peer.send(f"<iq type='get' id='f' from='a@{server.one.name}' to='x.invalid'>{PING}</iq>")
    answer = peer.element(patience=20)
    expect(answer.get("type") == "error" and answer.get("id") == "f", show(answer))


@case("RFC 6120, 13.12", "care")
def a_component_that_reads_nothing_does_not_stop_another(server):
    deaf, peer = server.bound(server.two), server.bound(server.one)
    message = f"<message from='{server.one.name}' to='{server.two.name}'>{body('x' * 4000)}</message>"
    began = time.monotonic()
    for _ in range(2_000):
        peer.send(message)
    peer.send(ask(server, peer))
    while peer.element(patience=20).get("id") != "alive":
        pass
    expect(time.monotonic() - began < 30, "it was slow")
    deaf.close()

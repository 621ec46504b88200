"""What a component stream must not be: each fault ends it with its own stream error (RFC 6120, 4.9.3; XEP-0114, 3).

Every case asserts the whole end: our header even if the fault is in the peer's, the error, `</stream:stream>`, the close.
"""

import hashlib
import ssl
import socket

import pytest

from cluster import CEILING, eventually
from stream import ACCEPT, PING, STREAMS, Stream, header, trusting

NAME = "it.example.test"

HEADERS = {
    "another content namespace": (header(NAME, content_ns="jabber:client"), "invalid-namespace"),
    "another stream namespace": (header(NAME, stream_ns="urn:other"), "invalid-namespace"),
    "another prefix": (header(NAME, prefix="s"), "bad-namespace-prefix"),
    "no prefix": (f"<stream xmlns='{STREAMS}' to='{NAME}'>", "bad-namespace-prefix"),
    "a prefix for stanzas": (header(NAME).replace(" to=", " xmlns:a='urn:a' to="), "bad-namespace-prefix"),
    "a name elsewhere": (header("it.elsewhere.test"), "host-unknown"),
    "the domain itself": (header("example.test"), "host-unknown"),
    "a name two levels below": (header("a.it.example.test"), "host-unknown"),
    "a name with a localpart": (header(f"a@{NAME}"), "host-unknown"),
    "a name that is none": (header("it..example.test"), "host-unknown"),
    "no name": (header(NAME).replace(f" to='{NAME}'", ""), "host-unknown"),
    "another encoding": ("<?xml version='1.0' encoding='ISO-8859-1'?>" + header(NAME), "unsupported-encoding"),
    "bytes that are no UTF-8": (header("\udcff").encode("utf-8", "surrogateescape"), "unsupported-encoding"),
    "UTF-16": (header(NAME).encode("utf-16"), "unsupported-encoding"),
    "a document type": ("<!DOCTYPE stream>" + header(NAME), "restricted-xml"),
    "entities that multiply": (
        "<!DOCTYPE s [<!ENTITY a 'aaaaaaaaaa'><!ENTITY b '&a;&a;&a;&a;&a;&a;&a;&a;'>]>" + header("&b;"),
        "restricted-xml",
    ),
    "a comment": ("<!-- -->" + header(NAME), "restricted-xml"),
    "a processing instruction": ("<?php ?>" + header(NAME), "restricted-xml"),
    "another protocol": ("GET / HTTP/1.1\r\nHost: example.test\r\n\r\n", "not-well-formed"),
    "attributes that occur twice": (header(NAME).replace(" to=", " to='a' to="), "not-well-formed"),
    "more than 4096 bytes": (header(NAME).replace(" to=", f" a='{'a' * 5000}' to="), "policy-violation"),
    "a stanza instead": ("<message/>", "invalid-namespace"),
}


@pytest.mark.parametrize("case", HEADERS)
async def test_a_header_with_a_fault_is_answered_by_a_header_and_the_error(cluster, case):
    data, condition = HEADERS[case]
    stream = await Stream.connect(cluster, cluster.nodes[0])
    stream.send(data)
    assert await stream.error() == condition
    answer = stream.header.result()
    assert answer["from"] == cluster.domain
    assert len(answer["id"]) == 32
    assert answer["{http://www.w3.org/XML/1998/namespace}lang"] == "en"


async def test_a_wrong_secret_and_an_unknown_name_are_told_alike(cluster):
    bridge = cluster.bridge()
    answers = []
    for name, secret in [(bridge.name, "wrong"), (bridge.name, ""), ("nobody", bridge.secret)]:
        stream = await Stream.connect(cluster, cluster.nodes[1])
        attributes = await stream.open(f"{name}.{cluster.domain}")
        stream.send(f"<handshake>{stream.digest(secret)}</handshake>")
        assert attributes.pop("from") == f"{name}.{cluster.domain}"
        answers.append((len(attributes.pop("id")), attributes, await stream.error()))
    assert answers == [answers[0]] * 3
    assert answers[0][2] == "not-authorized"


async def test_the_secret_of_another_bridge_opens_nothing(cluster):
    mine, other = cluster.bridge(), cluster.bridge()
    stream = await Stream.connect(cluster, cluster.nodes[0])
    await stream.open(other.jid)
    stream.send(f"<handshake>{stream.digest(mine.secret)}</handshake>")
    assert await stream.error() == "not-authorized"


@pytest.mark.parametrize(
    "early",
    [
        "<message from='{jid}' to='{other}'><body>early</body></message>",
        f"<iq type='get' id='1' from='{{jid}}' to='example.test'><ping xmlns='{PING}'/></iq>",
        "<enable xmlns='urn:xmpp:sm:3' resume='true'/>",
        "<handshake xmlns='urn:other'>{digest}</handshake>",
    ],
)
async def test_what_comes_before_the_handshake_is_not_authorized_and_has_no_effect(cluster, early):
    bridge, other = cluster.bridge(), cluster.bridge()
    witness = await Stream.component(cluster, cluster.nodes[1], other)
    stream = await Stream.connect(cluster, cluster.nodes[0])
    await stream.open(bridge.jid)
    digest = stream.digest(bridge.secret)
    handshake = f"<handshake>{digest}</handshake>"
    stream.send(early.format(jid=bridge.jid, other=other.jid, digest=digest) + handshake)
    assert await stream.error() == "not-authorized"
    # The witness would have the message before it has the answer to a ping that was sent later.
    await witness.fence(other.jid, cluster.domain)
    assert witness.received.empty()


async def test_stream_ids_are_unpredictable_and_unique(cluster):
    ids = []
    for turn in range(30):
        stream = await Stream.connect(cluster, cluster.nodes[turn % 3])
        ids.append((await stream.open(NAME))["id"])
        stream.abort()
    assert len(set(ids)) == len(ids)
    assert all(len(identity) == 32 and int(identity, 16) for identity in ids)
    # No bit is the same in all of them: the chance of that for random ones is 128 / 2^29.
    values = [int(identity, 16) for identity in ids]
    assert all(len({value >> bit & 1 for value in values}) == 2 for bit in range(128))


async def test_an_upper_case_handshake_and_a_bare_name_are_accepted(cluster):
    bridge = cluster.bridge()
    stream = await Stream.connect(cluster, cluster.nodes[0])
    assert (await stream.open(bridge.name))["from"] == bridge.jid
    stream.send(f"<handshake>{stream.digest(bridge.secret).upper()}</handshake>")
    assert (await stream.next()).tag == f"{{{ACCEPT}}}handshake"
    await stream.fence(bridge.jid, cluster.domain)


ESTABLISHED = {
    "a foreign sender": ("<message from='a@other.example.test' to='{jid}'/>", "invalid-from"),
    "a sender at the domain": ("<message from='example.test' to='{jid}'/>", "invalid-from"),
    "no sender": ("<message to='{jid}'/>", "improper-addressing"),
    "no recipient": ("<message from='{jid}'/>", "improper-addressing"),
    "no address": ("<iq type='get' id='1'><ping xmlns='urn:xmpp:ping'/></iq>", "improper-addressing"),
    "an unknown stanza": ("<letter from='{jid}' to='{jid}'/>", "unsupported-stanza-type"),
    "an unknown element": ("<letter xmlns='urn:other'/>", "unsupported-stanza-type"),
    "a stanza of clients": ("<message xmlns='jabber:client' from='{jid}' to='{jid}'/>", "invalid-namespace"),
    "a stanza with a prefix": (
        f"<a:message xmlns:a='{ACCEPT}' from='{{jid}}' to='{{jid}}'/>",
        "bad-namespace-prefix",
    ),
    "a prefix that is not declared": ("<message from='{jid}' to='{jid}'><a:b/></message>", "not-well-formed"),
    "a second header": (header(NAME), "bad-format"),
    "text between stanzas": ("hello", "bad-format"),
    "a comment": ("<message from='{jid}' to='{jid}'><!-- --></message>", "restricted-xml"),
    "a processing instruction": ("<message from='{jid}' to='{jid}'><?php ?></message>", "restricted-xml"),
    "a document type": ("<!DOCTYPE message><message from='{jid}' to='{jid}'/>", "restricted-xml"),
    "an entity": ("<message from='{jid}' to='{jid}'><body>&lol;</body></message>", "restricted-xml"),
    "an external entity": (
        "<!DOCTYPE m [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><message from='{jid}' to='{jid}'>&e;</message>",
        "restricted-xml",
    ),
    "tags that do not match": ("<message from='{jid}' to='{jid}'><body></message>", "not-well-formed"),
    "an attribute that occurs twice": ("<message from='{jid}' from='{jid}' to='{jid}'/>", "not-well-formed"),
    "an attribute without quotes": ("<message from={jid} to='{jid}'/>", "not-well-formed"),
    "an ampersand alone": ("<message from='{jid}' to='{jid}'><body>a & b</body></message>", "not-well-formed"),
    "a character that XML forbids": ("<message from='{jid}' to='{jid}'><body>\x01</body></message>", "not-well-formed"),
    "a reference to such a character": (
        "<message from='{jid}' to='{jid}'><body>&#1;</body></message>",
        "not-well-formed",
    ),
    "bytes that are no UTF-8": ("<message from='{jid}' to='{jid}'><body>\udcff</body></message>", "unsupported-encoding"),
    "more than 262144 bytes": ("<message from='{jid}' to='{jid}'><body>" + "a" * 262144, "policy-violation"),
    "a start tag without end": ("<message from='{jid}' to='{jid}' a='" + "a" * 262144, "policy-violation"),
    "100000 levels": ("<message from='{jid}' to='{jid}'>" + "<a>" * 100_000, "policy-violation"),
    "1000 attributes": (
        "<message from='{jid}' to='{jid}'" + "".join(f" a{n}=''" for n in range(1000)) + "/>",
        "policy-violation",
    ),
    "a name of 300 bytes": ("<message from='{jid}' to='{jid}'><" + "a" * 300 + "/></message>", "policy-violation"),
}


@pytest.mark.parametrize("case", ESTABLISHED)
async def test_a_fault_on_an_established_stream_ends_it_with_its_error(cluster, case):
    data, condition = ESTABLISHED[case]
    bridge = cluster.bridge()
    stream = await Stream.component(cluster, cluster.nodes[1], bridge)
    data = data.replace("{jid}", bridge.jid)
    stream.send(data.encode("utf-8", "surrogateescape"))
    assert await stream.error() == condition
    # The name is free for the next stream at once.
    again = await Stream.component(cluster, cluster.nodes[2], bridge)
    await again.fence(bridge.jid, cluster.domain)


async def test_what_is_only_unusual_is_taken(cluster):
    bridge = cluster.bridge()
    stream = await Stream.component(cluster, cluster.nodes[1], bridge)
    deep = "<a>" * 60 + "</a>" * 60
    bodies = ["<![CDATA[<&>]]>", "&lt;&amp;&gt;&apos;&quot;&#65;", "ü€😀", "a" * 9000, "a" * 260_000]
    for number, content in enumerate(bodies):
        stream.send(f" \n\t<message from='x@{bridge.jid}/r' to='{bridge.jid}' id='{number}'><body>{content}</body></message>")
    stream.send(f"<message from='{bridge.jid}' to='{bridge.jid}' id='deep'>{deep}</message>\n\n")
    expected = ["<&>", "<&>'\"A", "ü€😀", "a" * 9000, "a" * 260_000]
    for number, content in enumerate(expected):
        message = await stream.next()
        assert message.get("id") == str(number)
        assert message.findtext(f"{{{ACCEPT}}}body") == content
    assert (await stream.next()).get("id") == "deep"


async def test_the_stream_may_come_byte_by_byte(cluster):
    bridge = cluster.bridge()
    stream = await Stream.connect(cluster, cluster.nodes[0])
    for byte in header(bridge.jid).encode():
        stream.send(bytes([byte]))
        await stream.drain()
    await eventually(stream.header.done, "the header")
    await stream.handshake(bridge.secret)
    for byte in f"<message from='{bridge.jid}' to='{bridge.jid}' id='ü'/>".encode():
        stream.send(bytes([byte]))
        await stream.drain()
    assert (await stream.next()).get("id") == "ü"


async def test_an_orderly_end_is_answered_after_all_was_accepted(cluster):
    sender, recipient = cluster.bridge(), cluster.bridge()
    target = await Stream.component(cluster, cluster.nodes[2], recipient)
    stream = await Stream.component(cluster, cluster.nodes[0], sender)
    for number in range(500):
        stream.send(f"<message from='{sender.jid}' to='{recipient.jid}' id='{number}'/>")
    stream.send("</stream:stream>")
    assert await stream.rest() == []
    # Our end came: from now on the sender may forget what it sent. All of it arrives, though the sender is gone.
    stream.abort()
    for number in range(500):
        assert (await target.next()).get("id") == str(number)


def test_the_connection_ends_with_close_notify(cluster):
    host, port = cluster.nodes[0].component
    bridge = cluster.bridge()
    with socket.create_connection((host, port), timeout=CEILING) as plain:
        # Without `suppress_ragged_eofs` an end of the connection without close_notify is an error.
        with trusting(cluster.ca).wrap_socket(
            plain, server_hostname=cluster.domain, suppress_ragged_eofs=False
        ) as stream:
            stream.sendall(header(bridge.jid).encode())
            answer = b""
            while b"id='" not in answer or not answer.endswith(b">"):
                answer += stream.recv(4096)
            identity = answer.partition(b"id='")[2].partition(b"'")[0].decode()
            digest = hashlib.sha1((identity + bridge.secret).encode()).hexdigest()
            stream.sendall(f"<handshake>{digest}</handshake></stream:stream>".encode())
            answer = b""
            while data := stream.recv(4096):
                answer += data
            assert answer == b"<handshake/></stream:stream>"
            assert isinstance(stream, ssl.SSLSocket)


async def test_a_removed_bridge_loses_its_stream_and_its_name(cluster):
    bridge = cluster.bridge()
    stream = await Stream.component(cluster, cluster.nodes[2], bridge)
    cluster.remove(bridge)
    assert await stream.error() == "host-gone"
    stream = await Stream.connect(cluster, cluster.nodes[2])
    await stream.open(bridge.jid)
    stream.send(f"<handshake>{stream.digest(bridge.secret)}</handshake>")
    assert await stream.error() == "not-authorized"

"""What cannot be delivered is answered by exactly one error, of the kind that RFC 6120 demands (8.2.3, 8.3.3)."""

import pytest

from stream import ACCEPT, Stream, stanza_error

QUERY = "<query xmlns='urn:something'/>"

#: Stanza (with `{jid}`, the sender, and `{absent}`, a bridge that is not connected), condition, type of the error.
CASES = {
    "a message to an absent bridge": (
        "<message id='1' from='a@{jid}/r' to='b@{absent}/s'><body>x</body></message>",
        ("remote-server-timeout", "wait"),
    ),
    "a request to an absent bridge": (
        f"<iq type='get' id='1' from='a@{{jid}}/r' to='b@{{absent}}/s'>{QUERY}</iq>",
        ("remote-server-timeout", "wait"),
    ),
    "a presence to an absent bridge": (
        "<presence id='1' from='a@{jid}/r' to='b@{absent}/s'/>",
        ("remote-server-timeout", "wait"),
    ),
    "a message to another domain": (
        "<message id='1' from='a@{jid}/r' to='b@elsewhere.test/s'/>",
        ("remote-server-not-found", "cancel"),
    ),
    "a request to an unknown name of our domain": (
        f"<iq type='set' id='1' from='a@{{jid}}/r' to='nobody.example.test'>{QUERY}</iq>",
        ("remote-server-not-found", "cancel"),
    ),
    "a request that the server does not know": (
        f"<iq type='get' id='1' from='a@{{jid}}/r' to='example.test'>{QUERY}</iq>",
        ("service-unavailable", "cancel"),
    ),
    "a message to a user of the domain": (
        "<message id='1' from='a@{jid}/r' to='b@example.test'/>",
        ("service-unavailable", "cancel"),
    ),
    "a request without type": (
        f"<iq id='1' from='a@{{jid}}/r' to='example.test'>{QUERY}</iq>",
        ("bad-request", "modify"),
    ),
    "a request of an unknown type": (
        f"<iq type='fetch' id='1' from='a@{{jid}}/r' to='example.test'>{QUERY}</iq>",
        ("bad-request", "modify"),
    ),
    "a request without child": (
        "<iq type='get' id='1' from='a@{jid}/r' to='example.test'/>",
        ("bad-request", "modify"),
    ),
    "a request with two children": (
        f"<iq type='get' id='1' from='a@{{jid}}/r' to='example.test'>{QUERY}{QUERY}</iq>",
        ("bad-request", "modify"),
    ),
    "a presence of an unknown type": (
        "<presence type='there' id='1' from='a@{jid}/r' to='{absent}'/>",
        ("bad-request", "modify"),
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_a_stanza_that_cannot_be_delivered_is_answered_by_one_error(cluster, case):
    stanza, (condition, kind) = CASES[case]
    bridge, absent = cluster.bridge(), cluster.bridge()
    stream = await Stream.component(cluster, cluster.nodes[1], bridge)
    stanza = stanza.replace("{jid}", bridge.jid).replace("{absent}", absent.jid)
    stream.send(stanza)
    answer = await stream.next()
    assert stanza_error(answer) == (condition, kind)
    assert answer.tag == "{%s}%s" % (ACCEPT, stanza[1:].split(" ")[0])
    assert answer.get("id") == "1"
    assert answer.get("to") == f"a@{bridge.jid}/r"
    assert f"to='{answer.get('from')}'" in stanza, "the error comes from the address that was meant"
    assert await stream.fence(bridge.jid, cluster.domain) == [], "one stanza, one answer"


async def test_a_request_without_id_is_a_bad_request(cluster):
    bridge = cluster.bridge()
    stream = await Stream.component(cluster, cluster.nodes[0], bridge)
    stream.send(f"<iq type='get' from='{bridge.jid}' to='example.test'>{QUERY}</iq>")
    answer = await stream.next()
    assert stanza_error(answer) == ("bad-request", "modify")
    assert answer.get("id") is None


@pytest.mark.parametrize("to", ["@example.test", "a@b@c", "example.test/", "a b@example.test", "a..test", ""])
async def test_a_recipient_that_is_no_address_is_a_stanza_error(cluster, to):
    bridge = cluster.bridge()
    stream = await Stream.component(cluster, cluster.nodes[0], bridge)
    stream.send(f"<message id='1' from='{bridge.jid}' to='{to}'/>")
    answer = await stream.next()
    assert stanza_error(answer) == ("jid-malformed", "modify")
    assert (answer.get("id"), answer.get("to")) == ("1", bridge.jid)
    await stream.fence(bridge.jid, cluster.domain)


async def test_an_error_and_a_result_are_never_answered(cluster):
    bridge, absent = cluster.bridge(), cluster.bridge()
    stream = await Stream.component(cluster, cluster.nodes[1], bridge)
    error = "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    for to in (absent.jid, "elsewhere.test", "example.test", "@"):
        for stanza in (
            f"<message type='error' id='1' from='{bridge.jid}' to='{to}'>{error}</message>",
            f"<presence type='error' id='2' from='{bridge.jid}' to='{to}'>{error}</presence>",
            f"<iq type='error' id='3' from='{bridge.jid}' to='{to}'>{error}</iq>",
            f"<iq type='result' id='4' from='{bridge.jid}' to='{to}'/>",
            # Faulty ones too: without id, and with more children than a result may have.
            f"<iq type='result' from='{bridge.jid}' to='{to}'/>",
            f"<iq type='result' id='5' from='{bridge.jid}' to='{to}'>{QUERY}{QUERY}</iq>",
        ):
            stream.send(stanza)
    assert await stream.fence(bridge.jid, cluster.domain) == []


async def test_errors_and_results_are_delivered(cluster):
    one, two = cluster.bridge(), cluster.bridge()
    sender = await Stream.component(cluster, cluster.nodes[0], one)
    recipient = await Stream.component(cluster, cluster.nodes[1], two)
    error = "<error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
    sender.send(f"<iq type='result' id='a' from='{one.jid}' to='{two.jid}'/>")
    sender.send(f"<iq type='error' id='b' from='{one.jid}' to='{two.jid}'>{error}</iq>")
    sender.send(f"<message type='error' id='c' from='{one.jid}' to='{two.jid}'>{error}</message>")
    assert [(await recipient.next()).get("id") for _ in range(3)] == ["a", "b", "c"]


async def test_the_server_answers_ping_and_discovery(cluster):
    bridge = cluster.bridge()
    stream = await Stream.component(cluster, cluster.nodes[2], bridge)

    async def ask(namespace, name):
        identity = f"{name}-{namespace}"
        request = f"<iq type='get' id='{identity}' from='{bridge.jid}' to='example.test'><{name} xmlns='{namespace}'/></iq>"
        stream.send(request)
        answer = await stream.next()
        assert answer.get("id") == identity
        assert (answer.get("type"), answer.get("from"), answer.get("to")) == ("result", "example.test", bridge.jid)
        return answer

    assert len(await ask("urn:xmpp:ping", "ping")) == 0
    info = await ask("http://jabber.org/protocol/disco#info", "query")
    features = {feature.get("var") for feature in info.iter("{http://jabber.org/protocol/disco#info}feature")}
    assert {"http://jabber.org/protocol/disco#info", "urn:xmpp:ping"} <= features
    identities = list(info.iter("{http://jabber.org/protocol/disco#info}identity"))
    assert [identity.get("category") for identity in identities] == ["server"]
    items = await ask("http://jabber.org/protocol/disco#items", "query")
    found = {item.get("jid") for item in items.iter("{http://jabber.org/protocol/disco#items}item")}
    assert bridge.jid in found


async def test_a_claimed_stanza_id_of_ours_is_dropped_and_a_foreign_one_is_kept(cluster):
    one, two = cluster.bridge(), cluster.bridge()
    sender = await Stream.component(cluster, cluster.nodes[0], one)
    recipient = await Stream.component(cluster, cluster.nodes[1], two)
    forged = "".join(
        f"<stanza-id xmlns='urn:xmpp:sid:0' id='{identity}' by='{by}'/>"
        for identity, by in [("forged", "example.test"), ("forged", "EXAMPLE.test"), ("kept", "elsewhere.test")]
    )
    sender.send(f"<message from='{one.jid}' to='{two.jid}' xml:lang='de'>{forged}<body>x</body></message>")
    message = await recipient.next()
    ids = [(found.get("by"), found.get("id")) for found in message.iter("{urn:xmpp:sid:0}stanza-id")]
    assert ("elsewhere.test", "kept") in ids
    assert [by for by, _ in ids].count("example.test") == 1
    assert "forged" not in [identity for _, identity in ids]
    assert message.get("{http://www.w3.org/XML/1998/namespace}lang") == "de"

"""aioxmpp as a client: what it asks of a server of its own accord, from the certificate to contact lists."""

import asyncio

import aioxmpp
import aioxmpp.connector
import aioxmpp.security_layer
import pytest

from cluster import CEILING, eventually

pytestmark = pytest.mark.judge("aioxmpp")

PASSWORD = "correct horse"


def client(cluster, jid, *nodes):
    """One that verifies the certificate against the domain, and connects by STARTTLS to the first of these nodes that answers."""

    def context():
        made = aioxmpp.security_layer.default_ssl_context()
        made.load_verify_locations(cafile=cluster.ca)
        return made

    layer = aioxmpp.make_security_layer(PASSWORD)._replace(
        ssl_context_factory=context,
        certificate_verifier_factory=aioxmpp.security_layer.PKIXCertificateVerifier,
    )
    peers = [(*node.client, aioxmpp.connector.STARTTLSConnector()) for node in nodes]
    return aioxmpp.PresenceManagedClient(aioxmpp.JID.fromstr(jid), layer, override_peer=peers)


def subscription(client, jid):
    item = client.summon(aioxmpp.RosterClient).items.get(jid)
    return item and item.subscription


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_aioxmpp_talks_finds_out_and_keeps_contacts(cluster):
    _, (one, two) = await cluster.whole()
    jids = [cluster.user(name, PASSWORD) for name in ("romeo", "juliet")]
    romeo, juliet = client(cluster, jids[0], one), client(cluster, jids[1], two)
    for each in (romeo, juliet):
        each.summon(aioxmpp.RosterClient)
        each.summon(aioxmpp.PresenceClient)
    heard = asyncio.Queue()
    dispatcher = juliet.summon(aioxmpp.dispatcher.SimpleMessageDispatcher)
    dispatcher.register_callback(aioxmpp.MessageType.CHAT, None, heard.put_nowait)
    async with romeo.connected() as stream, juliet.connected():
        assert stream.sm_enabled
        message = aioxmpp.Message(type_=aioxmpp.MessageType.CHAT, to=juliet.local_jid.bare())
        message.body[None] = "from another library"
        await romeo.send(message)
        assert (await asyncio.wait_for(heard.get(), CEILING)).body.any() == "from another library"

        to, own = juliet.local_jid.bare(), romeo.local_jid.bare()
        contacts, others = romeo.summon(aioxmpp.RosterClient), juliet.summon(aioxmpp.RosterClient)
        others.on_subscribe.connect(lambda asked: others.approve(asked.from_.bare()))
        contacts.subscribe(to)
        await eventually(lambda: (subscription(romeo, to), subscription(juliet, own)) == ("to", "from"), "subscribed")
        presence = romeo.summon(aioxmpp.PresenceClient)
        await eventually(lambda: juliet.local_jid.resource in presence.get_peer_resources(to), "juliet is seen")
        await contacts.set_entry(to, name="J", add_to_groups={"friends"})
        await eventually(lambda: (contacts.items[to].name, contacts.items[to].groups) == ("J", {"friends"}), "named")
        info = await romeo.summon(aioxmpp.DiscoClient).query_info(aioxmpp.JID.fromstr(cluster.domain))
        assert "urn:xmpp:ping" in info.features
        await contacts.remove_entry(to)
        await eventually(lambda: to not in contacts.items and subscription(juliet, own) == "none", "removed")


@pytest.mark.harms
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_aioxmpp_gets_its_session_back_after_its_node_was_killed(cluster):
    leader, (one, two) = await cluster.whole()
    jids = [cluster.user(name, PASSWORD, one) for name in ("romeo", "juliet")]
    romeo, juliet = client(cluster, jids[0], one), client(cluster, jids[1], leader, two, one)
    bodies, resumed = [], []
    dispatcher = juliet.summon(aioxmpp.dispatcher.SimpleMessageDispatcher)
    dispatcher.register_callback(aioxmpp.MessageType.CHAT, None, lambda message: bodies.append(message.body.any()))
    juliet.on_stream_resumed.connect(lambda: resumed.append(True))
    expected = [str(number) for number in range(200)]
    async with romeo.connected(), juliet.connected():
        for number in expected:
            message = aioxmpp.Message(type_=aioxmpp.MessageType.CHAT, to=juliet.local_jid)
            message.body[None] = number
            romeo.enqueue(message)
            if number == "100":
                cluster.kill(leader)
            await asyncio.sleep(0.005)
        await eventually(lambda: len(bodies) >= len(expected), "all messages", within=20)
        assert bodies == expected and resumed
    await cluster.whole()
    ledger = await eventually(cluster.ledger, "one ledger")
    assert ledger["unaccounted"] == 0

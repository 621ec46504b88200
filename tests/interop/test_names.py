"""One name, one stream: who keeps it, who loses it, and what becomes of what waited for it."""

import asyncio

from cluster import eventually
from stream import ACCEPT, CLOSED, LOST, Stream, body, stanza_id


async def newcomer(cluster, node, bridge):
    stream = await Stream.connect(cluster, node)
    await stream.open(bridge.jid)
    stream.send(f"<handshake>{stream.digest(bridge.secret)}</handshake>")
    return stream


async def test_a_second_stream_of_a_living_name_is_refused_on_every_node(cluster):
    bridge = cluster.bridge()
    holder = await Stream.component(cluster, cluster.nodes[0], bridge)
    for node in cluster.nodes:
        second = await newcomer(cluster, node, bridge)
        assert await second.error() == "conflict"
    await holder.fence(bridge.jid, cluster.domain)
    assert holder.received.empty(), "the holder is not disturbed"


async def test_a_name_whose_holder_is_deaf_goes_to_the_newcomer(cluster):
    bridge, other = cluster.bridge(), cluster.bridge()
    holder = await Stream.component(cluster, cluster.nodes[0], bridge)
    await holder.deafen()
    sender = await Stream.component(cluster, cluster.nodes[1], other)
    for number in range(10):
        sender.send(f"<message from='{other.jid}' to='{bridge.jid}'><body>{number}</body></message>")
    await sender.fence(other.jid, cluster.domain)
    second = await newcomer(cluster, cluster.nodes[2], bridge)
    assert (await second.next()).tag == f"{{{ACCEPT}}}handshake"
    # What the first never confirmed comes again, in order.
    assert [body(await second.next()) for _ in range(10)] == [str(number) for number in range(10)]
    holder.listen()
    assert await holder.error() == "conflict"


async def test_a_repeat_comes_first_in_order_and_under_its_identity(cluster):
    bridge, other = cluster.bridge(), cluster.bridge()
    sender = await Stream.component(cluster, cluster.nodes[1], other)
    first = await Stream.component(cluster, cluster.nodes[0], bridge, obedient=False)
    for number in range(100):
        sender.send(f"<message from='{other.jid}' to='{bridge.jid}'><body>{number}</body></message>")
    identities, question = {}, None
    while len(identities) < 100 or question is None:
        element = await first.next()
        if element.tag.endswith("}iq"):
            question = question or element
        else:
            identities[body(element)] = stanza_id(element, cluster.domain)
    # The first ping is answered: what came before it is confirmed, the rest is not. Then the connection is lost.
    assert question is not None, "the server asks what was read"
    first.answer(question)
    await eventually(lambda: queued(cluster, bridge) < 100, "the answer counts")
    unconfirmed = queued(cluster, bridge)
    first.abort()
    for number in range(100, 110):
        sender.send(f"<message from='{other.jid}' to='{bridge.jid}'><body>{number}</body></message>")
    second = await Stream.component(cluster, cluster.nodes[2], bridge)
    repeats = [await second.next() for _ in range(unconfirmed + 10)]
    assert [body(message) for message in repeats] == [str(number) for number in range(100 - unconfirmed, 110)]
    for message in repeats[:unconfirmed]:
        assert stanza_id(message, cluster.domain) == identities[body(message)]
        assert message.find("{urn:xmpp:delay}delay") is not None, "a repeat says when it was sent"
    new = {stanza_id(message, cluster.domain) for message in repeats[unconfirmed:]}
    assert len(new) == 10 and not new & set(identities.values())


def queued(cluster, bridge):
    bridges = cluster.status(cluster.nodes[0])["bridges"]
    return next(found for found in bridges if found["name"] == bridge.name)["queue"]["stanzas"]


async def test_a_name_that_moves_ten_times_under_messages_loses_none(cluster):
    bridge, other = cluster.bridge(), cluster.bridge()
    sender = await Stream.component(cluster, cluster.nodes[0], other)
    seen, sent = {}, 0
    for turn in range(10):
        stream = await Stream.component(cluster, cluster.nodes[turn % 3], bridge)
        for _ in range(30):
            sender.send(f"<message from='{other.jid}' to='{bridge.jid}'><body>{sent}</body></message>")
            sent += 1
        messages = [await stream.next() for _ in range(15)]
        stream.abort()
        # What it confirmed by answering pings counts as read, whether or not this test has looked at it.
        while not stream.received.empty() and (message := stream.received.get_nowait()) is not LOST:
            messages.append(message)
        numbers = [int(body(message)) for message in messages]
        assert numbers == sorted(set(numbers)), "within one stream numbers only rise"
        for number, message in zip(numbers, messages):
            identity = stanza_id(message, cluster.domain)
            assert seen.setdefault(number, identity) == identity
    stream = await Stream.component(cluster, cluster.nodes[0], bridge)
    while len(seen) < sent:
        message = await stream.next()
        seen.setdefault(int(body(message)), stanza_id(message, cluster.domain))
    assert sorted(seen) == list(range(sent))
    assert len(set(seen.values())) == sent


async def test_an_orderly_end_frees_the_name_at_once(cluster):
    bridge = cluster.bridge()
    for turn in range(12):
        stream = await Stream.component(cluster, cluster.nodes[turn % 3], bridge)
        stream.send("</stream:stream>")
        assert await stream.rest() == []


async def test_a_lost_connection_frees_the_name_at_once(cluster):
    bridge = cluster.bridge()
    for turn in range(12):
        stream = await Stream.component(cluster, cluster.nodes[turn % 3], bridge)
        stream.abort()


async def test_both_secrets_open_the_name_during_a_rotation(cluster):
    bridge = cluster.bridge()
    node = cluster.nodes[0]
    new = cluster.xmpp(node, "callbridge", "rotate", bridge.name)["secrets"][-1]["secret"]
    assert new != bridge.secret
    for secret in (bridge.secret, new):
        stream = await Stream.connect(cluster, cluster.nodes[1])
        await stream.open(bridge.jid)
        await stream.handshake(secret)
        stream.send("</stream:stream>")
        await stream.rest()
    cluster.xmpp(node, "callbridge", "retire", bridge.name)
    stream = await newcomer(cluster, cluster.nodes[1], bridge)
    assert await stream.error() == "not-authorized"


async def test_two_newcomers_at_once_are_one_stream(cluster):
    bridge = cluster.bridge()
    streams = [await Stream.connect(cluster, cluster.nodes[turn % 3]) for turn in range(6)]
    for stream in streams:
        await stream.open(bridge.jid)
    for stream in streams:
        stream.send(f"<handshake>{stream.digest(bridge.secret)}</handshake>")
    ends = await asyncio.gather(*(outcome(stream) for stream in streams))
    assert sorted(ends) == ["bound"] + ["conflict"] * 5, ends


async def outcome(stream):
    element = await stream.take()
    if element is CLOSED or element is LOST:
        return "lost"
    if element.tag == f"{{{ACCEPT}}}handshake":
        return "bound"
    return element[0].tag.partition("}")[2]

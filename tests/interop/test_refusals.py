"""A node tells people who was refused, and why, whatever it tells the peer itself."""

import itertools

import pytest
from cluster import eventually
from stream import Ended, Stream

#: Addresses that no other test uses; a node remembers them.
ADDRESSES = (f"127.0.78.{number}" for number in itertools.count(1))


async def refused(cluster, node, name, secret, source):
    """Tries a handshake; returns the condition that it is refused with."""
    stream = await Stream.connect(cluster, node, source=source)
    await stream.open(name)
    with pytest.raises(Ended) as end:
        await stream.handshake(secret)
    return end.value.condition


def refusal(cluster, node, bridge):
    """What the node tells of the last refusal of a bridge."""
    (entry,) = [entry for entry in cluster.status(node)["bridges"] if entry["name"] == bridge.name]
    return entry.get("refusal")


async def test_a_wrong_secret_is_told_of_until_the_bridge_registers(cluster):
    node, bridge, source = cluster.nodes[1], cluster.bridge(), next(ADDRESSES)
    assert refusal(cluster, node, bridge) is None
    for count in (1, 2):
        assert await refused(cluster, node, bridge.jid, "wrong", source) == "not-authorized"
        told = refusal(cluster, node, bridge)
        assert (told["reason"], told["from"], told["count"]) == ("wrong_secret", source, count)
    assert told["since"] < told["at"]
    # Others know nothing of it, and it is no secret who it was.
    assert refusal(cluster, cluster.nodes[2], bridge) is None
    stream = await Stream.component(cluster, node, bridge, source=source)
    assert refusal(cluster, node, bridge) is None
    await stream.fence(bridge.jid, cluster.domain)


async def test_a_second_stream_of_a_bridge_that_lives_is_told_of(cluster):
    first, second = cluster.nodes[1], cluster.nodes[2]
    bridge, source = cluster.bridge(), next(ADDRESSES)
    holder = await Stream.component(cluster, first, bridge)
    assert await refused(cluster, second, bridge.jid, bridge.secret, source) == "conflict"
    await eventually(lambda: refusal(cluster, second, bridge), "the refusal is told of")
    told = refusal(cluster, second, bridge)
    assert (told["reason"], told["from"]) == ("conflict", source)
    await holder.fence(bridge.jid, cluster.domain)


async def test_a_name_that_no_bridge_has_is_told_of_until_one_has_it(cluster):
    node, bridge, source = cluster.nodes[1], cluster.bridge(), next(ADDRESSES)
    cluster.remove(bridge)
    assert await refused(cluster, node, bridge.jid, bridge.secret, source) == "not-authorized"

    def told():
        found = {stranger["name"]: stranger["refusal"] for stranger in cluster.status(node).get("strangers", [])}
        return found.get(bridge.name)

    assert (told()["reason"], told()["from"]) == ("unknown_bridge", source)
    cluster.xmpp(cluster.nodes[0], "callbridge", "add", bridge.name)
    await eventually(lambda: told() is None, "it is no stranger any more")
    cluster.xmpp(cluster.nodes[0], "callbridge", "remove", bridge.name)

"""Bounds of one bridge: it is slowed down to its rate, loses nothing by that, and nobody else notices."""

import time

import pytest

from cluster import eventually
from stream import Stream, stanza_error

#: Stanzas a second of the bounded bridge, and how many it sends: one second's worth goes at once, the rest at that rate.
RATE, COUNT = 100, 400


def message(sender, to, number):
    return f"<message from='{sender.jid}' to='{to.jid}' id='{number}'><body>{number}</body></message>"


async def passed(sending, sender, reading, to, count):
    """Sends, and returns how many seconds it took until all had arrived in order."""
    began = time.monotonic()
    sending.send("".join(message(sender, to, number) for number in range(count)))
    await sending.drain()
    for number in range(count):
        assert (await reading.next()).get("id") == str(number)
    return time.monotonic() - began


async def test_a_bridge_is_slowed_to_its_rate_and_nobody_else_is(cluster):
    _, (one, two) = await cluster.whole()
    bounded, free, target = (cluster.bridge() for _ in range(3))
    slow, fast = await Stream.component(cluster, one, bounded), await Stream.component(cluster, one, free)
    reading = await Stream.component(cluster, two, target)
    cluster.xmpp(one, "callbridge", "limit", bounded.name, "--stanzas-per-second", str(RATE))
    least = (COUNT - RATE) / RATE
    assert await passed(slow, bounded, reading, target, COUNT) > 0.9 * least
    assert await passed(fast, free, reading, target, COUNT) < least
    listed = {bridge["name"]: bridge for bridge in cluster.xmpp(two, "callbridge", "list")}
    assert listed[bounded.name]["limits"] == {"stanzas_per_second": RATE}
    # Without bounds, on the same stream, it is as fast as others.
    cluster.xmpp(two, "callbridge", "limit", bounded.name)
    await slow.fence(bounded.jid, cluster.domain)
    assert await passed(slow, bounded, reading, target, COUNT) < least


async def test_a_bridge_that_is_slowed_down_is_not_taken_for_dead(cluster):
    _, (node, two) = await cluster.whole()
    bounded, target = cluster.bridge(), cluster.bridge()
    # Three seconds for one stanza of 64 KiB: longer than a silent bridge is waited for.
    cluster.xmpp(node, "callbridge", "limit", bounded.name, "--bytes-per-second", str(16 << 10))
    slow, reading = await Stream.component(cluster, node, bounded), await Stream.component(cluster, two, target)
    big = "x" * (64 << 10)
    for number in range(3):
        slow.send(f"<message from='{bounded.jid}' to='{target.jid}' id='{number}'><body>{big}</body></message>")
    began = time.monotonic()
    for number in range(3):
        assert (await reading.next()).get("id") == str(number)
    assert time.monotonic() - began > 6
    ledger = await eventually(cluster.ledger, "one ledger")
    assert ledger["unaccounted"] == 0


async def test_a_bridge_has_no_more_room_than_its_own_bound(cluster):
    _, (one, two) = await cluster.whole()
    sender, away = cluster.bridge(), cluster.bridge()
    gone = await Stream.component(cluster, two, away)
    gone.abort()
    cluster.xmpp(one, "callbridge", "limit", away.name, "--queue-stanzas", "2")
    stream = await Stream.component(cluster, one, sender)
    for number in range(3):
        stream.send(message(sender, away, number))
    refused = await stream.next()
    assert (refused.get("id"), stanza_error(refused)) == ("2", ("resource-constraint", "wait"))


def test_bounds_out_of_bounds_are_refused(cluster):
    bridge = cluster.bridge()
    for option, value in [("--stanzas-per-second", "0"), ("--bytes-per-second", "1"), ("--queue-bytes", "1")]:
        field = option.removeprefix("--").replace("-", "_")
        with pytest.raises(ValueError, match=f"limits.{field}: must be "):
            cluster.xmpp(cluster.nodes[0], "callbridge", "limit", bridge.name, option, value)
    with pytest.raises(ValueError, match="there is no bridge nobody"):
        cluster.xmpp(cluster.nodes[0], "callbridge", "limit", "nobody")

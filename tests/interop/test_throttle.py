"""Wrong secrets make whoever sends them wait, and nobody else.

Streams are opened before the handshakes that must come in quick succession, so that a slow machine does not sit out a wait.
"""

import asyncio
import itertools

from cluster import eventually
from stream import Ended, Stream

#: `limits.failed_handshakes`, `limits.failed_handshakes_per_bridge` by default.
FAILURES, PER_BRIDGE = 5, 20
#: Addresses that no other test uses; a node remembers them.
ADDRESSES = (f"127.0.77.{number}" for number in itertools.count(1))
BOUND, WRONG, TOO_EARLY = "bound", "not-authorized", "policy-violation"


async def opened(cluster, node, name, source):
    """A stream that has all but proved its secret."""
    stream = await Stream.connect(cluster, node, source=source)
    await stream.open(name)
    return stream


async def outcome(stream, secret):
    """What comes of a handshake: bound, or the condition of the stream error."""
    try:
        await stream.handshake(secret)
    except Ended as end:
        return end.condition
    return BOUND


async def several(cluster, node, names, source):
    return await asyncio.gather(*(opened(cluster, node, name, source) for name in names))


async def throttled(cluster, node, name):
    """Fails from a new address until the next attempt comes too early; returns that address and a stream from there."""
    source = next(ADDRESSES)
    *first, last = await several(cluster, node, [name] * (FAILURES + 1), source)
    for stream in first:
        assert await outcome(stream, "wrong") == WRONG
    return source, last


async def test_after_some_wrong_secrets_no_other_is_looked_at_for_a_while(cluster):
    node, bridge = cluster.nodes[1], cluster.bridge()
    before = cluster.metric(node, "xmpp_handshakes_total")
    source, stream = await throttled(cluster, node, bridge.jid)
    # The right one neither, or guessing would go on unhindered.
    assert await outcome(stream, bridge.secret) == TOO_EARLY
    assert cluster.metric(node, "xmpp_handshakes_total") == before + FAILURES + 1
    # Until the wait is over: asking too early does not make it longer.
    while (result := await outcome(stream := await opened(cluster, node, bridge.jid, source), bridge.secret)) != BOUND:
        assert result == TOO_EARLY
    await stream.fence(bridge.jid, cluster.domain)


async def test_a_name_that_does_not_exist_is_treated_like_one_that_does(cluster):
    node = cluster.nodes[1]
    _, stream = await throttled(cluster, node, "nobody")
    assert await outcome(stream, "wrong") == TOO_EARLY


async def test_failures_of_one_address_lock_nobody_out_elsewhere(cluster):
    node, bridge = cluster.nodes[1], cluster.bridge()
    own = await opened(cluster, node, bridge.jid, next(ADDRESSES))
    _, stream = await throttled(cluster, node, bridge.jid)
    assert await outcome(own, bridge.secret) == BOUND
    assert await outcome(stream, "wrong") == TOO_EARLY
    await own.fence(bridge.jid, cluster.domain)


async def test_another_bridge_behind_the_same_address_is_not_locked_out(cluster):
    node, bridge, neighbour = cluster.nodes[1], cluster.bridge(), cluster.bridge()
    source, stream = await throttled(cluster, node, bridge.jid)
    other = await opened(cluster, node, neighbour.jid, source)
    assert await outcome(other, neighbour.secret) == BOUND


async def test_a_name_that_many_addresses_guess_at_is_open_to_its_bridge_at_a_new_address(cluster):
    node, bridge = cluster.nodes[1], cluster.bridge()
    own = await opened(cluster, node, bridge.jid, next(ADDRESSES))
    # A second forgives one failure.
    crowd = [await opened(cluster, node, bridge.jid, next(ADDRESSES)) for _ in range(PER_BRIDGE + 10)]
    guesser = await several(cluster, node, [bridge.jid] * 2, next(ADDRESSES))
    assert set(await asyncio.gather(*(outcome(stream, "wrong") for stream in crowd))) == {WRONG}
    # From now on the first failure of an address is its last for a while.
    assert [await outcome(stream, "wrong") for stream in guesser] == [WRONG, TOO_EARLY]
    assert await outcome(own, bridge.secret) == BOUND
    await own.fence(bridge.jid, cluster.domain)


async def test_a_bridge_that_was_there_before_comes_back_while_its_neighbours_try_names(cluster):
    node, bridge, source = cluster.nodes[1], cluster.bridge(), next(ADDRESSES)
    first = await opened(cluster, node, bridge.jid, source)
    assert await outcome(first, bridge.secret) == BOUND
    first.abort()

    def gone():
        (entry,) = [entry for entry in cluster.status(node)["bridges"] if entry["name"] == bridge.name]
        return entry["state"] == "detached"

    await eventually(gone, "the stream is gone")
    again = await opened(cluster, node, bridge.jid, source)
    guesses, results = (f"guess{number}" for number in itertools.count()), []
    while TOO_EARLY not in results:
        streams = await several(cluster, node, itertools.islice(guesses, 30), source)
        results = await asyncio.gather(*(outcome(stream, "wrong") for stream in streams))
    assert await outcome(again, bridge.secret) == BOUND

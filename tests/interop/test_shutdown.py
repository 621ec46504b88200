"""Nodes that stop by plan, and a node that lost its majority: peers are told to go elsewhere, in the words of RFC 6120."""

import asyncio
import urllib.error
import urllib.request

import pytest

from cluster import CEILING, eventually
from stream import CLOSED, Stream, body, condition_of

pytestmark = pytest.mark.harms


@pytest.mark.parametrize("role", ["leader", "follower"])
async def test_a_node_that_stops_says_so_and_loses_nothing(cluster, role):
    leader, followers = await cluster.whole()
    victim, other = (leader, followers[0]) if role == "leader" else (followers[0], followers[1])
    here, there = cluster.bridge(), cluster.bridge()
    stream = await Stream.component(cluster, victim, here)
    witness = await Stream.component(cluster, other, there)
    unproved = await Stream.connect(cluster, victim)
    await unproved.open(here.jid)
    for number in range(100):
        witness.send(f"<message from='{there.jid}' to='{here.jid}'><body>{number}</body></message>")
        stream.send(f"<message from='{here.jid}' to='{there.jid}'><body>{number}</body></message>")
    # What the node has read before it is told to stop is accepted.
    before = await stream.fence(here.jid, cluster.domain)
    cluster.stop(victim)
    assert await unproved.error() == "system-shutdown"
    messages = list(before)
    while not (element := await stream.take()).tag.endswith("}error"):
        messages.append(element)
    assert condition_of(element) == "system-shutdown"
    assert await stream.take() is CLOSED
    stream.abort()
    # The rest, and what was not confirmed, comes to its next stream.
    again = await Stream.component(cluster, other, here)
    heard = {int(body(element)) for element in messages if element.tag.endswith("}message")}
    while len(heard) < 100:
        # The answer to the ping above may be repeated too.
        if (element := await again.next()).tag.endswith("}message"):
            heard.add(int(body(element)))
    assert [body(await witness.next()) for _ in range(100)] == [str(number) for number in range(100)]
    new_leader, _ = await cluster.whole()
    if role == "leader":
        assert new_leader.name != victim.name, "a leader that stops hands over"


async def test_a_node_without_majority_accepts_nothing_and_sends_its_peers_elsewhere(cluster):
    leader, (one, two) = await cluster.whole()
    here, there = cluster.bridge(), cluster.bridge()
    stream = await Stream.component(cluster, one, here)
    elsewhere = await Stream.component(cluster, two, there)
    await elsewhere.fence(there.jid, cluster.domain)
    before = (await eventually(cluster.ledger, "the ledger before"))["accepted"]
    ready = "http://%s:%d/readyz" % one.metrics

    def refused():
        try:
            urllib.request.urlopen(ready, timeout=CEILING).close()
        except urllib.error.HTTPError as error:
            return error.code == 503
        return False

    loop = asyncio.get_running_loop()
    with cluster.frozen(leader), cluster.frozen(two):
        began = loop.time()
        stream.send(f"<message id='held' from='{here.jid}' to='{there.jid}'><body>held</body></message>")
        await eventually(refused, "/readyz fails")
        assert await stream.error() == "system-shutdown"
        held = loop.time() - began
        # `timing.quorum_grace` is 5 s: an election is over long before, an operator is not kept waiting long after.
        assert 4 < held < 9, f"closed after {held:.1f} s"
        # A newcomer is told right behind the header.
        late = await Stream.connect(cluster, one)
        await late.open(here.jid)
        assert await late.error() == "system-shutdown"
    await cluster.whole()
    # Nobody was told that the message was accepted. If it was in the log of the one node, it may be now; never twice.
    after = (await eventually(cluster.ledger, "the ledger after"))["accepted"]
    assert after - before in (0, 1)
    returned = await Stream.component(cluster, one, here)
    await returned.fence(here.jid, cluster.domain)

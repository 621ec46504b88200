"""Peers that want too much, or nothing: each is bounded, and nobody else notices.

Beside every attack two ordinary components on two nodes, one of them the node that is attacked, send each other numbered
messages: all arrive, in order, none later than `PATIENCE`. Memory and descriptors of the node come back to where they were.
"""

import asyncio
import itertools
import os
import ssl
import time
from contextlib import asynccontextmanager

from cluster import CEILING, eventually
from stream import Ended, Stream, body, header, stanza_error

#: The longest that a message of undisturbed components may take, seconds; generous, as these tests share their processors.
PATIENCE = 3.0
#: What a node may grow by and keep, bytes: what the allocator holds back.
SLACK = 24 << 20
#: `limits.handshake_timeout` by default, and what a loaded machine may add, seconds.
HANDSHAKE, LATE = 10, 4
#: Where attackers come from.
ATTACKER, ACCOMPLICE, THIRD = "127.0.66.6", "127.0.66.7", "127.0.66.8"
#: `limits.unauthenticated` and `limits.unauthenticated_per_address` by default.
PLACES, SHARE = 512, 256


class Pair:
    """Two components, one of them on the attacked node, that talk while something else goes on."""

    def __init__(self, cluster, attacked):
        other = next(node for node in cluster.nodes if node.name != attacked.name)
        self.cluster, self.nodes = cluster, (attacked, other)
        self.bridges = cluster.bridge(), cluster.bridge()
        self.delays, self.ended, self.number = [], [], 0

    async def talk(self, over):
        while not over.is_set():
            ends = [
                await Stream.component(self.cluster, node, bridge) for node, bridge in zip(self.nodes, self.bridges)
            ]
            try:
                while not over.is_set():
                    await self.exchange(ends)
                    await asyncio.sleep(0.01)
            except Ended as end:
                self.ended.append(end.condition)
            for stream in ends:
                stream.abort()

    async def exchange(self, ends):
        for sender, recipient in ((0, 1), (1, 0)):
            began = time.monotonic()
            self.number += 1
            start = f"<message from='{self.bridges[sender].jid}' to='{self.bridges[recipient].jid}'>"
            ends[sender].send(f"{start}<body>{self.number}</body></message>")
            # Only what was sent before the last stream ended may come before it.
            while (number := await self.arrival(ends[recipient])) < self.number:
                assert self.ended, f"{number} again"
            assert number == self.number
            self.delays.append(time.monotonic() - began)


    async def arrival(self, stream):
        try:
            message = await stream.next()
        except TimeoutError:
            statuses = [
                bridge
                for bridge in self.cluster.status(self.nodes[1])["bridges"]
                if bridge["name"] in (self.bridges[0].name, self.bridges[1].name)
            ]
            raise AssertionError(f"{self.number} did not come: {statuses}") from None
        assert message.get("type") != "error", stanza_error(message)
        return int(body(message))


@asynccontextmanager
async def undisturbed(cluster, attacked):
    """Asserts that two components talk through the node all the while."""
    pair, over = Pair(cluster, attacked), asyncio.Event()
    talking = asyncio.create_task(pair.talk(over))
    try:
        yield
        # An attack may be over before they have exchanged anything.
        await eventually(lambda: len(pair.delays) > 10 or talking.done(), "they talk")
    finally:
        over.set()
        await talking
    assert max(pair.delays) < PATIENCE, f"the slowest of {len(pair.delays)} messages took {max(pair.delays):.1f} s"
    # A node that the machine did not let run for `timing.silence` (300 ms) counts as down, and sends its peers elsewhere.
    # That has nothing to do with the attack, so it is let pass once.
    assert pair.ended in ([], ["system-shutdown"]), f"streams ended: {pair.ended}"


async def dial(node, source=ATTACKER, **options):
    host, port = node.component
    return await asyncio.wait_for(
        asyncio.open_connection(host, port, local_addr=(source, 0), **options), CEILING
    )


def careless():
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


GARBAGE = [
    b"",
    b"\x16\x03\x01",
    b"GET / HTTP/1.0\r\n\r\n",
    b"<stream:stream>",
    os.urandom(700),
    b"\x16\x03\x01\xff\xff" + os.urandom(2000),
    b"\x80\x2e\x01\x03\x01" + b"\0" * 40,
]
#: What is sent behind a TLS handshake.
CONFIDENTIAL_GARBAGE = [b"", os.urandom(5000), b"<" * 5000, header("cb1.example.test").encode(), b"<?xml version='1.0'"]


async def test_ten_thousand_connections_of_garbage_leave_no_trace(cluster):
    leader, _ = await cluster.whole()
    context = careless()
    count = iter(range(10_000))
    held = []

    async def attack():
        for number in count:
            secure = number % 10 == 0
            kind = CONFIDENTIAL_GARBAGE if secure else GARBAGE
            try:
                reader, writer = await dial(leader, **({"ssl": context} if secure else {}))
                writer.write(kind[number // 10 % len(kind)])
                if number % 3 == 0:
                    # Some read what they are answered, most just go.
                    writer.write_eof() if not secure else None
                    await asyncio.wait_for(reader.read(100), CEILING) if number % 100 == 3 else None
                writer.transport.abort()
            except OSError:
                pass
            if number == 1000:
                held.append((cluster.resident(leader), cluster.sockets(leader)))

    async with undisturbed(cluster, leader):
        await asyncio.gather(*(attack() for _ in range(100)))
    memory, descriptors = held[0]
    await eventually(lambda: cluster.sockets(leader) <= descriptors, "all connections are closed")
    grown = cluster.resident(leader) - memory
    assert grown < SLACK, f"{grown >> 20} MiB more than after the first thousand"
    bridge = cluster.bridge()
    again = await Stream.component(cluster, leader, bridge)
    await again.fence(bridge.jid, cluster.domain)


async def test_connections_that_come_to_nothing_are_closed_in_time(cluster):
    """As many as there are places, each for as long as `limits.handshake_timeout`, and not longer."""
    _, (victim, _) = await cluster.whole()
    bridge = cluster.bridge()
    context = careless()
    began = time.monotonic()
    # A writer that nobody holds closes its connection.
    keep = []

    sources = itertools.cycle((ATTACKER, ACCOMPLICE))

    async def open_to(**options):
        reader, writer = await dial(victim, next(sources), **options)
        keep.append(writer)
        return reader, writer

    async def silent():
        return (await open_to())[0]

    async def slow_handshake():
        reader, writer = await open_to()
        asyncio.create_task(drip(writer, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"x" * 500))
        return reader

    async def late_handshake():
        # The time counts from the beginning: to finish TLS late does not buy as much time again.
        _, writer = await open_to()
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)

        async def handshake():
            await asyncio.sleep(HANDSHAKE / 2)
            keep.append(await loop.start_tls(writer.transport, protocol, context))

        keep.append(asyncio.create_task(handshake()))
        return reader

    async def slow_header():
        reader, writer = await open_to(ssl=context)
        asyncio.create_task(drip(writer, header("cb1.example.test").encode()))
        return reader

    async def drip(writer, data):
        for byte in data:
            if writer.transport.is_closing():
                return
            writer.write(bytes([byte]))
            await asyncio.sleep(0.3)

    async with undisturbed(cluster, victim):
        kinds = [silent] * 400 + [slow_handshake] * 50 + [slow_header] * 20 + [late_handshake] * 5
        readers = await asyncio.gather(*(kind() for kind in kinds))
        ends = [asyncio.create_task(end(reader)) for reader in readers]
        # There is still room for somebody with a secret.
        friend = await Stream.component(cluster, victim, bridge)
        assert time.monotonic() - began < HANDSHAKE, "nobody was closed yet"
        done, waiting = await asyncio.wait(ends, timeout=HANDSHAKE + LATE)
        assert not waiting, f"{len(waiting)} of {len(ends)} are still open"
        closed = [task.result() - began for task in done]
        assert min(closed) > HANDSHAKE - 1, f"one was closed after {min(closed):.1f} s"
        assert max(closed) < HANDSHAKE + LATE, f"one was closed after {max(closed):.1f} s"
        await friend.fence(bridge.jid, cluster.domain)


async def crowd(node, source, count, keep):
    """So many silent connections at once; returns tasks that end with each of them."""

    async def silent():
        reader, writer = await dial(node, source)
        keep.append(writer)
        return reader

    readers = await asyncio.gather(*(silent() for _ in range(count)))
    return [asyncio.create_task(end(reader)) for reader in readers]


async def closed(tasks, count, within=CEILING):
    """Waits until so many of the connections have ended."""
    await eventually(lambda: sum(task.done() for task in tasks) >= count, f"{count} of them are closed", within)


async def test_one_address_gets_its_share_of_places_and_no_more(cluster):
    _, (victim, _) = await cluster.whole()
    refused = cluster.metric(victim, "xmpp_refused_total")
    keep, bridge = [], cluster.bridge()
    began = time.monotonic()
    async with undisturbed(cluster, victim):
        tasks = await crowd(victim, ATTACKER, SHARE + 300, keep)
        await closed(tasks, 300)
        # All places would be taken for ten seconds if that address could have them.
        friend = await Stream.component(cluster, victim, bridge)
        assert time.monotonic() - began < HANDSHAKE, "the machine is too slow to tell"
        assert sum(not task.done() for task in tasks) == SHARE
        await friend.fence(bridge.jid, cluster.domain)
    assert cluster.metric(victim, "xmpp_refused_total") >= refused + 300
    for writer in keep:
        writer.transport.abort()
    await asyncio.gather(*tasks)


async def test_when_all_places_are_taken_whoever_has_the_most_makes_room(cluster):
    _, (victim, _) = await cluster.whole()
    keep, bridge = [], cluster.bridge()
    began = time.monotonic()
    async with undisturbed(cluster, victim):
        tasks = [
            task
            for source in (ATTACKER, ACCOMPLICE, THIRD)
            for task in await crowd(victim, source, SHARE, keep)
        ]
        # The third came in at the others' expense, until all three have as much.
        await closed(tasks, 3 * SHARE - PLACES)
        assert cluster.metric(victim, "xmpp_unauthenticated") <= PLACES
        friend = await Stream.component(cluster, victim, bridge)
        assert time.monotonic() - began < HANDSHAKE, "the machine is too slow to tell"
        await friend.fence(bridge.jid, cluster.domain)
    for writer in keep:
        writer.transport.abort()
    await asyncio.gather(*tasks)


async def end(reader):
    """When a connection ended."""
    try:
        while await reader.read(4096):
            pass
    except (OSError, ssl.SSLError):
        pass
    return time.monotonic()


BIG = "x" * (64 << 10)


async def flood(stream, jid, to, count):
    """Sends large messages, as fast as they are taken."""
    for number in range(count):
        stream.send(f"<message id='{number}' from='{jid}' to='{to}'><body>{BIG}</body></message>")
        await stream.drain()


async def test_a_recipient_that_never_reads_costs_its_senders_an_error_and_nobody_else_anything(cluster):
    leader, (one, two) = await cluster.whole()
    sender, deaf = cluster.bridge(), cluster.bridge()
    recipient = await Stream.component(cluster, one, deaf)
    await recipient.deafen()
    stream = await Stream.component(cluster, two, sender)
    before = {node.name: cluster.resident(node) for node in cluster.nodes}
    async with undisturbed(cluster, one):
        # 24 MiB for a queue of 16 MiB (`limits.session_queue_bytes`).
        await flood(stream, sender.jid, deaf.jid, 384)
        errors = await stream.fence(sender.jid, cluster.domain)
        assert {stanza_error(element) for element in errors} == {("resource-constraint", "wait")}
        numbers = [int(element.get("id")) for element in errors]
        assert numbers == sorted(set(numbers)), "one error each, in order"
        assert 384 - 256 - 8 <= len(numbers) <= 384 - 200, f"{len(numbers)} errors"
        waiting = queue(cluster, deaf)
        assert waiting["bytes"] <= 16 << 20 and waiting["stanzas"] == 384 - len(numbers)
        first = {node.name: cluster.resident(node) for node in cluster.nodes}
        # Whoever goes on gets nothing but errors, and nothing grows any more.
        sizes = []
        for _ in range(6):
            await flood(stream, sender.jid, deaf.jid, 384)
            more = await stream.fence(sender.jid, cluster.domain)
            assert len(more) == 384 and {stanza_error(element) for element in more} == {("resource-constraint", "wait")}
            sizes.append({node.name: cluster.resident(node) for node in cluster.nodes})
    for name in before:
        # A queue, and what the log and the allocator keep at hand.
        grown = first[name] - before[name]
        assert grown < (96 << 20), f"{name} grew by {grown >> 20} MiB for a queue of 16"
        # One look finds more or less of the log in memory; the most of three is steady.
        most = [max(size[name] for size in part) for part in (sizes[:3], sizes[3:])]
        grown = most[1] - most[0]
        assert grown < SLACK, f"{name} grew by {grown >> 20} MiB for 72 MiB that were refused"
    # It hears everything that was not answered, once it listens.
    recipient.listen()
    heard = [int((await recipient.next()).get("id")) for _ in range(384 - len(numbers))]
    assert heard == [number for number in range(384) if number not in numbers]
    await eventually(lambda: queue(cluster, deaf)["stanzas"] == 0, "it confirms what it read")


def queue(cluster, bridge):
    bridges = cluster.status(cluster.nodes[0])["bridges"]
    return next(found for found in bridges if found["name"] == bridge.name)["queue"]


async def test_two_components_that_never_read_each_other_stop_only_themselves(cluster):
    leader, (one, two) = await cluster.whole()
    first, second = cluster.bridge(), cluster.bridge()
    streams = [await Stream.component(cluster, node, bridge) for node, bridge in ((one, first), (two, second))]
    for stream in streams:
        await stream.deafen()
    before = {node.name: cluster.resident(node) for node in cluster.nodes}
    ledger = await eventually(cluster.ledger, "the ledger before")
    async with undisturbed(cluster, one):
        # All is taken, though neither reads: 40 MiB in each direction, of which a queue holds 16.
        await asyncio.gather(
            flood(streams[0], first.jid, second.jid, 640),
            flood(streams[1], second.jid, first.jid, 640),
        )

        def decided():
            after = cluster.ledger()
            taken = after["bounced"] - ledger["bounced"] + after["delivered"] - ledger["delivered"]
            return after["unaccounted"] == 0 and taken + after["queued"] >= 1280

        await eventually(decided, "every message has its outcome")
    for node in cluster.nodes:
        grown = cluster.resident(node) - before[node.name]
        assert grown < (160 << 20), f"{node.name} grew by {grown >> 20} MiB for two queues of 16 and their answers"
    # Each hears what waits for it, in order, once it listens.
    for stream in streams:
        stream.listen()
    for stream, jid in zip(streams, (first.jid, second.jid)):
        heard = await stream.fence(jid, cluster.domain)
        numbers = [int(element.get("id")) for element in heard if element.get("type") != "error"]
        assert numbers[:100] == list(range(100))
        assert numbers == sorted(set(numbers))
        errors = [int(element.get("id")) for element in heard if element.get("type") == "error"]
        assert errors == sorted(set(errors)) and errors

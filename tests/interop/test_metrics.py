"""No metric is declared that nothing sets: every one of them moves in a run that exercises it."""

import asyncio
import os
import signal
import time
import urllib.request
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from clients import Client
from cluster import CEILING, eventually
from stream import Stream, stanza_error

#: What must be 0 whatever happens.
ALWAYS_ZERO = {"xmpp_unaccounted"}
#: What the names of samples have behind that of their metric.
ENDINGS = ("", "_total", "_bucket", "_count", "_sum", "_info")
#: A node takes a snapshot after so many bytes of log (`limits.snapshot_log_bytes`).
SNAPSHOT = 8 << 20
BIG = "x" * (64 << 10)
#: `limits.unauthenticated_per_address` by default.
SHARE = 256


class Seen:
    """The metrics of all nodes, and which of them were ever anything but 0."""

    def __init__(self, cluster):
        self.cluster = cluster
        self.declared, self.moved = set(), set()

    def look(self):
        for node in self.cluster.nodes:
            with urllib.request.urlopen("http://%s:%d/metrics" % node.metrics, timeout=CEILING) as answer:
                lines = answer.read().decode().splitlines()
            declared = {line.split(" ")[2] for line in lines if line.startswith("# TYPE ")}
            self.declared |= declared
            for line in lines:
                if not line.startswith("#") and float(line.rsplit(" ", 1)[1]) != 0:
                    sample = line.split("{")[0].split(" ")[0]
                    self.moved |= {name for name in declared if sample in {name + ending for ending in ENDINGS}}

    async def until(self, *names):
        def moved():
            self.look()
            return set(names) <= self.moved

        await eventually(moved, f"{names} move")


@contextmanager
def damaged(cluster, node):
    """The node's certificate cannot be read for a while."""
    path = Path(cluster.ca).parent / f"{node.name}.crt"
    good = path.read_bytes()
    path.write_bytes(b"?")
    try:
        yield
    finally:
        path.write_bytes(good)
        os.kill(node.pid, signal.SIGHUP)


@asynccontextmanager
async def crowd(node, source):
    """More connections that prove nothing than an address may have."""
    host, port = node.component
    dials = (asyncio.open_connection(host, port, local_addr=(source, 0)) for _ in range(SHARE + 10))
    opened = await asyncio.gather(*dials)
    try:
        yield
    finally:
        for _, writer in opened:
            writer.transport.abort()


@pytest.mark.harms
async def test_every_metric_moves(cluster):
    _, (node, other) = await cluster.whole()
    seen = Seen(cluster)
    sender, recipient, mute, absent = (cluster.bridge() for _ in range(4))
    # A component that takes what comes and answers no ping is found to do so after `timing.barrier_timeout` (10 s).
    await Stream.component(cluster, other, mute, obedient=False)
    stream = await Stream.component(cluster, node, sender)
    target = await Stream.component(cluster, other, recipient)
    to = f"from='{sender.jid}' to="

    # Delivered; enough of it for a snapshot. A window of stanzas is answered before the next is sent.
    stream.send(f"<message {to}'{mute.jid}'/>")
    for _ in range(SNAPSHOT // len(BIG) // 32 + 2):
        for _ in range(32):
            stream.send(f"<message {to}'{recipient.jid}'><body>{BIG}</body></message>")
        await stream.drain()
        await stream.fence(sender.jid, cluster.domain)
        for _ in range(32):
            assert (await target.next()).get("type") != "error"
    # Bounced, refused as it is read, discarded.
    stream.send(f"<message {to}'nobody.{cluster.domain}'/>")
    stream.send(f"<message {to}'@'/>")
    stream.send(f"<message type='error' {to}'nobody.{cluster.domain}'/>")
    for _ in range(2):
        stanza_error(await stream.next())
    # Queued for somebody who is not there any more.
    gone = await Stream.component(cluster, other, absent)
    gone.abort()
    await seen.until("xmpp_streams_closed")
    stream.send(f"<message {to}'{absent.jid}'><body>waits</body></message>")
    waiting = ("queued", "queue_stanzas", "queue_bytes", "longest_queue", "state_bytes")
    await seen.until(*(f"xmpp_{name}" for name in waiting))
    cluster.remove(absent)
    stanza_error(await stream.next())
    # A user who is away, and then there.
    jid = cluster.user("juliet", "correct horse")
    stream.send(f"<message {to}'{jid}'><body>waits</body></message>")
    await seen.until("xmpp_users", "xmpp_offline_stanzas")
    client = await Client(cluster, f"{jid}/r", "correct horse", node).start()
    await seen.until("xmpp_client_sessions", "xmpp_kept_bytes")
    await client.end()
    # Connections: refused, and not authenticated.
    async with crowd(node, "127.0.88.1"):
        await seen.until("xmpp_refused", "xmpp_unauthenticated")
    with damaged(cluster, node):
        os.kill(node.pid, signal.SIGHUP)
        await seen.until("xmpp_reload_failures")
    deadline = time.monotonic() + 15
    while "xmpp_bridges_unconfirmed" not in seen.moved and time.monotonic() < deadline:
        await stream.fence(sender.jid, cluster.domain)
        seen.look()
    seen.look()
    assert seen.declared - seen.moved == ALWAYS_ZERO

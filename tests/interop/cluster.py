"""A running `xmpp demo`: where its nodes are, what they say, and how to hurt them.

Knows processes, files and the command line; knows nothing of XMPP.
"""

import asyncio
import json
import os
import signal
import subprocess
import time
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

#: Ceiling of every wait in these tests, seconds.
CEILING = 10.0
#: Pause between two looks at a condition, seconds.
LOOK = 0.02


class Never(AssertionError):
    """A condition that did not come true in time."""


async def eventually(condition, what, within=CEILING):
    """Waits until `condition()` is true and returns its value; it may raise until then."""
    deadline = time.monotonic() + within
    while True:
        try:
            # In a thread of its own: meanwhile components answer pings.
            value, reason = await asyncio.to_thread(condition), None
        except (OSError, KeyError, ValueError, subprocess.SubprocessError, AssertionError) as error:
            value, reason = None, error
        if value:
            return value
        if time.monotonic() > deadline:
            raise Never(f"{what}: not within {within} s" + (f" ({reason})" if reason else ""))
        await asyncio.sleep(LOOK)


def address(text):
    """`127.0.0.1:5223` as host and port."""
    host, port = text.rsplit(":", 1)
    return host, int(port)


@dataclass(frozen=True)
class Bridge:
    """A bridge that the cluster knows."""

    name: str
    jid: str
    secret: str


@dataclass(frozen=True)
class Node:
    """One node as `demo.json` describes it now."""

    name: str
    pid: int
    role: str
    client: tuple
    client_direct: tuple
    component: tuple
    peer: tuple
    admin: tuple
    metrics: tuple
    socket: str


class Cluster:
    """The cluster of one `demo.json`."""

    def __init__(self, directory, binaries):
        self.directory = Path(directory)
        self.binaries = Path(binaries)
        self.bridges = 0
        self.lent = []
        self.users = []

    def manifest(self):
        return json.loads((self.directory / "demo.json").read_text())

    @property
    def domain(self):
        return self.manifest()["domain"]

    @property
    def ca(self):
        return self.manifest()["ca"]

    @property
    def dns(self):
        return self.manifest()["dns"]

    @property
    def nodes(self):
        ports = ("client", "client_direct", "component", "peer", "admin", "metrics")
        return [
            Node(
                **{key: entry[key] for key in ("name", "pid", "role", "socket")},
                **{port: address(entry[port]) for port in ports},
            )
            for entry in self.manifest()["nodes"]
        ]

    def node(self, name):
        return next(node for node in self.nodes if node.name == name)

    def xmpp(self, node, *arguments):
        """The answer of the command line, asked at a node's socket."""
        command = [self.binaries / "xmpp", "--socket", node.socket, "-o", "json", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=CEILING)
        if done.returncode:
            raise ValueError(f"xmpp {' '.join(arguments)}: {done.stderr.strip()}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def status(self, node):
        return self.xmpp(node, "status")

    def ledger(self):
        """The ledger, once all nodes have applied the same."""
        statuses = [self.status(node) for node in self.nodes]
        assert len({status["applied"] for status in statuses}) == 1, "nodes differ in what they applied"
        assert len({status["digest"] for status in statuses}) == 1, "nodes differ in their state"
        return statuses[0]["ledger"]

    def leader(self):
        """The node that every node follows; raises while they do not agree."""
        leaders = {(self.status(node)["leader"] or {}).get("name") for node in self.nodes}
        assert len(leaders) == 1 and None not in leaders, f"leaders: {leaders}"
        return self.node(leaders.pop())

    async def whole(self):
        """Waits until all nodes serve, agree on a leader and have caught up; returns leader and followers."""

        def settled():
            leader = self.leader()
            for node in self.nodes:
                status = self.status(node)
                assert status["ready"]["ok"], f"{node.name}: {status['ready']['reason']}"
            peers = self.status(leader)["peers"]
            assert len(peers) == len(self.nodes) - 1, "a member is missing"
            for peer in peers:
                assert peer["role"] == "voter" and peer["reachable"] and peer["caught_up"], peer
            return leader

        leader = await eventually(settled, "the cluster is whole", within=2 * CEILING)
        return leader, [node for node in self.nodes if node.name != leader.name]

    def bridge(self, node=None):
        """A bridge that nobody else uses."""
        self.bridges += 1
        name = f"it{os.getpid()}-{self.bridges}"
        answer = self.xmpp(node or self.nodes[0], "callbridge", "add", name)
        self.lent.append(Bridge(name, f"{name}.{answer['domain']}", answer["secrets"][-1]["secret"]))
        return self.lent[-1]

    def remove(self, bridge, node=None):
        self.xmpp(node or self.nodes[0], "callbridge", "remove", bridge.name)
        self.lent.remove(bridge)

    def user(self, name, password, node=None):
        """A user, until the test is over; returns the bare address."""
        command = [self.binaries / "xmpp", "--socket", (node or self.nodes[0]).socket, "user", "add", name]
        done = subprocess.run(command, input=password + "\n", capture_output=True, text=True, timeout=CEILING)
        if done.returncode:
            raise ValueError(f"xmpp user add {name}: {done.stderr.strip()}")
        self.users.append(name)
        return f"{name}@{self.domain}"

    def tidy(self):
        """Removes the bridges and users of a test that is over, and what waits for them."""
        while self.users:
            self.xmpp(self.nodes[0], "user", "remove", self.users.pop())
        for bridge in list(self.lent):
            self.remove(bridge)

    def resident(self, node):
        """Resident memory of a node, bytes."""
        lines = Path(f"/proc/{node.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))

    def sockets(self, node):
        """Open descriptors of a node."""
        return len(os.listdir(f"/proc/{node.pid}/fd"))

    def metric(self, node, name):
        """Sum of a metric over its labels."""
        url = "http://%s:%d/metrics" % node.metrics
        with urllib.request.urlopen(url, timeout=CEILING) as answer:
            lines = answer.read().decode().splitlines()
        found = [line for line in lines if line.split("{")[0].split(" ")[0] == name]
        assert found, f"no metric {name}"
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)

    @staticmethod
    def kill(node):
        os.kill(node.pid, signal.SIGKILL)

    @staticmethod
    def stop(node):
        os.kill(node.pid, signal.SIGTERM)

    @contextmanager
    def frozen(self, node):
        """Stops a node's process for a while."""
        os.kill(node.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(node.pid, signal.SIGCONT)

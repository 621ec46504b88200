"""Clients and components by libraries that nobody here wrote, each in its own language, as their users write them.

Each is a bot that sends every text back. Its node is killed while texts come, and it must hear each text once and in order, as its
session goes on at another node, or at the same one once that is back.
"""

import asyncio
import json
import os
import re
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import foreign
from clients import Client
from cluster import CEILING, eventually
from test_sidecar import free_port, running

BOTS = Path(__file__).parent / "bots"
PASSWORD = "correct horse"
TEXTS = [str(number) for number in range(200)]


def xmppjs(spec):
    return ["node", foreign.npm(BOTS / "xmppjs") / "client.mjs", json.dumps(spec)]


def tokio_xmpp(spec):
    return [foreign.cargo(BOTS / "tokio-xmpp"), json.dumps(spec)]


def strophe(spec):
    nodes = [part for node in spec["nodes"] for part in node.rsplit(":", 1)]
    jid = f"{spec['user']}@{spec['domain']}/bot"
    return [foreign.compiled(BOTS / "strophe/bot.c", "libstrophe"), jid, spec["password"], spec["ca"], *nodes]


@pytest.fixture
def built(library):
    """What must be fetched and built is, before the clock of the test runs."""
    library({"domain": "", "user": "", "password": "", "nodes": [], "ca": ""})


@pytest.fixture
def scripts():
    """Those of xmpp.js, as `built`."""
    return foreign.npm(BOTS / "xmppjs")


class Bot:
    """A bot's process, and the lines that it says."""

    def __init__(self, process):
        self.process, self.lines = process, []
        self.reading = asyncio.ensure_future(self._read())

    async def _read(self):
        while line := await self.process.stdout.readline():
            self.lines.append(line.decode().strip())

    def said(self, word):
        return [line.split(" ", 1)[-1] for line in self.lines if line.split(" ")[0] == word]


@asynccontextmanager
async def bot(command, ca, log):
    trusted = {**os.environ, "NODE_EXTRA_CA_CERTS": str(ca), "SSL_CERT_FILE": str(ca)}
    with log.open("wb") as errors:
        process = await asyncio.create_subprocess_exec(
            *map(str, command), env=trusted, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=errors
        )
    run = Bot(process)
    try:
        yield run
    finally:
        assert process.returncode is None, log.read_text()[-2000:]
        process.kill()
        await process.wait()
        await run.reading


def texts(client, sender):
    return [body for from_, body, _ in client.received if from_.split("/")[0] == sender]


@pytest.mark.harms
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "library",
    [
        pytest.param(library, marks=pytest.mark.judge(name), id=name)
        for name, library in (("xmpp.js client", xmppjs), ("tokio-xmpp", tokio_xmpp), ("libstrophe", strophe))
    ],
)
async def test_a_client_hears_everything_once_though_its_node_is_killed(cluster, tmp_path, library, built):
    leader, (one, two) = await cluster.whole()
    user, partner = (cluster.user(name, PASSWORD, one) for name in ("bot", "juliet"))
    nodes = ["%s:%d" % node.client for node in (leader, two, one)]
    spec = {"domain": cluster.domain, "user": "bot", "password": PASSWORD, "nodes": nodes, "ca": cluster.ca}
    command = library(spec)
    juliet = await Client(cluster, partner, PASSWORD, one).start()
    async with bot(command, cluster.ca, tmp_path / "bot.log") as run:
        await eventually(lambda: run.said("online"), "the bot is online")
        (address,) = run.said("online")
        for text in TEXTS:
            juliet.send_message(mto=address, mbody=text, mtype="chat")
            if text == "50":
                await eventually(lambda: len(run.said("heard")) > 20, "texts come")
                cluster.kill(leader)
        await eventually(lambda: TEXTS[-1] in run.said("heard"), "the last text comes", within=3 * CEILING)
        assert run.said("heard") == TEXTS
        # libstrophe forgets what was on its way when the connection ended, so of its answers some may be missing.
        back = {TEXTS[0], TEXTS[-1]} if library is strophe else set(TEXTS)
        await eventually(lambda: back <= set(texts(juliet, user)), "all come back", within=2 * CEILING)
        assert len(run.said("online")) == 1, "one session"
        logs = "".join(path.read_text() for path in cluster.directory.glob("xmpp*.log"))
        how = {match[1] for match in re.finditer(r'user="bot" mechanism="([^"]+)"', logs)}
        assert library is not tokio_xmpp or "SCRAM-SHA-256-PLUS" in how, f"it binds the channel: {how}"
    await juliet.end()
    await cluster.whole()


@pytest.mark.harms
@pytest.mark.judge("xmpp.js component")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_component_by_xmppjs_behind_the_side_car_outlives_its_node(cluster, tmp_path, scripts):
    _, (one, _) = await cluster.whole()
    bridge, port = cluster.bridge(), free_port()
    jid = cluster.user("juliet", PASSWORD, one)
    (tmp_path / "secret").write_text(bridge.secret)
    sidecar = [cluster.binaries / "callbridge", "--name", bridge.name, "--domain", cluster.domain]
    sidecar += ["--secret-file", tmp_path / "secret", "--ca", cluster.ca, "--dns", cluster.dns]
    sidecar += ["--sidecar", f"127.0.0.1:{port}"]
    spec = {"domain": bridge.jid, "secret": bridge.secret, "service": f"127.0.0.1:{port}"}
    with running(sidecar, tmp_path / "sidecar.log"):
        async with bot(["node", scripts / "component.mjs", json.dumps(spec)], cluster.ca, tmp_path / "bot.log") as run:
            await eventually(lambda: run.said("online"), "the component is online")

            def attached():
                bridges = cluster.status(one)["bridges"]
                return next(found for found in bridges if found["name"] == bridge.name)["attached"]["node"]

            # She may lose nothing herself, so she is at another node.
            victim = await eventually(attached, "the component is registered")
            home = next(node for node in cluster.nodes if node.name != victim)
            juliet = await Client(cluster, jid, PASSWORD, home).start()
            for text in TEXTS:
                juliet.send_message(mto=f"bot@{bridge.jid}", mbody=text, mtype="chat")
                if text == "50":
                    await eventually(lambda: len(run.said("heard")) > 20, "texts come")
                    cluster.kill(cluster.node(victim))
            await eventually(lambda: TEXTS[-1] in run.said("heard"), "the last text comes", within=3 * CEILING)
            assert run.said("heard") == TEXTS
            await eventually(lambda: set(texts(juliet, f"bot@{bridge.jid}")) == set(TEXTS), "all come back", within=2 * CEILING)
            assert len(run.said("online")) == 1, "its stream lived on"
            await juliet.end()
    await cluster.whole()

"""biboumi, an IRC gateway for XMPP servers, unmodified: plain XEP-0114 to the side-car, which keeps it in the cluster.

biboumi speaks no TLS to its server, knows one address, and ends when its stream does: on its own it could not stay in a cluster.
"""

import asyncio
import shutil
import socket
import subprocess
from contextlib import contextmanager

import pytest
from slixmpp.exceptions import IqError, IqTimeout

from cluster import CEILING, eventually
from components import Component

pytestmark = [
    pytest.mark.judge("biboumi"),
    pytest.mark.harms,
    pytest.mark.skipif(shutil.which("biboumi") is None, reason="biboumi is not installed"),
]

DISCO = "http://jabber.org/protocol/disco#info"


@contextmanager
def running(command, log):
    """A process for as long as it is needed."""
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(CEILING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@pytest.fixture
def gateway(cluster, tmp_path):
    """biboumi behind its side-car: its address, and both processes."""
    bridge, port = cluster.bridge(), free_port()
    secret = tmp_path / "secret"
    secret.write_text(bridge.secret)
    sidecar = [cluster.binaries / "callbridge", "--name", bridge.name, "--domain", cluster.domain]
    sidecar += ["--secret-file", secret, "--ca", cluster.ca, "--dns", cluster.dns]
    sidecar += ["--sidecar", f"127.0.0.1:{port}"]
    config = tmp_path / "biboumi.cfg"
    config.write_text(
        f"hostname={bridge.jid}\npassword={bridge.secret}\nxmpp_server_ip=127.0.0.1\nport={port}\n"
        f"admin=admin@{bridge.jid}\ndb_name={tmp_path}/biboumi.sqlite\nlog_file={tmp_path}/biboumi.out\nlog_level=0\n"
        "identd_port=0\nca_file=\npersistent_by_default=false\n"
    )
    with running(sidecar, tmp_path / "sidecar.log") as first:
        with running(["biboumi", config], tmp_path / "biboumi.log") as second:
            yield bridge, first, second


async def disco(asker, jid, within=1.0):
    answer = await asker.plugin["xep_0030"].get_info(jid, ifrom=f"{asker.boundjid}/d", timeout=within)
    return {(category, kind) for category, kind, _, _ in answer["disco_info"]["identities"]}


async def answering(asker, jid):
    """Asks until there is an answer; one second each, ten in all."""
    for _ in range(10):
        try:
            return await disco(asker, jid)
        except (IqError, IqTimeout):
            await asyncio.sleep(0.1)
    raise AssertionError(f"{jid} does not answer")


async def test_biboumi_is_reached_through_the_cluster_and_outlives_its_leader(cluster, gateway):
    bridge, sidecar, biboumi = gateway
    leader, (one, _) = await cluster.whole()
    asker = await Component(cluster, cluster.bridge(), one).start()
    assert await answering(asker, bridge.jid) == {("conference", "irc")}
    assert await asker.plugin["xep_0199"].ping(bridge.jid, ifrom=asker.boundjid, timeout=10) < 10

    # Whoever the side-car is connected to now and whoever leads: both are killed once, one after the other.
    def attached():
        bridges = cluster.status(one)["bridges"]
        return next(found for found in bridges if found["name"] == bridge.name)["attached"]["node"]

    victims = {leader.name, attached()}
    for name in victims:
        questions = [
            asyncio.ensure_future(asker.plugin["xep_0199"].send_ping(bridge.jid, ifrom=asker.boundjid, timeout=10))
            for _ in range(50)
        ]
        cluster.kill(cluster.node(name))
        # The asker is a plain component: what it wrote to the node that dies may be lost, unless its node lives.
        answers = await asyncio.gather(*questions, return_exceptions=True)
        if asker.streams == 1:
            assert [answer for answer in answers if isinstance(answer, BaseException)] == []
        await cluster.whole()
        await asyncio.wait_for(asker.bound.wait(), CEILING)
        assert await answering(asker, bridge.jid) == {("conference", "irc")}
    assert biboumi.poll() is None and sidecar.poll() is None, "neither was restarted"
    await asker.end()


async def test_what_is_asked_while_biboumi_is_away_is_answered_by_its_next_process(cluster, gateway, tmp_path):
    bridge, _, biboumi = gateway
    _, (one, _) = await cluster.whole()
    asker = await Component(cluster, cluster.bridge(), one).start()
    await answering(asker, bridge.jid)
    biboumi.kill()
    biboumi.wait()
    question = asker.plugin["xep_0199"].send_ping(bridge.jid, ifrom=asker.boundjid, timeout=10)
    await asker.plugin["xep_0199"].ping(asker.domain, ifrom=asker.boundjid, timeout=10)
    with running(["biboumi", tmp_path / "biboumi.cfg"], tmp_path / "biboumi-2.log"):
        assert (await question)["type"] == "result"
    await asker.end()

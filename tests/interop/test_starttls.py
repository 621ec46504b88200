"""Clients before TLS: what may stand there, and how testssl.sh, which nobody here wrote, judges what comes after."""

import asyncio
import json
import shutil
import subprocess

import pytest

from cluster import CEILING
from stream import trusting

HEADER = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='{}' version='1.0'>"
STARTTLS = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
#: What must not be found.
FAULTS = {"LOW", "MEDIUM", "HIGH", "CRITICAL", "WARN", "FATAL"}


async def opened(cluster):
    """A connection whose features have come."""
    reader, writer = await asyncio.open_connection(*cluster.nodes[0].client)
    writer.write(HEADER.format(cluster.domain).encode())
    features = await asyncio.wait_for(reader.readuntil(b"</stream:features>"), CEILING)
    assert b"<required/>" in features and b"mechanism" not in features
    return reader, writer


@pytest.mark.parametrize("behind", ["", "\n", "\r\n"])
async def test_tls_begins_though_a_lines_end_stands_behind_the_request(cluster, behind):
    reader, writer = await opened(cluster)
    writer.write((STARTTLS + behind).encode())
    assert b"<proceed " in await asyncio.wait_for(reader.readuntil(b"/>"), CEILING)
    context = trusting(cluster.ca)
    await asyncio.wait_for(writer.start_tls(context, server_hostname=cluster.domain), CEILING)
    writer.write(HEADER.format(cluster.domain).encode())
    features = await asyncio.wait_for(reader.readuntil(b"</stream:features>"), CEILING)
    assert b"<mechanism>SCRAM-SHA-256</mechanism>" in features
    writer.close()


@pytest.mark.parametrize("behind", ["<presence/>", " x", HEADER.format("example.test")])
async def test_what_was_said_in_plain_behind_the_request_ends_the_connection(cluster, behind):
    reader, writer = await opened(cluster)
    writer.write((STARTTLS + behind).encode())
    try:
        assert await asyncio.wait_for(reader.read(), CEILING) == b""
    except ConnectionResetError:
        pass  # what it did not read made this of the end
    writer.close()


async def test_nothing_but_tls_is_granted(cluster):
    for text in ["<message/>", "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>"]:
        reader, writer = await opened(cluster)
        writer.write(text.encode())
        answer = await asyncio.wait_for(reader.read(), CEILING)
        assert b"<not-authorized " in answer and answer.endswith(b"</stream:stream>")
        writer.close()


@pytest.mark.judge("testssl.sh")
def test_testssl_finds_no_fault(cluster, tmp_path):
    testssl = shutil.which("testssl") or pytest.skip("testssl.sh is missing: apt-get install testssl.sh")
    found = tmp_path / "found.json"
    command = [testssl, "--quiet", "--warnings", "batch", "--nodns", "none", "-p", "-s", "-U", "--jsonfile", found]
    command += ["--starttls", "xmpp", "--xmpphost", cluster.domain, "%s:%d" % cluster.nodes[0].client]
    subprocess.run(command, capture_output=True, timeout=180, stdin=subprocess.DEVNULL)
    # One is about the openssl that it uses.
    findings = [finding for finding in json.loads(found.read_text()) if finding["id"] != "engine_problem"]
    severity = {finding["id"]: finding["severity"] for finding in findings}
    assert severity["TLS1_2"] == severity["TLS1_3"] == severity["heartbleed"] == "OK", findings
    assert [finding for finding in findings if finding["severity"] in FAULTS] == []

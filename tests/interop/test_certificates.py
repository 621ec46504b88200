"""Certificates of bridges and users, and passwords sent as they are: what a node does where its file asks for them."""

import asyncio
import hashlib
import shutil
import ssl
import subprocess

import pytest
from slixmpp import ClientXMPP

from cluster import CEILING
from lone import Authority, lone
from stream import header, trusting

PASSWORD = "correct horse"


def context(node, pair=None):
    made = trusting(node.ca)
    if pair:
        made.load_cert_chain(*pair)
    return made


async def presented(node, name, secret, pair):
    """What a component with this certificate is answered at the end of its handshake."""
    host, port = node.component
    opening = asyncio.open_connection(host, port, ssl=context(node, pair), server_hostname=node.domain)
    reader, writer = await asyncio.wait_for(opening, CEILING)
    try:
        writer.write(header(f"{name}.{node.domain}").encode())
        head = await asyncio.wait_for(reader.readuntil(b">"), CEILING)
        if head.startswith(b"<?xml"):
            head = await asyncio.wait_for(reader.readuntil(b">"), CEILING)
        stream = head.decode().split("id='")[1].split("'")[0]
        digest = hashlib.sha1((stream + secret).encode()).hexdigest()
        writer.write(f"<handshake>{digest}</handshake>".encode())
        return await asyncio.wait_for(reader.readuntil(b"/>"), CEILING)
    finally:
        writer.transport.abort()


async def test_a_bridge_must_show_a_certificate_of_its_own_name_where_the_file_says_so(cluster, tmp_path, free_ports):
    bridges = Authority(tmp_path, "bridges-ca")
    own, other = (bridges.issue(name, f"DNS:{name}.example.test") for name in ("cb1", "cb2"))
    foreign = Authority(tmp_path, "nobodys-ca").issue("cb9", "DNS:cb1.example.test")
    async with lone(tmp_path, cluster.binaries, free_ports, component='client_ca = "bridges-ca.crt"') as node:
        secret = node.bridge("cb1")
        assert b"<handshake/>" in await presented(node, "cb1", secret, own)
        for pair in (None, other):
            assert b"<not-authorized " in await presented(node, "cb1", secret, pair)
            assert node.refusal("cb1.example.test") == "wrong_certificate"
        with pytest.raises((ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)):
            await presented(node, "cb1", secret, foreign)
        assert b"<not-authorized " in await presented(node, "cb1", "wrong", own)
        assert node.refusal("cb1.example.test") == "wrong_secret"


class Certified(ClientXMPP):
    """slixmpp with a certificate and no password."""

    def __init__(self, node, jid, pair):
        super().__init__(jid, "", sasl_mech="EXTERNAL")
        self.certfile, self.keyfile = (str(path) for path in pair)
        self.ca_certs = str(node.ca)
        self.started, self.refused = asyncio.Event(), asyncio.Event()
        self.add_event_handler("session_start", lambda _: self.started.set())
        self.add_event_handler("failed_all_auth", lambda _: self.refused.set())
        self.add_event_handler("stream_error", lambda _: self.refused.set())
        self.connect(*node.client)


@pytest.mark.judge("slixmpp with a certificate")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_a_user_with_a_certificate_needs_no_password(cluster, tmp_path, free_ports):
    users = Authority(tmp_path, "users-ca")
    romeo, nobody = (
        users.issue(name, f"otherName:1.3.6.1.5.5.7.8.5;UTF8:{name}@example.test") for name in ("romeo", "nobody")
    )
    async with lone(tmp_path, cluster.binaries, free_ports, clients='client_ca = "users-ca.crt"') as node:
        jid = node.user("romeo", PASSWORD)
        client = Certified(node, jid, romeo)
        await asyncio.wait_for(client.started.wait(), CEILING)
        assert client.boundjid.bare == jid
        await client.disconnect()
        # A certificate of a user who was never added, and one that is not the user's.
        for name, pair in (("nobody", nobody), ("romeo", nobody)):
            client = Certified(node, f"{name}@example.test", pair)
            await asyncio.wait_for(client.refused.wait(), CEILING)
            assert not client.started.is_set()
            await client.disconnect()


@pytest.mark.judge("go-sendxmpp")
@pytest.mark.skipif(shutil.which("go-sendxmpp") is None, reason="go-sendxmpp is not installed")
async def test_go_sendxmpp_sends_its_password_where_that_is_allowed(cluster, tmp_path, free_ports):
    async with lone(tmp_path, cluster.binaries, free_ports, clients="plain = true") as node:
        sender, to = (node.user(name, PASSWORD) for name in ("romeo", "juliet"))

        def send(password):
            host, port = node.client
            command = ["go-sendxmpp", "-u", sender, "-p", password, "-j", f"{host}:{port}", to]
            trusted = {"SSL_CERT_FILE": str(node.ca), "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
            return subprocess.run(command, input="by go", env=trusted, capture_output=True, text=True, timeout=CEILING)

        done = await asyncio.to_thread(send, PASSWORD)
        assert done.returncode == 0, done.stderr
        waiting = {user["jid"]: user["waiting"] for user in node.xmpp("user", "list")}
        assert waiting[to] == 1, "it waits for who is away"
        assert (await asyncio.to_thread(send, "wrong")).returncode != 0

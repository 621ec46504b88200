"""Tools that administrators look at a server with: xmpp-dns, and sslscan beside testssl.sh (`test_starttls.py`)."""

import asyncio
import os
import shutil
import subprocess

import pytest

from cluster import CEILING, address

#: A resolver of xmpp-dns has no port but 53.
RESOLVER = ("127.88.0.53", 53)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="a port below 1024 and a mount namespace need root")


class Forwarder(asyncio.DatagramProtocol):
    """Hands each question to the demo's DNS and the answer back, since that is not at port 53."""

    def __init__(self, upstream):
        self.upstream = upstream

    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, asker):
        asyncio.ensure_future(self._ask(data, asker))

    async def _ask(self, data, asker):
        loop, answer = asyncio.get_running_loop(), asyncio.get_running_loop().create_future()

        class Once(asyncio.DatagramProtocol):
            def connection_made(self, transport):
                transport.sendto(data)

            def datagram_received(self, reply, _):
                answer.done() or answer.set_result(reply)

        transport, _ = await loop.create_datagram_endpoint(Once, remote_addr=self.upstream)
        try:
            self.transport.sendto(await asyncio.wait_for(answer, CEILING), asker)
        finally:
            transport.close()


def seeing(files):
    """The beginning of a command that finds other content in these files, in a mount namespace of its own."""
    script = "".join(f"mount --bind '{content}' '{path}' && " for path, content in files.items())
    return ["unshare", "--mount", "sh", "-c", f'{script}exec "$@"', "sh"]


async def answer(*command, trusted=None):
    """What a program says, which must end well."""
    environment = {**os.environ, **({"SSL_CERT_FILE": str(trusted)} if trusted else {})}
    process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    said, _ = await asyncio.wait_for(process.communicate(), 3 * CEILING)
    assert process.returncode == 0, said.decode()
    return said.decode()


@needs_root
@pytest.mark.judge("xmpp-dns")
@pytest.mark.skipif(shutil.which("xmpp-dns") is None, reason="xmpp-dns is not installed")
async def test_xmpp_dns_finds_every_node_and_connects_both_ways(cluster, tmp_path):
    (tmp_path / "resolv.conf").write_text(f"nameserver {RESOLVER[0]}\n")
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: Forwarder(address(cluster.dns)), local_addr=RESOLVER)
    command = [*seeing({"/etc/resolv.conf": tmp_path / "resolv.conf"}), "xmpp-dns", "-c", "-4", "-v", "-t", "--no-color"]
    try:
        text = await answer(*command, "--timeout", "5", cluster.domain, trusted=cluster.ca)
    finally:
        transport.close()
    for node in cluster.nodes:
        for service, (host, port) in (("xmpp-client", node.client), ("xmpps-client", node.client_direct)):
            block = text.split(f"{service} {node.name}.{cluster.domain}. {port}\n")[1].split("\n\n")[0]
            steps = ["Connection: [OK]", *(["StartTLS: [OK]"] if service == "xmpp-client" else []), "Certificate: [OK]"]
            assert all(step in block for step in [f"IP: {host}", *steps]), text


@needs_root
@pytest.mark.judge("sslscan")
@pytest.mark.skipif(shutil.which("sslscan") is None, reason="sslscan is not installed")
async def test_sslscan_finds_nothing_old_on_either_port(cluster, tmp_path):
    node = cluster.nodes[0]
    (tmp_path / "hosts").write_text(f"{node.client[0]} {cluster.domain}\n")
    command = [*seeing({"/etc/hosts": tmp_path / "hosts"}), "sslscan", "--no-colour"]
    for how, port in (["--starttls-xmpp"], node.client[1]), ([], node.client_direct[1]):
        text = await answer(*command, *how, f"{cluster.domain}:{port}")
        enabled = {line.split()[0] for line in text.splitlines() if line.startswith(("SSL", "TLSv1.")) and line.endswith("enabled")}
        assert enabled == {"TLSv1.2", "TLSv1.3"}, text
        ciphers = [line.split()[4] for line in text.splitlines() if line.startswith(("Preferred", "Accepted"))]
        assert ciphers and all(("GCM" in cipher or "CHACHA20" in cipher) for cipher in ciphers), text
        assert "Session renegotiation not supported" in text, text

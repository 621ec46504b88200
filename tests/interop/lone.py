"""A node by itself, with a configuration and certificates of the test's own, made as README says.

Knows processes and files; knows nothing of XMPP.
"""

import json
import subprocess
from contextlib import asynccontextmanager

from cluster import CEILING, eventually

DOMAIN = "example.test"
ALGORITHM = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")


class Authority:
    """A CA in a directory, by openssl."""

    def __init__(self, directory, name="ca"):
        self.directory, self.name = directory, name
        subject = ("-subj", f"/CN={name} of the tests", "-days", "2")
        self._openssl("req", "-x509", *ALGORITHM, *subject, "-keyout", f"{name}.key", "-out", f"{name}.crt")

    @property
    def certificate(self):
        return self.directory / f"{self.name}.crt"

    def issue(self, name, names):
        """`NAME.crt` and `NAME.key`, with these alternative names."""
        asked = self._openssl(
            "req", *ALGORITHM, "-subj", f"/CN={name}", "-addext", f"subjectAltName={names}", "-keyout", f"{name}.key"
        )
        signed = ("-CA", self.certificate, "-CAkey", f"{self.name}.key", "-copy_extensions", "copy", "-days", "2")
        self._openssl("x509", "-req", *signed, "-out", f"{name}.crt", given=asked)
        return self.directory / f"{name}.crt", self.directory / f"{name}.key"

    def _openssl(self, *arguments, given=None):
        done = subprocess.run(["openssl", *arguments], cwd=self.directory, input=given, capture_output=True, timeout=CEILING)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout


class Lone:
    """A node that runs, and its ports on 127.0.0.1."""

    domain = DOMAIN

    def __init__(self, directory, binaries, ports, authority):
        self.directory, self.binaries, self.authority = directory, binaries, authority
        self.component, self.client, self.client_direct = (("127.0.0.1", port) for port in ports[:3])

    @property
    def ca(self):
        return self.authority.certificate

    def xmpp(self, *arguments, given=""):
        command = [self.binaries / "xmpp", "--socket", self.directory / "data/admin.sock", "-o", "json", *arguments]
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=CEILING)
        if done.returncode:
            raise ValueError(f"xmpp {' '.join(arguments)}: {done.stderr.strip()}")
        return json.loads(done.stdout) if done.stdout.strip() else None

    def user(self, name, password):
        self.xmpp("user", "add", name, given=password + "\n")
        return f"{name}@{self.domain}"

    def bridge(self, name):
        """Its secret."""
        return self.xmpp("callbridge", "add", name)["secrets"][-1]["secret"]

    def refusal(self, jid):
        """Why the bridge was refused last."""
        bridges = self.xmpp("status")["bridges"]
        return next(bridge for bridge in bridges if bridge["jid"] == jid)["refusal"]["reason"]


@asynccontextmanager
async def lone(directory, binaries, port, component="", clients=""):
    """A cluster of one on ports from `port` on, with these lines more in its sections."""
    authority = Authority(directory)
    authority.issue("component", f"DNS:{DOMAIN}")
    authority.issue("peer", "DNS:xmpp1.example.test,URI:xmpp-cluster:node/xmpp1")
    ports = [port + at for at in range(4)]
    listen = [f'listen = "127.0.0.1:{at}"' for at in ports]
    (directory / "node.toml").write_text(
        f"""
[node]
name = "xmpp1"
dir = "data"
[xmpp]
domain = "{DOMAIN}"
[component]
{listen[0]}
certificate = "component.crt"
key = "component.key"
{component}
[clients]
{listen[1]}
direct_{listen[2]}
{clients}
[peer]
{listen[3]}
advertise = "127.0.0.1:{ports[3]}"
certificate = "peer.crt"
key = "peer.key"
ca = "ca.crt"
[admin]
listen = "off"
[metrics]
listen = "off"
"""
    )
    with (directory / "node.log").open("wb") as log:
        process = subprocess.Popen([binaries / "xmpp-node", "--config", directory / "node.toml"], stdout=log, stderr=log)
    try:
        node = Lone(directory, binaries, ports, authority)

        def started():
            assert process.poll() is None, (directory / "node.log").read_text()
            return (directory / "data/admin.sock").exists()

        await eventually(started, "the node answers")
        node.xmpp("cluster", "initialize")
        await eventually(lambda: node.xmpp("status")["ready"]["ok"], "the node is ready")
        yield node
    finally:
        process.terminate()
        try:
            process.wait(timeout=CEILING)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

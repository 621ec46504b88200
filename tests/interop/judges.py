"""The table of who judges: what foreign software did in this run, for docs/interop.md, which only a whole run writes.

A test that is marked `judge(NAME)` counts for that software; what it records as `note` stands beside it.
"""

import importlib.metadata
import json
import re
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs/interop.md"


def python(package):
    return importlib.metadata.version(package)


def npm(package):
    return json.loads((HERE / "bots/xmppjs/package.json").read_text())["dependencies"][package]


def crate(package):
    return re.search(rf'{package} = {{ version = "=([^"]+)"', (HERE / "bots/tokio-xmpp/Cargo.toml").read_text())[1]


def maven(artifact):
    return re.search(rf"<artifactId>{artifact}</artifactId>\s*<version>([^<]+)", (HERE / "smack/pom.xml").read_text())[1]


def debian(package):
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True)
    return done.stdout.split("-")[0].split("+")[0] if done.returncode == 0 else "of the system"


#: Software: version, language, what it is and does here.
JUDGES = {
    "Smack": (lambda: maven("smack-integration-test"), "Java", "its own integration tests, connections spread over three nodes"),
    "slixmpp": (lambda: python("slixmpp"), "Python", "components and clients: traffic, stanza errors, kills, resumption"),
    "slixmpp with a certificate": (lambda: python("slixmpp"), "Python", "a client that authenticates by EXTERNAL"),
    "aioxmpp": (lambda: python("aioxmpp"), "Python", "clients: messages, contacts, service discovery, a kill"),
    "xmpp.js client": (lambda: npm("@xmpp/client"), "JavaScript", "a client whose node is killed under it"),
    "xmpp.js component": (lambda: npm("@xmpp/component"), "JavaScript", "a component behind the side-car, its node killed"),
    "tokio-xmpp": (lambda: crate("tokio-xmpp"), "Rust", "a client with SCRAM-SHA-256-PLUS whose node is killed under it"),
    "libstrophe": (lambda: debian("libstrophe0"), "C", "a client whose node is killed under it"),
    "go-sendxmpp": (lambda: debian("go-sendxmpp"), "Go", "a client that sends its password itself (PLAIN)"),
    "biboumi": (lambda: debian("biboumi"), "C++", "an IRC gateway, unmodified, behind the side-car; leader and nodes killed"),
    "testssl.sh": (lambda: debian("testssl.sh"), "", "what TLS of the client ports is worth"),
    "sslscan": (lambda: debian("sslscan"), "", "versions and ciphers of TLS"),
    "xmpp-dns": (lambda: debian("xmpp-dns"), "Go", "SRV records of clients, and a connection to each node both ways"),
    "streams by hand": (lambda: "", "", "what a well-behaved library does not send: bad XML, bad handshakes, floods, silence"),
}

HEAD = """# Foreign software

Written by `make interop`, which attaches all of this to three real nodes; each test passed in the run that wrote the page.
The failures of Smack that are expected, each with its reason, are in
[tests/interop/smack/expected.txt](../tests/interop/smack/expected.txt).

| Software | Version | Language | What it does here | Tests |
|---|---|---|---|---|
"""


class Table:
    """Counts, as a plugin of pytest."""

    def __init__(self):
        self.names, self.passed, self.notes = {}, {}, {}

    def pytest_collection_modifyitems(self, items):
        for item in items:
            marker = item.get_closest_marker("judge")
            name = marker.args[0] if marker else "streams by hand"
            assert name in JUDGES, f"{item.nodeid}: no such judge: {name}"
            self.names[item.nodeid] = name

    def pytest_runtest_logreport(self, report):
        if report.when == "call" and report.passed:
            name = self.names[report.nodeid]
            self.passed[name] = self.passed.get(name, 0) + 1
            self.notes.update({name: text for key, text in report.user_properties if key == "note"})

    def pytest_sessionfinish(self, session, exitstatus):
        whole = exitstatus == 0 and set(self.passed) == set(JUDGES) and sum(self.passed.values()) == len(self.names)
        if not whole or session.config.option.keyword:
            return
        rows = []
        for name, (version, language, does) in JUDGES.items():
            note = self.notes.get(name)
            tests = f"{self.passed[name]}" + (f": {note}" if note else "")
            rows.append(f"| {name} | {version()} | {language} | {does} | {tests} |\n")
        PAGE.write_text(HEAD + "".join(rows))

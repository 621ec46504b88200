#!/usr/bin/env python3
"""Runs the cases against this server, Prosody and ejabberd (Debian: apt-get install prosody ejabberd) and writes docs/conformance.md.

    compare.py BINARIES      the directory with xmpp, xmpp-node and callbridge; needs ports of loopback and, for ejabberd, root
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

from conformance import judged
from wire import Component, Server

PAGE = Path(__file__).resolve().parents[2] / "docs/conformance.md"
ONE, TWO = Component("one.example.test", "first secret"), Component("two.example.test", "second secret")
#: Seconds until a server must be there.
START = 60

HEAD = """# Component streams, compared

What the cases of [tests/conformance](../tests/conformance) find at component streams (XEP-0114) of three servers as they are installed,
with no setting but listeners, names and secrets (ejabberd: `global_routes: false`, so that names are told apart). `python3 tests/conformance/compare.py target/debug` ran them and wrote this
page. MUST and SHOULD are those of the clause; *care* is no clause's word, but what a server of many components needs. Any server can
be tried: `python3 tests/conformance/conformance.py --help`.

"""


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


@contextmanager
def process(*command, ready, log, env=None):
    with log.open("wb") as output:
        started = subprocess.Popen([str(part) for part in command], stdout=output, stderr=output, env=env)
    try:
        deadline = time.monotonic() + START
        while not ready():
            if started.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{command[0]}: {log.read_text()[-2000:]}")
            time.sleep(0.1)
        yield
    finally:
        started.terminate()
        try:
            started.wait(30)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def ours(directory, binaries):
    run = directory / "run"
    offset = free_port() // 100 * 100 % 20000 + 10000
    command = [binaries / "xmpp", "demo", "--dir", run, "--rate", "0", "--port-offset", offset, "-o", "json"]
    with process(*command, ready=(run / "demo.json").exists, log=directory / "log"):
        manifest = json.loads((run / "demo.json").read_text())
        secrets = {bridge["name"]: bridge["secret"] for bridge in manifest["bridges"]}
        one, two = (Component(f"{name}.{manifest['domain']}", secrets[name]) for name in ("spare1", "spare2"))
        host, port = manifest["nodes"][0]["component"].rsplit(":", 1)
        yield Server(host, int(port), manifest["domain"], one, two, manifest["ca"])


@contextmanager
def prosody(directory, _):
    port = free_port()
    components = "".join(f'Component "{one.name}"\ncomponent_secret = "{one.secret}"\n' for one in (ONE, TWO))
    (directory / "prosody.cfg.lua").write_text(
        f'run_as_root = true\ndata_path = "{directory}"\npidfile = "{directory}/pid"\nlog = {{ info = "{directory}/prosody.log" }}\n'
        f'interfaces = {{ "127.0.0.1" }}\nc2s_ports = {{}}\ns2s_ports = {{}}\ncomponent_ports = {{ {port} }}\n'
        'modules_enabled = { "disco"; "ping"; "version" }\nVirtualHost "example.test"\n' + components
    )
    command = ["prosody", "-F", "--config", directory / "prosody.cfg.lua"]
    with process(*command, ready=lambda: listens(port), log=directory / "log"):
        yield Server("127.0.0.1", port, "example.test", ONE, TWO)


@contextmanager
def ejabberd(directory, _):
    port = free_port()
    hosts = "".join(f'      "{one.name}":\n        password: "{one.secret}"\n' for one in (ONE, TWO))
    (directory / "ejabberd.yml").write_text(
        f'hosts: ["example.test"]\nloglevel: error\nlisten:\n  - port: {port}\n    ip: "127.0.0.1"\n    module: ejabberd_service\n'
        f"    global_routes: false\n    hosts:\n{hosts}modules:\n  mod_disco: {{}}\n  mod_ping: {{}}\n"
    )
    library = next(Path("/usr/lib").glob("**/ejabberd-*/ebin")).parent.parent
    env = {
        **os.environ,
        "EJABBERD_CONFIG_PATH": str(directory / "ejabberd.yml"),
        "EJABBERD_LOG_PATH": str(directory / "ejabberd.log"),
        "SPOOL_DIR": str(directory),
        "ERL_LIBS": str(library),
        "HOME": str(directory),
        "ERL_CRASH_DUMP": "/dev/null",
    }
    command = ["erl", "-noinput", "-mnesia", "dir", f'"{directory}/mnesia"', "-s", "ejabberd"]
    with process(*command, ready=lambda: listens(port), log=directory / "log", env=env):
        yield Server("127.0.0.1", port, "example.test", ONE, TWO)


def version(package):
    done = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", package], capture_output=True, text=True, check=True)
    return re.split(r"[-+]", done.stdout)[0]


def main():
    binaries = Path(sys.argv[1]) if len(sys.argv) == 2 else sys.exit(__doc__)
    servers = {
        "this server": ours,
        f"Prosody {version('prosody')}": prosody,
        f"ejabberd {version('ejabberd')}": ejabberd,
    }
    found = {}
    for name, start in servers.items():
        with tempfile.TemporaryDirectory() as directory, start(Path(directory), binaries) as server:
            found[name] = judged(server)
        print(f"{name}: {sum(1 for one in found[name] if one['fault'] is None)} of {len(found[name])}", file=sys.stderr)
    page = HEAD + f"| Case | Clause | | {' | '.join(found)} |\n|---|---|---|{'---|' * len(found)}\n"
    for row in zip(*found.values()):
        cells = ["yes" if one["fault"] is None else one["fault"].replace("|", "/") for one in row]
        page += f"| {row[0]['case']} | {row[0]['clause']} | {row[0]['level']} | {' | '.join(cells)} |\n"
    totals = [f"{sum(1 for one in cases if one['fault'] is None)} of {len(cases)}" for cases in found.values()]
    PAGE.write_text(page + f"| | | | {' | '.join(totals)} |\n")


if __name__ == "__main__":
    main()

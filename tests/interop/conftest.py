"""Foreign software against a real cluster: `xmpp demo` runs three nodes; slixmpp, biboumi and bare sockets attach to it.

Environment: `XMPP_BIN` is the directory of the binaries (default: the newest of the target directory's profiles);
`XMPP_INTEROP_ATTACH` is the directory of a demo that runs already, which is used instead of a new one.
Nothing here sleeps to let something happen: every wait looks for its condition and has a ceiling.
"""

import asyncio
import inspect
import os
import resource
import socket
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cluster import Cluster, eventually  # noqa: E402
from judges import Table  # noqa: E402
from stream import Stream  # noqa: E402

#: Ceiling of one test, seconds.
TEST_CEILING = 120
#: How far from the usual ports the demo of these tests is at least, so that another may run beside it.
PORT_OFFSET = int(os.environ.get("XMPP_INTEROP_PORT_OFFSET", "20000"))


def free_offset(least=PORT_OFFSET):
    """An offset whose ports nobody uses: those of the components and of DNS stand for all."""
    for offset in range(least, least + 10_000, 100):
        with socket.socket() as component, socket.socket(type=socket.SOCK_DGRAM) as dns:
            try:
                component.bind(("127.0.0.1", 5223 + offset))
                dns.bind(("127.0.0.1", 5300 + offset))
                return offset
            except OSError:
                continue
    pytest.exit(f"all ports from {least} on are in use", returncode=2)


def binaries():
    if "XMPP_BIN" in os.environ:
        return Path(os.environ["XMPP_BIN"])
    root = Path(__file__).resolve().parents[2]
    target = Path(os.environ.get("CARGO_TARGET_DIR", root / "target"))
    built = [path for profile in ("debug", "release") if (path := target / profile / "xmpp-node").exists()]
    if not built:
        pytest.exit(f"no xmpp-node below {target}: cargo build --workspace", returncode=2)
    return max(built, key=lambda path: path.stat().st_mtime).parent


def few_files():
    """The demo begins with the modest limit of open files that many systems have; nodes must raise it by themselves."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, most))


@pytest.fixture
def free_ports():
    """The first of a hundred ports on loopback that nobody uses."""
    return 5000 + free_offset(PORT_OFFSET + 10_000)


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    if attached := os.environ.get("XMPP_INTEROP_ATTACH"):
        yield Cluster(attached, binaries())
        return
    directory = tmp_path_factory.mktemp("demo") / "run"
    command = [binaries() / "xmpp", "demo", "--dir", directory, "--rate", "0"]
    command += ["--port-offset", str(free_offset()), "-o", "json"]
    log = directory.parent / "demo.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, preexec_fn=few_files
        )
    try:
        running = Cluster(directory, binaries())

        def up():
            if process.poll() is not None:
                pytest.exit(f"the demo ended:\n{log.read_text()}", returncode=2)
            return (directory / "demo.json").exists()

        asyncio.run(eventually(up, "the demo is up", within=30))
        yield running
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.fixture
def cluster(demo):
    """The cluster. What a test adds to it is gone after the test; a test that harms it waits until it is whole again."""
    yield demo
    demo.tidy()


def pytest_configure(config):
    config.addinivalue_line("markers", "harms: the test kills, stops or freezes nodes by itself")
    config.addinivalue_line("markers", "judge(name): the foreign software that judges, see judges.py")
    config.pluginmanager.register(Table(), "table")


def downs(directory):
    """How often the nodes found that one of them is down."""
    return sum(path.read_text().count(" is gone: ") for path in directory.glob("xmpp*.log"))


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    """Runs a test that is a coroutine, and leaves none of its connections behind.

    A node that the machine does not let run for 300 ms (`timing.silence`) is declared down and its streams end, which no
    test can tell from a fault. So a test that fails while that happened, though it harmed no node, has a second try.
    """
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    arguments = {name: pyfuncitem.funcargs[name] for name in names}
    directory = arguments["cluster"].directory

    async def run():
        try:
            await asyncio.wait_for(pyfuncitem.obj(**arguments), TEST_CEILING)
        finally:
            for stream in Stream.opened:
                stream.abort()
            Stream.opened.clear()

    before = downs(directory)
    try:
        asyncio.run(run())
    except Exception as failure:
        if pyfuncitem.get_closest_marker("harms") or downs(directory) == before:
            raise
        warnings.warn(f"a node was declared down meanwhile, second try after: {failure!r}", stacklevel=1)
        asyncio.run(arguments["cluster"].whole())
        arguments["cluster"].tidy()
        asyncio.run(run())
    return True

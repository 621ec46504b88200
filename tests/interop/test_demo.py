"""What a demo leaves behind: nothing, however it ends."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from cluster import eventually
from conftest import binaries, free_offset


def state(stat):
    return stat.read_text().rpartition(") ")[2][0]


def runs(pid):
    """Whether the process is there; one that nobody has waited for is not."""
    try:
        return state(Path(f"/proc/{pid}/stat")) not in "ZX"
    except FileNotFoundError:
        return False


def stopped(pid):
    """Whether every thread has heard of SIGSTOP: only then does the system see a process that hangs."""
    return all(state(stat) == "T" for stat in Path(f"/proc/{pid}/task").glob("*/stat"))


@pytest.mark.parametrize("hangs", [False, True])
async def test_nodes_end_with_a_demo_that_is_killed(cluster, tmp_path, hangs):
    directory = tmp_path / "run"
    command = [binaries() / "xmpp", "demo", "--dir", directory, "--rate", "0", "-o", "json"]
    command += ["--port-offset", str(free_offset(25_000))]
    with (tmp_path / "demo.log").open("wb") as log:
        demo = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    pids = []
    try:
        manifest = directory / "demo.json"
        await eventually(manifest.exists, "the demo is up", within=30)
        pids = [node["pid"] for node in json.loads(manifest.read_text())["nodes"]]
        assert all(runs(pid) for pid in pids)
        if hangs:
            os.kill(pids[0], signal.SIGSTOP)
            await eventually(lambda: stopped(pids[0]), "a node hangs")
        demo.kill()
        demo.wait()
        await eventually(lambda: not any(runs(pid) for pid in pids), "all nodes are gone", within=20)
    finally:
        demo.kill()
        demo.wait()
        for pid in filter(runs, pids):
            os.kill(pid, signal.SIGKILL)

"""Smack's own integration tests, each connection to the next of three nodes.

What they find must be what `smack/expected.txt` says: a line a test that does not pass, with the reason. A failure that is not
listed, and a listed one that passes, fails the run. Everything that Smack has is run, also for extensions that are not offered, but
for its NIO connections: they hang at times in a handshake of their own against any server that answers at once.
"""

import os
import subprocess
from pathlib import Path

import pytest

import foreign

HERE = Path(__file__).parent / "smack"
PASSWORD = "correct horse"
#: Seconds of all of them; they take about 25.
CEILING = 300


def expected():
    """What does not pass: the test or class, and the verdicts that it may have."""
    lines = (HERE / "expected.txt").read_text().splitlines()
    lines = [line.split("#")[0].split() for line in lines]
    return {line[1]: set(line[0].split("|")) for line in lines if line}


@pytest.mark.harms
@pytest.mark.judge("Smack")
def test_smack_finds_what_is_expected(cluster, tmp_path, record_property):
    path = foreign.maven(HERE)
    cluster.user("admin", PASSWORD)
    node = cluster.nodes[0]
    maker = "\n".join(map(str, [cluster.binaries / "xmpp", "--socket", node.socket, "user"]))
    options = {
        "judge.user": maker,
        "sinttest.service": cluster.domain,
        "sinttest.securityMode": "required",
        "sinttest.replyTimeout": "5000",
        "sinttest.enabledConnections": "tcp",
        "sinttest.adminAccountUsername": "admin",
        "sinttest.adminAccountPassword": PASSWORD,
    }
    properties = [f"-D{key}={value}" for key, value in options.items()]
    nodes = ["%s:%d" % node.client for node in cluster.nodes]
    command = ["java", f"-Duser.home={tmp_path}", "-cp", path, *properties, "Judge", cluster.ca, *nodes]
    with (tmp_path / "smack.log").open("w+") as log:
        done = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, timeout=CEILING, env={**os.environ, "LANG": "C.UTF-8"})
        log.seek(0)
        said = log.read()
    assert done.returncode == 0, said[-3000:]
    found = {}
    for line in said.splitlines():
        if line.startswith("JUDGED "):
            _, verdict, test, *reason = line.split(" ", 3)
            found[test] = (verdict, " ".join(reason))
    assert len(found) >= 50, "all of them were run"
    allowed = expected()
    surprises = [
        f"{verdict} {test} {reason}" for test, (verdict, reason) in found.items() if verdict not in allowed.get(test, {"passed"})
    ]
    surprises += [f"not run: {test}" for test in allowed if test not in found]
    assert surprises == []
    counts = {verdict: sum(1 for other, _ in found.values() if other == verdict) for verdict in ("passed", "failed")}
    offered = "for extensions that are not offered, or by faults of its own"
    record_property("note", f"{counts['passed']} of Smack's pass, {counts['failed']} fail as expected, {offered}")

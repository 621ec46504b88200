"""The cases of tests/conformance, which try any server's component streams, find nothing at a node of the cluster."""

import asyncio
import json
import sys
from pathlib import Path

from cluster import CEILING

SUITE = Path(__file__).resolve().parents[1] / "conformance/conformance.py"


async def test_component_streams_do_what_is_asked_of_them(cluster):
    _, (node, _) = await cluster.whole()
    one, two = cluster.bridge(), cluster.bridge()
    host, port = node.component
    where = ["--host", host, "--port", str(port), "--domain", cluster.domain, "--ca", cluster.ca]
    names = ["--one", f"{one.jid}={one.secret}", "--two", f"{two.jid}={two.secret}"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SUITE), *where, *names, "-o", "json", stdout=asyncio.subprocess.PIPE
    )
    said, _ = await asyncio.wait_for(process.communicate(), 9 * CEILING)
    found = json.loads(said)
    assert [case for case in found if case["fault"]] == [] and len(found) > 40

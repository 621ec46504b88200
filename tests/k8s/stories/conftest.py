"""Stories told to a real Kubernetes from outside, with kubectl and what speaks XMPP. `tests/k8s/e2e` runs them.

Environment: KUBECONFIG, XMPP_K8S_BED (`own` or `kind`), kubectl and helm on PATH, the images localhost/xmpp-node:dev,
localhost/xmpp-operator:dev and localhost/tools:dev on every node. Every wait looks for its condition and has a ceiling.
"""

import json
import os
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bed import ROOT, Bed  # noqa: E402


@pytest.fixture(scope="session")
def bed():
    if "XMPP_K8S_BED" not in os.environ:
        pytest.exit("no Kubernetes: run tests/k8s/e2e", returncode=2)
    return Bed()


@pytest.fixture(scope="module")
def namespace(bed, request):
    """A namespace for one file of stories, in which only restricted pods are admitted; gone afterwards."""
    name = re.sub(r"[^a-z0-9]+", "-", request.module.__name__.removeprefix("test_")) + "-e2e"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    bed.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    yield name
    bed.kubectl("delete", "namespace", name, "--wait", within=120)


@pytest.fixture(scope="session")
def examples():
    """The folder of the example manifests."""
    return ROOT / "deploy/examples"


@pytest.fixture(scope="module")
def operator(bed, namespace):
    """The operator, installed by its chart in a namespace of its own to serve that of the stories; its namespace."""
    name = "xmpp-operator"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    bed.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    values = {
        "image": {"repository": "localhost/xmpp-operator", "tag": "dev", "pullPolicy": "Never"},
        "nodeImage": "localhost/xmpp-node:dev",
        "watchNamespaces": [namespace],
    }
    where = ["--namespace", name]
    wait = ["--wait", "--timeout", "60s"]
    chart = ROOT / "charts/xmpp-operator"
    bed.helm("install", name, chart, *where, *wait, "--values", "-", given=json.dumps(values), within=90)
    yield name
    bed.helm("uninstall", name, *where, *wait, within=90)
    bed.kubectl("delete", "namespace", name, "--wait", within=120)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """With a story that failed, what its namespace looked like: the cluster is gone when somebody reads it."""
    report = (yield).get_result()
    if report.failed and "namespace" in item.funcargs:
        report.sections.append(("namespace", item.funcargs["bed"].portrait(item.funcargs["namespace"])))


def pytest_terminal_summary(terminalreporter):
    """One table: each story, what became of it, seconds."""
    rows = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.getreports(outcome):
            name, (_, seconds) = report.nodeid.split("/")[-1], rows.get(report.nodeid, ("", 0.0))
            rows[report.nodeid] = (f"{name.replace('_', ' '):<90} {outcome:<8}", seconds + report.duration)
    terminalreporter.section("stories")
    for row, seconds in rows.values():
        terminalreporter.write_line(f"{row} {seconds:6.1f} s")

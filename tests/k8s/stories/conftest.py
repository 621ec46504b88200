"""Stories told to a real Kubernetes from outside, with kubectl and what speaks XMPP. `tests/k8s/e2e` runs them.

Environment: KUBECONFIG, XMPP_K8S_BED (`own` or `kind`), XMPP_BIN (folder of `callbridge`), kubectl and helm on PATH, the images
localhost/xmpp-node:dev, localhost/xmpp-operator:dev and localhost/tools:dev on every node. Every wait looks for its condition
and has a ceiling.
"""

import os
import re
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from bed import ROOT, Bed, eventually  # noqa: E402
from chart import Operator  # noqa: E402
from component import Component  # noqa: E402
from outside import Zone, sidecar  # noqa: E402


@pytest.fixture(scope="session")
def bed():
    if "XMPP_K8S_BED" not in os.environ:
        pytest.exit("no Kubernetes: run tests/k8s/e2e", returncode=2)
    return Bed()


def namespace_of(module):
    return re.sub(r"[^a-z0-9]+", "-", module.__name__.removeprefix("test_")) + "-e2e"


@pytest.fixture(scope="module")
def namespace(bed, request):
    """A namespace for one file of stories, in which only restricted pods are admitted; nothing runs there afterwards."""
    name = namespace_of(request.module)
    bed.make_namespace(name)
    yield name
    bed.kubectl("delete", "statefulsets,deployments,pods,pvc", "--all", "--namespace", name, within=120)


@pytest.fixture(scope="session")
def examples():
    """The folder of the example manifests."""
    return ROOT / "deploy/examples"


@pytest.fixture(scope="session")
def operator(bed, request):
    """The operator, installed by its chart in a namespace of its own to serve those of all stories that want it."""
    wanting = [item.module for item in request.session.items if "operator" in item.fixturenames]
    served = sorted({namespace_of(module) for module in wanting})
    for name in [Operator.NAMESPACE, *served]:
        bed.make_namespace(name)
    operator = Operator(bed, served)
    operator.install()
    yield operator
    operator.uninstall()
    bed.kubectl("delete", "namespace", Operator.NAMESPACE, *served, "--wait", within=120)


@pytest.fixture(scope="module")
def served(bed, operator, namespace):
    """The namespace, where the operator makes clusters; they are gone afterwards."""
    yield namespace
    bed.kubectl("delete", "xmc", "--all", "--namespace", namespace, "--wait", within=120)


@pytest.fixture(scope="module")
def zone(cluster):
    """A DNS server of this machine with the lines that the cluster's status has for its zone."""
    zone = Zone(lambda: cluster.status()["dns"]["zone"])
    yield zone
    zone.close()


@pytest.fixture(scope="module")
def ends(cluster, zone, tmp_path_factory):
    """Two components on this machine, cb1 and cb2, each behind a side-car that finds the cluster by the zone."""
    folder = tmp_path_factory.mktemp("ends")
    with ExitStack() as stack:
        made = []
        for name in ("cb1", "cb2"):
            binding = cluster.binding(name)
            bridge = stack.enter_context(sidecar(folder / name, binding, zone.address))
            made.append(Component(("127.0.0.1", bridge.port), f"{name}.{binding['domain']}", binding["secret"]))
            stack.callback(made[-1].close)
            # Before that, messages to it would come back as errors.
            eventually(bridge.registered, f"{name} is registered", within=60)
        yield made


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """With a story that failed, what its namespace looked like: the cluster is gone when somebody reads it."""
    report = (yield).get_result()
    if report.failed and "namespace" in item.funcargs:
        bed = item.funcargs["bed"]
        report.sections.append(("namespace", bed.portrait(item.funcargs["namespace"])))
        if "operator" in item.funcargs:
            report.sections.append(("operator", bed.portrait(Operator.NAMESPACE)))


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

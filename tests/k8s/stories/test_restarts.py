"""An operator that dies after each write, before it hears of it: the next one goes on from there, and nothing is done twice."""

import os
import subprocess
import threading
import time

import pytest
from clusters import Cluster
from gateway import Gateway
from outside import PROGRAMS

from bed import ROOT, eventually

#: Pause between two looks at whether all is done, seconds.
LOOK = 0.3
#: More starts than any change can need.
MOST = 300


class Mortal:
    """The operator as a process of this machine, which serves one namespace, and is killed after each write."""

    def __init__(self, namespace, folder):
        self.command = [PROGRAMS / "xmpp-operator", "--namespaces", namespace, "--namespace", namespace]
        self.command += ["--name", "mortal", "--lease", "mortal", "--metrics", "127.0.0.1:0"]
        self.command += ["--node-image", "localhost/xmpp-node:dev"]
        self.gateway = Gateway(folder, self._written)
        self.log = folder / "log"
        self.lock, self.process, self.deaths = threading.Lock(), None, 0

    def _written(self):
        """It has one life a write: whatever else it has under way is never answered."""
        with self.lock:
            if self.process and self.process.poll() is None:
                self.process.kill()
                self.process.wait()

    def until(self, done, what):
        """Starts it again and again until `done()` holds."""
        for _ in range(MOST):
            if self._live(done):
                return
            self.deaths += 1
        raise AssertionError(f"{what}: not within {MOST} starts; the end of its log: {self.log.read_text()[-2000:]}")

    def _live(self, done):
        """One life; whether all is done at its end."""
        environment = os.environ | {"KUBECONFIG": str(self.gateway.kubeconfig)}
        with self.log.open("ab") as log, self.lock:
            self.process = subprocess.Popen(self.command, stderr=log, env=environment)
        try:
            while self.process.poll() is None:
                if done():
                    return True
                time.sleep(LOOK)
            assert self.process.returncode < 0, "it ended by itself"
            return False
        finally:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="module")
def mortal(bed, namespace, tmp_path_factory):
    """The operator of the chart, which may be there too, does not serve this namespace."""
    if not bed.own:
        pytest.skip("kind's pods are not reached from this machine")
    if not bed.read("crd", "--field-selector=metadata.name=xmppclusters.xmppcluster.dev")["items"]:
        bed.kubectl("apply", "--server-side", "-f", ROOT / "charts/xmpp-operator/files/crd.yaml")
    mortal = Mortal(namespace, tmp_path_factory.mktemp("mortal"))
    yield mortal
    mortal.gateway.shutdown()


def whole(cluster, replicas):
    def look():
        try:
            return cluster.whole(replicas)
        except (LookupError, ValueError):
            return False

    return look


def test_a_cluster_is_made_grown_shrunk_and_deleted_though_its_operator_dies_after_each_write(
    bed, mortal, namespace, examples
):
    cluster = Cluster(bed, namespace)
    bed.kubectl("apply", "--namespace", namespace, "-f", examples / "minimal.yaml")
    mortal.until(whole(cluster, 3), "three members")
    made, before = mortal.deaths, cluster.identities()
    assert made > 15, "each write was its last"
    assert len(set(before.values())) == 3 and cluster.group() == set(before.values())
    bindings = {name: cluster.binding(name) for name in ("cb1", "cb2")}
    for replicas in (5, 3):
        cluster.change(replicas=replicas)
        mortal.until(whole(cluster, replicas), f"{replicas} members")
    assert mortal.deaths > made + 5
    assert cluster.identities() == before
    assert cluster.group() == set(before.values()), "there is no ghost"
    assert {name: cluster.binding(name) for name in bindings} == bindings, "secrets are made once"

    def gone():
        kinds = "xmc,statefulsets,services,poddisruptionbudgets,networkpolicies,pods"
        return bed.read(kinds, namespace=namespace) == []

    bed.kubectl("delete", "xmc", cluster.name, "--namespace", namespace, "--wait=false")
    mortal.until(gone, "all is gone")
    eventually(gone, "and stays so", within=1)

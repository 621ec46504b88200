"""The Kubernetes under the stories: kubectl, waiting, and what only a bed of our own can do to a node.

Knows Kubernetes; knows nothing of XMPP.
"""

import json
import os
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

#: Pause between two looks at a condition, seconds.
LOOK = 0.2
#: Ceiling of one kubectl command, seconds.
COMMAND = 60
SCRIPTS = Path(__file__).resolve().parents[1]
ROOT = SCRIPTS.parents[1]


class Never(AssertionError):
    """A condition that did not come true in time."""


def eventually(condition, what, within):
    """Waits until `condition()` is true and returns its value; it may raise until then."""
    deadline = time.monotonic() + within
    while True:
        try:
            value, reason = condition(), None
        except (OSError, LookupError, ValueError, subprocess.SubprocessError, AssertionError) as error:
            value, reason = None, error
        if value:
            return value
        if time.monotonic() > deadline:
            raise Never(f"{what}: not within {within} s" + (f" ({reason})" if reason else ""))
        time.sleep(LOOK)


def run(*command, given=None, within=COMMAND):
    """The output of a command; raises ValueError with what it said if it fails."""
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=within)
    if done.returncode:
        raise ValueError(f"{' '.join(map(str, command))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


class Bed:
    """The cluster of $KUBECONFIG. `own`: it was made by tests/k8s/up, not by kind."""

    def __init__(self):
        self.own = os.environ["XMPP_K8S_BED"] == "own"

    def kubectl(self, *arguments, **more):
        return run("kubectl", *arguments, **more)

    def apply(self, *objects):
        """Creates or changes objects, given as dictionaries."""
        self.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def make_namespace(self, name):
        """A namespace in which only restricted pods are admitted, unless it is there."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})

    def read(self, kind, *name, namespace=None):
        """An object, or with a kind alone the list of them."""
        where = ["--namespace", namespace] if namespace else []
        found = json.loads(self.kubectl("get", kind, *name, *where, "-o", "json"))
        return found if name else found["items"]

    def http(self, namespace, pod, port, path):
        """What a pod answers to GET, through the API server; raises if it is not 200."""
        return self.kubectl("get", "--raw", f"/api/v1/namespaces/{namespace}/pods/{pod}:{port}/proxy{path}")

    def helm(self, *arguments, **more):
        return run("helm", *arguments, **more)

    @contextmanager
    def port(self, namespace, thing, number):
        """A port of this machine's loopback that leads to one of loopback in a pod, or in a pod of a Deployment."""
        command = ["kubectl", "port-forward", "--namespace", namespace, thing, f":{number}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            try:
                # `Forwarding from 127.0.0.1:40123 -> 5347`; if it cannot, it ends, and the line is empty.
                yield int(process.stdout.readline().partition(" -> ")[0].rpartition(":")[2])
            finally:
                process.terminate()

    def portrait(self, namespace):
        """Pods, events and the ends of the logs of a namespace, to be read after a failure."""
        pods = self.kubectl("get", "pods", "--namespace", namespace, "-o", "name").split()
        looks = [("get", "pods,pvc", "-o", "wide"), ("get", "events", "--sort-by=.lastTimestamp")]
        looks += [("logs", pod, "--all-containers", "--prefix", "--tail=30", "--ignore-errors") for pod in pods]
        seen = (["kubectl", *look, "--namespace", namespace] for look in looks)
        return "\n".join(subprocess.run(look, capture_output=True, text=True, timeout=COMMAND).stdout for look in seen)

    def requests(self, account, since=0):
        """What a service account asked of the API server, from the audit log; own bed only.

        `since` is where in the log to begin; the second value is where it ends now.
        """
        assert self.own, "only our own bed has an audit log"
        path = Path(os.environ["KUBECONFIG"]).parent / "log/audit.jsonl"
        with path.open("rb") as log:
            log.seek(since)
            lines = [line for line in log if line.endswith(b"\n")]
        entries = (json.loads(line) for line in lines)
        mine = [entry for entry in entries if entry["user"]["username"] == f"system:serviceaccount:{account}"]
        return mine, since + sum(map(len, lines))

    def node(self, what, number):
        """`kill`, `start`, `cut` or `heal` a node: see tests/k8s/node. Own bed only."""
        assert self.own, "only the nodes of our own bed can be harmed"
        run(SCRIPTS / "node", what, str(number))

    def kill_containers(self, containers):
        """Kills the programs of containers, given as node and id, at once and without notice. Own bed only."""
        assert self.own, "only the nodes of our own bed can be entered"
        kill = "ctr -n k8s.io tasks kill --signal SIGKILL"
        ways = [
            subprocess.Popen([SCRIPTS / "node", "run", node.removeprefix("node"), *kill.split(), container])
            for node, container in containers
        ]
        assert [way.wait(COMMAND) for way in ways] == [0] * len(ways)


def ready(thing):
    """Whether the object's condition Ready is true."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in thing["status"].get("conditions", []))

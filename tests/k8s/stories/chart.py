"""The operator as its chart installs it."""

import json

from bed import ROOT, eventually

CHART = ROOT / "charts/xmpp-operator"
WAIT = ["--wait", "--timeout", "60s"]


class Operator:
    """The release, in `NAMESPACE`, to serve these namespaces."""

    NAMESPACE = NAME = "xmpp-operator"
    #: Its service account, as the audit log names it.
    ACCOUNT = f"{NAMESPACE}:{NAME}"

    def __init__(self, bed, served):
        self.bed, self.where = bed, ["--namespace", self.NAMESPACE]
        self.values = {
            "image": {"repository": "localhost/xmpp-operator", "tag": "dev", "pullPolicy": "Never"},
            "nodeImage": "localhost/xmpp-node:dev",
            "watchNamespaces": served,
        }

    def install(self):
        """Installs it, or what is missing of it, and waits until it is ready."""
        release = ["upgrade", "--install", self.NAME, CHART, *self.where, *WAIT, "--values", "-"]
        self.bed.helm(*release, given=json.dumps(self.values), within=90)

    def uninstall(self):
        self.bed.helm("uninstall", self.NAME, *self.where, *WAIT, within=90)
        eventually(lambda: self.pods() == [], "the operator's pods are gone", within=60)

    def pods(self):
        """Names of its pods."""
        return [pod["metadata"]["name"] for pod in self.bed.read("pods", namespace=self.NAMESPACE)]

    def kill(self):
        """Ends its processes without a chance to tidy up; its Deployment brings others."""
        self.bed.kubectl("delete", "pods", "--all", "--force", "--grace-period=0", *self.where)

    def remove(self):
        """Takes its Deployment away, and waits until nothing of it runs."""
        self.bed.kubectl("delete", "deployment", self.NAME, *self.where, "--wait")
        eventually(lambda: self.pods() == [], "the operator's pods are gone", within=60)

    def logs(self):
        return "".join(self.bed.kubectl("logs", *self.where, pod) for pod in self.pods())

    def acts(self):
        """The pod that holds the Lease."""
        return self.bed.read("lease", self.NAME, namespace=self.NAMESPACE)["spec"]["holderIdentity"]

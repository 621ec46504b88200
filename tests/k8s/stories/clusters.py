"""An XmppCluster as its owner sees it: through kubectl."""

import base64
import json

from bed import eventually, ready

#: Ceiling of the start of a cluster whose images are on the nodes, and of a change of members, seconds.
CHANGE = 120


class Cluster:
    """The XmppCluster of this name, which may not exist."""

    def __init__(self, bed, namespace, name="xmpp"):
        self.bed, self.namespace, self.name = bed, namespace, name

    def read(self):
        return self.bed.read("xmc", self.name, namespace=self.namespace)

    def status(self):
        return self.read()["status"]

    def condition(self, kind):
        return {one["type"]: one for one in self.status()["conditions"]}[kind]

    def members(self):
        """What the status says of each member, by the name of its pod."""
        return {member["name"]: member for member in self.status()["members"]}

    def identities(self):
        """The Raft identity of each member, by the name of its pod."""
        return {name: member.get("id") for name, member in self.members().items()}

    def xmpp(self, *arguments, given=None):
        """What the command line says in the pod of the member that leads, as JSON."""
        command = ["exec", "-i", "--namespace", self.namespace, self.status()["leader"], "--"]
        command += ["xmpp", "--node", "/var/lib/xmpp/node", "-o", "json", *arguments]
        return json.loads(self.bed.kubectl(*command, given=given) or "null")

    def group(self):
        """The identities of all members, as the leader itself knows them: itself and its peers."""
        said = self.xmpp("status")
        return {said["id"], *(peer["id"] for peer in said["peers"])}

    def bridges(self):
        """What the status says of each bridge, by its name."""
        return {bridge["name"]: bridge for bridge in self.status().get("bridges", [])}

    def bridge(self, name):
        return self.bridges()[name]

    def whole(self, replicas):
        """Whether it is ready with so many voters, and what was just asked for has been seen."""
        found = self.read()
        seen = found["status"]["observedGeneration"] == found["metadata"]["generation"]
        return seen and ready(found) and found["status"]["votes"] == f"{replicas}/{replicas}"

    def becomes_whole(self, replicas, within=CHANGE):
        eventually(lambda: self.whole(replicas), f"{self.name} is ready with {replicas} members", within=within)

    def pod(self, name):
        return self.bed.read("pod", name, namespace=self.namespace)

    def uids(self):
        """The unique id of each of its pods, by name."""
        pods = self.bed.read("pods", namespace=self.namespace)
        mine = (pod["metadata"] for pod in pods if pod["metadata"]["name"] in self.members())
        return {pod["name"]: pod["uid"] for pod in mine}

    def binding(self, bridge):
        """What the Secret of a bridge holds, in plain text."""
        data = self.bed.read("secret", f"{self.name}-bridge-{bridge}", namespace=self.namespace)["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def change(self, **spec):
        """Sets fields of the spec."""
        where = ["--namespace", self.namespace, "--type=merge", "--patch", json.dumps({"spec": spec})]
        self.bed.kubectl("patch", "xmc", self.name, *where)

    def delete_pod(self, *names):
        self.bed.kubectl("delete", "pod", *names, "--namespace", self.namespace, "--wait=false")

    def told(self, reason):
        """Notes of the Events about it that have this reason."""
        events = self.bed.read("events.events.k8s.io", namespace=self.namespace)
        mine = (event for event in events if event["regarding"].get("name") == self.name)
        return [event["note"] for event in mine if event["reason"] == reason]

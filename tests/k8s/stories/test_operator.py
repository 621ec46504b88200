"""From `helm install` and one small manifest to a cluster that bridges use, that heals and that grows and shrinks."""

import base64
import json
import time

import pytest
from component import Component

from bed import eventually, ready
from pods import lookup

EXAMPLES = "deploy/examples"
CLUSTER = "xmpp"
#: From the manifest to a cluster that is ready, seconds; its images are on the nodes.
START = 60
#: A member that must be replaced or added, seconds.
CHANGE = 120
MESSAGES = 10_000
#: Address of the component in a bridge's pod.
SIDECAR = 5347


@pytest.fixture(scope="module")
def cluster(bed, operator, namespace, examples):
    """An XmppCluster of the smallest example, and how long it took from there to ready."""
    began = time.monotonic()
    bed.kubectl("apply", "--namespace", namespace, "-f", examples / "minimal.yaml")
    eventually(lambda: ready(resource(bed, namespace)), "the XmppCluster is ready", within=2 * START)
    return time.monotonic() - began


@pytest.fixture(scope="module")
def bridges(bed, namespace, cluster, examples):
    """The example of a bridge, twice, as side-cars of unmodified components, which this process is."""
    text = (examples / "bridge.yaml").read_text().replace("xmpp-node:0.1.0", "localhost/xmpp-node:dev")
    text = text.replace('"--status"', f'"--status", "--sidecar", "127.0.0.1:{SIDECAR}"')
    for name in ("cb1", "cb2"):
        bed.kubectl("apply", "--namespace", namespace, "-f", "-", given=text.replace("cb1", name))
    for name in ("cb1", "cb2"):
        bed.kubectl("rollout", "status", "--namespace", namespace, f"deployment/{name}", "--timeout=50s")


@pytest.fixture
def components(bed, namespace, bridges):
    """Two components, each behind its bridge."""
    with bed.port(namespace, "deployment/cb1", SIDECAR) as one, bed.port(namespace, "deployment/cb2", SIDECAR) as two:
        ends = [component(bed, namespace, "cb1", one), component(bed, namespace, "cb2", two)]
        yield ends
        for end in ends:
            end.close()


def component(bed, namespace, bridge, port):
    secret = bed.read("secret", f"{CLUSTER}-bridge-{bridge}", namespace=namespace)["data"]
    plain = {key: base64.b64decode(value).decode().strip() for key, value in secret.items()}
    assert plain["name"] == bridge
    return Component(port, f"{bridge}.{plain['domain']}", plain["secret"])


def resource(bed, namespace):
    return bed.read("xmc", CLUSTER, namespace=namespace)


def members(bed, namespace):
    """What the status says of each member, by the name of its pod."""
    return {member["name"]: member for member in resource(bed, namespace)["status"]["members"]}


def whole(bed, namespace, replicas):
    """Whether the resource is ready with so many voters, and what was just asked for has been seen."""
    found = resource(bed, namespace)
    seen = found["status"]["observedGeneration"] == found["metadata"]["generation"]
    return seen and ready(found) and found["status"]["votes"] == f"{replicas}/{replicas}"


def all_arrived(sender, receiver, identities):
    """Waits until each message is there, and asserts that none was refused and that their order was kept."""

    def arrived():
        assert sender.ended is None and receiver.ended is None, (sender.ended, receiver.ended)
        return all(identity in receiver.received for identity in identities)

    eventually(arrived, f"{len(identities)} messages from {sender.jid} to {receiver.jid}", within=CHANGE)
    assert sender.errors == []
    places = [receiver.received[identity] for identity in identities]
    assert places == sorted(places)


def test_the_smallest_manifest_is_ready_within_a_minute(bed, namespace, cluster):
    assert cluster < START
    found = resource(bed, namespace)["status"]
    roles = sorted(member["role"] for member in found["members"])
    assert roles == ["Follower", "Follower", "Leader"]
    assert len({member["id"] for member in found["members"]}) == 3
    pods = [bed.read("pod", f"{CLUSTER}-{number}", namespace=namespace) for number in range(3)]
    assert all(ready(pod) for pod in pods)


def test_kubectl_get_shows_it(bed, namespace, cluster):
    lines = bed.kubectl("get", "xmc", CLUSTER, "--namespace", namespace).splitlines()
    shown = dict(zip(lines[0].split(), lines[1].split(), strict=True))
    leader = resource(bed, namespace)["status"]["leader"]
    assert shown | {"AGE": ""} == {
        "NAME": CLUSTER,
        "DOMAIN": "example.test",
        "READY": "True",
        "MEMBERS": "3/3",
        "LEADER": leader,
        "BRIDGES": "0/2",
        "AGE": "",
    }


def test_srv_names_each_member_inside_a_pod(bed, namespace, cluster):
    said = lookup(bed, namespace, resource(bed, namespace)["status"]["dns"]["srv"], 3)
    # The pods' own names belong to the governing Service; in this one Kubernetes makes names of their addresses.
    for number in range(3):
        address = bed.read("pod", f"{CLUSTER}-{number}", namespace=namespace)["status"]["podIP"].replace(".", "-")
        assert f" 5223 {address}.{CLUSTER}.{namespace}.svc.cluster.local" in said


def test_two_bridges_exchange_messages_by_their_generated_secrets(bed, namespace, components):
    one, two = components
    identities = [f"m{number}" for number in range(MESSAGES // 2)]
    for identity in identities:
        one.message(two.jid, identity)
        two.message(one.jid, identity)
    all_arrived(one, two, identities)
    all_arrived(two, one, identities)
    eventually(
        lambda: resource(bed, namespace)["status"]["registered"] == "2/2", "the status shows both bridges", within=30
    )


@pytest.mark.parametrize("role", ["Leader", "Follower"])
def test_a_deleted_pod_loses_no_message_and_no_member(bed, namespace, components, role):
    one, two = components
    before = members(bed, namespace)
    victim = next(name for name, member in before.items() if member["role"] == role)
    uid = bed.read("pod", victim, namespace=namespace)["metadata"]["uid"]
    bed.kubectl("delete", "pod", victim, "--namespace", namespace, "--wait=false")
    identities = []

    def replaced():
        # Some more messages at each look, so that the stream never rests while the member is away.
        for _ in range(20):
            identities.append(f"{role}{len(identities)}")
            one.message(two.jid, identities[-1])
        pod = bed.read("pod", victim, namespace=namespace)
        return pod["metadata"]["uid"] != uid and ready(pod) and whole(bed, namespace, 3)

    eventually(replaced, "the member is back", within=CHANGE)
    all_arrived(one, two, identities)
    after = members(bed, namespace)
    assert {name: member["id"] for name, member in after.items()} == {
        name: member["id"] for name, member in before.items()
    }


def test_scaled_to_five_and_back_to_three_under_traffic(bed, namespace, components):
    one, two = components
    before = {name: member["id"] for name, member in members(bed, namespace).items()}
    identities = []

    def scaled(replicas):
        for _ in range(20):
            identities.append(f"s{len(identities)}")
            one.message(two.jid, identities[-1])
        return whole(bed, namespace, replicas)

    for replicas in (5, 3):
        bed.kubectl("scale", "xmc", CLUSTER, f"--replicas={replicas}", "--namespace", namespace)
        eventually(lambda replicas=replicas: scaled(replicas), f"{replicas} members", within=CHANGE)
        assert len(members(bed, namespace)) == replicas
    all_arrived(one, two, identities)
    assert {name: member["id"] for name, member in members(bed, namespace).items()} == before

    def gone():
        claims = {claim["metadata"]["name"] for claim in bed.read("pvc", namespace=namespace)}
        return claims == {f"data-{CLUSTER}-{number}" for number in range(3)}

    eventually(gone, "the volumes of the members that left are gone", within=CHANGE)


def test_no_secret_is_in_status_events_or_logs(bed, namespace, operator, bridges):
    secrets = [bed.read("secret", f"{CLUSTER}-bridge-{name}", namespace=namespace) for name in ("cb1", "cb2")]
    plain = [base64.b64decode(secret["data"]["secret"]).decode() for secret in secrets]
    said = json.dumps(resource(bed, namespace)) + json.dumps(bed.read("events.events.k8s.io", namespace=namespace))
    for pod in bed.kubectl("get", "pods", "--namespace", operator, "-o", "name").split():
        said += bed.kubectl("logs", "--namespace", operator, pod)
    for number in range(3):
        said += bed.kubectl("logs", "--namespace", namespace, f"{CLUSTER}-{number}")
    assert said and not any(secret in said for secret in plain)


def test_deleting_the_resource_leaves_only_what_the_policy_keeps(bed, namespace, cluster):
    bed.kubectl("delete", "xmc", CLUSTER, "--namespace", namespace, "--wait")

    def left():
        kinds = "statefulsets,services,poddisruptionbudgets,networkpolicies,configmaps,secrets,pods,pvc"
        found = bed.read(kinds, namespace=namespace)
        # Neither the bridges' own pods nor what Kubernetes puts in each namespace belong to the cluster.
        names = {f"{thing['kind']}/{thing['metadata']['name']}" for thing in found}
        return {name for name in names if name.partition("/")[2].removeprefix("data-").startswith(CLUSTER)}

    kept = {f"PersistentVolumeClaim/data-{CLUSTER}-{number}" for number in range(3)}
    kept |= {f"Secret/{CLUSTER}-internal-ca", f"Secret/{CLUSTER}-public-ca", f"ConfigMap/{CLUSTER}-cluster"}
    eventually(lambda: left() == kept, "only volumes, CAs and id are left", within=CHANGE)


def test_helm_test_speaks_xmpp(bed, operator):
    said = bed.helm("test", "xmpp-operator", "--namespace", operator, "--timeout", "3m", within=200)
    assert "Phase:          Succeeded" in said

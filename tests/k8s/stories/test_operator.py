"""From `helm install` and one small manifest to a cluster that bridges use, that heals and that grows and shrinks."""

import json
import time
from contextlib import ExitStack

import pytest
from clusters import Cluster
from component import Component
from traffic import all_arrived, traffic

from bed import eventually, ready
from pods import lookup

#: From the manifest to a cluster that is ready, seconds; its images are on the nodes.
START = 60
#: A member that must be replaced or added, seconds.
CHANGE = 120
MESSAGES = 10_000
#: Messages a second while something is done to the cluster.
RATE = 200
#: Port of the side-car in a bridge's pod.
SIDECAR = 5347


@pytest.fixture(scope="module")
def cluster(bed, served, examples):
    """An XmppCluster of the smallest example, and in `took` how long it was from there to ready."""
    cluster = Cluster(bed, served)
    began = time.monotonic()
    bed.kubectl("apply", "--namespace", served, "-f", examples / "minimal.yaml")
    cluster.becomes_whole(3)
    cluster.took = time.monotonic() - began
    return cluster


@pytest.fixture(scope="module")
def bridges(bed, namespace, cluster, examples):
    """The example of a bridge, twice, as side-cars of unmodified components, which this process is."""
    text = (examples / "bridge.yaml").read_text().replace("xmpp-node:0.1.0", "localhost/xmpp-node:dev")
    text = text.replace('"--status"', f'"--status", "--sidecar", "127.0.0.1:{SIDECAR}"')
    for name in ("cb1", "cb2"):
        bed.kubectl("apply", "--namespace", namespace, "-f", "-", given=text.replace("cb1", name))
    for name in ("cb1", "cb2"):
        bed.kubectl("rollout", "status", "--namespace", namespace, f"deployment/{name}", "--timeout=50s")


@pytest.fixture(scope="module")
def ends(bed, namespace, cluster, bridges):
    """Two components, each behind its bridge."""
    with ExitStack() as stack:
        made = []
        for name in ("cb1", "cb2"):
            port = stack.enter_context(bed.port(namespace, f"deployment/{name}", SIDECAR))
            binding = cluster.binding(name)
            assert binding["name"] == name
            made.append(Component(("127.0.0.1", port), f"{name}.{binding['domain']}", binding["secret"]))
            stack.callback(made[-1].close)
        # Before that, messages would come back as errors.
        eventually(lambda: cluster.status()["registered"] == "2/2", "the status shows both bridges", within=30)
        yield made


def test_the_smallest_manifest_is_ready_within_a_minute(cluster):
    assert cluster.took < START
    members = cluster.members().values()
    assert sorted(member["role"] for member in members) == ["Follower", "Follower", "Leader"]
    assert len({member["id"] for member in members}) == 3
    assert all(ready(cluster.pod(member["name"])) for member in members)


def test_kubectl_get_shows_it(bed, namespace, cluster):
    lines = bed.kubectl("get", "xmc", cluster.name, "--namespace", namespace).splitlines()
    shown = dict(zip(lines[0].split(), lines[1].split(), strict=True))
    assert shown | {"AGE": ""} == {
        "NAME": cluster.name,
        "DOMAIN": "example.test",
        "READY": "True",
        "MEMBERS": "3/3",
        "LEADER": cluster.status()["leader"],
        "BRIDGES": "0/2",
        "AGE": "",
    }


def test_srv_names_each_member_inside_a_pod(bed, namespace, cluster):
    said = lookup(bed, namespace, cluster.status()["dns"]["srv"], 3)
    # The pods' own names belong to the governing Service; in this one Kubernetes makes names of their addresses.
    for name in cluster.members():
        address = cluster.pod(name)["status"]["podIP"].replace(".", "-")
        assert f" 5223 {address}.{cluster.name}.{namespace}.svc.cluster.local" in said


def test_two_bridges_exchange_messages_by_their_generated_secrets(cluster, ends):
    one, two = ends
    identities = [f"m{number}" for number in range(MESSAGES // 2)]
    for identity in identities:
        one.message(two.jid, identity)
        two.message(one.jid, identity)
    all_arrived(one, two, identities)
    all_arrived(two, one, identities)


@pytest.mark.parametrize("role", ["Leader", "Follower"])
def test_a_deleted_pod_loses_no_message_and_no_member(cluster, ends, role):
    before, uids = cluster.identities(), cluster.uids()
    victim = next(name for name, member in cluster.members().items() if member["role"] == role)
    with traffic(*ends, RATE) as flow:
        cluster.delete_pod(victim)
        eventually(
            lambda: cluster.uids().get(victim) not in (None, uids[victim]) and cluster.whole(3),
            "the member is back",
            within=CHANGE,
        )
        flow.flows()
    assert cluster.identities() == before


def test_scaled_to_five_and_back_to_three_under_traffic(bed, namespace, cluster, ends):
    before = cluster.identities()
    with traffic(*ends, RATE):
        for replicas in (5, 3):
            bed.kubectl("scale", "xmc", cluster.name, f"--replicas={replicas}", "--namespace", namespace)
            cluster.becomes_whole(replicas, within=CHANGE)
            assert len(cluster.members()) == replicas
    assert cluster.identities() == before

    def gone():
        claims = {claim["metadata"]["name"] for claim in bed.read("pvc", namespace=namespace)}
        return claims == {f"data-{name}" for name in before}

    eventually(gone, "the volumes of the members that left are gone", within=CHANGE)


def test_no_secret_is_in_status_events_or_logs(bed, namespace, operator, cluster, bridges):
    said = json.dumps(cluster.read()) + json.dumps(bed.read("events.events.k8s.io", namespace=namespace))
    said += operator.logs()
    for name in cluster.members():
        said += bed.kubectl("logs", "--namespace", namespace, name)
    secrets = [cluster.binding(name)["secret"] for name in ("cb1", "cb2")]
    assert said and not any(secret in said for secret in secrets)


def test_deleting_the_resource_leaves_only_what_the_policy_keeps(bed, namespace, cluster):
    name = cluster.name
    bed.kubectl("delete", "xmc", name, "--namespace", namespace, "--wait")

    def left():
        kinds = "statefulsets,services,poddisruptionbudgets,networkpolicies,configmaps,secrets,pods,pvc"
        found = bed.read(kinds, namespace=namespace)
        # Neither the bridges' own pods nor what Kubernetes puts in each namespace belong to the cluster.
        names = {f"{thing['kind']}/{thing['metadata']['name']}" for thing in found}
        return {each for each in names if each.partition("/")[2].removeprefix("data-").startswith(name)}

    kept = {f"PersistentVolumeClaim/data-{name}-{number}" for number in range(3)}
    kept |= {f"Secret/{name}-internal-ca", f"Secret/{name}-public-ca", f"ConfigMap/{name}-cluster"}
    eventually(lambda: left() == kept, "only volumes, CAs and id are left", within=CHANGE)


def test_helm_test_speaks_xmpp(bed, operator, served):
    said = bed.helm("test", operator.NAME, *operator.where, "--timeout", "3m", within=200)
    assert "Phase:          Succeeded" in said

"""The bed carries what the operator will make: three xmpp-node pods by hand, without an operator, and a bridge.

Once these pass, a failure elsewhere is not the bed's.
"""

import json

import dns.message
import dns.query
import pytest

from bed import eventually, ready
from pki import Authority
from pods import POD, container, lookup

DOMAIN = "example.test"
REPLICAS = 3
#: Address of the cluster DNS, which the machine reaches in a bed of our own.
CLUSTER_DNS = "10.96.0.10"
CONFIG = """
[node]
name = "{name}"
dir = "/data/node"
[xmpp]
domain = "{domain}"
[component]
certificate = "/tls/component.crt"
key = "/tls/component.key"
[peer]
advertise = "{host}:7222"
certificate = "/tls/{name}.crt"
key = "/tls/{name}.key"
ca = "/tls/ca.crt"
"""


@pytest.fixture(scope="module")
def public(tmp_path_factory):
    """The CA that signs what bridges see."""
    return Authority(tmp_path_factory.mktemp("public"), "public-ca")


@pytest.fixture(scope="module")
def pods(bed, namespace, public, tmp_path_factory):
    """Names of three pods of a StatefulSet, with what they are told by ConfigMap and Secret."""
    names = [f"x-{number}" for number in range(REPLICAS)]
    internal = Authority(tmp_path_factory.mktemp("internal"), "internal-ca")
    tls = {"ca.crt": internal.certificate.read_text()}
    tls["component.crt"], tls["component.key"] = public.issue("component", f"DNS:{DOMAIN}")
    config = {}
    for name in names:
        tls[f"{name}.crt"], tls[f"{name}.key"] = internal.issue(name, f"URI:xmpp-cluster:node/{name}")
        config[f"{name}.toml"] = CONFIG.format(name=name, domain=DOMAIN, host=f"{name}.x.{namespace}.svc.cluster.local")
    labels = {"app": "x"}
    named = {"namespace": namespace, "name": "x"}
    ports = {"xmpp-component": 5223, "xmpp-peer": 7222, "metrics": 9090}
    spread = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": labels}}
    server = container(
        "xmpp-node",
        args=["--config", "/config/$(NAME).toml"],
        env=[{"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
        ports=[{"name": name, "containerPort": port} for name, port in ports.items()],
        livenessProbe={"httpGet": {"path": "/livez", "port": "metrics"}, "periodSeconds": 2},
        readinessProbe={"httpGet": {"path": "/readyz", "port": "metrics"}, "periodSeconds": 1},
        volumeMounts=[{"name": name, "mountPath": f"/{name}"} for name in ("config", "tls", "data")],
    )
    bed.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": named, "data": config},
        {"apiVersion": "v1", "kind": "Secret", "metadata": named, "stringData": tls},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": named,
            "spec": {
                "clusterIP": "None",
                "selector": labels,
                "publishNotReadyAddresses": True,
                "ports": [{"name": "xmpp-component", "port": ports["xmpp-component"]}],
            },
        },
        {
            "apiVersion": "apps/v1",
            "kind": "StatefulSet",
            "metadata": named,
            "spec": {
                "serviceName": "x",
                "replicas": REPLICAS,
                "podManagementPolicy": "Parallel",
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {
                        "automountServiceAccountToken": False,
                        "securityContext": POD,
                        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [spread]}},
                        "containers": [server],
                        "volumes": [
                            {"name": "config", "configMap": {"name": "x"}},
                            {"name": "tls", "secret": {"secretName": "x", "defaultMode": 0o440}},
                        ],
                    },
                },
                "volumeClaimTemplates": [
                    {
                        "metadata": {"name": "data"},
                        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "64Mi"}}},
                    }
                ],
            },
        },
    )
    return names


def xmpp(bed, namespace, pod, *arguments):
    """The answer of the command line, inside a pod."""
    command = ["xmpp", "--node", "/data/node", "-o", "json", *arguments]
    answer = bed.kubectl("exec", "--namespace", namespace, pod, "--", *command)
    return json.loads(answer) if answer.strip() else None


def test_three_nodes_are_ready(bed):
    nodes = bed.read("node")
    workers = [node for node in nodes if "node-role.kubernetes.io/control-plane" not in node["metadata"]["labels"]]
    assert len(workers) == 3
    assert all(ready(node) for node in nodes)


def test_each_pod_lives_on_a_node_of_its_own_with_a_disk(bed, namespace, pods):
    for pod in pods:
        assert eventually(lambda: bed.http(namespace, pod, 9090, "/livez"), f"{pod} lives", within=90)
    found = [bed.read("pod", pod, namespace=namespace) for pod in pods]
    assert len({pod["spec"]["nodeName"] for pod in found}) == len(pods)
    claims = bed.read("pvc", namespace=namespace)
    assert [claim["status"]["phase"] for claim in claims] == ["Bound"] * len(pods)


def test_srv_names_each_pod_inside_a_pod(bed, namespace, pods):
    said = lookup(bed, namespace, f"_xmpp-component._tcp.x.{namespace}.svc.cluster.local", len(pods))
    for pod in pods:
        assert f" 5223 {pod}.x.{namespace}.svc.cluster.local" in said


def test_srv_names_each_pod_on_the_machine(bed, namespace, pods):
    if not bed.own:
        pytest.skip("kind's cluster DNS cannot be reached from the machine")
    query = dns.message.make_query(f"_xmpp-component._tcp.x.{namespace}.svc.cluster.local", "SRV")

    def targets():
        answer = dns.query.udp(query, CLUSTER_DNS, timeout=5)
        found = {(str(record.target), record.port) for section in answer.answer for record in section}
        return found == {(f"{pod}.x.{namespace}.svc.cluster.local.", 5223) for pod in pods}

    eventually(targets, "one record for each pod", within=20)


def test_the_pods_form_a_cluster(bed, namespace, pods):
    first, *others = pods
    xmpp(bed, namespace, first, "cluster", "initialize")
    for pod in others:
        xmpp(bed, namespace, pod, "cluster", "join", f"{first}.x.{namespace}.svc.cluster.local:7222")
    for pod in pods:
        bed.kubectl("wait", "--namespace", namespace, "--for=condition=Ready", f"pod/{pod}")


def test_a_bridge_finds_the_cluster_by_srv_alone(bed, namespace, pods, public):
    added = xmpp(bed, namespace, pods[0], "callbridge", "add", "cb1")
    binding = {
        "name": "cb1",
        "domain": DOMAIN,
        "secret": added["secrets"][-1]["secret"],
        "ca.crt": public.certificate.read_text(),
        "srv": f"_xmpp-component._tcp.x.{namespace}.svc.cluster.local",
    }
    named = {"namespace": namespace, "name": "cb1"}
    bridge = container(
        "xmpp-node",
        ["callbridge", "--binding", "/binding", "--status"],
        volumeMounts=[{"name": "binding", "mountPath": "/binding"}],
    )
    bed.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": named, "stringData": binding},
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": named,
            "spec": {
                "securityContext": POD,
                "containers": [bridge],
                "volumes": [{"name": "binding", "secret": {"secretName": "cb1", "defaultMode": 0o440}}],
            },
        },
    )

    def registered():
        last = bed.kubectl("logs", "--namespace", namespace, "cb1", "--tail=1")
        return json.loads(last)["state"] == "Registered"

    eventually(registered, "the bridge is registered", within=60)


def test_a_deleted_pod_comes_back_with_its_disk(bed, namespace, pods):
    def identity():
        return xmpp(bed, namespace, pods[-1], "status")["id"]

    before, uid = identity(), bed.read("pod", pods[-1], namespace=namespace)["metadata"]["uid"]
    bed.kubectl("delete", "--namespace", namespace, "pod", pods[-1], "--wait=false")

    def replaced():
        pod = bed.read("pod", pods[-1], namespace=namespace)
        return pod["metadata"]["uid"] != uid and ready(pod)

    eventually(replaced, "another pod is ready", within=60)
    # Until its links are up, `status` has something to complain about, and says so by its exit code.
    eventually(lambda: identity() == before, "it is the same member, and nothing is wrong with it", within=60)

"""Bridges: from outside of the pods' network, added and removed while others talk, with secrets of their owners."""

import time
from contextlib import contextmanager

import pytest
from clusters import Cluster
from component import Component, StreamError
from outside import MACHINE, OUTSIDER, Zone, callbridge
from traffic import traffic

from bed import eventually, run
from pods import lookup

#: Ceiling of what a change of the spec brings about, seconds.
CHANGE = 60
#: How long bridges come and go without a rest, seconds.
RESTLESS = 40
#: A change of bridges may be written into the status once in so many seconds.
CALM = 10
BRIDGES = [{"name": "cb1"}, {"name": "cb2"}]


@pytest.fixture(scope="module")
def cluster(bed, served, examples):
    """The example for bridges that are machines outside."""
    cluster = Cluster(bed, served)
    bed.kubectl("apply", "--namespace", served, "-f", examples / "exposed.yaml")
    cluster.becomes_whole(3)
    return cluster


@contextmanager
def registered(cluster, name, secret):
    """A component with a stream of its own, over TLS, to the port that the status names for a member."""
    host, _, port = next(iter(cluster.members().values()))["address"].rpartition(":")
    trusted = cluster.binding("cb1")["ca.crt"]
    component = Component((host, int(port)), f"{name}.example.test", secret, trusted)
    try:
        yield component
    finally:
        component.close()


def secret_is_gone(bed, cluster, name):
    found = bed.read("secrets", namespace=cluster.namespace)
    return name not in [secret["metadata"]["name"] for secret in found]


def ended_with(component):
    """The condition by which the stream ended, once it did."""
    return isinstance(component.ended, StreamError) and str(component.ended)


def test_a_machine_outside_registers_by_the_lines_for_its_zone(bed, cluster, tmp_path):
    binding, elsewhere = cluster.binding("cb1"), {}
    zone = Zone(lambda: cluster.status()["dns"]["zone"], MACHINE if bed.own else "127.0.0.1")
    if bed.own:
        elsewhere["within"] = OUTSIDER
        pod = cluster.pod(cluster.status()["leader"])["status"]["podIP"]
        with pytest.raises(ValueError, match="unreachable"):
            run(*OUTSIDER, "ip", "route", "get", pod)
    with callbridge(tmp_path / "cb1", binding, zone.address, **elsewhere) as bridge:
        eventually(bridge.registered, "it is registered", within=CHANGE)
        eventually(lambda: cluster.bridge("cb1")["state"] == "Registered", "the status says so", within=CHANGE)
        first = cluster.bridge("cb1")["registeredOn"]
        assert bridge.status["secure"] and bridge.status["address"] == cluster.members()[first]["address"]
        cluster.delete_pod(first)
        eventually(
            lambda: bridge.registered() and bridge.status["address"] != cluster.members()[first]["address"],
            "it is registered at another member",
            within=CHANGE,
        )
        assert bridge.status["resumed"]
    with callbridge(tmp_path / "probe", binding, zone.address, "--probe", **elsewhere) as bridge:
        assert bridge.process.wait(CHANGE) == 0, bridge.log.read_text()
    cluster.becomes_whole(3)
    zone.close()


def test_a_machine_that_finds_no_srv_record_says_which(cluster, tmp_path):
    nobody = Zone(lambda: ["nobody.test. 60 IN A 127.0.0.1"])
    with callbridge(tmp_path / "cb1", cluster.binding("cb1"), nobody.address) as bridge:
        eventually(lambda: bridge.status["last_error"], "it failed", within=CHANGE)
        assert bridge.status["last_error"]["reason"] == "DNS error"
        assert "_xmpp-component._tcp.example.test" in bridge.status["last_error"]["detail"]
    nobody.close()


def test_a_bridge_comes_and_goes_with_the_spec_and_others_talk_on(bed, cluster, ends):
    with traffic(*ends, 100) as flow:
        cluster.change(bridges=[*BRIDGES, {"name": "cb3", "limits": {"stanzasPerSecond": 500}}])
        binding = eventually(lambda: cluster.binding("cb3"), "its Secret is there", within=CHANGE)
        assert binding["name"] == "cb3" and len(binding["secret"]) >= 32
        eventually(lambda: cluster.bridge("cb3")["state"] != "Pending", "the cluster knows it", within=CHANGE)
        with registered(cluster, "cb3", binding["secret"]) as component:
            eventually(lambda: cluster.bridge("cb3")["state"] == "Registered", "it is registered", within=CHANGE)
            assert cluster.xmpp("callbridge", "list")[-1]["limits"] == {"stanzas_per_second": 500}
            cluster.change(bridges=BRIDGES)
            eventually(lambda: ended_with(component), "its stream ends", within=CHANGE)
            assert ended_with(component) == "host-gone"
        eventually(lambda: secret_is_gone(bed, cluster, "xmpp-bridge-cb3"), "its Secret is gone", within=CHANGE)
        with pytest.raises(StreamError, match="not-authorized"), registered(cluster, "cb3", binding["secret"]):
            pass
        cluster.becomes_whole(3)
        assert set(cluster.bridges()) == {"cb1", "cb2"}
        flow.flows()


def test_a_secret_of_its_owner_is_used_and_never_touched(bed, cluster):
    named = {"name": "of-old", "namespace": cluster.namespace}
    bed.apply({"apiVersion": "v1", "kind": "Secret", "metadata": named, "stringData": {"password": "as it ever was"}})
    before = bed.read("secret", "of-old", namespace=cluster.namespace)
    cluster.change(bridges=[*BRIDGES, {"name": "own", "secretRef": {"name": "of-old", "key": "password"}}])
    eventually(lambda: cluster.bridge("own")["state"] == "Absent", "the cluster knows it", within=CHANGE)
    with registered(cluster, "own", "as it ever was") as component:
        assert secret_is_gone(bed, cluster, "xmpp-bridge-own"), "none was made"
        cluster.change(bridges=BRIDGES)
        eventually(lambda: ended_with(component) == "host-gone", "its stream ends", within=CHANGE)
    cluster.becomes_whole(3)
    assert bed.read("secret", "of-old", namespace=cluster.namespace) == before


def test_clients_are_served_where_the_resource_asks_for_it(bed, cluster, tmp_path):
    cluster.change(clients={"enabled": True})
    # Each member is restarted with its new configuration, one at a time.
    cluster.becomes_whole(3)
    said = lookup(bed, cluster.namespace, cluster.status()["dns"]["srv"].replace("component", "client"), 3)
    assert said.count(" 5222 ") == 3
    lines = [line.split() for line in cluster.status()["dns"]["zone"]]
    host = next(line[-1] for line in lines if line[3] == "A")
    port = next(line[-2] for line in lines if line[0] == "_xmpp-client._tcp.example.test.")
    trusted = tmp_path / "ca.crt"
    trusted.write_text(cluster.binding("cb1")["ca.crt"])
    command = ["openssl", "s_client", "-connect", f"{host}:{port}", "-starttls", "xmpp", "-xmpphost", "example.test"]
    command += ["-CAfile", trusted, "-verify_return_error", "-verify_hostname", "example.test", "-brief"]
    run(*command, given="")
    cluster.xmpp("user", "add", "juliet", given="correct horse")
    assert [user["jid"] for user in cluster.xmpp("user", "list")] == ["juliet@example.test"]


def test_restless_bridges_cost_one_write_of_the_status_in_ten_seconds(bed, cluster, operator):
    if not bed.own:
        pytest.skip("kind's API server keeps no audit log")
    restless = ("r1", "r2")
    cluster.change(bridges=[*BRIDGES, *({"name": name} for name in restless)])
    for name in restless:
        eventually(lambda name=name: cluster.bridge(name)["state"] == "Absent", f"{name} is known", within=CHANGE)
    secrets = {name: cluster.binding(name)["secret"] for name in restless}
    cluster.becomes_whole(3)
    _, start = bed.requests(operator.ACCOUNT)
    began = time.monotonic()
    while time.monotonic() < began + RESTLESS:
        for name, secret in secrets.items():
            with registered(cluster, name, secret):
                pass
    entries, _ = bed.requests(operator.ACCOUNT, since=start)
    writes = [entry for entry in entries if entry["objectRef"].get("subresource") == "status"]
    assert 1 <= len(writes) <= 1 + RESTLESS / CALM, [write["requestReceivedTimestamp"] for write in writes]

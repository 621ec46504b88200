"""What can be wrong with a cluster: its conditions and an Event name the cause, the object and what to do."""

import base64

import pytest
from clusters import Cluster
from component import Component, StreamError
from pki import Authority

from bed import eventually

#: From the manifest to the word of what is wrong with it, seconds: a pod may have to be tried first.
TOLD = 90
DOMAIN = "example.test"


@pytest.fixture(scope="module")
def make(bed, served):
    """Makes a cluster of one member."""

    def made(name, **spec):
        named = {"name": name, "namespace": served}
        spec = {"domain": DOMAIN, "replicas": 1} | spec
        bed.apply({"apiVersion": "xmppcluster.dev/v1alpha1", "kind": "XmppCluster", "metadata": named, "spec": spec})
        return Cluster(bed, served, name)

    return made


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("public"), "public-ca")


def tls(bed, namespace, name, certificate, key):
    data = {"tls.crt": certificate, "tls.key": key}
    data = {field: base64.b64encode(text.encode()).decode() for field, text in data.items()}
    named = {"name": name, "namespace": namespace}
    bed.apply({"apiVersion": "v1", "kind": "Secret", "type": "kubernetes.io/tls", "metadata": named, "data": data})


def names_the_cause(cluster, kind, status, reason, *words):
    """Waits for a condition, and for an Event of the same reason; both must have the words."""

    def told():
        found = cluster.condition(kind)
        assert (found["status"], found["reason"]) == (status, reason), found
        assert all(word in found["message"] for word in words), found
        return True

    eventually(told, f"{kind} is {status} for {reason}", within=TOLD)

    def event():
        notes = cluster.told(reason)
        return any(all(word in note for word in words) for note in notes)

    eventually(event, f"an Event {reason}", within=TOLD)


def test_a_storage_class_that_is_not_there(make):
    cluster = make("classless", storage={"storageClassName": "nowhere"})
    names_the_cause(cluster, "VolumesReady", "False", "VolumePending", "data-classless-0", "nowhere", "storageClassName")


def test_an_image_that_cannot_be_pulled(make):
    cluster = make("imageless", image="localhost:1/nothing:here", imagePullPolicy="Always")
    names_the_cause(cluster, "Degraded", "True", "ImagePullBackOff", "localhost:1/nothing:here", "spec.image")


def test_a_certificate_that_is_not_there(make):
    cluster = make("secretless", tls={"secretRef": {"name": "none"}})
    names_the_cause(cluster, "CertificatesReady", "False", "SecretMissing", "Secret none", "kubernetes.io/tls")


def test_a_certificate_that_has_expired(bed, served, make, authority):
    tls(bed, served, "old", *authority.issue("old", f"DNS:{DOMAIN}", days=-1))
    cluster = make("expired", tls={"secretRef": {"name": "old"}})
    names_the_cause(cluster, "CertificatesReady", "False", "CertificateExpired", "Secret old", "expired at", "renew")


def test_a_certificate_for_another_name(bed, served, make, authority):
    tls(bed, served, "other", *authority.issue("other", "DNS:other.test"))
    cluster = make("misnamed", tls={"secretRef": {"name": "other"}})
    names_the_cause(cluster, "CertificatesReady", "False", "CertificateWrongName", "other.test", DOMAIN)
    # Mended, it is taken.
    tls(bed, served, "other", *authority.issue("right", f"DNS:{DOMAIN}"))
    cluster.becomes_whole(1)
    assert cluster.condition("CertificatesReady")["status"] == "True"


def test_a_key_of_another_certificate(bed, served, make, authority):
    certificate, _ = authority.issue("one", f"DNS:{DOMAIN}")
    _, key = authority.issue("two", f"DNS:{DOMAIN}")
    tls(bed, served, "mixed", certificate, key)
    cluster = make("mixed", tls={"secretRef": {"name": "mixed"}})
    names_the_cause(cluster, "CertificatesReady", "False", "KeyMismatch", "Secret mixed", "tls.key")


def test_a_volume_that_its_class_does_not_let_grow(make):
    cluster = make("small", storage={"size": "1Gi"})
    cluster.becomes_whole(1)
    cluster.change(storage={"size": "2Gi"})
    names_the_cause(cluster, "VolumesReady", "False", "VolumeNotGrown", "data-small-0", "allowVolumeExpansion")
    assert cluster.condition("Ready")["status"] == "True", "it goes on as it is"


def test_a_secret_of_a_bridge_that_is_not_there(make):
    cluster = make("bridgeless", bridges=[{"name": "cb1", "secretRef": {"name": "gone"}}])
    names_the_cause(cluster, "BridgesReady", "False", "BridgeFaulty", "cb1", "gone")


def test_a_bridge_with_a_wrong_secret_a_stranger_and_records_that_are_missing(make):
    cluster = make("outside", bridges=[{"name": "cb1"}], expose={"type": "nodePort"})
    cluster.becomes_whole(1)
    names_the_cause(cluster, "DnsPublished", "False", "SrvMissing", f"_xmpp-component._tcp.{DOMAIN}", "IN SRV")
    host, _, port = next(iter(cluster.members().values()))["address"].rpartition(":")
    trusted = cluster.binding("cb1")["ca.crt"]
    for name in ("cb1", "stranger"):
        with pytest.raises(StreamError, match="not-authorized"):
            Component((host, int(port)), f"{name}.{DOMAIN}", "not the secret", trusted)
    names_the_cause(
        cluster, "BridgesReady", "False", "BridgeWrongSecret", "cb1", "wrong secret", "outside-bridge-cb1", "key secret"
    )
    assert "wrong secret" in cluster.bridge("cb1")["lastError"]
    eventually(lambda: "stranger" in "".join(cluster.told("BridgeUnknown")), "the stranger is told of", within=TOLD)
    right = Component((host, int(port)), f"cb1.{DOMAIN}", cluster.binding("cb1")["secret"], trusted)
    eventually(lambda: cluster.condition("BridgesReady")["status"] == "True", "all is right again", within=TOLD)
    assert cluster.bridge("cb1").get("lastError") is None
    right.close()

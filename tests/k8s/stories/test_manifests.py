"""Manifests that cannot be right: the API server refuses each with words that name the field and what is wrong."""

import copy
import json

import pytest

from bed import ROOT, run

GOOD = {
    "domain": "example.test",
    "replicas": 3,
    "bridges": [{"name": "cb1"}, {"name": "cb2", "secretRef": {"name": "given", "key": "secret"}}],
    "storage": {"size": "1Gi", "storageClassName": "standard", "whenDeleted": "Retain"},
    "tls": {"secretRef": {"name": "certificate"}},
    "expose": {"type": "nodePort", "annotations": {}},
    "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
    "limits": {"maxStanzaBytes": 262144, "sessionQueueBytes": 16777216},
    "image": "localhost/xmpp-node:dev",
    "imagePullPolicy": "Never",
    "paused": True,
}
#: Where in the spec, what to put there, and words of the refusal.
REFUSED = [
    ("domain", None, "spec.domain: Required value"),
    ("domain", "", "spec.domain"),
    ("domain", "Example.Test", "spec.domain"),
    ("domain", "example..test", "spec.domain"),
    ("domain", "-example.test", "spec.domain"),
    ("domain", "192.0.2.1", "domain must be a DNS name, not an IP address"),
    ("domain", "a" * 201, "spec.domain"),
    ("replicas", 0, "spec.replicas"),
    ("replicas", 2, "replicas must be 1, 3, 5 or 7"),
    ("replicas", 4, "replicas must be 1, 3, 5 or 7"),
    ("replicas", 9, "spec.replicas"),
    ("replicas", "three", "spec.replicas"),
    ("bridges", [{"name": "cb1"}, {"name": "cb1"}], "spec.bridges[1]: Duplicate value"),
    ("bridges", [{"name": "Cb1"}], "spec.bridges[0].name"),
    ("bridges", [{"name": "cb.1"}], "spec.bridges[0].name"),
    ("bridges", [{"name": ""}], "spec.bridges[0].name"),
    ("bridges", [{}], "spec.bridges[0].name: Required value"),
    ("bridges", [{"name": f"cb{number}"} for number in range(257)], "spec.bridges: Too many"),
    ("bridges", [{"name": "cb1", "secretRef": {}}], "spec.bridges[0].secretRef.name: Required value"),
    ("bridges", [{"name": "cb1", "secretRef": {"name": "Not A Name"}}], "spec.bridges[0].secretRef.name"),
    ("bridges", [{"name": "cb1", "secretRef": {"name": "a", "key": "a/b"}}], "spec.bridges[0].secretRef.key"),
    ("bridges", [{"name": "cb1", "secret": "open"}], 'unknown field "spec.bridges[0].secret"'),
    ("bridges", [{"name": "cb1", "limits": {"stanzasPerSecond": 0}}], "spec.bridges[0].limits.stanzasPerSecond"),
    ("bridges", [{"name": "cb1", "limits": {"queueBytes": 1}}], "spec.bridges[0].limits.queueBytes"),
    ("storage.size", "10Mi", "storage.size must be at least 64Mi"),
    ("storage.size", "much", "spec.storage.size"),
    ("storage.whenDeleted", "Keep", "spec.storage.whenDeleted: Unsupported value"),
    ("tls", {}, "tls must have exactly one of generated and secretRef"),
    ("tls", {"generated": {}, "secretRef": {"name": "a"}}, "tls must have exactly one of generated and secretRef"),
    ("tls.secretRef", {}, "spec.tls.secretRef.name: Required value"),
    ("expose", {}, "spec.expose.type: Required value"),
    ("expose.type", "ingress", "spec.expose.type: Unsupported value"),
    ("expose.annotations", {f"a{number}": "" for number in range(17)}, "spec.expose.annotations: Too many"),
    ("resources.requests.cpu", "lots", "spec.resources.requests.cpu"),
    ("resources.limits.memory", "-1Gi", "spec.resources.limits.memory"),
    ("limits.maxStanzaBytes", 9999, "spec.limits.maxStanzaBytes"),
    ("limits.maxStanzaBytes", 1048577, "spec.limits.maxStanzaBytes"),
    ("limits.sessionQueueBytes", 400000, "limits.sessionQueueBytes must be at least twice limits.maxStanzaBytes"),
    ("limits.sessionQueueStanzas", 0, "spec.limits.sessionQueueStanzas"),
    ("limits.connections", 1, "spec.limits.connections"),
    ("limits.detachTimeoutSeconds", 1, "spec.limits.detachTimeoutSeconds"),
    ("image", "", "spec.image"),
    ("imagePullPolicy", "Sometimes", "spec.imagePullPolicy: Unsupported value"),
    ("paused", "yes", "spec.paused"),
    ("replica", 3, 'unknown field "spec.replica"'),
]
#: The same for what may not change once it is there.
FIXED = [
    ("domain", "other.test", "domain is immutable"),
    ("storage.size", "512Mi", "storage.size must not shrink"),
    ("storage.storageClassName", "other", "storage.storageClassName is immutable"),
]
#: Names of the resource, and words of the refusal.
NAMES = [
    ("a" * 41, "metadata.name must have at most 40 characters"),
    ("xmpp.one", "metadata.name must not contain '.'"),
    ("XMPP", "metadata.name"),
]


def manifest(namespace, spec=GOOD, name="refused"):
    named = {"name": name, "namespace": namespace}
    return {"apiVersion": "xmppcluster.dev/v1alpha1", "kind": "XmppCluster", "metadata": named, "spec": spec}


def changed(place, value):
    """The good spec, but for one field; without it if there is no value."""
    spec = copy.deepcopy(GOOD)
    *folders, last = place.split(".")
    where = spec
    for folder in folders:
        where = where[folder]
    where[last] = value
    if value is None:
        del where[last]
    return spec


def apply(bed, thing, *more):
    return bed.kubectl("apply", *more, "-f", "-", given=json.dumps(thing))


def refusal(bed, thing):
    with pytest.raises(ValueError) as refused:
        apply(bed, thing, "--dry-run=server", "--validate=strict")
    return str(refused.value)


def test_the_manifest_for_those_without_helm_is_what_the_chart_renders(tmp_path):
    run(ROOT / "scripts/render", tmp_path / "operator.yaml")
    assert (tmp_path / "operator.yaml").read_text() == (ROOT / "deploy/operator.yaml").read_text()


def test_what_is_left_right_in_the_tables_is_right(bed, served):
    apply(bed, manifest(served), "--dry-run=server", "--validate=strict")


@pytest.mark.parametrize(("place", "value", "words"), REFUSED, ids=[f"{row[0]}-{n}" for n, row in enumerate(REFUSED)])
def test_a_manifest_is_refused_in_words_that_name_the_field(bed, served, place, value, words):
    assert words in refusal(bed, manifest(served, changed(place, value)))


@pytest.mark.parametrize(("name", "words"), NAMES)
def test_a_name_is_refused_that_pods_could_not_have(bed, served, name, words):
    assert words in refusal(bed, manifest(served, name=name))


@pytest.mark.parametrize(("place", "value", "words"), FIXED)
def test_what_may_not_change_is_refused_in_words_that_name_the_field(bed, served, place, value, words):
    # Paused, so that nothing is made of it.
    apply(bed, manifest(served))
    assert words in refusal(bed, manifest(served, changed(place, value)))

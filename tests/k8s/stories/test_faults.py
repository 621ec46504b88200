"""What must not lose a message: a rest without writes, the loss of all pods at once, and an operator that is not there."""

import re

import pytest
from clusters import Cluster
from traffic import traffic

from bed import eventually, ready

#: Messages a second while something is done to the cluster.
RATE = 200
#: Messages a second, and how long, while the operator must leave the API server alone.
BUSY, QUIET = 500, 120
#: A longest time between two messages, seconds, that shows that members did not run; and tries at a time without one.
STALL, TRIES = 0.25, 3
#: A change of members, seconds.
CHANGE = 120


@pytest.fixture(scope="module")
def cluster(bed, served, examples):
    """The example for bridges that are machines outside."""
    cluster = Cluster(bed, served)
    bed.kubectl("apply", "--namespace", served, "-f", examples / "exposed.yaml")
    cluster.becomes_whole(3)
    return cluster


def all_ready(cluster, uids):
    """Whether each member has another pod than it had, and that one is ready."""
    pods = [cluster.pod(name) for name in uids]
    return all(pod["metadata"]["uid"] != uids[pod["metadata"]["name"]] and ready(pod) for pod in pods)


def writes_counted(bed, operator):
    """What the acting operator counts as written, Leases and Events apart."""
    figures = bed.http(operator.NAMESPACE, operator.acts(), 9090, "/metrics")
    return int(re.search(r"^xmpp_operator_api_writes_total (\d+)", figures, re.MULTILINE)[1])


def test_a_cluster_at_rest_causes_no_writes_but_the_lease(bed, operator, cluster, ends):
    for _ in range(TRIES):
        eventually(lambda: cluster.whole(3) and cluster.status()["registered"] == "2/2", "all is as it should be", CHANGE)
        with traffic(*ends, BUSY) as flow:
            counted, actor = writes_counted(bed, operator), operator.acts()
            _, start = bed.requests(operator.ACCOUNT) if bed.own else ([], 0)
            goal = flow.sent + BUSY * QUIET
            eventually(lambda goal=goal: flow.sent >= goal, f"{BUSY * QUIET} messages are sent", within=2 * QUIET)
            same = (writes_counted(bed, operator), operator.acts()) == (counted, actor)
            entries, _ = bed.requests(operator.ACCOUNT, since=start) if bed.own else ([], 0)
        writes = {entry["objectRef"]["resource"] for entry in entries if entry["verb"] not in ("get", "list", "watch")}
        if same and writes <= {"leases"}:
            return
        # A machine that stood still made members and bridges change, which the status tells of.
        assert flow.longest_gap() > STALL, f"written without a cause: {writes}"
    pytest.fail(f"this machine stood still in each of {TRIES} tries")


def test_all_pods_deleted_at_once_lose_no_message_and_no_member(cluster, ends):
    before, uids = cluster.identities(), cluster.uids()
    with traffic(*ends, RATE) as flow:
        cluster.delete_pod(*uids)
        eventually(lambda: all_ready(cluster, uids) and cluster.whole(3), "all are back", within=CHANGE)
        flow.flows()
    assert cluster.identities() == before
    assert cluster.group() == set(before.values()), "there is no ghost"


def test_all_programs_killed_at_once_lose_no_message_and_no_member(bed, cluster, ends):
    if not bed.own:
        pytest.skip("only the nodes of our own bed can be entered")
    before = cluster.identities()

    def containers():
        """Node and container of each member."""
        pods = [cluster.pod(name) for name in before]
        return {
            (pod["spec"]["nodeName"], status["containerID"].partition("://")[2])
            for pod in pods
            for status in pod["status"]["containerStatuses"]
            if status["ready"]
        }

    killed = containers()
    assert len(killed) == 3
    with traffic(*ends, RATE) as flow:
        bed.kill_containers(killed)
        eventually(
            lambda: len(containers() - killed) == 3 and cluster.whole(3), "all were started again", within=CHANGE
        )
        flow.flows()
    assert cluster.identities() == before
    assert cluster.group() == set(before.values()), "there is no ghost"


def test_without_the_operator_the_data_path_goes_on_and_pods_come_back(operator, cluster, ends):
    before = cluster.identities()
    with traffic(*ends, RATE) as flow:
        operator.remove()
        flow.flows()
        for role in ("Follower", "Leader"):
            victim = next(name for name, member in cluster.members().items() if member["role"] == role)
            uids = {victim: cluster.uids()[victim]}
            cluster.delete_pod(victim)
            eventually(lambda uids=uids: all_ready(cluster, uids), f"{victim} is back", within=CHANGE)
        flow.flows()
        uids = cluster.uids()
        operator.install()
        cluster.becomes_whole(3)
        assert cluster.uids() == uids, "nothing was restarted"
    assert cluster.identities() == before


def test_an_operator_killed_while_members_come_and_go_is_followed_by_one_that_goes_on(operator, cluster, ends):
    before = cluster.identities()
    with traffic(*ends, RATE):
        for replicas, step in ((5, "Join"), (3, "RemoveMember")):
            cluster.change(replicas=replicas)
            eventually(lambda step=step: cluster.status()["plan"]["step"] == step, f"the step {step}", within=CHANGE)
            operator.kill()
            cluster.becomes_whole(replicas)
            assert len(cluster.members()) == replicas
    assert cluster.identities() == before
    assert cluster.group() == set(before.values()), "there is no ghost"


def test_a_lost_node_is_named_and_the_others_go_on_until_it_is_back(bed, cluster, ends):
    if not bed.own:
        pytest.skip("only the nodes of our own bed can be harmed")
    before, lost = cluster.identities(), cluster.status()["leader"]
    node = cluster.pod(lost)["spec"]["nodeName"]
    number = int(node.removeprefix("node"))

    def told():
        found = cluster.condition("Degraded")
        return found["status"] == "True" and lost in found["message"] and node in found["message"]

    with traffic(*ends, RATE) as flow:
        try:
            bed.node("cut", number)
            flow.flows()
            bed.node("kill", number)
            flow.flows()
            # Its volume is on that machine, so no other can run it.
            eventually(told, "the condition says which machine holds the member", within=CHANGE)
            assert cluster.condition("Available")["status"] == "True"
            assert cluster.status()["leader"] != lost
        finally:
            bed.node("start", number)
        eventually(lambda: cluster.whole(3), "the member is back", within=2 * CHANGE)
        flow.flows()
    assert cluster.identities() == before
    assert cluster.group() == set(before.values()), "there is no ghost"


def test_helm_uninstall_leaves_clusters_alone_and_the_next_release_takes_them_over(bed, operator, cluster, ends):
    before, uids = cluster.identities(), cluster.uids()
    with traffic(*ends, RATE) as flow:
        operator.uninstall()
        bridges = [{"name": name} for name in ("cb1", "cb2", "cb3")]
        cluster.change(bridges=bridges)
        flow.flows()
        assert cluster.uids() == uids
        operator.install()
        eventually(lambda: cluster.bridge("cb3")["state"] == "Absent", "what was asked for meanwhile is done", CHANGE)
        cluster.becomes_whole(3)
        flow.flows()
    assert (cluster.identities(), cluster.uids()) == (before, uids)

"""slixmpp as a client: TLS both ways, both digests, messages to and from a component, and the death of its node."""

import asyncio

import pytest

from clients import Client
from cluster import eventually
from components import Component, heard

pytestmark = pytest.mark.judge("slixmpp")

PASSWORD = "correct horse"


@pytest.mark.parametrize("direct", [False, True], ids=["starttls", "direct"])
@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1"])
async def test_a_client_comes_in_and_talks_with_a_component(cluster, mechanism, direct):
    _, (one, two) = await cluster.whole()
    jid = cluster.user("juliet", PASSWORD)
    client = await Client(cluster, f"{jid}/balcony", PASSWORD, one, mechanism=mechanism, direct=direct).start()
    assert client.boundjid.full == f"{jid}/balcony"
    component = await Component(cluster, cluster.bridge(), two).start()
    client.send_message(mto=f"bot@{component.boundjid}", mbody="hello")
    await heard(component, 1)
    assert component.messages[0][1:3] == (f"{jid}/balcony", "hello")
    for number, to in enumerate([jid, f"{jid}/balcony"]):
        component.send_message(mto=to, mfrom=f"bot@{component.boundjid}", mbody=str(number))
    await eventually(lambda: client.bodies == ["0", "1"], "both messages")
    assert await client.plugin["xep_0199"].ping(cluster.domain, timeout=10) < 10
    info = await client.plugin["xep_0030"].get_info(cluster.domain, timeout=10)
    assert "urn:xmpp:ping" in info["disco_info"]["features"]
    version = await client.plugin["xep_0092"].get_version(cluster.domain, timeout=10)
    assert version["software_version"]["name"] == "xmpp-node"
    await asyncio.gather(client.end(), component.end())


async def test_a_wrong_password_opens_nothing(cluster):
    node = cluster.nodes[0]
    jid = cluster.user("juliet", PASSWORD)
    for user, password in [(jid, "wrong"), (f"nobody@{cluster.domain}", PASSWORD)]:
        client = Client(cluster, user, password, node)
        failed = asyncio.Event()
        client.add_event_handler("failed_all_auth", lambda _, failed=failed: failed.set())
        client.closing = True
        client._dial()
        await asyncio.wait_for(failed.wait(), 10)
        assert not client.ready.is_set()
        await client.end()


async def test_what_is_sent_to_a_user_who_is_away_waits_in_order(cluster):
    _, (one, two) = await cluster.whole()
    jid = cluster.user("juliet", PASSWORD)
    component = await Component(cluster, cluster.bridge(), two).start()
    for number in range(20):
        component.send_message(mto=jid, mfrom=component.boundjid, mbody=str(number))
    await component.plugin["xep_0199"].ping(cluster.domain, ifrom=component.boundjid, timeout=10)
    client = await Client(cluster, f"{jid}/r", PASSWORD, one, managed=False).start()
    await eventually(lambda: client.bodies == [str(number) for number in range(20)], "all that waited")
    assert all(delayed for _, _, delayed in client.received)
    assert component.errors == []

    def confirmed():
        return cluster.xmpp(one, "user", "list")[0]["waiting"] == 0 and cluster.ledger()["queued"] == 0

    await eventually(confirmed, "a client without XEP-0198 confirms by its answers to pings")
    await asyncio.gather(client.end(), component.end())


async def test_a_second_stream_takes_the_resource_over(cluster):
    _, (one, two) = await cluster.whole()
    jid = cluster.user("juliet", PASSWORD)
    first = await Client(cluster, f"{jid}/r", PASSWORD, one).start()
    conflicts = []
    first.add_event_handler("stream_error", lambda error: conflicts.append(error["condition"]))
    first.closing = True
    second = await Client(cluster, f"{jid}/r", PASSWORD, two).start()
    await eventually(lambda: conflicts == ["conflict"], "the first ends with conflict")
    await asyncio.gather(first.end(), second.end())


def shown(client, jid):
    """The resources of a user that a client knows to be available."""
    return set(client.client_roster[jid].resources)


async def test_users_become_contacts_and_see_each_other_come_and_go(cluster):
    _, (one, two) = await cluster.whole()
    jids = [cluster.user(name, PASSWORD) for name in ("romeo", "juliet")]
    # Both agree to whatever they are asked, and ask back: that is what slixmpp does by itself.
    romeo = await Client(cluster, f"{jids[0]}/garden", PASSWORD, one).start()
    juliet = await Client(cluster, f"{jids[1]}/balcony", PASSWORD, two).start()
    juliet.send_presence_subscription(pto=jids[0])

    def contacts():
        states = (romeo.client_roster[jids[1]]["subscription"], juliet.client_roster[jids[0]]["subscription"])
        return states == ("both", "both") and shown(romeo, jids[1]) and shown(juliet, jids[0])

    await eventually(contacts, "both are contacts and see each other")
    assert (shown(romeo, jids[1]), shown(juliet, jids[0])) == ({"balcony"}, {"garden"})
    await romeo.end()
    await eventually(lambda: not shown(juliet, jids[0]), "juliet sees that romeo is gone")
    romeo = await Client(cluster, f"{jids[0]}/wood", PASSWORD, two).start()
    await eventually(lambda: shown(juliet, jids[0]) == {"wood"}, "juliet sees that romeo is back")
    await eventually(lambda: shown(romeo, jids[1]) == {"balcony"}, "romeo is told of juliet")
    romeo.del_roster_item(jids[1])
    await eventually(lambda: juliet.client_roster[jids[0]]["subscription"] == "none", "juliet's list says so")
    await eventually(lambda: not shown(juliet, jids[0]), "juliet sees romeo no more")
    await asyncio.gather(romeo.end(), juliet.end())


@pytest.mark.harms
@pytest.mark.parametrize("role", ["leader", "follower"])
async def test_a_session_is_resumed_on_another_node_after_its_own_was_killed(cluster, role):
    leader, followers = await cluster.whole()
    victim = leader if role == "leader" else followers[0]
    other = next(node for node in cluster.nodes if node.name != victim.name)
    jid = cluster.user("juliet", PASSWORD, other)
    component = await Component(cluster, cluster.bridge(other), other).start()
    client = await Client(cluster, f"{jid}/r", PASSWORD, victim).start()
    await eventually(lambda: client.plugin["xep_0198"].enabled_in, "XEP-0198 is enabled")
    count, sent = 200, []
    for number in range(count):
        component.send_message(mto=jid, mfrom=component.boundjid, mbody=str(number))
        # What it is given while it has no stream, slixmpp forgets.
        if client.ready.is_set():
            client.send_message(mto=component.boundjid, mbody=str(number))
            sent.append(str(number))
        if number == count // 2:
            cluster.kill(victim)
        await asyncio.sleep(0.005)
    await asyncio.wait_for(client.ready.wait(), 20)
    numbers = [str(number) for number in range(count)]
    await eventually(lambda: client.bodies == numbers, "the client hears each once, in order", within=20)
    kept = [body for body in sent if body not in client.forgotten]
    await heard(component, len(kept), within=20)
    assert (client.sessions, client.resumptions > 0) == (1, True)
    assert component.errors == []
    # slixmpp repeats what was not acknowledged behind what it queued meanwhile, so the order is its own.
    bodies = [body for _, _, body, _ in component.messages]
    assert len(set(bodies)) == len(bodies) and set(kept) <= set(bodies) <= set(sent)
    await cluster.whole()
    ledger = await eventually(cluster.ledger, "one ledger")
    assert ledger["unaccounted"] == 0
    await asyncio.gather(client.end(), component.end())

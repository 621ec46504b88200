"""slixmpp, which nobody here wrote, over verified TLS: two components on two nodes exchange every kind of stanza."""

import asyncio

import pytest
from slixmpp.exceptions import IqError

from cluster import eventually
from components import Component, heard

pytestmark = pytest.mark.judge("slixmpp")


async def pair(cluster, **options):
    _, (one, two) = await cluster.whole()
    first = await Component(cluster, cluster.bridge(), one, **options).start()
    second = await Component(cluster, cluster.bridge(), two, **options).start()
    return first, second


async def test_messages_arrive_once_and_in_order_in_both_directions(cluster):
    first, second = await pair(cluster)
    count = 1000
    for number in range(count):
        for sender, recipient in [(first, second), (second, first)]:
            # Bare and full addresses of one recipient are one order (RFC 6120, 10.1).
            resource = f"/{number % 3}" if number % 2 else ""
            sender.send_message(
                mto=f"user@{recipient.boundjid}{resource}", mfrom=f"bot@{sender.boundjid}", mbody=str(number)
            )
    ids = []
    for sender, recipient in [(first, second), (second, first)]:
        await heard(recipient, count)
        assert [body for _, _, body, _ in recipient.messages] == [str(number) for number in range(count)]
        assert {origin for _, origin, _, _ in recipient.messages} == {f"bot@{sender.boundjid}"}
        ids += [identity for _, _, _, identity in recipient.messages]
    assert len(set(ids)) == 2 * count, "every message has a stanza-id of its own"
    await asyncio.gather(first.end(), second.end())


async def test_requests_are_answered_across_nodes(cluster):
    first, second = await pair(cluster)
    second.plugin["xep_0030"].add_identity(category="gateway", itype="sip", name="Call bridge")
    second.plugin["xep_0030"].add_feature("urn:example:calls")
    second.plugin["xep_0092"].software_name = "bridge"
    for asker, answerer in [(first, second), (second, first)]:
        origin = asker.boundjid
        assert await asker.plugin["xep_0199"].ping(answerer.boundjid, ifrom=origin, timeout=10) < 10
        assert await asker.plugin["xep_0199"].ping(first.domain, ifrom=origin, timeout=10) < 10
    info = await first.plugin["xep_0030"].get_info(second.boundjid, ifrom=first.boundjid, timeout=10)
    assert ("gateway", "sip", None, "Call bridge") in info["disco_info"]["identities"]
    assert "urn:example:calls" in info["disco_info"]["features"]
    version = await first.plugin["xep_0092"].get_version(second.boundjid, ifrom=first.boundjid, timeout=10)
    assert version["software_version"]["name"] == "bridge"
    items = await first.plugin["xep_0030"].get_items(first.domain, ifrom=first.boundjid, timeout=10)
    assert str(second.boundjid) in {jid for jid, _, _ in items["disco_items"]["items"]}
    await asyncio.gather(first.end(), second.end())


async def test_a_hundred_requests_at_once_are_each_answered(cluster):
    first, second = await pair(cluster)
    pings = [first.plugin["xep_0199"].ping(second.boundjid, ifrom=first.boundjid, timeout=10) for _ in range(100)]
    assert len(await asyncio.gather(*pings)) == 100
    await asyncio.gather(first.end(), second.end())


async def test_what_a_component_does_not_know_is_answered_by_its_own_error(cluster):
    first, second = await pair(cluster)
    with pytest.raises(IqError) as answer:
        await first.make_iq_get("urn:example:unknown", ito=second.boundjid, ifrom=first.boundjid).send(timeout=10)
    assert answer.value.condition == "feature-not-implemented"
    assert answer.value.iq["from"] == second.boundjid
    await asyncio.gather(first.end(), second.end())


async def test_a_component_without_ping_confirms_what_it_reads_by_its_errors(cluster):
    first, second = await pair(cluster, plugins=())
    first.send_message(mto=second.boundjid, mfrom=first.boundjid, mbody="read")
    await heard(second, 1)

    def confirmed():
        bridges = {bridge["jid"]: bridge for bridge in cluster.status(cluster.nodes[0])["bridges"]}
        bridge = bridges[str(second.boundjid)]
        return bridge["queue"]["stanzas"] == 0 and not bridge["unconfirmed"]

    await eventually(confirmed, "its queue is empty")
    await asyncio.gather(first.end(), second.end())


async def test_what_is_sent_to_a_component_that_went_in_order_waits_for_its_return(cluster):
    first, second = await pair(cluster)
    await second.end()
    answer = first.plugin["xep_0199"].send_ping(second.boundjid, ifrom=first.boundjid, timeout=10)
    first.send_message(mto=second.boundjid, mfrom=first.boundjid, mbody="while away")
    await first.plugin["xep_0199"].ping(first.domain, ifrom=first.boundjid, timeout=10)
    assert not answer.done()
    second.closing = False
    await second.start()
    await heard(second, 1)
    assert (await answer)["type"] == "result"
    await asyncio.gather(first.end(), second.end())


async def test_a_request_to_a_component_that_never_came_is_answered_at_once(cluster):
    first, second = await pair(cluster)
    absent = cluster.bridge()
    with pytest.raises(IqError) as answer:
        await first.plugin["xep_0199"].send_ping(absent.jid, ifrom=first.boundjid, timeout=10)
    assert answer.value.condition == "remote-server-timeout"
    await asyncio.gather(first.end(), second.end())

"""slixmpp components as their users write them: unchanged library, direct TLS, reconnecting to whichever node answers."""

import asyncio

from slixmpp import ComponentXMPP

from cluster import CEILING, eventually
from stream import SID, trusting


class Component(ComponentXMPP):
    """A component on one node at first; when its stream ends it goes to the next one that lets it in."""

    def __init__(self, cluster, bridge, node, plugins=("xep_0030", "xep_0092", "xep_0199")):
        # Without `fix_error_ns` slixmpp does not find errors that have the stream's own namespace.
        super().__init__(bridge.jid, bridge.secret, fix_error_ns=True)
        # Direct TLS with a verified name, by options of slixmpp alone: no plain attempt, and the name is the domain's.
        self.enable_plaintext = False
        self.enable_starttls = False
        self.enable_direct_tls = True
        self.tls_services = {"xmpps-component"}
        self.ssl_context = trusting(cluster.ca)
        for plugin in plugins:
            self.register_plugin(plugin)
        self.domain = cluster.domain
        self.servers = [node.component] + [
            other.component for other in cluster.nodes if other.name != node.name
        ]
        #: Every message with a body, in order of arrival: (number of the stream, sender, body, stanza-id).
        self.messages = []
        #: Messages that came back as errors: (who could not be reached, id, condition).
        self.errors = []
        self.streams = 0
        self.closing = False
        self.bound = asyncio.Event()
        self.add_event_handler("session_start", self._start)
        self.add_event_handler("message", self._message)
        self.add_event_handler("message_error", self._message)
        self.add_event_handler("disconnected", self._lost)
        self.add_event_handler("connection_failed", self._failed)

    async def start(self):
        self._dial()
        await asyncio.wait_for(self.bound.wait(), CEILING)
        return self

    async def end(self):
        self.closing = True
        await self.disconnect()

    @property
    def server(self):
        return self.servers[0]

    def _dial(self):
        self.connect(*self.servers[0])
        # `connect` sets the name that the certificate is verified for to the address; the domain is right.
        self.default_domain = self.domain

    def _start(self, _):
        self.streams += 1
        self.bound.set()

    def _lost(self, _):
        self.bound.clear()
        self._next()

    def _failed(self, _):
        self.cancel_connection_attempt()
        self._next()

    def _next(self):
        if not self.closing:
            self.servers.append(self.servers.pop(0))
            self._connect_loop_wait = 0
            self._dial()

    def _message(self, message):
        if message["type"] == "error":
            self.errors.append((message["from"].full, message["id"], message["error"]["condition"]))
            return
        found = message.xml.findall(f"{{{SID}}}stanza-id")
        ids = [element.get("id") for element in found if element.get("by") == self.domain]
        assert len(ids) == 1, f"one stanza-id in {message}"
        self.messages.append((self.streams, message["from"].full, message["body"], ids[0]))


async def heard(component, count, within=CEILING):
    """Waits until so many different bodies have come."""
    await eventually(
        lambda: len({body for _, _, body, _ in component.messages}) >= count,
        f"{component.boundjid} hears {count} messages",
        within,
    )

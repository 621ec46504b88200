"""A client by slixmpp, which nobody here wrote, at one node after another."""

import asyncio
import re

from slixmpp import ClientXMPP
from slixmpp.xmlstream.xmlstream import NotConnectedError

from cluster import CEILING

PLUGINS = ("xep_0030", "xep_0092", "xep_0115", "xep_0199", "xep_0203", "xep_0359")


class Client(ClientXMPP):
    """Keeps what it receives. `sessions` counts binds, `resumptions` sessions that it got back.

    slixmpp drops what its queue comes to between the end of a stream and the word of it: `forgotten` has the bodies.
    """

    def __init__(self, cluster, jid, password, node, managed=True, mechanism=None, direct=False, priority=0):
        super().__init__(jid, password, sasl_mech=mechanism)
        self.cluster, self.direct, self.priority = cluster, direct, priority
        self.servers = [node] + [other for other in cluster.nodes if other.name != node.name]
        self.received, self.sessions, self.resumptions = [], 0, 0
        self.forgotten = set()
        self.ready = asyncio.Event()
        self.closing = False
        self.ca_certs = cluster.ca
        for plugin in PLUGINS + (("xep_0198",) if managed else ()):
            self.register_plugin(plugin)
        self.add_event_handler("session_start", self._started)
        self.add_event_handler("session_resumed", self._resumed)
        self.add_event_handler("message", self._message)
        self.add_event_handler("disconnected", self._lost)
        self.add_event_handler("connection_failed", self._failed)

    async def start(self):
        self._dial()
        await asyncio.wait_for(self.ready.wait(), CEILING)
        return self

    async def end(self):
        self.closing = True
        await self.disconnect()

    @property
    def bodies(self):
        return [body for _, body, _ in self.received]

    def _dial(self):
        node = self.servers[0]
        self.enable_direct_tls, self.enable_starttls = self.direct, not self.direct
        self.enable_plaintext = False
        host, port = node.client_direct if self.direct else node.client
        self.connect(host, port)

    async def _started(self, _):
        self.sessions += 1
        await self.get_roster()
        self.send_presence(ppriority=self.priority)
        self.ready.set()

    def _resumed(self, _):
        self.resumptions += 1
        self.ready.set()

    def send_raw(self, data):
        try:
            super().send_raw(data)
        except NotConnectedError:
            text = data.decode() if isinstance(data, bytes) else data
            self.forgotten.update(re.findall("<body>(.*?)</body>", text))
            raise

    def _lost(self, _):
        self.ready.clear()
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
        delayed = message.xml.find("{urn:xmpp:delay}delay") is not None
        self.received.append((message["from"].full, message["body"], delayed))

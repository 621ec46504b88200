"""A component stream by hand: TLS, bytes out, parsed elements in. What it sends may be as wrong as a test wants."""

import asyncio
import hashlib
import ssl
import xml.etree.ElementTree as ET

from cluster import CEILING

ACCEPT = "jabber:component:accept"
STREAMS = "http://etherx.jabber.org/streams"
STREAM_ERRORS = "urn:ietf:params:xml:ns:xmpp-streams"
STANZA_ERRORS = "urn:ietf:params:xml:ns:xmpp-stanzas"
PING = "urn:xmpp:ping"
SID = "urn:xmpp:sid:0"
#: Id of the pings by which the server learns what a plain component has read.
BARRIER = "xc-barrier-"

CLOSED = object()
LOST = object()


class Ended(AssertionError):
    """A stream that ended when something else was expected; `condition` is that of its stream error."""

    def __init__(self, condition):
        super().__init__(f"the stream ended: {condition}")
        self.condition = condition


def header(to, content_ns=ACCEPT, stream_ns=STREAMS, prefix="stream"):
    return f"<{prefix}:stream xmlns='{content_ns}' xmlns:{prefix}='{stream_ns}' to='{to}'>"


def trusting(ca):
    """The context of a client that verifies chain and name."""
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class Stream:
    """One connection. Everything that comes is parsed as it arrives, unless the stream is deaf."""

    opened = []

    def __init__(self, reader, writer, obedient):
        self.reader, self.writer, self.obedient = reader, writer, obedient
        self.parser = ET.XMLPullParser(("start", "end"))
        self.depth = 0
        self.root = None
        self.received = asyncio.Queue()
        self.header = asyncio.get_running_loop().create_future()
        self.listening = None
        self.fences = 0
        Stream.opened.append(self)

    @classmethod
    async def connect(cls, cluster, node, obedient=True, deaf=False, source=None):
        """To a node's component port. `obedient` answers the server's pings; a `deaf` one reads nothing until `listen`.

        `source` is the address that it comes from.
        """
        host, port = node.component
        opening = asyncio.open_connection(
            host,
            port,
            ssl=trusting(cluster.ca),
            server_hostname=cluster.domain,
            local_addr=source and (source, 0),
        )
        stream = cls(*await asyncio.wait_for(opening, CEILING), obedient)
        if not deaf:
            stream.listen()
        return stream

    @classmethod
    async def component(cls, cluster, node, bridge, **options):
        """Connected and bound."""
        stream = await cls.connect(cluster, node, **options)
        await stream.open(bridge.jid)
        await stream.handshake(bridge.secret)
        return stream

    def listen(self):
        self.listening = self.listening or asyncio.create_task(self._listen())

    async def deafen(self):
        """From now on nothing is read."""
        self.listening.cancel()
        await asyncio.gather(self.listening, return_exceptions=True)
        self.listening = None

    async def _listen(self):
        try:
            while data := await self.reader.read(65536):
                self.parser.feed(data)
                for event, element in self.parser.read_events():
                    self._take(event, element)
        except (OSError, ssl.SSLError):
            pass
        self.received.put_nowait(LOST)

    def _take(self, event, element):
        self.depth += 1 if event == "start" else -1
        if event == "start" and self.depth == 1:
            self.root = element
            if not self.header.done():
                self.header.set_result(dict(element.attrib))
        elif event == "end" and self.depth == 0:
            self.received.put_nowait(CLOSED)
        elif event == "end" and self.depth == 1:
            self.root.clear()
            if element.get("id", "").startswith(BARRIER) and self.obedient:
                self.answer(element)
            else:
                self.received.put_nowait(element)

    def answer(self, request):
        self.send(
            f"<iq type='result' id='{request.get('id')}' "
            f"from='{request.get('to')}' to='{request.get('from')}'/>"
        )

    def send(self, text):
        self.writer.write(text if isinstance(text, bytes) else text.encode())

    async def drain(self):
        await asyncio.wait_for(self.writer.drain(), CEILING)

    async def open(self, to):
        """Sends the header and returns the attributes of the server's."""
        self.send(header(to))
        return await asyncio.wait_for(asyncio.shield(self.header), CEILING)

    def digest(self, secret):
        return hashlib.sha1((self.header.result().get("id") + secret).encode()).hexdigest()

    async def handshake(self, secret):
        """Proves the secret and waits until the name is ours."""
        self.send(f"<handshake>{self.digest(secret)}</handshake>")
        answer = await self.next()
        assert answer.tag == f"{{{ACCEPT}}}handshake", ET.tostring(answer)

    async def take(self, within=CEILING):
        return await asyncio.wait_for(self.received.get(), within)

    async def next(self, within=CEILING):
        """The next child of the stream; the end of the stream is a failure that names its error."""
        element = await self.take(within)
        if element is CLOSED or element is LOST:
            raise Ended(None)
        if element.tag == f"{{{STREAMS}}}error":
            raise Ended(condition_of(element))
        return element

    async def error(self, within=CEILING):
        """The condition of the stream error that ends this stream. Asserts that the stream is closed in order behind it."""
        await asyncio.wait_for(asyncio.shield(self.header), within)
        while True:
            element = await self.take(within)
            assert element is not CLOSED and element is not LOST, "ended without a stream error"
            if element.tag == f"{{{STREAMS}}}error":
                break
        assert await self.take(within) is CLOSED, "no </stream:stream> behind the error"
        self.writer.close()
        assert await self.take(within) is LOST, "the connection stays open behind the error"
        return condition_of(element)

    async def rest(self, within=CEILING):
        """What still comes until the peer closes the stream."""
        elements = []
        while (element := await self.take(within)) is not CLOSED:
            assert element is not LOST, "the connection was lost before the stream was closed"
            elements.append(element)
        return elements

    async def fence(self, jid, domain):
        """Waits for the answer to a ping to the server: everything sent before is decided.

        Returns what came before the answer; nothing is lost of it, as answers keep the order of questions.
        """
        self.fences += 1
        identity = f"fence-{self.fences}"
        self.send(f"<iq type='get' id='{identity}' from='{jid}' to='{domain}'><ping xmlns='{PING}'/></iq>")
        before = []
        while (element := await self.next()).get("id") != identity:
            before.append(element)
        assert element.get("type") == "result", ET.tostring(element)
        return before

    def abort(self):
        if self.listening:
            self.listening.cancel()
        self.writer.transport.abort()


def condition_of(error, namespace=STREAM_ERRORS):
    """The defined condition in an error element."""
    found = [child.tag for child in error if child.tag.startswith(f"{{{namespace}}}")]
    names = [tag.partition("}")[2] for tag in found if not tag.endswith("}text")]
    assert len(names) == 1, f"one condition in {ET.tostring(error)}"
    return names[0]


def stanza_error(stanza):
    """Condition and type of the error that a stanza carries."""
    assert stanza.get("type") == "error", ET.tostring(stanza)
    error = next(child for child in stanza if child.tag == f"{{{ACCEPT}}}error")
    return condition_of(error, STANZA_ERRORS), error.get("type")


def stanza_id(stanza, domain):
    """The id that the server of `domain` gave to a message."""
    found = [child for child in stanza.iter(f"{{{SID}}}stanza-id") if child.get("by") == domain]
    assert len(found) == 1, f"one stanza-id by {domain} in {ET.tostring(stanza)}"
    return found[0].get("id")


def body(stanza):
    return stanza.findtext(f"{{{ACCEPT}}}body")

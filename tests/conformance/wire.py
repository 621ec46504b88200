"""A component's connection for the cases: bytes out, parsed elements in, by the standard library alone."""

import hashlib
import socket
import ssl
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass

ACCEPT = "jabber:component:accept"
STREAMS = "http://etherx.jabber.org/streams"
STREAM_ERRORS = "urn:ietf:params:xml:ns:xmpp-streams"
STANZA_ERRORS = "urn:ietf:params:xml:ns:xmpp-stanzas"
#: Seconds until silence counts as an answer.
PATIENCE = 3.0


class Unexpected(Exception):
    """The server did something else; the text says what."""


@dataclass
class Component:
    """A name that the server knows, and its secret."""

    name: str
    secret: str


@dataclass
class Server:
    """Where a server is, and whom it knows."""

    host: str
    port: int
    domain: str
    one: Component
    two: Component
    #: CA file; without it the connection is plain.
    ca: str | None = None

    def connect(self):
        return Peer(self)

    def bound(self, component):
        """A connection that has proved its secret."""
        peer = self.connect()
        peer.open(component.name)
        peer.prove(component.secret)
        return peer


class Peer:
    """One connection. What comes is a list of events: ("open", attributes), ("element", element), ("close", None), ("eof", None)."""

    opened = []

    def __init__(self, server):
        self.server = server
        plain = socket.create_connection((server.host, server.port), timeout=PATIENCE)
        self.socket = plain
        if server.ca:
            context = ssl.create_default_context(cafile=server.ca)
            self.socket = context.wrap_socket(plain, server_hostname=server.domain)
        self.parser = ET.XMLPullParser(("start", "end"))
        self.depth, self.root, self.events, self.over = 0, None, [], False
        Peer.opened.append(self)

    def send(self, text):
        data = text if isinstance(text, bytes) else text.encode()
        try:
            self.socket.sendall(data)
        except OSError:
            pass  # it ended the stream; what it said is still to be read

    def open(self, to, content=ACCEPT, streams=STREAMS):
        """Sends a header; returns the attributes of the server's."""
        self.send(f"<stream:stream xmlns='{content}' xmlns:stream='{streams}' to='{to}'>")
        kind, attributes = self.next()
        if kind != "open":
            raise Unexpected(f"no header, but {kind}")
        self.id = attributes.get("id", "")
        return attributes

    def prove(self, secret):
        self.shake(secret)
        element = self.element()
        if element.tag != f"{{{ACCEPT}}}handshake":
            raise Unexpected(f"no handshake, but {show(element)}")

    def shake(self, secret):
        self.send(f"<handshake>{hashlib.sha1((self.id + secret).encode()).hexdigest()}</handshake>")

    def next(self, patience=PATIENCE):
        """The next event; raises when nothing comes in time."""
        deadline = time.monotonic() + patience
        while not self.events:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Unexpected("silence")
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                raise Unexpected("silence") from None
            except OSError:
                data = b""
            if not data:
                return ("eof", None)
            self._feed(data)
        return self.events.pop(0)

    def element(self, patience=PATIENCE):
        """The next element; questions whether we are alive are answered meanwhile."""
        deadline = time.monotonic() + patience
        while True:
            kind, element = self.next(deadline - time.monotonic())
            if kind != "element":
                raise Unexpected({"close": "the end of the stream", "eof": "the end of the connection"}.get(kind, kind))
            ping = element.find("{urn:xmpp:ping}ping")
            if ping is None or element.get("type") != "get":
                return element
            self.send(f"<iq type='result' id='{element.get('id')}' from='{element.get('to')}' to='{element.get('from')}'/>")

    def error(self, *conditions):
        """The stream must end with an error of one of these conditions; returns it."""
        element = self.element()
        if element.tag != f"{{{STREAMS}}}error":
            raise Unexpected(f"no stream error, but {show(element)}")
        found = [child.tag.split("}")[1] for child in element if child.tag.startswith("{" + STREAM_ERRORS)]
        found = [name for name in found if name != "text"]
        if not found or found[0] not in conditions:
            raise Unexpected(f"stream error {found[0] if found else 'without a condition'}")
        return found[0]

    def ended(self):
        """The stream must be closed, and the connection with it."""
        if self.next()[0] not in ("close", "eof"):
            raise Unexpected("the stream goes on")

    def silence(self, patience=1.0):
        """Nothing may come but questions whether we are alive."""
        try:
            element = self.element(patience)
        except Unexpected as nothing:
            if str(nothing) == "silence":
                return
            raise
        raise Unexpected(f"an answer: {show(element)}")

    def end(self):
        """Ends the stream, and waits a little for the server to know it."""
        self.send("</stream:stream>")
        try:
            while self.next(1.0)[0] not in ("close", "eof"):
                pass
        except (Unexpected, OSError):
            pass  # a case may have closed it
        self.close()

    def close(self):
        self.socket.close()

    def _feed(self, data):
        try:
            self.parser.feed(data)
            for event, element in self.parser.read_events():
                self._event(event, element)
        except ET.ParseError as fault:
            raise Unexpected(f"XML that is not well-formed: {fault}") from None

    def _event(self, event, element):
        if event == "start":
            self.depth += 1
            if self.depth == 1:
                self.root = element
                if element.tag != f"{{{STREAMS}}}stream":
                    raise Unexpected(f"a header called {element.tag}")
                self.events.append(("open", dict(element.attrib)))
            return
        self.depth -= 1
        if self.depth == 1:
            self.events.append(("element", element))
            self.root.remove(element)
        elif self.depth == 0:
            self.events.append(("close", None))


def show(element):
    """An element in few words."""
    return f"<{element.tag.split('}')[-1]} type={element.get('type')}>"


def condition(stanza):
    """The condition of a stanza error."""
    error = next((child for child in stanza if child.tag.endswith("}error")), None)
    if error is None:
        return None
    return next((child.tag.split("}")[1] for child in error if child.tag.startswith("{" + STANZA_ERRORS)), None)

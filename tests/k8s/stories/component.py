"""A component by hand: XEP-0114, plain to a side-car on loopback, or over TLS to a member. It remembers what came."""

import hashlib
import socket
import ssl
import threading
import time
import xml.etree.ElementTree as ET

ACCEPT = "jabber:component:accept"
STREAMS = "http://etherx.jabber.org/streams"
STREAM_ERRORS = "urn:ietf:params:xml:ns:xmpp-streams"
#: Ceiling of one step of the opening, seconds.
STEP = 60


class StreamError(ValueError):
    """The other side ended the stream with this condition."""


class Component:
    """One stream. `received` has when each message came, by its id, in the order in which they came, each once."""

    def __init__(self, address, jid, secret, trusted=None):
        """`address`: host and port. `trusted`: CAs in PEM; with them it is TLS, for the domain that `jid` is of."""
        self.jid = jid
        self.socket = socket.create_connection(address, timeout=STEP)
        if trusted:
            context = ssl.create_default_context(cadata=trusted)
            self.socket = context.wrap_socket(self.socket, server_hostname=jid.partition(".")[2])
        # Answers to pings come from another thread than messages.
        self.sending = threading.Lock()
        self.parser, self.root, self.depth = ET.XMLPullParser(("start", "end")), None, 0
        self.received, self.errors, self.ended = {}, [], None
        self.send(f"<stream:stream xmlns='{ACCEPT}' xmlns:stream='{STREAMS}' to='{jid}'>")
        self._until(lambda: self.root is not None)
        digest = hashlib.sha1((self.root.get("id") + secret).encode()).hexdigest()
        self.bound = False
        self.send(f"<handshake>{digest}</handshake>")
        self._until(lambda: self.bound)
        self.socket.settimeout(None)
        self.reading = threading.Thread(target=self._read, daemon=True)
        self.reading.start()

    def send(self, text):
        with self.sending:
            self.socket.sendall(text.encode())

    def message(self, to, identity):
        self.send(f"<message from='{self.jid}' to='{to}' id='{identity}'><body>{identity}</body></message>")

    def close(self):
        try:
            self.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # the other side was first
        self.reading.join()
        self.socket.close()

    def _until(self, condition):
        while not condition():
            self._feed(self.socket.recv(65536))

    def _read(self):
        try:
            while self.ended is None:
                self._feed(self.socket.recv(65536))
        except (OSError, ValueError) as error:
            self.ended = error

    def _feed(self, octets):
        if not octets:
            raise ConnectionError(f"the stream of {self.jid} ended")
        self.parser.feed(octets)
        for event, element in self.parser.read_events():
            self.depth += 1 if event == "start" else -1
            if event == "start" and self.depth == 1:
                self.root = element
            elif event == "end" and self.depth == 1:
                self._take(element)
                self.root.clear()

    def _take(self, element):
        kind = element.tag.rpartition("}")[2]
        if element.tag == f"{{{STREAMS}}}error":
            condition = next(child.tag for child in element if child.tag.startswith(f"{{{STREAM_ERRORS}}}"))
            raise StreamError(condition.rpartition("}")[2])
        if kind == "handshake":
            self.bound = True
        elif element.get("type") == "error":
            self.errors.append(ET.tostring(element, encoding="unicode"))
        elif kind == "message":
            # The side-car repeats what may not have been read; the id makes it one.
            self.received.setdefault(element.get("id"), time.monotonic())
        elif kind == "iq" and element.get("type") == "get":
            # Pings are how the other side knows what was read.
            self.send(
                f"<iq type='result' id='{element.get('id')}' from='{element.get('to')}' to='{element.get('from')}'/>"
            )

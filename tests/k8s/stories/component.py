"""A component at the side-car in a bridge's pod: plain XEP-0114 over a forwarded port. It remembers what came."""

import hashlib
import socket
import threading
import xml.etree.ElementTree as ET

ACCEPT = "jabber:component:accept"
STREAMS = "http://etherx.jabber.org/streams"
#: Ceiling of one step of the opening, seconds.
STEP = 60


class Component:
    """One stream. `received` has the ids of messages in the order in which they came, each once."""

    def __init__(self, port, jid, secret):
        self.jid = jid
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=STEP)
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
        self.socket.sendall(text.encode())

    def message(self, to, identity):
        self.send(f"<message from='{self.jid}' to='{to}' id='{identity}'><body>{identity}</body></message>")

    def close(self):
        self.socket.shutdown(socket.SHUT_RDWR)
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
        if kind == "handshake":
            self.bound = True
        elif kind == "error":
            raise ValueError(ET.tostring(element, encoding="unicode"))
        elif element.get("type") == "error":
            self.errors.append(ET.tostring(element, encoding="unicode"))
        elif kind == "message":
            # The side-car repeats what may not have been read; the id makes it one.
            self.received.setdefault(element.get("id"), len(self.received))
        elif kind == "iq" and element.get("type") == "get":
            # Its pings are how the side-car knows what was read.
            self.send(
                f"<iq type='result' id='{element.get('id')}' from='{element.get('to')}' to='{element.get('from')}'/>"
            )

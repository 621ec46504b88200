"""Bridges on machines that are no pods: `callbridge` as a process here, and the DNS that its zone would have."""

import json
import os
import re
import socket
import subprocess
import threading
from contextlib import contextmanager
from pathlib import Path

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.zone

from bed import SCRIPTS, eventually

#: Where the programs of the images are, on this machine.
PROGRAMS = Path(os.environ.get("XMPP_BIN", ""))
#: This machine, as nodes and what is on their bridge see it; own bed only.
MACHINE = "10.199.0.1"


class Zone:
    """A DNS server for the lines that `lines()` gives at each question. Its address is `address`."""

    def __init__(self, lines, host="127.0.0.1"):
        self.lines = lines
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((host, 0))
        self.address = "{}:{}".format(*self.socket.getsockname())
        self.asked = set()
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self):
        self.socket.close()

    def _serve(self):
        while True:
            try:
                question, client = self.socket.recvfrom(4096)
                self.socket.sendto(self._answer(question), client)
            except OSError:
                return

    def _answer(self, wire):
        query = dns.message.from_wire(wire)
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.AA
        asked = query.question[0]
        self.asked.add(str(asked.name).lower())
        zone = dns.zone.from_text("\n".join(self.lines()), origin=dns.name.root, relativize=False, check_origin=False)
        found = zone.get_rrset(asked.name, asked.rdtype)
        if found:
            answer.answer.append(found)
        elif zone.get_node(asked.name) is None:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        return answer.to_wire()


class Callbridge:
    """The process. `status` is the last line of its status; `port` that of its side-car, once it has one."""

    def __init__(self, folder, binding, server, *more, within=()):
        """`binding`: what its Secret holds. `server`: the DNS server. `within`: a command that runs it elsewhere."""
        folder.mkdir(parents=True)
        for key, value in binding.items():
            (folder / key).write_text(value)
        command = [*within, PROGRAMS / "callbridge", "--binding", folder, "--dns", server, "--status"]
        # A machine outside knows the domain and no Kubernetes.
        command += ["--srv", f"_xmpp-component._tcp.{binding['domain']}", *more]
        self.log, self.status = folder / "log", {}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.reading = threading.Thread(target=self._read, daemon=True)
        self.reading.start()

    @property
    def port(self):
        """`... waiting for the component address=127.0.0.1:40123`"""
        return int(re.search(r"component address=127\.0\.0\.1:(\d+)", self.log.read_text())[1])

    def registered(self):
        return self.status.get("state") == "Registered"

    def end(self):
        self.process.terminate()
        self.process.wait(20)
        self.reading.join()

    def _read(self):
        for line in self.process.stdout:
            self.status = json.loads(line)


@contextmanager
def callbridge(*arguments, **more):
    """A Callbridge for as long as the block takes."""
    bridge = Callbridge(*arguments, **more)
    try:
        yield bridge
    finally:
        bridge.end()


@contextmanager
def sidecar(folder, binding, server):
    """A Callbridge that is the side-car of a component here, once it listens."""
    with callbridge(folder, binding, server, "--sidecar", "127.0.0.1:0") as bridge:
        eventually(lambda: "component address" in bridge.log.read_text(), "the side-car listens", within=20)
        yield bridge


#: Runs a command on a machine of its own, on the bridge of the nodes, without a way to pods; own bed only.
OUTSIDER = [SCRIPTS / "outsider"]

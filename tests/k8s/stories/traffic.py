"""Messages from one component to another, and the reckoning: nothing lost, nothing twice, nothing out of order."""

import itertools
import threading
import time
from contextlib import contextmanager

from bed import eventually

#: Ceiling of the arrival of what was sent, seconds.
ARRIVAL = 120
#: Pause between two bursts, seconds.
TICK = 0.02


class Traffic(threading.Thread):
    """Sends at a steady rate until it is stopped; while nothing is taken from it, it waits, and then catches up."""

    runs = itertools.count()

    def __init__(self, sender, receiver, rate):
        super().__init__(daemon=True)
        self.sender, self.receiver, self.rate = sender, receiver, rate
        self.prefix, self.sent, self.failure = f"t{next(self.runs)}-", 0, None
        self.stopping = threading.Event()

    def run(self):
        began = time.monotonic()
        try:
            while not self.stopping.wait(TICK):
                for _ in range(int((time.monotonic() - began) * self.rate) - self.sent):
                    self.sender.message(self.receiver.jid, f"{self.prefix}{self.sent}")
                    self.sent += 1
        except OSError as error:
            self.failure = error

    def arrived(self):
        """When each message came, in the order in which they came."""
        found = dict(self.receiver.received)
        return {name: at for name, at in found.items() if name.startswith(self.prefix)}

    def longest_gap(self):
        """Longest time between two arrivals, seconds."""
        times = list(self.arrived().values())
        return max(after - before for before, after in itertools.pairwise(times))

    def flows(self, count=100):
        """Waits until so many more messages have come than now."""
        before = len(self.arrived())
        eventually(lambda: len(self.arrived()) >= before + count, f"{count} more messages", within=ARRIVAL)

    def finish(self):
        """Stops, and asserts that each message came and that their order was kept."""
        self.stopping.set()
        self.join(ARRIVAL)
        assert not self.is_alive() and self.failure is None, f"nothing was taken any more: {self.failure}"
        identities = [f"{self.prefix}{number}" for number in range(self.sent)]
        all_arrived(self.sender, self.receiver, identities)
        assert list(self.arrived()) == identities


@contextmanager
def traffic(sender, receiver, rate):
    """Traffic for as long as the block takes; what the block raises goes before what the traffic has to complain of."""
    flow = Traffic(sender, receiver, rate)
    flow.start()
    try:
        flow.flows(1)
        yield flow
    except BaseException:
        flow.stopping.set()
        raise
    flow.finish()


def all_arrived(sender, receiver, identities):
    """Waits until each message is there, and asserts that none was refused and that their order was kept."""

    def arrived():
        if trouble := sender.ended or receiver.ended or sender.errors[:1]:
            raise RuntimeError(f"{sender.jid} to {receiver.jid}: {trouble}")  # no waiting will mend it
        return all(identity in receiver.received for identity in identities)

    eventually(arrived, f"{len(identities)} messages from {sender.jid} to {receiver.jid}", within=ARRIVAL)
    wanted = set(identities)
    assert [identity for identity in list(receiver.received) if identity in wanted] == identities

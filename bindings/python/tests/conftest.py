"""What the tests stand on: real servers on free ports of 127.0.0.1, each with a store of its own."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nats
import nats.js.errors
import pytest
from nats.js.api import StreamConfig

# A job that a shell started in the background ignores Ctrl-C, and so would all its children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

LIMIT = 20.0
"""Seconds that anything here may take."""


def _binary() -> Path:
    given = os.environ.get("ACKBUS_NATS_SERVER")
    path = Path(given) if given else Path(__file__).parents[3] / ".tools/nats-server/bin/nats-server"
    if not path.is_file():
        pytest.exit(f"no nats-server at {path}: run `make server`, or name one with ACKBUS_NATS_SERVER", 2)
    return path


def wait_for(what: str, condition: Callable[[], Any], limit: float = LIMIT) -> Any:
    """Asks until the answer is true, and returns it."""
    end = time.monotonic() + limit
    while not (answer := condition()):
        assert time.monotonic() < end, f"{what}: not after {limit} s"
        time.sleep(0.005)
    return answer


@dataclass
class Stored:
    """A message in a stream."""

    topic: str
    payload: bytes
    headers: dict[str, str]


@dataclass
class Server:
    """A running nats-server with JetStream. Read and changed through nats-py, which is not ours."""

    folder: Path
    arguments: list[str]
    port: int = -1
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def url(self) -> str:
        return f"nats://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> Server:
        """Starts it, on the port that it had before if there was one."""
        binary = _binary()
        ports = ["--addr", "127.0.0.1", "--port", str(self.port), "--ports_file_dir", str(self.folder)]
        store = ["--jetstream", "--store_dir", str(self.folder / "store"), "--log", str(self.folder / "server.log")]
        self._process = subprocess.Popen([str(binary), *ports, *store, *self.arguments])
        self.port = wait_for("the server's port", lambda: self._read_port(self.folder / f"{binary.name}_{self.pid}.ports"))
        return self

    def _read_port(self, path: Path) -> int | None:
        assert self._process is not None and self._process.poll() is None, (self.folder / "server.log").read_text()
        try:
            return int(json.loads(path.read_text())["nats"][0].rpartition(":")[2])
        except (FileNotFoundError, json.JSONDecodeError):
            return None

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Ends it, and returns when it has ended."""
        if self._process is not None:
            self._process.send_signal(signal.SIGCONT)
            self._process.send_signal(number)
            self._process.wait(LIMIT)
            self._process = None

    def pause(self) -> None:
        """It holds its connections and answers no more, until ``resume``. Returns when all its threads stand: a running one takes a moment to hear of it."""
        os.kill(self.pid, signal.SIGSTOP)
        wait_for("every thread to stop", lambda: all(state == "T" for state in self._thread_states()))

    def _thread_states(self) -> list[str]:
        # The state follows the name, which stands in parentheses.
        return [path.read_text().rpartition(")")[2].split()[0] for path in Path(f"/proc/{self.pid}/task").glob("*/stat")]

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def add_stream(self, name: str, *subjects: str, **config: Any) -> None:
        """Creates a stream; ``config`` as nats-py's StreamConfig has it."""
        self._ask(lambda js: js.add_stream(StreamConfig(name=name, subjects=list(subjects), **config)))

    def count(self, stream: str) -> int:
        """How many messages the stream holds; 0 if there is no such stream."""

        async def read(js: Any) -> int:
            try:
                return int((await js.stream_info(stream)).state.messages)
            except nats.js.errors.NotFoundError:
                return 0

        return int(self._ask(read))

    def stored(self, stream: str) -> list[Stored]:
        """The messages of the stream, in its order."""

        async def read(js: Any) -> list[Stored]:
            found = []
            state = (await js.stream_info(stream)).state
            for seq in range(state.first_seq, state.last_seq + 1):
                try:
                    message = await js.get_msg(stream, seq)
                except nats.js.errors.NotFoundError:
                    continue
                found.append(Stored(message.subject, message.data or b"", dict(message.headers or {})))
            return found

        return list(self._ask(read))

    def payloads(self, stream: str) -> list[bytes]:
        return [message.payload for message in self.stored(stream)]

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        async def ask() -> Any:
            client = await nats.connect(self.url)
            try:
                return await question(client.jetstream())
            finally:
                await client.close()

        return asyncio.run(asyncio.wait_for(ask(), LIMIT))


@pytest.fixture
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Starts servers with further arguments of nats-server, such as ``("--user", "u", "--pass", "p")``."""
    servers = []

    def start(*arguments: str) -> Server:
        server = Server(tmp_path_factory.mktemp("server"), list(arguments))
        servers.append(server)
        return server.start()

    yield start
    for server in servers:
        server.stop()


@pytest.fixture
def server(start_server: Callable[..., Server]) -> Server:
    """A server of the test's own."""
    return start_server()

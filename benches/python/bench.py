"""The Python benchmark: ackbus beside nats-py and confluent-kafka, and beside the C API, interleaved in one run. benches/run.sh starts it, with

    python bench.py --endpoint HOST:PORT --server HOST:PORT [--c PROGRAM] [--rounds 5] [--n 200000] [--n-server 100000] [--size 128]

where the endpoint acks at once and stores nothing, the server is a real nats-server, and PROGRAM is benches/publish.c. Prints Markdown to stdout, progress to
stderr. Absolute figures move with the machine and what else it does; compare rows of the same run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import socket
import statistics
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path

import nats
from clients import GROUP, WINDOW
from nats.js.api import StorageType, StreamConfig
from nats.js.errors import NotFoundError

STREAM = "BENCH"
LIMIT = 600
NAMES = {
    "ackbus-c": "ackbus, C API, a report each",
    "ackbus-publish": "ackbus `publish`",
    "ackbus-on-report": "ackbus `publish`, `on_report` each",
    "ackbus-publish-many": f"ackbus `publish_many`, {GROUP:,} at a time",
    "ackbus-submit": f"ackbus `submit`, {GROUP:,} futures at a time",
    "ackbus-aio": f"`ackbus.aio`, {GROUP:,} futures at a time",
    "nats-py": "nats-py `publish_async`",
    "kafka": "confluent-kafka `produce`, mock broker in its process",
    "kafka-callback": "confluent-kafka `produce`, the same, `on_delivery` each",
}
ENDPOINT = list(NAMES)
SERVER = [name for name in NAMES if not name.startswith("kafka")]
# So that a round takes about as long for each.
SHARE = {"nats-py": 10, "ackbus-submit": 4, "ackbus-aio": 2}
HELD = {
    "ackbus-publish": "ackbus `publish`",
    "ackbus-hold-futures": "ackbus `submit`",
    "ackbus-aio": "`ackbus.aio`",
    "nats-py": "nats-py `publish_async`",
    "kafka": "confluent-kafka `produce`",
}


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure(client: str, address: str, count: int, given: argparse.Namespace, *more: str) -> dict[str, float]:
    """One run in a process of its own; what it printed."""
    if client == "ackbus-c":
        command = [str(given.c), address, "bench.load", str(count), str(given.size), str(WINDOW)]
        env = os.environ | {"LD_LIBRARY_PATH": str(given.c.parent)}
    else:
        command = [sys.executable, str(Path(__file__).with_name("clients.py")), client, address, str(count), str(given.size), *more]
        env = dict(os.environ)
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, text=True, timeout=LIMIT, check=False)
    found = {name: float(value) for name, value in re.findall(r"\b(acked|msgs_per_s|cpu_us_per_msg|rss_kb)=([\d.]+)", done.stdout)}
    if done.returncode != 0 or found.get("acked") != (0 if more else count):
        sys.exit(f"{client}: not all of {count} messages were acked: {done.stdout}")
    return found


def stream(address: str, *, fresh: bool) -> int:
    """Makes the stream anew, in memory, or counts what it holds."""

    async def ask() -> int:
        client = await nats.connect(f"nats://{address}")
        js = client.jetstream()
        try:
            if not fresh:
                return int((await js.stream_info(STREAM)).state.messages)
            with suppress(NotFoundError):
                await js.delete_stream(STREAM)
            await js.add_stream(StreamConfig(name=STREAM, subjects=["bench.>"], storage=StorageType.MEMORY))
            return 0
        finally:
            await client.close()

    return asyncio.run(ask())


@contextmanager
def silence() -> Iterator[str]:
    """A server that answers pings and acknowledges nothing."""
    listener = socket.create_server(("127.0.0.1", 0))
    info = b'INFO {"server_id":"s","version":"2.10.0","max_payload":1048576,"headers":true,"jetstream":true,"proto":1}\r\n'

    def serve(connection: socket.socket) -> None:
        with connection:
            connection.sendall(info)
            rest = b""
            while chunk := connection.recv(1 << 16):
                lines = (rest + chunk).split(b"\r\n")
                rest = lines.pop()
                connection.sendall(b"PONG\r\n" * lines.count(b"PING"))

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.close()


def interpreter_rss() -> float:
    """The peak of an interpreter that does nothing, in KiB, as clients.py reads its own."""
    program = "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    return float(subprocess.run([sys.executable, "-c", program], stdout=subprocess.PIPE, timeout=LIMIT, check=True).stdout)


def table(title: str, clients: list[str], runs: dict[str, list[dict[str, float]]]) -> None:
    print(f"\n### {title}\n\n| client | msg/s, median (range) | CPU µs/msg |\n|---|---|---|")
    for client in clients:
        rates = [run["msgs_per_s"] for run in runs[client]]
        cpu = statistics.median(run["cpu_us_per_msg"] for run in runs[client])
        print(f"| {NAMES[client]} | {statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) | {cpu:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description="see the top of this file; benches/run.sh starts it")
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--server")
    parser.add_argument("--c", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--n-server", type=int, default=200_000)
    parser.add_argument("--size", type=int, default=128)
    given = parser.parse_args()
    loads = {"endpoint": [name for name in ENDPOINT if given.c or name != "ackbus-c"]}
    if given.server:
        loads["memory"] = [name for name in SERVER if given.c or name != "ackbus-c"]
    runs: dict[str, dict[str, list[dict[str, float]]]] = {load: defaultdict(list) for load in loads}
    held: dict[str, list[float]] = defaultdict(list)
    for round_number in range(1, given.rounds + 1):
        for load, clients in loads.items():
            for client in clients:
                address = given.endpoint if load == "endpoint" else given.server
                # publish_many and groups of futures publish whole groups.
                count = max((given.n if load == "endpoint" else given.n_server) // SHARE.get(client, 1) // GROUP, 1) * GROUP
                if load == "memory":
                    stream(address, fresh=True)
                run = measure(client, address, count, given)
                if load == "memory" and stream(address, fresh=False) != count:
                    sys.exit(f"{client}: {count} messages were acked, but the stream holds {stream(address, fresh=False)}")
                runs[load][client].append(run)
                note(
                    f"load={load} round={round_number} client={client} n={count} msgs_per_s={run['msgs_per_s']:.0f} cpu_us_per_msg={run['cpu_us_per_msg']:.2f}"
                )
        with silence() as address:
            for client in HELD:
                peak = measure(client, address, WINDOW, given, "--hold")["rss_kb"] - interpreter_rss()
                held[client].append(peak / 1024)
                note(f"held round={round_number} client={client} rss_mb={peak / 1024:.1f}")
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("ackbus", "nats-py", "confluent-kafka"))
    print(
        f"{given.rounds} rounds, interleaved; {os.cpu_count()} CPUs; Python {sys.version.split()[0]}; {versions}; {given.size}-byte payloads, window {WINDOW:,}"
    )
    table("Against an endpoint that acks at once (Kafka: a mock broker in the client's own process, in its CPU time)", loads["endpoint"], runs["endpoint"])
    if given.server:
        table("Against a real nats-server, memory stream", loads["memory"], runs["memory"])
    print(f"\n### Peak memory over the interpreter's own, {WINDOW:,} messages pending\n\n| client | MB, median (range) |\n|---|---|")
    for client, peaks in held.items():
        print(f"| {HELD[client]} | {statistics.median(peaks):.1f} ({min(peaks):.1f} to {max(peaks):.1f}) |")


if __name__ == "__main__":
    main()

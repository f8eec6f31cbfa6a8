"""``ackbus bench``."""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable

import ackbus

from . import usage
from .output import milliseconds, note, result
from .publisher import connected
from .stopping import Stopping

STREAM, TOPIC = "ACKBUS_BENCH", "ackbus.bench"
BATCH = 1_000
"""Messages of one publish_many."""
WAIT = 120.0
"""Seconds that the last acknowledgements may take."""

WHAT = "measure"
DESCRIPTION = f"""\
Publish N messages in each of three ways and print rate, CPU time and latency. What is measured is this machine with that server, whatever else they do.
Without --stream they go to the topic {TOPIC}, into a stream {STREAM} in memory, which is created if it is missing and stays.
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ackbus bench", description=DESCRIPTION, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("-n", type=usage.count(1, 1_000_000_000), default=200_000, metavar="N", help="messages each way (default: 200,000)")
    parser.add_argument("--size", type=usage.count(0, 64 << 20), default=128, metavar="BYTES", help="of each payload (default: 128)")
    parser.add_argument("--topic", default=TOPIC, help="where to publish, with --stream")
    parser.add_argument("--stream", metavar="NAME", help="an existing stream that takes the topic")
    usage.add_connection(parser)
    return parser.parse_args(arguments)


def run(given: argparse.Namespace) -> int:
    options = usage.options(given.options, reserved=("report", "on_full"))
    servers = usage.servers(given)
    if given.topic != TOPIC and not given.stream:
        raise usage.Usage("--topic needs --stream NAME")
    rule: ackbus.Topic = {"stream": STREAM, "create": "if_missing", "subjects": TOPIC, "storage": "memory", "discard": "old", "max_bytes": 256 << 20}
    if given.stream:
        rule = {"stream": given.stream}
    payload = b"x" * given.size
    ways: list[tuple[str, Callable[[ackbus.Publisher, str, bytes, int], None]]] = [
        ("publish", _publish),
        ("publish_many", _publish_many),
        ("submit", _submit),
    ]
    rows: list[tuple[str, ...]] = [("", "msg/s", "CPU µs/msg", "p50", "p99", "slowest")]
    persisted = True
    stopping = Stopping()
    with stopping.installed():
        for name, way in ways:
            with connected(servers, given, stopping, topics={">": rule}, **options) as bus, stopping.interruptible():
                wall, cpu = time.perf_counter(), _cpu()
                way(bus, given.topic, payload, given.n)
                bus.flush(WAIT)
                wall, cpu = time.perf_counter() - wall, _cpu() - cpu
                stats = bus.stats()
                persisted &= stats.published == given.n
                latencies = [milliseconds(ns / 1e9) for ns in (stats.latency_p50_ns, stats.latency_p99_ns, stats.latency_max_ns)]
                rows.append((name, f"{stats.published / wall:,.0f}", f"{cpu / given.n * 1e6:.2f}", *latencies))
                if stats.published != given.n:
                    note(f"{name}: {given.n - stats.published:,} of {given.n:,} messages were not persisted")
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    result(f"{given.n:,} messages of {given.size:,} bytes each way, all acknowledged" if persisted else "not all messages were persisted: these are no results")
    for first, *others in rows:
        result("  ".join([first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]))
    return 0 if persisted else 1


def _publish(bus: ackbus.Publisher, topic: str, payload: bytes, count: int) -> None:
    for _ in range(count):
        bus.publish(topic, payload)


def _publish_many(bus: ackbus.Publisher, topic: str, payload: bytes, count: int) -> None:
    for start in range(0, count, BATCH):
        bus.publish_many([payload] * min(BATCH, count - start), topic=topic)


def _submit(bus: ackbus.Publisher, topic: str, payload: bytes, count: int) -> None:
    for start in range(0, count, BATCH):
        for future in [bus.submit(topic, payload) for _ in range(min(BATCH, count - start))]:
            future.exception()


def _cpu() -> float:
    """Seconds of this process, its threads included."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime

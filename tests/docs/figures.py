"""Arithmetic on what `make bench` measured, for SCALE.md, SCHEMES.md and SIZING.md: no figure is written there by hand."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

RESULTS = "docs/bench/results.json"
GOALS = (1_000_000, 10_000_000, 100_000_000)
Results = dict[str, Any]

ROWS: tuple[tuple[str, str, dict[str, int]], ...] = (
    ("one connection; an endpoint that stores nothing", "throughput/endpoint", {}),
    ("one stream in memory", "throughput/memory", {}),
    ("one stream on disk", "throughput/file", {}),
    ("one stream in memory, three replicas", "throughput/memory-r3", {}),
    ("one stream on disk, three replicas", "throughput/file-r3", {}),
    ("one server with eight streams in memory", "connections/memory-s8", {"connections": 1, "threads": 4}),
)
"""What it is, its table, and which of ackbus's cells in C: the defaults but for these."""

CONNECTIONS = (1, 2, 4, 8)
LOADS = (
    ("an endpoint that stores nothing", "connections/endpoint"),
    ("one stream in memory", "connections/memory"),
    ("eight streams", "connections/memory-s8"),
)

SCHEMES = (
    ("the unified handler, told of failures", (("Python", "python", "publish", 1), ("Go", "go", "publish", 1))),
    (
        "the unified handler, told of every message",
        (
            ("C", "c", "callback", 1),
            ("C++", "cpp", "callback", 1),
            ("Rust", "rust", "callback", 1),
            ("Python", "python", "report", 1),
            ("Go", "go", "report", 1),
        ),
    ),
    ("polled in a loop of its own", (("C", "c", "poll", 1),)),
    (
        "a waiter per message",
        (
            ("C++", "cpp", "future", 1),
            ("Rust", "rust", "ticket", 1),
            ("Go", "go", "ticket", 1),
            ("Python", "python", "submit", 1),
            ("Python, asyncio", "python", "aio", 1),
        ),
    ),
    ("synchronous, one thread", (("C", "c", "wait", 1),)),
    ("synchronous, 16 threads", (("C", "c", "wait", 16),)),
)
"""Each scheme, and where it was measured: language, client, mode, threads."""

MESSAGE, ACK = 256, 100
"""Bytes on the network that docs/SCALE.md reckons with, for a message and for its acknowledgement."""


def scale(results: Results) -> str:
    """How many of each a goal takes, and how many cores the publishers need for it."""
    lines = [
        "| one of | carries, messages/s | for 1 million/s | for 10 million/s | for 100 million/s | publishers' CPU at 1 million/s |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for what, table, cell in ROWS:
        found = figures(results, table, cell)
        if found is None:
            lines.append(f"| {what} | not measured | | | | |")
            continue
        many = " | ".join(f"{math.ceil(goal / found.rate):,}" for goal in GOALS)
        lines.append(f"| {what} | {found.rate:,.0f} | {many} | {found.cpu:.2f} cores |")
    return text(lines)


def connections(results: Results) -> str:
    """What several connections bring, and cost, with four publishing threads."""
    lines = ["| `connections` | " + " | ".join(f"{what}, messages/s | CPU µs/message" for what, _ in LOADS) + " |", "|--:|" + "--:|--:|" * len(LOADS)]
    for count in CONNECTIONS:
        found = [figures(results, table, {"connections": count, "threads": 4}) for _, table in LOADS]
        cells = [f"{one.rate:,.0f} | {one.cpu:.2f}" if one else "not measured | " for one in found]
        lines.append(f"| {count} | " + " | ".join(cells) + " |")
    return text(lines)


def schemes(results: Results) -> str:
    """What each scheme carries and costs, against an endpoint that acknowledges at once."""
    lines = ["| scheme | language | messages/s | CPU µs/message |", "|---|---|--:|--:|"]
    for what, places in SCHEMES:
        for language, client, mode, threads in places:
            found = figures(results, "modes/endpoint", {"client": f"ackbus-{client}", "mode": mode, "threads": threads})
            lines.append(f"| {what} | {language} | " + (f"{found.rate:,.0f} | {found.cpu:.2f} |" if found else "not measured | |"))
    return text(lines)


def memory(results: Results) -> str:
    """What a process grows by for a pending message of 128 bytes."""
    lines = ["| language | bytes for each pending message of 128 bytes |", "|---|--:|"]
    for language, client in (("C", "c"), ("C++", "cpp"), ("Rust", "rust"), ("Python", "python"), ("Go", "go")):
        found = cell(results, "held/silent", {"client": f"ackbus-{client}", "window": 100_000})
        lines.append(f"| {language} | " + (f"{statistics.median(found['held_bytes_per_msg']):,.0f} |" if found else "not measured |"))
    return text(lines)


def traffic(results: Results) -> str:
    """Bytes that goals mean: no measurement, arithmetic."""
    rows: tuple[tuple[str, float, str], ...] = (
        ("to the streams", MESSAGE, "B/s"),
        ("the same in bits", MESSAGE * 8, "bit/s"),
        ("R3: written to disks", MESSAGE * 3, "B/s"),
        ("R3: between servers", MESSAGE * 2, "B/s"),
        ("acknowledgements", ACK, "B/s"),
        ("kept for a day, R1", MESSAGE * 24 * 3600, "B"),
    )
    lines = ["| | 1 million/s | 10 million/s | 100 million/s |", "|---|--:|--:|--:|"]
    lines += [f"| {what} | " + " | ".join(scaled(goal * each, unit) for goal in GOALS) + " |" for what, each, unit in rows]
    latency = 0.01
    lines.append(
        f"| pending, all publishers together, at an ack latency of {latency * 1000:.0f} ms | "
        + " | ".join(f"{goal * latency:,.0f} messages" for goal in GOALS)
        + " |"
    )
    return text(lines)


def window(results: Results) -> str:
    """Little's law for the default window: no measurement, arithmetic."""
    size, goal = 10_000, 100_000
    lines = [f"| ack latency | the most that a window of {size:,} carries | a window for {goal:,} messages/s |", "|--:|--:|--:|"]
    lines += [
        f"| {name} | {size / latency:,.0f}/s | {goal * latency:,.0f} |" for name, latency in (("1 ms", 0.001), ("10 ms", 0.01), ("100 ms", 0.1), ("1 s", 1.0))
    ]
    return text(lines)


def scaled(number: float, unit: str) -> str:
    """In two or three digits, by thousands."""
    for prefix in ("", "k", "M", "G", "T", "P"):
        if number < 1000:
            return f"{number:.0f} {prefix}{unit}" if number >= 10 else f"{number:.1f} {prefix}{unit}"
        number /= 1000
    raise ValueError(f"{number} is beyond all prefixes")


class Figures:
    """Medians of a cell."""

    def __init__(self, found: dict[str, list[float]]) -> None:
        self.rate = statistics.median(found["msgs_per_s"])
        self.cpu = statistics.median(found["cpu_us_per_msg"])


def figures(results: Results, table: str, wanted: dict[str, Any]) -> Figures | None:
    found = cell(results, table, wanted)
    return Figures(found) if found else None


def cell(results: Results, table: str, wanted: dict[str, Any]) -> dict[str, list[float]] | None:
    """That of ackbus in C with its defaults, with 128 bytes and Msg-Ids, but for what is wanted otherwise."""
    every = {"client": "ackbus-c", "mode": "", "msg_id": True, "size": 128, "window": 4096, "threads": 1, "connections": 0, **wanted}
    for entry in results["cells"]:
        if entry["table"] == table and all(entry[name] == value for name, value in every.items()):
            return entry["figures"]  # type: ignore[no-any-return]
    return None


def text(lines: list[str]) -> str:
    return "\n".join(lines) + "\n"


WRITERS: dict[str, Callable[[Results], str]] = {
    "scale": scale,
    "connections": connections,
    "schemes": schemes,
    "memory": memory,
    "traffic": traffic,
    "window": window,
}


def region(name: str, root: Path) -> str | None:
    """The text of a region; None: nothing was measured yet."""
    path = root / RESULTS
    return WRITERS[name](json.loads(path.read_text())) if path.is_file() else None

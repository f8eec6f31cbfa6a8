"""Arithmetic on what `make bench` measured, for docs/SCALE.md: no figure is written there by hand."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

RESULTS = "docs/bench/results.json"
GOALS = (1_000_000, 10_000_000, 100_000_000)
ROWS = (
    ("one connection; an endpoint that stores nothing", "throughput/endpoint", {"connections": 0, "threads": 1}),
    ("four publishing threads, one connection; the same endpoint, 16 topics", "connections/endpoint", {"connections": 1, "threads": 4}),
    ("four publishing threads, four connections; the same", "connections/endpoint", {"connections": 4, "threads": 4}),
    ("one stream in memory", "throughput/memory", {"connections": 0, "threads": 1}),
    ("one stream on disk", "throughput/file", {"connections": 0, "threads": 1}),
    ("one stream in memory, three replicas", "throughput/memory-r3", {"connections": 0, "threads": 1}),
    ("one stream on disk, three replicas", "throughput/file-r3", {"connections": 0, "threads": 1}),
    ("eight streams in memory on one server, one connection", "connections/memory-s8", {"connections": 1, "threads": 4}),
    ("eight streams in memory on one server, four connections", "connections/memory-s8", {"connections": 4, "threads": 4}),
)
"""What it is, its table, and which of ackbus's cells in C: the defaults but for these."""


def scale(results: dict[str, Any]) -> str:
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
        rate, cpu = statistics.median(found["msgs_per_s"]), statistics.median(found["cpu_us_per_msg"])
        many = " | ".join(f"{math.ceil(goal / rate):,}" for goal in GOALS)
        lines.append(f"| {what} | {rate:,.0f} | {many} | {cpu:.2f} cores |")
    return "\n".join(lines) + "\n"


def figures(results: dict[str, Any], table: str, cell: dict[str, int]) -> dict[str, list[float]] | None:
    """Those of ackbus in C with its defaults, with 128 bytes and Msg-Ids."""
    wanted = {"client": "ackbus-c", "mode": "", "msg_id": True, "size": 128, "window": 4096, **cell}
    for entry in results["cells"]:
        if entry["table"] == table and all(entry[name] == value for name, value in wanted.items()):
            return entry["figures"]  # type: ignore[no-any-return]
    return None


def region(name: str, root: Path) -> str | None:
    """The text of a region; None: nothing was measured yet."""
    path = root / RESULTS
    return {"scale": scale}[name](json.loads(path.read_text())) if path.is_file() else None

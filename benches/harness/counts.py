"""Runs that count instead of timing: allocations, by thread, and system calls. Two runs of different length each; what one more message costs is told."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

from .arithmetic import slope
from .clients import Places
from .measure import Failed, play
from .plan import Cell
from .servers import Target

# For allocations both are well beyond the window, so that nothing grows any more between them. System calls vary by more than what growing costs.
NEXT_TO_NONE, FEW, MANY = 1_000, 50_000, 250_000
SLOW = {"nats-py": 10, "nats-go": 5, "nats-c": 5, "async-nats": 5, "ackbus-python": 2}


def lengths(cell: Cell, few: int) -> tuple[int, int]:
    share = SLOW.get(cell.client, 1)
    return few // share, MANY // share


def allocations(places: Places, cell: Cell, target: Target, work: Path) -> dict[str, float]:
    """Calls of malloc and its like per message: of the process, and of ackbus' I/O thread. Go has a heap of its own, and its program counts there."""
    by_length: dict[int, dict[str, float]] = {}
    few, many = lengths(cell, FEW)
    for count in (few, many):
        file = work / "allocations"
        # Python's own allocator would hide them.
        env = {"LD_PRELOAD": str(places.built / "allocations.so"), "ALLOCATIONS_FILE": str(file), "PYTHONMALLOC": "malloc"}
        line = play(places.run(cell, target.address, count), env)
        threads = by_thread(file.read_bytes())
        file.unlink()
        by_length[count] = {"all": sum(threads.values()) + line.get("allocations_per_msg", 0) * count, "io": threads.get("ackbus-io", 0)}
    figures = {"allocations_per_msg": slope((few, by_length[few]["all"]), (many, by_length[many]["all"]))}
    if cell.client.startswith("ackbus"):
        figures["allocations_io_per_msg"] = slope((few, by_length[few]["io"]), (many, by_length[many]["io"]))
    return figures


def by_thread(table: bytes) -> dict[str, int]:
    """Calls by the thread's name, from what allocations.c leaves: 16 bytes of name, 8 of calls."""
    return {name.rstrip(b"\0").decode(): calls for name, calls in struct.iter_unpack("=16sQ", table) if name[0]}


TRACERS = {"perf": ["perf", "stat", "-x,", "-e", "raw_syscalls:sys_enter", "-o"], "strace": ["strace", "-c", "-f", "-o"]}
"""perf counts without slowing the program down; strace does slow it, and the program then does more with each call."""


def tracer(work: Path) -> str | None:
    """The first that is there, and allowed."""
    for tool, command in TRACERS.items():
        if shutil.which(tool) and subprocess.run([*command, str(work / "calls"), "true"], capture_output=True, check=False).returncode == 0:
            return tool
    return None


def system_calls(places: Places, cell: Cell, target: Target, work: Path, tool: str) -> dict[str, float]:
    """System calls per 1,000 messages, of all threads."""
    calls = []
    for count in lengths(cell, NEXT_TO_NONE):
        file = work / "calls"
        play([*TRACERS[tool], str(file), *places.run(cell, target.address, count)])
        calls.append((count, total(file.read_text(), tool)))
    return {"syscalls_per_1000": 1000 * slope(*calls)}


def total(text: str, tool: str) -> float:
    for row in text.splitlines():
        words = row.split("," if tool == "perf" else None)
        if tool == "perf" and "raw_syscalls:sys_enter" in row:
            return float(words[0])
        if tool == "strace" and words and words[-1] == "total":
            return float(words[3])
    raise Failed(f"{tool} did not tell how many system calls there were")


def idle(places: Places, cell: Cell, target: Target, seconds: int) -> dict[str, float]:
    """What publishers cost that have nothing to do."""
    target.fresh()
    servers = target.address if target.address.startswith("memory:") else f"nats://{target.address}"
    return play([*places.command(cell.client), servers, str(cell.publishers), str(seconds), cell.mode])

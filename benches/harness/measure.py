"""One run of one cell: start the client, read its line, and look whether the stream has what was acked."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .arithmetic import latencies, round_down
from .clients import Places
from .plan import OTHERS, Cell
from .servers import Target

LIMIT = 200
MOST_BYTES, MOST_MESSAGES, FEWEST = 2 << 30, 4_000_000, 1_000


class Failed(Exception):
    """A run that gave no figures."""


def play(command: Sequence[str], env: dict[str, str] | None = None) -> dict[str, float]:
    """Runs a program of the benchmark; what its line says."""
    try:
        done = subprocess.run(command, env=os.environ | (env or {}), capture_output=True, text=True, timeout=LIMIT, check=False)
    except subprocess.TimeoutExpired as error:
        raise Failed(f"not done after {LIMIT} s") from error
    if done.returncode != 0:
        raise Failed(f"exit code {done.returncode}: {(done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]}")
    return parse(done.stdout)


def parse(line: str) -> dict[str, float]:
    return {name: float(value) for name, value in re.findall(r"(?:^|\s)(\w+)=(-?[\d.]+)(?=\s|$)", line)}


def publish(places: Places, cell: Cell, target: Target, count: int, work: Path, *, hold: bool = False) -> dict[str, float]:
    """The figures of one run, with latencies if the cell has a rate."""
    file = work / "latencies"
    target.fresh()
    more = ["--rate", str(cell.rate), "--latencies", str(file)] if cell.rate else []
    figures = play(places.run(cell, target.address, count, *more, *(["--hold"] if hold else [])))
    if hold:
        return figures
    if figures.get("acked") != count:
        raise Failed(f"{figures.get('acked')} of {count} messages were acked")
    if cell.client not in OTHERS and (stored := target.stored()) != count:
        raise Failed(f"{count} messages were acked, but the stream got {stored}")
    if cell.rate:
        figures |= latencies(file.read_bytes(), count)
        file.unlink()
    return figures


def count_for(places: Places, cell: Cell, target: Target, seconds: float, work: Path) -> int:
    """How many messages take so long: runs that get longer tell, since the first messages are slow; they warm everything up, too."""
    count = FEWEST
    for share in (0.05, 0.25, 1):
        count = bounded(cell, publish(places, cell, target, count, work)["msgs_per_s"] * seconds * share)
    return count


def bounded(cell: Cell, count: float) -> int:
    return max(round_down(min(count, MOST_MESSAGES, MOST_BYTES / max(cell.size, 1))), FEWEST)

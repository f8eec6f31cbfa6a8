"""The view as plain text, for scripts, logs and pipes."""

from __future__ import annotations

import shutil
import sys
import time

from ..output import note, result
from ..usage import Usage
from .source import File
from .view import Glyphs, Painter
from .watch import Watch

WIDE = 240
"""Cells, where there is no terminal: nothing is cut."""


def once(watch: Watch, interval: float) -> int:
    """A second reading makes rates, where a source says something new after an interval."""
    if not watch.source.once and not isinstance(watch.source, File):
        time.sleep(interval)
        watch.take(watch.look())
        if watch.state.problem:
            raise Usage(watch.state.problem)
    _print(watch)
    return 0


def follow(watch: Watch, interval: float) -> int:
    """Prints what is new until nobody reads it. Problems go to standard error, each once."""
    due = time.monotonic()
    while _print(watch) and result(""):
        before = watch.state.read
        while watch.state.read == before:
            due += interval
            time.sleep(max(due - time.monotonic(), 0))
            due = max(due, time.monotonic() - interval)
            told = watch.state.problem
            watch.take(watch.look())
            if watch.state.problem != told and watch.state.problem:
                note(f"ackbus top: {watch.state.problem}; trying again")
    return 0


def _print(watch: Watch) -> bool:
    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else WIDE
    painter = Painter(width, Glyphs.of(sys.stdout.encoding))
    head = f"{time.strftime('%H:%M:%S')}  {watch.state.source}"
    return result("\n".join([head, *(line.plain.rstrip() for line in painter.lines(watch.state))]))

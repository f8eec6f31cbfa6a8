"""How a run goes, on a terminal: with rich a bar, without it one plain line."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

from . import output
from .output import milliseconds

PERIOD = 0.1
"""Seconds between two looks with rich; five times as many without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """How far a run has come."""

    taken: int
    """Bytes read."""
    pending: int
    acked: int
    failed: int
    p99: float
    """Seconds."""


class Speed:
    """Acknowledgements per second over the last two seconds."""

    def __init__(self) -> None:
        self._points: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def at(self, acked: int) -> float:
        now = time.monotonic()
        self._points.append((now, acked))
        while len(self._points) > 2 and self._points[0][0] < now - 2:
            self._points.popleft()
        (then, before) = self._points[0]
        return (acked - before) / (now - then) if now > then else 0.0


def text(snapshot: Snapshot, rate: float) -> str:
    return f"{rate:,.0f} msg/s  pending {snapshot.pending:,}  acked {snapshot.acked:,}  failed {snapshot.failed:,}  p99 {milliseconds(snapshot.p99)}"


def shown(look: Callable[[], Snapshot], total: int | None) -> AbstractContextManager[None]:
    """Shows progress meanwhile, if standard error is a terminal. ``total``: bytes there are to read, if that is known."""
    if not sys.stderr.isatty():
        return nullcontext()
    try:
        import rich.progress
    except ModuleNotFoundError:
        return _plain(look, total)
    return _rich(rich.progress, look, total)


@contextmanager
def _rich(progress: Any, look: Callable[[], Snapshot], total: int | None) -> Iterator[None]:
    import rich.console

    speed = Speed()

    class Live(progress.Progress):  # type: ignore[misc]
        """Looks when rich draws, which it does on a thread of its own."""

        def get_renderables(self) -> Any:
            snapshot = look()
            for task in self.task_ids:
                self.update(task, completed=snapshot.taken, figures=text(snapshot, speed.at(snapshot.acked)))
            return super().get_renderables()

    columns = [progress.BarColumn(20), progress.TextColumn("{task.fields[figures]}")]
    if total:
        columns.insert(1, progress.TaskProgressColumn())
    # What others write to standard error meanwhile appears above the bar.
    live = Live(*columns, console=rich.console.Console(stderr=True, highlight=False), transient=True, refresh_per_second=1 / PERIOD)
    live.add_task("", total=total, figures="")
    with live:
        yield


@contextmanager
def _plain(look: Callable[[], Snapshot], total: int | None) -> Iterator[None]:
    speed = Speed()
    ended = threading.Event()

    def draw() -> None:
        while not ended.wait(5 * PERIOD):
            snapshot = look()
            share = f"{min(snapshot.taken / total, 1):.0%}  " if total else ""
            print(output.ERASE + share + text(snapshot, speed.at(snapshot.acked)), end="", file=sys.stderr, flush=True)

    thread = threading.Thread(target=draw, name="ackbus-progress", daemon=True)
    thread.start()
    output.line_is_drawn = True
    try:
        yield
    finally:
        ended.set()
        thread.join()
        output.line_is_drawn = False
        print(end=output.ERASE, file=sys.stderr, flush=True)

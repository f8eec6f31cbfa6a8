"""The view on a terminal: drawn anew after each reading, key and change of size."""

from __future__ import annotations

import os
import queue
import select
import signal
import socket
import sys
import termios
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from rich.console import Console, Group
from rich.control import Control
from rich.live import Live
from rich.text import Text

from ..stopping import Stopping
from . import words
from .source import Snapshot, Unreadable
from .view import GAP, Glyphs, Painter
from .watch import Watch

REDRAW = 1.0
"""Seconds after which ages are drawn anew, if nothing else is."""
SUSPEND = "\x1a"
"""What Ctrl-Z is; no key sends it, since the terminal makes a signal of it."""


def draw(watch: Watch, interval: float, stopping: Stopping) -> None:
    """Until q is pressed, or a signal ends it."""
    console = Console(highlight=False)
    with _Bell() as bell, _Reader(watch, interval, bell) as reader:
        while True:
            with _keys() as keys, _screen(console) as live:
                key = _until_key(watch, interval, stopping, live, keys, bell, reader)
            if key != SUSPEND:
                return
            # With the terminal as it was. The shell's fg wakes us here.
            os.kill(os.getpid(), signal.SIGSTOP)


@contextmanager
def _screen(console: Console) -> Iterator[Live]:
    """The terminal's other screen, for as long."""
    with Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live:
        try:
            yield live
        finally:
            # When the size has changed meanwhile, tmux leaves some of the lines on the first screen: they are to be blank.
            console.control(Control.home(), Control.clear())


def _until_key(watch: Watch, interval: float, stopping: Stopping, live: Live, keys: int | None, bell: _Bell, reader: _Reader) -> str:
    while True:
        live.update(_page(watch, interval, live.console, keys is not None), refresh=True)
        with stopping.interruptible():
            pressed = bell.wait(keys, min(interval, REDRAW))
        for news in reader.news():
            watch.take(news)
        if bell.suspended():
            return SUSPEND
        if "q" in pressed.lower():
            return "q"


def _page(watch: Watch, interval: float, console: Console, keys: bool) -> Group:
    """As high as the terminal: what has no room is cut above the last line."""
    width, height = console.size
    lines = Painter(width, Glyphs.of(console.encoding)).lines(watch.state)
    lines = lines[: max(height - 1, 0)]
    lines += [Text()] * (height - 1 - len(lines))
    parts = ["q quits" if keys else "Ctrl-C quits", f"every {interval:g} s", watch.state.source]
    if (age := time.monotonic() - watch.state.read) > max(3 * interval, 3) and not watch.state.problem:
        parts.insert(0, f"as it was {words.duration(age)} ago")
    foot = Text(GAP.join(parts), "dim")
    foot.truncate(width, overflow="crop")
    return Group(*lines, foot)


class _Bell:
    """Ends a wait from another thread, or when a signal comes."""

    def __init__(self) -> None:
        self._hear, self._ring = socket.socketpair()
        self._ring.setblocking(False)
        self._suspended = False

    def __enter__(self) -> _Bell:
        # The interpreter rings for signals that have a handler.
        self._before = signal.set_wakeup_fd(self._ring.fileno(), warn_on_full_buffer=False)
        self._handlers = {number: signal.signal(number, handler) for number, handler in ((signal.SIGWINCH, self._resized), (signal.SIGTSTP, self._stopped))}
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._before)
        self._hear.close()
        self._ring.close()

    def ring(self) -> None:
        # It may ring already, and nobody may wait any more.
        with suppress(OSError):
            self._ring.send(b"\0")

    def wait(self, keys: int | None, seconds: float) -> str:
        """Until something happens. Returns the keys that were pressed; a terminal that is gone is a q."""
        ready, _, _ = select.select([self._hear] + ([] if keys is None else [keys]), [], [], seconds)
        if self._hear in ready:
            self._hear.recv(4096)
        if keys not in ready or keys is None:
            return ""
        try:
            return os.read(keys, 4096).decode(errors="replace") or "q"
        except OSError:
            return "q"

    def suspended(self) -> bool:
        """Whether Ctrl-Z was pressed since the last call."""
        was, self._suspended = self._suspended, False
        return was

    def _resized(self, number: int, frame: FrameType | None) -> None:
        pass

    def _stopped(self, number: int, frame: FrameType | None) -> None:
        self._suspended = True


class _Reader:
    """Reads on a thread of its own: a source that does not answer stops neither keys nor drawing."""

    def __init__(self, watch: Watch, interval: float, bell: _Bell) -> None:
        self._watch, self._interval, self._bell = watch, interval, bell
        self._news: queue.SimpleQueue[Snapshot | Unreadable | None] = queue.SimpleQueue()
        self._ended = threading.Event()

    def __enter__(self) -> _Reader:
        # A daemon: nobody waits for an answer that does not come.
        threading.Thread(target=self._run, name="ackbus-top", daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()

    def news(self) -> Iterator[Snapshot | Unreadable | None]:
        while not self._news.empty():
            yield self._news.get()

    def _run(self) -> None:
        due = time.monotonic() + self._interval
        while not self._ended.wait(max(due - time.monotonic(), 0)):
            self._news.put(self._watch.look())
            self._bell.ring()
            # Late ones are left out, not made up for.
            due = max(due + self._interval, time.monotonic())


@contextmanager
def _keys() -> Iterator[int | None]:
    """Keys as they are pressed, and not shown; None where there is no keyboard."""
    if not sys.stdin or not sys.stdin.isatty():
        yield None
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor, termios.TCSADRAIN)
    try:
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

"""An open loop: message i is due at start + i / rate, and its latency counts from then, whenever it was really sent. The clocks of all clients are the same."""

from __future__ import annotations

import array
import asyncio
import ctypes
import os
import struct
import time
from pathlib import Path

TICK = 50_000
"""Nobody wakes more often than this, in nanoseconds."""
SECOND = 1_000_000_000

_libc = ctypes.CDLL(None, use_errno=True)
_MONOTONIC, _ABSOLUTE, _PR_SET_TIMERSLACK = 1, 1, 29


def due_after(rate: int, index: int) -> int:
    """When message ``index`` is due, in nanoseconds after the start."""
    return index * SECOND // rate


class Pace:
    """Without a rate all is due at once, and nothing is kept."""

    def __init__(self, rate: int, count: int) -> None:
        self.rate, self.start, self.now = rate, 0, 0
        # The last wake is that by plan: if it were the time at which it came, each would be later than the one before.
        self.wake, self.next = 0, 0
        self.latencies = array.array("Q", b"\xff" * (8 * count if rate else 0))

    def begin(self) -> None:
        """On the thread that publishes, right before the first message."""
        if self.rate:
            _libc.prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(1000), 0, 0, 0)
        self.start = self.now = self.wake = self.next = time.monotonic_ns()

    def until(self, index: int) -> int | None:
        """The time at which to send message ``index``, no sooner than a tick after the last wait; None when it is due."""
        due = self.start + due_after(self.rate, index)
        if due <= self.now:
            return None
        self.now = time.monotonic_ns()
        if due <= self.now:
            return None
        self.next = max(due, self.wake + TICK)
        return self.next

    def woke(self) -> None:
        self.now, self.wake = time.monotonic_ns(), self.next

    def wait(self, index: int) -> None:
        """Sleeps, without the GIL, until message ``index`` is due. Not time.sleep: that one is relative."""
        if not self.rate or (until := self.until(index)) is None:
            return
        at = struct.pack("qq", *divmod(until, SECOND))
        while _libc.clock_nanosleep(_MONOTONIC, _ABSOLUTE, at, None) != 0:
            pass
        self.woke()

    def acked(self, index: int) -> None:
        self.latencies[index] = time.monotonic_ns() - self.start - due_after(self.rate, index)

    def write(self, path: str) -> None:
        """Nanoseconds, 8 bytes each, in the machine's order."""
        if self.rate:
            Path(path).write_bytes(self.latencies.tobytes())


class LoopPace(Pace):
    """The same in an event loop, by a timer that the loop watches: its own timers are no more precise than a millisecond."""

    def begin(self) -> None:
        super().begin()
        if self.rate:
            self._loop, self._timer = asyncio.get_running_loop(), _libc.timerfd_create(_MONOTONIC, os.O_NONBLOCK)
            self._loop.add_reader(self._timer, self._rings)
            self._waiting: asyncio.Future[None] | None = None

    async def sleep(self, index: int) -> None:
        if not self.rate or (until := self.until(index)) is None:
            return
        _libc.timerfd_settime(self._timer, _ABSOLUTE, struct.pack("qqqq", 0, 0, *divmod(until, SECOND)), None)
        self._waiting = self._loop.create_future()
        await self._waiting
        self.woke()

    def _rings(self) -> None:
        os.read(self._timer, 8)
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

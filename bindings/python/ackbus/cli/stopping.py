"""Ctrl-C and SIGTERM: they end a run where it may be ended, and never in the middle of a write."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal came while the run could be interrupted."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


class Stopping:
    """Turns the signals into :exc:`Stopped`, inside :meth:`interruptible` alone; elsewhere it remembers that they came."""

    def __init__(self) -> None:
        self.count = 0
        """How many came."""
        self.exit_code = 0
        """What the first one makes of the exit code; 0: none came."""
        self._armed = False

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Handles the signals in the meantime."""
        before = {number: signal.signal(number, self._handle) for number in SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Here a signal raises :exc:`Stopped`. Those that came before are in :attr:`count`."""
        self._armed = True
        try:
            yield
        finally:
            self._armed = False

    @contextmanager
    def postponed(self) -> Iterator[None]:
        """Within :meth:`interruptible`: what must not be torn. A signal is handled when it is done."""
        armed, self._armed = self._armed, False
        before = self.count
        try:
            yield
        finally:
            self._armed = armed
        if armed and self.count > before:
            self._armed = False
            raise Stopped(self.exit_code - 128)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self.exit_code = self.exit_code or 128 + number
        if self._armed:
            # Once: what cleans up after it is not interrupted in turn.
            self._armed = False
            raise Stopped(number)

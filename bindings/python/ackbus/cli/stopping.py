"""Ctrl-C and SIGTERM: they end a run where it may be ended, and never in the middle of a write."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(BaseException):
    """A signal came while the run could be interrupted."""

    def __init__(self, exit_code: int) -> None:
        super().__init__(exit_code)
        self.exit_code = exit_code


class Stopping:
    """Turns the signals into :exc:`Stopped`, inside :meth:`interruptible` alone. One that comes elsewhere waits for the next such place."""

    def __init__(self) -> None:
        self.exit_code = 0
        """What the first signal makes of the exit code; 0: none came."""
        self.answered = False
        """Whether one has raised already."""
        self._unanswered = False
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
        """Here a signal raises :exc:`Stopped`, once; at once if it came before."""
        self._armed = True
        try:
            self._answer()
            yield
        finally:
            self._armed = False

    @contextmanager
    def postponed(self) -> Iterator[None]:
        """Within :meth:`interruptible`: what must not be torn. A signal is answered when it is done."""
        self._armed = False
        yield
        self._armed = True
        self._answer()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.exit_code = self.exit_code or 128 + number
        self._unanswered = True
        self._answer()

    def _answer(self) -> None:
        if self._armed and self._unanswered:
            # Once: what cleans up after it is not interrupted in turn.
            self._armed = self._unanswered = False
            self.answered = True
            raise Stopped(self.exit_code)

"""The publisher of a run."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import ackbus
from ackbus import metrics

from .output import note
from .server import running
from .stopping import Stopping
from .usage import Usage


class _Notes(logging.Handler):
    """Log records as lines above the progress bar, once there is a connection: until then the exception says it all."""

    def __init__(self) -> None:
        super().__init__()
        self._held: list[str] | None = []

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{record.levelname.lower()}: {record.getMessage()}"
        if self._held is not None:
            self._held.append(text)
        else:
            note(text)

    def let_out(self) -> None:
        """From now on they are told at once."""
        self.acquire()
        try:
            held, self._held = self._held, None
        finally:
            self.release()
        for text in held or ():
            note(text)


@contextmanager
def connected(servers: str, given: argparse.Namespace, stopping: Stopping, **arguments: Any) -> Iterator[ackbus.Publisher]:
    """Connects, to a server of our own if that was asked for. What ackbus logs goes to standard error."""
    logger, notes = logging.getLogger("ackbus"), _Notes()
    # A level that was given with -o is the core's to keep.
    logger.setLevel(1 if "log_level" in arguments else logging.INFO if given.verbose else logging.WARNING)
    logger.handlers = [notes]
    logger.propagate = False
    with running(store=given.store) if given.embedded else nullcontext() as server:
        with stopping.interruptible():
            bus = ackbus.connect(servers if server is None else server.url, **arguments)
        with bus:
            notes.let_out()
            yield bus


@contextmanager
def told(bus: ackbus.Publisher, address: tuple[str, int]) -> Iterator[None]:
    """Serves the metrics meanwhile, and says where."""
    host, port = address
    try:
        exporter = metrics.serve(bus, port, host)
    except OSError as error:
        raise Usage(f"--metrics {f'[{host}]' if ':' in host else host}:{port}: {error.strerror}") from None
    with exporter:
        note(f"metrics: {exporter.url}")
        yield

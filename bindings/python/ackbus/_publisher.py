"""The synchronous publisher."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Self, Unpack

from . import _exit, _logging, _native, _options
from ._enums import State
from ._figures import Info, Stats
from ._native import Event, Report

ReportHandler = Callable[[Report], object]
"""Called with the outcome of one message. It may publish; it must not wait."""
EventHandler = Callable[[Event], object]
"""Called with what happens to the publisher."""


class Publisher(_native.Publisher):
    """A connection with one acknowledgement handler, for any number of publishing threads. :func:`connect` makes one.

    Every accepted message gets exactly one outcome. Every method may be called from any thread at the same time, and none holds the GIL while it waits. In a
    ``with`` statement it is closed at the end; one that is neither closed nor in use any more closes itself in the background, with a ``ResourceWarning``.
    """

    __slots__ = ()

    def set_topic(self, pattern: str, **rule: Unpack[_options.Topic]) -> None:
        """Changes a topic rule, for messages that are published from now on. A rule keeps its stream once it has one.

        Raises :exc:`InvalidOptionError`, which names the key, the value and what is allowed.
        """
        for key, value in _options.topic(pattern, rule):
            self._set_topic(pattern, key, value)

    def stats(self) -> Stats:
        """The figures of this moment."""
        return stats_of(self)

    def info(self) -> Info:
        """How the publisher stands, and with whom."""
        return info_of(self)

    @property
    def _handle(self) -> _native.Publisher:
        """For :mod:`ackbus.metrics`."""
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __del__(self) -> None:
        if not self.closed and not _native.forked():
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)

    def __repr__(self) -> str:
        return repr_of("ackbus.Publisher", self)


def stats_of(bus: _native.Publisher) -> Stats:
    return Stats(**dict(zip(_STATS, bus._stats(), strict=True)))


def info_of(bus: _native.Publisher) -> Info:
    state, server, version, max_payload, last_error = bus._info()
    return Info(state=State(state), server=server, server_version=version, max_payload=max_payload, last_error=last_error)


def repr_of(name: str, bus: _native.Publisher) -> str:
    info = info_of(bus)
    return f"<{name} {info.state.name} {info.server or '-'} pending={bus.pending}>"


_STATS = [name for name, *_ in _native.stats_fields()]


def settings(
    servers: str | Iterable[str],
    topics: Mapping[str, _options.Topic] | None,
    options: Mapping[str, Any],
    **handlers: Callable[[Any], object] | None,
) -> tuple[list[tuple[str, str]], list[tuple[str, str, str]]]:
    """What every ``connect`` checks, and what it tells the core: options and topic rules."""
    for name, handler in handlers.items():
        if handler is not None and not callable(handler):
            raise TypeError(f"{name}: {type(handler).__name__} is not callable; give a function of one argument")
    if handlers["on_report"] is not None and options.get("report") is None:
        options = {**options, "report": "all"}
    return _options.options(servers, options), _options.topics(topics)


def connect(
    servers: str | Iterable[str] = "nats://127.0.0.1:4222",
    *,
    topics: Mapping[str, _options.Topic] | None = None,
    on_report: ReportHandler | None = None,
    on_error: ReportHandler | None = None,
    on_event: EventHandler | None = None,
    **options: Unpack[_options.Options],
) -> Publisher:
    """Connects, and returns when the server has accepted; with ``retry_on_connect=True`` at once.

    ``servers``: one address or several, ``nats://host:port``, ``tls://host:port`` or ``host``; ``memory:`` is a bus without a server, for tests.
    ``topics``: a topic rule for each pattern (``*`` stands for one token, a final ``>`` for all that follow). The most specific wins.
    ``on_error`` gets a :class:`Report` of each message that was not persisted, ``on_report`` of the others; ``on_report`` alone gets all. ``on_event`` gets
    what happens to the publisher. Handlers run one at a time on a thread of the bus's own. They may publish, also at a full window; whatever waits raises
    :exc:`WrongThreadError` there. What they raise goes to ``sys.unraisablehook``. Failures without a handler are logged.
    ``options``: see :class:`Options`; durations are seconds or timedeltas. ``log_level`` is, if not given, that of the logger ``ackbus``.

    Raises :exc:`InvalidOptionError`, :exc:`ConnectFailedError`, :exc:`AuthFailedError`, :exc:`TlsFailedError`, :exc:`ForkedError`, and TypeError for an option
    that does not exist.
    """
    pairs, triples = settings(servers, topics, options, on_report=on_report, on_error=on_error, on_event=on_event)
    _logging.install()
    bus = Publisher(pairs, triples, on_report, on_error, on_event, False)
    _exit.watch(bus)
    return bus

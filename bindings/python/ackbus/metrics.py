"""A publisher's figures for Prometheus, and as a plain dict.

    ackbus.metrics.Collector(bus, name="orders")            # in prometheus_client's own registry
    with ackbus.metrics.serve(bus, port=9464): ...          # or on a port of its own: curl 127.0.0.1:9464/metrics

Everything here but :func:`as_dict` needs prometheus_client: ``pip install "ackbus[metrics]"``. Figures are read when they are asked for: no thread, no timer.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, Self

from . import _native
from ._enums import State
from ._figures import Info, Stats

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

__all__ = ["Collector", "Exporter", "as_dict", "serve"]


class _Bus(Protocol):
    """Either publisher: of :mod:`ackbus` or of :mod:`ackbus.aio`."""

    @property
    def closed(self) -> bool: ...
    def stats(self) -> Stats: ...
    def info(self) -> Info: ...


class _Figure(NamedTuple):
    """How one figure of :class:`ackbus.Stats` is exported."""

    name: str
    """Without ``ackbus_`` and without ``_total``; ends with the unit."""
    counter: bool
    """Whether it only grows: then it ends with ``_total``."""


FIGURES = {
    "accepted": _Figure("accepted_messages", counter=True),
    "pending": _Figure("pending_messages", counter=False),
    "pending_bytes": _Figure("pending_bytes", counter=False),
    "pending_max": _Figure("pending_max_messages", counter=False),
    "published": _Figure("published_messages", counter=True),
    "publish_errors": _Figure("publish_error_messages", counter=True),
    "duplicates": _Figure("duplicate_messages", counter=True),
    "attempts": _Figure("attempts", counter=True),
    "retries": _Figure("retry_attempts", counter=True),
    "resent": _Figure("resent_attempts", counter=True),
    "ack_timeouts": _Figure("ack_timeout_attempts", counter=True),
    "late_acks": _Figure("late_ack_replies", counter=True),
    "alien_replies": _Figure("alien_replies", counter=True),
    "queue_full": _Figure("queue_full_calls", counter=True),
    "gates_held": _Figure("gates_held", counter=True),
    "ephemeral": _Figure("ephemeral_messages", counter=True),
    "ephemeral_dropped": _Figure("ephemeral_dropped_messages", counter=True),
    "events_dropped": _Figure("dropped_events", counter=True),
    "reports_delivered": _Figure("delivered_reports", counter=True),
    "reconnects": _Figure("reconnects", counter=True),
    "bytes_out": _Figure("out_bytes", counter=True),
    "wakeups": _Figure("wakeups", counter=True),
}
"""Every figure but the latencies, which are one summary. A test compares this with :class:`ackbus.Stats`."""

QUANTILES = {"latency_p50_ns": "0.5", "latency_p99_ns": "0.99", "latency_max_ns": "1"}


def as_dict(bus: _Bus) -> dict[str, float]:
    """The figures by their names in :class:`ackbus.Stats`, with latencies in seconds (``latency_p99_seconds``), and ``connected``, 1 or 0."""
    figures: dict[str, float] = {}
    for name, value in bus.stats().as_dict().items():
        if name.endswith("_ns"):
            figures[name.removesuffix("_ns") + "_seconds"] = value / 1e9
        else:
            figures[name] = value
    figures["connected"] = int(bus.info().state is State.CONNECTED)
    return figures


class Collector:
    """Exports publishers to a registry of prometheus_client, each with a label ``publisher``.

    It keeps no publisher alive: one that was collected is no longer exported. One that is closed but still in use is, with its last figures.
    """

    def __init__(self, bus: _Bus | None = None, *, name: str = "default", registry: CollectorRegistry | None = None) -> None:
        """Registers with ``registry``, by default prometheus_client's own, and adds ``bus`` as ``name``.

        Raises ModuleNotFoundError without prometheus_client, and ValueError if the registry has a collector of ackbus already: add the publisher to that one.
        """
        client = _client()
        self._families: Any = client.metrics_core
        self._registry: Any = client.REGISTRY if registry is None else registry
        self._lock = threading.Lock()
        self._buses: dict[str, weakref.ref[_Bus]] = {}
        if bus is not None:
            self.add(bus, name)
        try:
            self._registry.register(self)
        except ValueError as error:
            raise ValueError("the registry has a collector of ackbus already; add the publisher to that one: collector.add(bus, name)") from error

    def add(self, bus: _Bus, name: str) -> None:
        """Exports this publisher too. Raises ValueError if another one that is not closed has the name."""
        with self._lock:
            known = self._buses.get(name)
            other = None if known is None else known()
            if other is not None and other is not bus and not other.closed:
                raise ValueError(f"name: {name!r} is taken by another publisher; give each a name of its own")
            self._buses[name] = weakref.ref(bus)

    def remove(self, name: str) -> None:
        """Exports the publisher of this name no more. Raises KeyError if there is none."""
        with self._lock:
            del self._buses[name]

    def unregister(self) -> None:
        """Leaves the registry."""
        self._registry.unregister(self)

    def describe(self) -> list[Metric]:
        """What there may be, for the registry to find clashes."""
        return list(self._collect([]))

    def collect(self) -> Iterator[Metric]:
        """The figures of this moment. prometheus_client calls it, on any thread."""
        with self._lock:
            buses = [(name, bus) for name, known in self._buses.items() if (bus := known()) is not None]
            self._buses = {name: known for name, known in self._buses.items() if known() is not None}
        return self._collect([(name, bus.stats(), bus.info()) for name, bus in buses])

    def _collect(self, snapshots: list[tuple[str, Stats, Info]]) -> Iterator[Metric]:
        for field, figure in FIGURES.items():
            kind = self._families.CounterMetricFamily if figure.counter else self._families.GaugeMetricFamily
            family = kind(f"ackbus_{figure.name}", _MEANINGS[field], labels=["publisher"])
            for name, stats, _ in snapshots:
                family.add_metric([name], getattr(stats, field))
            yield family
        latency = self._families.SummaryMetricFamily(
            "ackbus_ack_latency_seconds", "From acceptance to acknowledgement, since the publisher connected; quantile 1 is the slowest."
        )
        connected = self._families.GaugeMetricFamily("ackbus_connected", "1 while there is a connection, else 0.", labels=["publisher"])
        for name, stats, info in snapshots:
            for field, quantile in QUANTILES.items():
                latency.add_sample(latency.name, {"publisher": name, "quantile": quantile}, getattr(stats, field) / 1e9)
            connected.add_metric([name], int(info.state is State.CONNECTED))
        yield latency
        yield connected


class Exporter:
    """An HTTP server with the figures. :func:`serve` makes one; in a ``with`` statement it ends at the end."""

    def __init__(self, collector: Collector, server: Any, thread: threading.Thread) -> None:
        self.collector = collector
        """To which further publishers may be added."""
        self.addr: str = server.server_address[0]
        """Where it listens."""
        self.port: int = server.server_address[1]
        """Its port; a free one, if 0 was asked for."""
        self._server = server
        self._thread = thread

    def close(self) -> None:
        """Ends the server. A second call does nothing."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ackbus.metrics.Exporter http://{self.addr}:{self.port}/metrics>"


def serve(bus: _Bus, port: int = 0, addr: str = "127.0.0.1", *, name: str = "default") -> Exporter:
    """Serves the figures of ackbus, and no others, over HTTP from a daemon thread. ``port`` 0: a free one, which the exporter tells.

    Raises ModuleNotFoundError without prometheus_client, and OSError if the address cannot be had.
    """
    client = _client()
    registry = client.CollectorRegistry()
    collector = Collector(bus, name=name, registry=registry)
    try:
        server, thread = client.start_http_server(port, addr, registry)
    except OSError as error:
        error.add_note(f"ackbus.metrics.serve could not listen on {addr}:{port}")
        raise
    return Exporter(collector, server, thread)


def _client() -> ModuleType:
    try:
        import prometheus_client
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('ackbus.metrics needs prometheus_client; install it with: pip install "ackbus[metrics]"', name=error.name) from error
    return prometheus_client


_MEANINGS = {name: meaning.replace("`", "") for name, _, meaning in _native.stats_fields()}

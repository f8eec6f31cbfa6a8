"""A publisher's figures as OpenMetrics text, over HTTP, for prometheus_client, and as a plain dict.

    ackbus.metrics.text(bus)                                # all of docs/STATISTICS.md; every bus has its own as bus.metrics()
    with ackbus.metrics.serve(bus, port=9464): ...          # at http://127.0.0.1:9464/metrics
    ackbus.metrics.Collector(bus)                           # in prometheus_client's own registry, beside the program's other metrics

The text is the core's, so names are the same in every language. The label ``publisher`` is the option ``name``: give each publisher of a process one. Figures
are read when they are asked for: no thread counts, no timer runs. Only :class:`Collector` needs prometheus_client: ``pip install "ackbus[metrics]"``.
"""

from __future__ import annotations

import http.server
import logging
import socket
import socketserver
import sys
import threading
import weakref
from collections.abc import Iterator
from http import HTTPStatus
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

from . import _native
from ._enums import State
from ._figures import Info, Stats

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Metric

__all__ = ["CONTENT_TYPE", "Collector", "Exporter", "as_dict", "serve", "text"]

CONTENT_TYPE = _native.METRICS_CONTENT_TYPE
"""Of :func:`text`, for those who serve it themselves."""

PATH = "/metrics"
PATIENCE = 10.0
"""Seconds that a client may be silent in the middle of its request."""


class _Bus(Protocol):
    """Either publisher: of :mod:`ackbus` or of :mod:`ackbus.aio`, traced or not."""

    @property
    def closed(self) -> bool: ...
    @property
    def _handle(self) -> _native.Publisher: ...
    def stats(self) -> Stats: ...
    def info(self) -> Info: ...


def text(*buses: _Bus) -> str:
    """The figures of these publishers as one OpenMetrics 1.0 text, which ends with ``# EOF``. From any thread at any time, also after close; it never waits.

    Where several have the same option ``name``, the second is called ``name#2``, and so on. In a forked child there is nothing but the end.
    """
    return _native.metrics([_handle(bus) for bus in buses])


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


class _Exported:
    """The publishers that somebody tells of. It keeps none alive. From any thread."""

    def __init__(self, bus: _Bus) -> None:
        self._lock = threading.Lock()
        self._buses: list[weakref.ref[_Bus]] = []
        self.add(bus)

    def add(self, bus: _Bus) -> None:
        """Tells of this publisher too, and no longer of those that are closed: a successor gets the name of its predecessor."""
        _handle(bus)
        with self._lock:
            others = [known for known in self._buses if (other := known()) is not None and other is not bus and not other.closed]
            self._buses = [*others, weakref.ref(bus)]

    def remove(self, bus: _Bus) -> None:
        """Tells of this publisher no more. Raises ValueError if it was not told of."""
        with self._lock:
            others = [known for known in self._buses if known() is not bus]
            if len(others) == len(self._buses):
                raise ValueError(f"bus: {bus!r} is not exported")
            self._buses = others

    def text(self) -> str:
        """The text of all that are exported now: see :func:`text`."""
        with self._lock:
            buses = [bus for known in self._buses if (bus := known()) is not None]
        return text(*buses)


class Collector(_Exported):
    """Exports publishers to a registry of prometheus_client: the families of :func:`text`.

    It keeps no publisher alive: one that was collected is no longer exported. One that is closed but still in use is, with its last figures, until another is
    added.
    """

    def __init__(self, bus: _Bus, *, registry: CollectorRegistry | None = None) -> None:
        """Registers with ``registry``, by default prometheus_client's own.

        Raises ModuleNotFoundError without prometheus_client, and ValueError if the registry has a collector of ackbus already: add the publisher to that one.
        """
        client = _client()
        super().__init__(bus)
        self._registry: Any = client.REGISTRY if registry is None else registry
        try:
            self._registry.register(self)
        except ValueError as error:
            raise ValueError("the registry has a collector of ackbus already; add the publisher to that one: collector.add(bus)") from error

    def unregister(self) -> None:
        """Leaves the registry."""
        self._registry.unregister(self)

    def collect(self) -> Iterator[Metric]:
        """The figures of this moment. prometheus_client calls it, on any thread."""
        from prometheus_client.openmetrics.parser import text_string_to_metric_families

        # Its own parser: names, types, help and exemplars are written down once, in the core.
        families: Iterator[Metric] = text_string_to_metric_families(self.text())  # type: ignore[no-untyped-call]
        return families

    describe = collect


class Exporter(_Exported):
    """An HTTP server with the figures. :func:`serve` makes one; in a ``with`` statement it ends at the end."""

    def __init__(self, bus: _Bus, port: int, addr: str) -> None:
        super().__init__(bus)
        family, _, _, _, address = socket.getaddrinfo(addr, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        self._server: _Server | None = _Server(family, address, self)
        bound: Any = self._server.server_address
        self.addr: str = bound[0]
        """Where it listens."""
        self.port: int = bound[1]
        """Its port; a free one, if 0 was asked for."""
        self.url = f"http://{f'[{self.addr}]' if family == socket.AF_INET6 else self.addr}:{self.port}{PATH}"
        """Where the figures are."""
        self._thread = threading.Thread(target=self._server.run, name="ackbus-metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the server. A second call does nothing."""
        server, self._server = self._server, None
        if server is not None:
            server.end()
            self._thread.join()
            server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ackbus.metrics.Exporter {self.url}>"


def serve(bus: _Bus, port: int = 0, addr: str = "127.0.0.1") -> Exporter:
    """Serves :func:`text` over HTTP, at ``/metrics``, from a daemon thread. ``port`` 0: a free one, which the exporter tells. ``addr``: an address of this
    machine, or ``"0.0.0.0"`` for all of them; who reaches it may read, there is no login. For more publishers: ``exporter.add(bus)``.

    The answer is OpenMetrics whatever the request's ``Accept`` says. A Prometheus asks for that first, and accepts anything as its last choice; what can read
    nothing but the older text format needs :class:`Collector` and prometheus_client's own server, which speaks both.

    Raises ValueError for a port that cannot be, and OSError if the address cannot be had.
    """
    if not 0 <= port <= 65_535:
        raise ValueError(f"port: {port} is not allowed; give 0 to 65535")
    try:
        return Exporter(bus, port, addr)
    except OSError as error:
        error.add_note(f"ackbus.metrics.serve could not listen on {addr}:{port}")
        raise


class _Server(socketserver.ThreadingTCPServer):
    """A thread for each scrape: one that reads slowly keeps no other waiting."""

    allow_reuse_address = True
    # Nobody waits at exit for a client that reads no more.
    daemon_threads = True

    def __init__(self, family: socket.AddressFamily, address: Any, exported: _Exported) -> None:
        self.address_family = family
        self.exported = exported
        self._ended = False
        super().__init__(address, _Handler)

    def run(self) -> None:
        """Until :meth:`end`. Not ``serve_forever``, which asks twice a second whether that was."""
        while not self._ended:
            self.handle_request()

    def end(self) -> None:
        self._ended = True
        # Wakes the thread that waits for a connection.
        self.socket.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that goes away in the middle is not news.
        if not isinstance(sys.exception(), OSError):
            logging.getLogger("ackbus").exception("a request for the metrics failed")


class _Handler(http.server.BaseHTTPRequestHandler):
    """HTTP/1.0: a connection for each scrape, so none outlives the server."""

    server: _Server
    server_version, sys_version = "ackbus", ""
    timeout = PATIENCE

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        found = self.path.partition("?")[0] == PATH
        content = self.server.exported.text() if found else f"the metrics are at {PATH}\n"
        encoded = content.encode()
        self.send_response(HTTPStatus.OK if found else HTTPStatus.NOT_FOUND)
        self.send_header("Content-Type", CONTENT_TYPE if found else "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        if body:
            self.wfile.write(encoded)

    def log_message(self, format: str, *words: Any) -> None:
        """Scrapes are no news either."""


def _handle(bus: _Bus) -> _native.Publisher:
    handle = getattr(bus, "_handle", None)
    if not isinstance(handle, _native.Publisher):
        raise TypeError(f"bus: {type(bus).__name__} is not allowed; give what ackbus.connect or ackbus.aio.connect returned")
    return handle


def _client() -> ModuleType:
    try:
        import prometheus_client
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            'ackbus.metrics.Collector needs prometheus_client; install it with: pip install "ackbus[metrics]"', name=error.name
        ) from error
    return prometheus_client

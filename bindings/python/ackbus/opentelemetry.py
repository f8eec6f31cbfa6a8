"""Trace context for messages: ``traceparent`` and ``tracestate`` headers, and a producer span for each publish.

    bus.publish("orders.created", payload, headers=ackbus.opentelemetry.inject())     # the headers alone
    bus = ackbus.opentelemetry.instrument(bus)                                        # the publisher, with spans

Needs opentelemetry-api alone: ``pip install "ackbus[opentelemetry]"``. Without an SDK the spans cost little and go nowhere, and the context still travels.
Attributes follow the semantic conventions for messaging. The headers are those of the propagator that OpenTelemetry is set up with (``OTEL_PROPAGATORS``).
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, overload

try:
    from opentelemetry import propagate
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider, get_tracer
except ModuleNotFoundError as error:
    raise ModuleNotFoundError('ackbus.opentelemetry needs opentelemetry-api; install it with: pip install "ackbus[opentelemetry]"', name=error.name) from error

import ackbus
import ackbus.aio

__all__ = ["TracedAioPublisher", "TracedPublisher", "inject", "instrument"]

Headers = Mapping[str, str | Iterable[str]]


def inject(headers: Headers | None = None) -> dict[str, str | Iterable[str]]:
    """A copy of ``headers`` with the current trace context; the context of a message that is passed on is replaced, however its headers are capitalized.

    Without a current span the copy has nothing new.
    """
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    replaced = {name.lower() for name in carrier}
    return {name: value for name, value in (headers or {}).items() if name.lower() not in replaced} | carrier


@overload
def instrument(bus: ackbus.Publisher, *, spans: bool = True, tracer_provider: TracerProvider | None = None) -> TracedPublisher: ...
@overload
def instrument(bus: ackbus.aio.Publisher, *, spans: bool = True, tracer_provider: TracerProvider | None = None) -> TracedAioPublisher: ...
def instrument(
    bus: ackbus.Publisher | ackbus.aio.Publisher, *, spans: bool = True, tracer_provider: TracerProvider | None = None
) -> TracedPublisher | TracedAioPublisher:
    """The same publisher, whose messages carry the trace context.

    Each publish makes a span of kind PRODUCER, ``publish TOPIC``, and the message carries that span's context. A span ends when the call does; of a ``submit``
    when the future is done. One that waited for an acknowledgement has the outcome; of a ``publish`` that returned at once it is not known yet.
    ``publish_many`` makes one span for all. ``spans=False``: the messages carry the caller's context, and no span is made.

    Raises TypeError for anything that is not a publisher.
    """
    if isinstance(bus, ackbus.aio.Publisher):
        return TracedAioPublisher(bus, spans, tracer_provider)
    if isinstance(bus, ackbus.Publisher):
        return TracedPublisher(bus, spans, tracer_provider)
    raise TypeError(f"bus: {type(bus).__name__} is not allowed; give what ackbus.connect or ackbus.aio.connect returned")


class _Tracing:
    """What both publishers share. Whatever is not said here is the publisher's own."""

    def __init__(self, bus: Any, spans: bool, tracer_provider: TracerProvider | None) -> None:
        self._bus = bus
        self._tracer = get_tracer("ackbus", ackbus.__version__, tracer_provider) if spans else None

    def __getattr__(self, name: str) -> Any:
        # _bus itself is missing while the object is being copied or unpickled.
        if name == "_bus":
            raise AttributeError(name)
        return getattr(self._bus, name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._bus!r}>"

    @contextmanager
    def _span(self, topic: str | None, payload: Any = None, more: Mapping[str, Any] | None = None, *, ends: bool = True) -> Iterator[Span | None]:
        """The span of one call, current inside. An exception is recorded and ends it."""
        if self._tracer is None:
            yield None
            return
        # A publish that is refused for its arguments gets its span too, so nothing here may mind them.
        attributes: dict[str, str | int] = {"messaging.system": "nats", "messaging.operation.name": "publish", "messaging.operation.type": "send"}
        if isinstance(topic, str):
            attributes["messaging.destination.name"] = topic
        if isinstance(payload, bytes | bytearray):
            attributes["messaging.message.body.size"] = len(payload)
        if more and isinstance(more.get("msg_id"), str):
            attributes["messaging.message.id"] = more["msg_id"]
        name = f"publish {topic}" if isinstance(topic, str) else "publish"
        with self._tracer.start_as_current_span(
            name, kind=SpanKind.PRODUCER, attributes=attributes, record_exception=False, set_status_on_exception=False, end_on_exit=False
        ) as span:
            try:
                yield span
            except BaseException as error:
                # A cancelled await, or Ctrl-C, is no failure of the message.
                if isinstance(error, Exception):
                    _fail(span, error)
                span.end()
                raise
            if ends:
                span.end()

    def _end_with(self, span: Span | None, future: concurrent.futures.Future[Any] | asyncio.Future[Any]) -> None:
        """The span ends when the message is settled."""
        if span is None:
            return

        def done(future: Any) -> None:
            if not future.cancelled() and (error := future.exception()) is not None:
                _fail(span, error)
            span.end()

        future.add_done_callback(done)


def _fail(span: Span, error: BaseException) -> None:
    kind = error.status.name if isinstance(error, ackbus.Error) else type(error).__qualname__
    span.set_attribute("error.type", kind)
    span.record_exception(error)
    span.set_status(Status(StatusCode.ERROR, str(error)))


def _with_context(more: dict[str, Any]) -> dict[str, Any]:
    return {**more, "headers": inject(more.get("headers"))}


def _count(span: Span | None, count: int) -> None:
    if span is not None:
        span.set_attribute("messaging.batch.message_count", count)


def _element(message: Any, topic: str | None) -> Any:
    """An element of ``publish_many`` with the current context; one of another shape as it is, for the publisher to refuse."""
    if topic is not None:
        return topic, message, _with_context({})
    match message:
        case (name, payload):
            return name, payload, _with_context({})
        case (name, payload, dict(more)):
            return name, payload, _with_context(more)
    return message


class TracedPublisher(_Tracing):
    """A :class:`ackbus.Publisher` whose messages carry the trace context. :func:`instrument` makes one; every other method is the publisher's own."""

    def publish(self, topic: str, payload: Any = b"", **more: Any) -> int:
        """:meth:`ackbus.Publisher.publish` in a span."""
        with self._span(topic, payload, more):
            return int(self._bus.publish(topic, payload, **_with_context(more)))

    def publish_wait(self, topic: str, payload: Any = b"", **more: Any) -> ackbus.Ack:
        """:meth:`ackbus.Publisher.publish_wait` in a span that knows the outcome."""
        with self._span(topic, payload, more):
            ack: ackbus.Ack = self._bus.publish_wait(topic, payload, **_with_context(more))
            return ack

    def submit(self, topic: str, payload: Any = b"", **more: Any) -> concurrent.futures.Future[ackbus.Ack]:
        """:meth:`ackbus.Publisher.submit` with a span that ends when the future is done."""
        with self._span(topic, payload, more, ends=False) as span:
            future: concurrent.futures.Future[ackbus.Ack] = self._bus.submit(topic, payload, **_with_context(more))
        self._end_with(span, future)
        return future

    def publish_many(self, messages: Iterable[Any], *, topic: str | None = None) -> list[int]:
        """:meth:`ackbus.Publisher.publish_many` in one span, whose context all messages carry."""
        with self._span(topic) as span:
            ids: list[int] = self._bus.publish_many(_element(message, topic) for message in messages)
            _count(span, len(ids))
        return ids

    def __enter__(self) -> TracedPublisher:
        self._bus.__enter__()
        return self

    def __exit__(self, *exception: Any) -> None:
        self._bus.__exit__(*exception)


class TracedAioPublisher(_Tracing):
    """A :class:`ackbus.aio.Publisher` whose messages carry the trace context. :func:`instrument` makes one; every other method is the publisher's own."""

    async def publish(self, topic: str, payload: Any = b"", **more: Any) -> ackbus.Ack:
        """:meth:`ackbus.aio.Publisher.publish` in a span that knows the outcome."""
        with self._span(topic, payload, more):
            ack: ackbus.Ack = await self._bus.publish(topic, payload, **_with_context(more))
            return ack

    async def submit(self, topic: str, payload: Any = b"", **more: Any) -> asyncio.Future[ackbus.Ack]:
        """:meth:`ackbus.aio.Publisher.submit` with a span that ends when the future is done."""
        with self._span(topic, payload, more, ends=False) as span:
            future: asyncio.Future[ackbus.Ack] = await self._bus.submit(topic, payload, **_with_context(more))
        self._end_with(span, future)
        return future

    def submit_nowait(self, topic: str, payload: Any = b"", **more: Any) -> asyncio.Future[ackbus.Ack]:
        """:meth:`ackbus.aio.Publisher.submit_nowait` with a span that ends when the future is done."""
        with self._span(topic, payload, more, ends=False) as span:
            future: asyncio.Future[ackbus.Ack] = self._bus.submit_nowait(topic, payload, **_with_context(more))
        self._end_with(span, future)
        return future

    async def publish_many(self, messages: Iterable[Any] | AsyncIterable[Any], *, topic: str | None = None, return_exceptions: bool = False) -> list[Any]:
        """:meth:`ackbus.aio.Publisher.publish_many` in one span, whose context all messages carry."""
        with self._span(topic) as span:
            elements = _elements(messages, topic) if isinstance(messages, AsyncIterable) else (_element(message, topic) for message in messages)
            outcomes: list[Any] = await self._bus.publish_many(elements, return_exceptions=return_exceptions)
            _count(span, len(outcomes))
        return outcomes

    async def __aenter__(self) -> TracedAioPublisher:
        await self._bus.__aenter__()
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await self._bus.__aexit__(*exception)


async def _elements(messages: AsyncIterable[Any], topic: str | None) -> AsyncIterator[Any]:
    async for message in messages:
        yield _element(message, topic)

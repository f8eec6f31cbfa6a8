"""``ackbus.opentelemetry``."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator

import pytest
from conftest import Server
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Span, SpanKind, StatusCode, TraceState
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

import ackbus
import ackbus.aio
from ackbus.opentelemetry import TracedAioPublisher, TracedPublisher, inject, instrument


class Spans:
    """Spans as they end."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test")

    def ended(self) -> list[ReadableSpan]:
        return [span for span in self.exporter.get_finished_spans() if span.instrumentation_scope is not None and span.instrumentation_scope.name == "ackbus"]

    def only(self) -> ReadableSpan:
        (span,) = self.ended()
        return span


@pytest.fixture
def spans() -> Spans:
    return Spans()


def traceparent(span: ReadableSpan | Span) -> str:
    context = span.get_span_context()
    assert context is not None
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


# A bus that never connects: what it accepts stays pending.
NOBODY = "nats://127.0.0.1:1"
OPEN: ackbus.Options = {"retry_on_connect": True, "close_timeout": 0, "log_level": "off"}
COMMON = {"messaging.system": "nats", "messaging.operation.name": "publish", "messaging.operation.type": "send"}


def test_inject_adds_the_current_context_to_a_copy(spans: Spans) -> None:
    given = {"a": "1", "Traceparent": "stale", "list": ["x", "y"]}
    assert inject(given) == given
    assert inject(given) is not given
    assert inject() == {}
    with spans.tracer.start_as_current_span("caller") as caller:
        assert inject(given) == {"a": "1", "list": ["x", "y"], "traceparent": traceparent(caller)}
        assert inject() == {"traceparent": traceparent(caller)}
    assert given == {"a": "1", "Traceparent": "stale", "list": ["x", "y"]}


def test_the_headers_reach_the_stream(server: Server, spans: Spans) -> None:
    server.add_stream("S", "s.>")
    with ackbus.connect(server.url) as plain, spans.tracer.start_as_current_span("caller") as caller:
        bus = instrument(plain, tracer_provider=spans.provider)
        bus.publish("s.publish", b"1", headers={"k": "v"})
        bus.publish_wait("s.wait", b"22", timeout=10, msg_id="me")
        bus.submit("s.submit", b"333").result(10)
        bus.publish_many([("s.many", b"1"), ("s.many", b"2", {"headers": {"k": "w"}})])
        bus.publish_many([b"3"], topic="s.topic")
        bus.flush(10)
    stored = server.stored("S")
    ended = spans.ended()
    assert [message.topic for message in stored] == ["s.publish", "s.wait", "s.submit", "s.many", "s.many", "s.topic"]
    by_name = {span.name: span for span in ended}
    assert len(ended) == 5
    many = by_name.pop("publish")
    carriers = [by_name["publish s.publish"], by_name["publish s.wait"], by_name["publish s.submit"], many, many, by_name["publish s.topic"]]
    assert [message.headers["traceparent"] for message in stored] == [traceparent(span) for span in carriers]
    assert [message.headers.get("k") for message in stored] == ["v", None, None, None, "w", None]
    assert [message.payload for message in stored] == [b"1", b"22", b"333", b"1", b"2", b"3"]
    for span in ended:
        assert span.kind is SpanKind.PRODUCER
        assert span.parent is not None and span.parent.span_id == caller.get_span_context().span_id
        assert span.status.status_code is StatusCode.UNSET
    destination = "messaging.destination.name"
    assert attributes(by_name["publish s.publish"]) == COMMON | {destination: "s.publish", "messaging.message.body.size": 1}
    assert attributes(by_name["publish s.wait"]) == COMMON | {destination: "s.wait", "messaging.message.body.size": 2, "messaging.message.id": "me"}
    assert attributes(many) == COMMON | {"messaging.batch.message_count": 2}
    assert attributes(by_name["publish s.topic"]) == COMMON | {destination: "s.topic", "messaging.batch.message_count": 1}


def test_tracestate_travels(spans: Spans) -> None:
    context = TraceContextTextMapPropagator().extract({"traceparent": "00-" + "1" * 32 + "-" + "2" * 16 + "-01", "tracestate": "vendor=1"})
    with spans.tracer.start_as_current_span("caller", context=context) as caller:
        assert caller.get_span_context().trace_state == TraceState([("vendor", "1")])
        assert inject() == {"traceparent": traceparent(caller), "tracestate": "vendor=1"}


def test_the_span_of_a_submit_ends_with_the_outcome(spans: Spans) -> None:
    with ackbus.connect(NOBODY, on_error=lambda report: None, **OPEN) as plain:
        bus = instrument(plain, tracer_provider=spans.provider)
        future = bus.submit("s", b"1")
        assert spans.ended() == []
        plain.purge()
        with pytest.raises(ackbus.PurgedError):
            future.result(10)
    span = spans.only()
    assert span.status.status_code is StatusCode.ERROR
    assert attributes(span)["error.type"] == "PURGED"
    assert [event.name for event in span.events] == ["exception"]


def test_failures_are_in_the_span(server: Server, spans: Spans) -> None:
    with ackbus.connect(server.url) as plain:
        bus = instrument(plain, tracer_provider=spans.provider)
        with pytest.raises(ackbus.NoStreamError):
            bus.publish_wait("nobody", timeout=10)
        with pytest.raises(ackbus.InvalidTopicError):
            bus.publish("a..b")
        with pytest.raises(TypeError):
            bus.publish(7)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="give \\(topic, payload\\)"):
            bus.publish_many([("a", b"1", "no dict")])
    waited, invalid, wrong, many = spans.ended()
    assert [attributes(span)["error.type"] for span in (waited, invalid, wrong, many)] == ["NO_STREAM", "INVALID_TOPIC", "TypeError", "TypeError"]
    assert {span.status.status_code for span in (waited, invalid, wrong, many)} == {StatusCode.ERROR}
    assert "messaging.destination.name" not in attributes(wrong)


def test_without_spans_messages_carry_the_callers_context(server: Server, spans: Spans) -> None:
    server.add_stream("S", "s")
    with ackbus.connect(server.url) as plain:
        bus = instrument(plain, spans=False, tracer_provider=spans.provider)
        with spans.tracer.start_as_current_span("caller") as caller:
            bus.publish_wait("s", timeout=10)
        bus.publish_wait("s", timeout=10)
    assert [message.headers.get("traceparent") for message in server.stored("S")] == [traceparent(caller), None]
    assert spans.ended() == []


def test_asyncio(server: Server, spans: Spans) -> None:
    server.add_stream("S", "s.>")

    async def later() -> AsyncIterator[bytes]:
        yield b"5"

    async def main() -> None:
        async with ackbus.aio.connect(server.url) as plain:
            bus = instrument(plain, tracer_provider=spans.provider)
            assert isinstance(bus, TracedAioPublisher)
            assert (await bus.publish("s.publish", b"1")).seq == 1
            assert (await (await bus.submit("s.submit", b"2"))).seq == 2
            assert (await bus.submit_nowait("s.nowait", b"3")).seq == 3
            assert [ack.seq for ack in await bus.publish_many([("s.many", b"4")])] == [4]
            assert [ack.seq for ack in await bus.publish_many(later(), topic="s.later")] == [5]
            with pytest.raises(ackbus.NoStreamError):
                await bus.publish("nobody")
            assert bus.pending == 0

    asyncio.run(main())
    *good, bad = spans.ended()
    assert [span.name for span in good] == ["publish s.publish", "publish s.submit", "publish s.nowait", "publish", "publish s.later"]
    assert [message.headers["traceparent"] for message in server.stored("S")] == [traceparent(span) for span in good]
    assert {span.status.status_code for span in good} == {StatusCode.UNSET}
    assert attributes(bad)["error.type"] == "NO_STREAM"


def test_a_cancelled_await_is_no_failure(spans: Spans) -> None:
    async def main() -> None:
        async with ackbus.aio.connect(NOBODY, on_error=lambda report: None, **OPEN) as plain:
            bus = instrument(plain, tracer_provider=spans.provider)
            task = asyncio.ensure_future(bus.publish("s", b"1"))
            future = await bus.submit("s", b"2")
            await asyncio.sleep(0)
            future.cancel()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.sleep(0)

    asyncio.run(main())
    assert [(span.name, span.status.status_code) for span in spans.ended()] == [("publish s", StatusCode.UNSET)] * 2


def test_the_wrapper_is_the_publisher_otherwise(spans: Spans) -> None:
    with instrument(ackbus.connect("memory:"), tracer_provider=spans.provider) as bus:
        assert isinstance(bus, TracedPublisher)
        bus.publish("a", b"1")
        bus.flush(10)
        assert bus.stats().published == 1
        assert repr(bus).startswith("<TracedPublisher of <ackbus.Publisher CONNECTED")
        with pytest.raises(AttributeError, match="no_such_method"):
            bus.no_such_method()
    assert bus.closed
    with pytest.raises(TypeError, match="TracedPublisher is not allowed; give what"):
        instrument(bus)  # type: ignore[call-overload]


def test_without_the_extra_the_error_says_how_to_get_it() -> None:
    program = """
import sys
sys.modules["opentelemetry"] = None
import ackbus
try:
    import ackbus.opentelemetry
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-P", "-W", "error", "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == 'ackbus.opentelemetry needs opentelemetry-api; install it with: pip install "ackbus[opentelemetry]"\n'


def test_the_api_package_alone_is_enough() -> None:
    program = """
import sys
sys.modules["opentelemetry.sdk"] = None
import ackbus
from ackbus.opentelemetry import instrument
with instrument(ackbus.connect("memory:")) as bus:
    print(bus.publish_wait("a", b"1", timeout=10).seq)
"""
    done = subprocess.run([sys.executable, "-P", "-W", "error", "-c", program], capture_output=True, text=True, timeout=30, check=True)
    assert (done.stdout, done.stderr) == ("1\n", "")

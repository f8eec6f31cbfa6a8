"""``ackbus.metrics``."""

from __future__ import annotations

import asyncio
import gc
import http.client
import os
import re
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable
from typing import Any

import pytest
from conftest import Server, wait_for
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

import ackbus
import ackbus.aio
from ackbus import metrics
from ackbus.cli.top import reading
from ackbus.opentelemetry import instrument


def parsed(text: str) -> dict[str, Metric]:
    """By the family's name, as a strict parser reads it."""
    return {family.name: family for family in parse_openmetrics(text)}  # type: ignore[no-untyped-call]


def samples(text: str) -> dict[tuple[str, str], float]:
    """By name and publisher, those that have no other label."""
    return {(sample.name, sample.labels["publisher"]): sample.value for family in parsed(text).values() for sample in family.samples if len(sample.labels) == 1}


def scraped(registry: CollectorRegistry) -> str:
    return generate_openmetrics(registry).decode()  # type: ignore[no-untyped-call, no-any-return]


def get(url: str, **headers: str) -> tuple[str, str]:
    """Content-Type and text."""
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
        return answer.headers["Content-Type"], answer.read().decode()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def name_of(field: str) -> str:
    """Of the metric of a figure of ``Stats``, in the table that docs/STATISTICS.md is made from."""
    return {name: metric for name, metric, *_ in ackbus._native.stats_fields()}[field]


def test_the_text_says_what_stats_says() -> None:
    with ackbus.connect("memory:", name="orders") as bus:
        for _ in range(7):
            bus.publish("orders.created", b"x" * 100)
        bus.flush(10)
        text, stats = metrics.text(bus), bus.stats().as_dict()
        assert bus.metrics() == text
    assert text.endswith("\n# EOF\n")
    found = samples(text)
    assert found["ackbus_accepted_messages_total", "orders"] == 7
    for field, value in stats.items():
        metric = name_of(field)
        if field in ("latency_p50_ns", "latency_p99_ns"):
            assert metric == "ackbus_ack_latency_seconds"
        else:
            assert found[metric, "orders"] == (value / 1e9 if field.endswith("_ns") else value), field
    assert found["ackbus_ack_latency_seconds_count", "orders"] == 7
    assert found["ackbus_connected", "orders"] == 1
    assert found["ackbus_pending_limit_messages", "orders"] == 10_000


def test_failures_are_told_with_their_last_text(server: Server) -> None:
    server.add_stream("S", "a")
    with ackbus.connect(server.url, on_error=lambda report: None) as bus:
        bus.publish_wait("a", timeout=20)
        for _ in range(3):
            with pytest.raises(ackbus.NoStreamError):
                bus.publish_wait("nobody", timeout=20)
        families, stats = parsed(bus.metrics()), bus.stats()
    rows = {sample.labels["status"]: sample for sample in families["ackbus_failed_messages"].samples}
    assert rows["NO_STREAM"].value == 3
    assert sum(row.value for row in rows.values()) == stats.publish_errors == 3
    assert rows["NO_STREAM"].exemplar is not None and "nobody" in rows["NO_STREAM"].exemplar.labels["text"]
    (info,) = families["ackbus_publisher"].samples
    assert info.labels == {"publisher": "ackbus", "version": ackbus.__version__, "server": server.url, "server_version": bus.info().server_version}


def test_top_knows_the_names_of_the_core() -> None:
    with ackbus.connect("memory:") as bus:
        families = parsed(bus.metrics())
    told = {sample.name for family in families.values() for sample in family.samples}
    names = {value for key, value in vars(reading).items() if key.isupper() and isinstance(value, str)} | set(reading.TROUBLES.values())
    assert len(names) == 21
    assert names <= told


def test_several_publishers() -> None:
    with ackbus.connect("memory:", name="a") as one, ackbus.connect("memory:", name="b") as two, ackbus.connect("memory:", name="a") as three:
        one.publish_wait("x", timeout=10)
        for _ in range(2):
            two.publish_wait("x", timeout=10)
        found = samples(metrics.text(one, two, three, one))
        assert {publisher: value for (name, publisher), value in found.items() if name == "ackbus_published_messages_total"} == {"a": 1, "b": 2, "a#2": 0}
    assert metrics.text() == "# EOF\n"


def test_figures_stay_readable_after_close() -> None:
    with ackbus.connect("memory:") as bus:
        bus.publish_wait("a", timeout=10)
    found = samples(bus.metrics())
    assert (found["ackbus_published_messages_total", "ackbus"], found["ackbus_connected", "ackbus"]) == (1, 0)


def test_every_kind_of_publisher() -> None:
    async def main() -> list[str]:
        async with ackbus.aio.connect("memory:", name="loop") as bus:
            await bus.publish("a", b"1")
            return [bus.metrics(), metrics.text(bus), metrics.text(instrument(bus))]

    texts = asyncio.run(main())
    with ackbus.connect("memory:", name="loop") as bus:
        bus.publish_wait("a", timeout=10)
        texts += [metrics.text(bus), metrics.text(instrument(bus)), instrument(bus).metrics()]
    for text in texts:
        assert samples(text)["ackbus_published_messages_total", "loop"] == 1


@pytest.mark.parametrize("call", [metrics.text, metrics.serve, metrics.Collector])
def test_what_is_no_publisher_is_refused(call: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError, match=r"^bus: str is not allowed; give what ackbus\.connect or ackbus\.aio\.connect returned$"):
        call("bus")


def test_in_a_forked_child_there_is_nothing_to_tell() -> None:
    program = """
import os, ackbus
from ackbus import metrics
with ackbus.connect("memory:") as bus:
    if child := os.fork():
        raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    os._exit(0 if metrics.text(bus) == "# EOF\\n" else 1)
"""
    done = subprocess.run([sys.executable, "-P", "-c", program], timeout=30, check=False)
    assert done.returncode == 0


def test_a_collector_tells_the_families_of_the_text(registry: CollectorRegistry) -> None:
    with ackbus.connect("memory:", name="orders") as bus:
        metrics.Collector(bus, registry=registry)
        bus.publish_wait("a", timeout=10)
        ours, theirs = parsed(bus.metrics()), parsed(scraped(registry))
        assert list(theirs) == list(ours)
        for name, family in ours.items():
            other = theirs[name]
            assert (other.type, other.unit, other.documentation) == (family.type, family.unit, family.documentation)
            assert [(sample.name, sample.labels, sample.value) for sample in other.samples] == [
                (sample.name, sample.labels, sample.value) for sample in family.samples
            ]


def test_a_collector_keeps_exemplars(registry: CollectorRegistry, server: Server) -> None:
    with ackbus.connect(server.url, on_error=lambda report: None) as bus:
        metrics.Collector(bus, registry=registry)
        with pytest.raises(ackbus.NoStreamError):
            bus.publish_wait("nobody", timeout=20)
        assert re.search(r'^ackbus_failed_messages_total\{publisher="ackbus",status="NO_STREAM"\} 1\.0 # \{text="', scraped(registry), re.M)


def test_the_older_text_format_is_valid_too(registry: CollectorRegistry) -> None:
    with ackbus.connect("memory:") as bus:
        metrics.Collector(bus, registry=registry)
        bus.publish_wait("a", b"1", timeout=10)
        families = {family.name: family for family in parse_text(generate_text(registry).decode())}
    assert families["ackbus_published_messages"].type == "counter"
    assert families["ackbus_published_messages"].samples[0].value == 1
    assert families["ackbus_pending_bytes"].type == "gauge"
    assert families["ackbus_ack_latency_seconds"].type == "histogram"
    assert families["ackbus_accepted_messages"].documentation == "Persistent messages that publish took: each gets exactly one outcome."


def test_top_reads_the_older_format_as_well(registry: CollectorRegistry) -> None:
    """All but the exemplars, which that has not."""
    with ackbus.connect("memory:", name="a") as bus, ackbus.connect("memory:", name="b") as other:
        metrics.Collector(bus, registry=registry).add(other)
        bus.publish_wait("x", timeout=10)
        older = reading.readings(generate_text(registry).decode(), openmetrics=False)
        assert older == reading.readings(metrics.text(bus, other), openmetrics=True)
    assert older["a"].state == "connected" and older["a"].info["server"] == "memory:" and older["b"].buckets[-1] == (float("inf"), 0)


def test_several_publishers_share_a_collector(registry: CollectorRegistry) -> None:
    with ackbus.connect("memory:", name="one") as one, ackbus.connect("memory:", name="two") as two:
        collector = metrics.Collector(one, registry=registry)
        collector.add(two)
        collector.add(two)
        one.publish_wait("a", timeout=10)
        for _ in range(2):
            two.publish_wait("a", timeout=10)
        found = samples(scraped(registry))
        assert found["ackbus_published_messages_total", "one"] == 1
        assert found["ackbus_published_messages_total", "two"] == 2
        collector.remove(one)
        assert {publisher for _, publisher in samples(scraped(registry))} == {"two"}
        with pytest.raises(ValueError, match=r"^bus: <ackbus\.Publisher CONNECTED memory: pending=0> is not exported$"):
            collector.remove(one)


def test_a_second_collector_is_refused(registry: CollectorRegistry) -> None:
    with ackbus.connect("memory:") as one, ackbus.connect("memory:") as two:
        collector = metrics.Collector(one, registry=registry)
        with pytest.raises(ValueError, match=r"has a collector of ackbus already; add the publisher to that one"):
            metrics.Collector(two, registry=registry)
        collector.unregister()
        metrics.Collector(two, registry=registry)


def test_a_publisher_that_is_closed_makes_room_for_its_successor(registry: CollectorRegistry) -> None:
    bus = ackbus.connect("memory:")
    collector = metrics.Collector(bus, registry=registry)
    bus.publish_wait("a", timeout=10)
    bus.close()
    last = samples(scraped(registry))
    assert (last["ackbus_published_messages_total", "ackbus"], last["ackbus_connected", "ackbus"]) == (1, 0)
    with ackbus.connect("memory:") as successor:
        collector.add(successor)
        assert samples(scraped(registry))["ackbus_published_messages_total", "ackbus"] == 0
        assert {publisher for _, publisher in samples(scraped(registry))} == {"ackbus"}
    del bus, successor
    gc.collect()
    assert scraped(registry) == "# EOF\n", "none was kept alive"


def test_as_dict() -> None:
    with ackbus.connect("memory:") as bus:
        bus.publish_wait("a", b"1", timeout=10)
        figures, stats = metrics.as_dict(bus), bus.stats()
    expected: dict[str, Any] = stats.as_dict()
    for name in ("p50", "p99", "max"):
        expected[f"latency_{name}_seconds"] = expected.pop(f"latency_{name}_ns") / 1e9
    assert figures == expected | {"connected": 1}
    assert figures["latency_max_seconds"] < 10


@pytest.mark.parametrize("accept", ["*/*", "text/plain; version=0.0.4", "text/html", "application/openmetrics-text; version=1.0.0"])
def test_serve(accept: str) -> None:
    with ackbus.connect("memory:", name="web") as bus:
        bus.publish_wait("a", timeout=10)
        with metrics.serve(bus) as exporter:
            assert exporter.addr == "127.0.0.1"
            assert exporter.url == f"http://127.0.0.1:{exporter.port}/metrics"
            form, text = get(exporter.url, Accept=accept)
            assert form == metrics.CONTENT_TYPE == "application/openmetrics-text; version=1.0.0; charset=utf-8"
            assert text == bus.metrics()
            with ackbus.connect("memory:", name="other") as other:
                exporter.add(other)
                assert get(exporter.url)[1] == metrics.text(bus, other)
        exporter.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", exporter.port), 10)


def test_serve_answers_nothing_else() -> None:
    with ackbus.connect("memory:") as bus, metrics.serve(bus) as exporter:

        def ask(method: str, path: str) -> tuple[int, bytes, str | None]:
            connection = http.client.HTTPConnection("127.0.0.1", exporter.port, timeout=20)
            try:
                connection.request(method, path)
                answer = connection.getresponse()
                return answer.status, answer.read(), answer.headers["Content-Length"]
            finally:
                connection.close()

        assert ask("GET", "/metrics?a=b")[:2] == (200, bus.metrics().encode())
        assert ask("HEAD", "/metrics") == (200, b"", str(len(bus.metrics().encode())))
        assert ask("GET", "/") == (404, b"the metrics are at /metrics\n", "28")
        assert ask("POST", "/metrics")[0] == 501


def test_one_client_that_is_silent_or_gone_stops_no_other(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics._Handler, "timeout", 300)
    with ackbus.connect("memory:") as bus, metrics.serve(bus) as exporter:
        with socket.create_connection(("127.0.0.1", exporter.port), 20) as silent:
            silent.sendall(b"GET /met")
            assert get(exporter.url)[1].endswith("# EOF\n")
            # Resets the connection when it is closed.
            silent.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        assert get(exporter.url)[1].endswith("# EOF\n")
        wait_for("the end of both", lambda: not any("process_request" in thread.name for thread in threading.enumerate()))
    assert caplog.records == []


def test_a_fault_of_ours_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with ackbus.connect("memory:") as bus, metrics.serve(bus) as exporter:
        exporter.text = lambda: 1 // 0  # type: ignore[method-assign, return-value]
        with pytest.raises(http.client.RemoteDisconnected):
            get(exporter.url)
        wait_for("the log", lambda: caplog.records)
    assert caplog.records[0].getMessage() == "a request for the metrics failed"


def test_serve_says_what_is_wrong() -> None:
    with ackbus.connect("memory:") as bus, metrics.serve(bus) as exporter:
        with pytest.raises(OSError, match="Address already in use") as caught:
            metrics.serve(bus, port=exporter.port)
        assert caught.value.__notes__ == [f"ackbus.metrics.serve could not listen on 127.0.0.1:{exporter.port}"]
        for port in (-1, 65_536):
            with pytest.raises(ValueError, match=rf"^port: {port} is not allowed; give 0 to 65535$"):
                metrics.serve(bus, port=port)


def test_serve_on_the_next_version_of_the_protocol() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"skipped: no IPv6 here: {error}")
    with ackbus.connect("memory:") as bus, metrics.serve(bus, addr="::1") as exporter:
        assert exporter.url == f"http://[::1]:{exporter.port}/metrics"
        assert get(exporter.url)[1] == bus.metrics()


def test_without_the_extra_the_error_says_how_to_get_it() -> None:
    program = """
import sys
sys.modules["prometheus_client"] = None
import ackbus, urllib.request
from ackbus import metrics
with ackbus.connect("memory:") as bus:
    print(metrics.as_dict(bus)["pending"])
    with metrics.serve(bus) as exporter:
        print(urllib.request.urlopen(exporter.url, timeout=20).read().decode() == metrics.text(bus))
    try:
        metrics.Collector(bus)
    except ModuleNotFoundError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-P", "-W", "error", "-c", program], capture_output=True, text=True, timeout=30, check=True, env=dict(os.environ))
    text = 'ackbus.metrics.Collector needs prometheus_client; install it with: pip install "ackbus[metrics]"'
    assert done.stdout.splitlines() == ["0", "True", text]
    assert done.stderr == ""

"""``ackbus.metrics``."""

from __future__ import annotations

import asyncio
import gc
import socket
import subprocess
import sys
import urllib.request
from dataclasses import fields
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

import ackbus
import ackbus.aio
from ackbus import metrics


def samples(registry: CollectorRegistry) -> dict[tuple[str, str, str], float]:
    """By name, publisher and quantile, as a strict parser reads what a scrape gets."""
    found = {}
    text = generate_openmetrics(registry).decode()  # type: ignore[no-untyped-call]
    for family in parse_openmetrics(text):  # type: ignore[no-untyped-call]
        for sample in family.samples:
            found[sample.name, sample.labels["publisher"], sample.labels.get("quantile", "")] = sample.value
    return found


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


def test_every_figure_is_exported_with_its_value(registry: CollectorRegistry) -> None:
    with ackbus.connect("memory:") as bus:
        metrics.Collector(bus, name="orders", registry=registry)
        for _ in range(7):
            bus.publish("orders.created", b"x")
        bus.flush(10)
        found = samples(registry)
        stats = bus.stats()
    assert stats.published == 7
    expected: dict[tuple[str, str, str], float] = {("ackbus_connected", "orders", ""): 1}
    for field, figure in metrics.FIGURES.items():
        expected[f"ackbus_{figure.name}" + ("_total" if figure.counter else ""), "orders", ""] = getattr(stats, field)
    for field, quantile in metrics.QUANTILES.items():
        expected["ackbus_ack_latency_seconds", "orders", quantile] = getattr(stats, field) / 1e9
    assert found == expected
    assert found["ackbus_accepted_messages_total", "orders", ""] == 7


def test_the_table_has_every_figure_of_stats() -> None:
    assert {*metrics.FIGURES, *metrics.QUANTILES} == {field.name for field in fields(ackbus.Stats)}
    gauges = {name for name, figure in metrics.FIGURES.items() if not figure.counter}
    assert gauges == {"pending", "pending_bytes", "pending_max"}


def test_the_older_text_format_is_valid_too(registry: CollectorRegistry) -> None:
    with ackbus.connect("memory:") as bus:
        metrics.Collector(bus, registry=registry)
        bus.publish_wait("a", b"1", timeout=10)
        families = {family.name: family for family in parse_text(generate_text(registry).decode())}
    assert families["ackbus_published_messages"].type == "counter"
    assert families["ackbus_published_messages"].samples[0].value == 1
    assert families["ackbus_pending_bytes"].type == "gauge"
    assert families["ackbus_ack_latency_seconds"].type == "summary"
    assert families["ackbus_accepted_messages"].documentation == "Persistent messages that publish took: each gets exactly one outcome."


def test_several_publishers_share_a_collector(registry: CollectorRegistry) -> None:
    with ackbus.connect("memory:") as one, ackbus.connect("memory:") as two:
        collector = metrics.Collector(one, name="one", registry=registry)
        collector.add(two, "two")
        one.publish_wait("a", timeout=10)
        two.publish_wait("a", timeout=10)
        two.publish_wait("a", timeout=10)
        found = samples(registry)
        assert found["ackbus_published_messages_total", "one", ""] == 1
        assert found["ackbus_published_messages_total", "two", ""] == 2
        collector.remove("one")
        assert {publisher for _, publisher, _ in samples(registry)} == {"two"}


def test_a_second_collector_and_a_taken_name_are_refused(registry: CollectorRegistry) -> None:
    with ackbus.connect("memory:") as one, ackbus.connect("memory:") as two:
        collector = metrics.Collector(one, registry=registry)
        with pytest.raises(ValueError, match=r"has a collector of ackbus already; add the publisher to that one"):
            metrics.Collector(two, name="two", registry=registry)
        with pytest.raises(ValueError, match=r"'default' is taken by another publisher"):
            collector.add(two, "default")
        collector.add(one, "default")
        collector.unregister()
        metrics.Collector(two, registry=registry)


def test_a_publisher_that_is_closed_and_collected_leaves(registry: CollectorRegistry) -> None:
    bus = ackbus.connect("memory:")
    collector = metrics.Collector(bus, name="a", registry=registry)
    bus.publish_wait("a", timeout=10)
    bus.close()
    last = samples(registry)
    assert last["ackbus_published_messages_total", "a", ""] == 1
    assert last["ackbus_connected", "a", ""] == 0
    with ackbus.connect("memory:") as successor:
        collector.add(successor, "a")
        assert samples(registry)["ackbus_published_messages_total", "a", ""] == 0
    del bus, successor
    gc.collect()
    assert samples(registry) == {}


def test_asyncio(registry: CollectorRegistry) -> None:
    async def main() -> dict[tuple[str, str, str], float]:
        async with ackbus.aio.connect("memory:") as bus:
            metrics.Collector(bus, name="loop", registry=registry)
            await bus.publish("a", b"1")
            assert metrics.as_dict(bus)["published"] == 1
            return samples(registry)

    assert asyncio.run(main())["ackbus_published_messages_total", "loop", ""] == 1


def test_as_dict() -> None:
    with ackbus.connect("memory:") as bus:
        bus.publish_wait("a", timeout=10)
        figures, stats = metrics.as_dict(bus), bus.stats()
    expected: dict[str, Any] = stats.as_dict()
    for name in metrics.QUANTILES:
        expected[name.removesuffix("_ns") + "_seconds"] = expected.pop(name) / 1e9
    assert figures == expected | {"connected": 1}
    assert figures["latency_max_seconds"] < 10


def test_serve() -> None:
    with ackbus.connect("memory:") as bus:
        bus.publish_wait("a", timeout=10)
        with metrics.serve(bus, name="web") as exporter:
            assert exporter.addr == "127.0.0.1"
            with urllib.request.urlopen(f"http://127.0.0.1:{exporter.port}/metrics", timeout=10) as answer:
                text = answer.read().decode()
            assert 'ackbus_published_messages_total{publisher="web"} 1.0\n' in text
            with pytest.raises(OSError) as caught:
                metrics.serve(bus, port=exporter.port)
            assert caught.value.__notes__ == [f"ackbus.metrics.serve could not listen on 127.0.0.1:{exporter.port}"]
        exporter.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", exporter.port), 10)


def test_without_the_extra_the_error_says_how_to_get_it() -> None:
    program = """
import sys
sys.modules["prometheus_client"] = None
import ackbus
from ackbus import metrics
with ackbus.connect("memory:") as bus:
    print(metrics.as_dict(bus)["pending"])
    for attempt in (metrics.Collector, metrics.serve):
        try:
            attempt(bus)
        except ModuleNotFoundError as error:
            print(error)
"""
    done = subprocess.run([sys.executable, "-P", "-W", "error", "-c", program], capture_output=True, text=True, timeout=30, check=True)
    text = 'ackbus.metrics needs prometheus_client; install it with: pip install "ackbus[metrics]"'
    assert done.stdout.splitlines() == ["0", text, text]
    assert done.stderr == ""

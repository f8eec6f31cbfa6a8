"""Handlers: who gets what, what they may do, and that none costs a message its outcome."""

from __future__ import annotations

import gc
import logging
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Server, wait_for
from silent import silent_server

import ackbus


def test_failures_and_successes_go_their_ways(server: Server) -> None:
    server.add_stream("ORDERS", "orders.>")
    good: list[ackbus.Report] = []
    bad: list[ackbus.Report] = []
    tag = object()
    with ackbus.connect(server.url, on_report=good.append, on_error=bad.append) as bus:
        bus.publish("orders.created", b"1", tag=tag, msg_id="first")
        bus.publish("nobody.takes.this", b"2", tag="second")
    (report,) = good
    assert report.tag is tag
    assert (report.id, report.topic, report.payload, report.msg_id, report.stream, report.seq) == (1, "orders.created", b"1", "first", "ORDERS", 1)
    assert (report.status, report.persistence, report.text, report.error) == (ackbus.Status.OK, ackbus.Persistence.PERSISTED, "", None)
    assert (report.duplicate, report.ephemeral, report.server_code, report.attempts, report.domain) == (False, False, 0, 1, "")
    assert report.latency > 0
    (report,) = bad
    assert (report.id, report.topic, report.payload, report.tag) == (2, "nobody.takes.this", b"2", "second")
    assert (report.status, report.persistence, report.stream, report.seq) == (ackbus.Status.NO_STREAM, ackbus.Persistence.NOT_PERSISTED, "", 0)
    assert isinstance(report.error, ackbus.NoStreamError) and "nobody.takes.this" in str(report.error)
    assert repr(report).startswith('<ackbus.Report id=2 topic="nobody.takes.this" NO_STREAM NotPersisted attempts=')


def test_reports_and_acks_name_the_domain(start_server: Callable[..., Server], tmp_path: Path) -> None:
    config = tmp_path / "domain.conf"
    config.write_text("jetstream { domain: hub }\n")
    server = start_server("--config", str(config))
    server.add_stream("ORDERS", "orders.>")
    told: list[ackbus.Report] = []
    with ackbus.connect(server.url, on_report=told.append) as bus:
        bus.publish("orders.created", b"1")
        ack = bus.publish_wait("orders.created", b"2", timeout=10)
        assert (ack.stream, ack.domain, ack.seq, repr(ack)) == ("ORDERS", "hub", 2, "<ackbus.Ack ORDERS:2>")
        assert ack != bus.publish_wait("orders.created", b"3", timeout=10)
        bus.publish("orders.created", b"4", expected_last_seq=9)
    good, refused = sorted(told, key=lambda report: report.id)
    assert (good.status, good.stream, good.domain, good.text) == (ackbus.Status.OK, "ORDERS", "hub", "")
    assert (refused.status, refused.stream, refused.domain) == (ackbus.Status.WRONG_EXPECTATION, "", "")
    assert "wrong last sequence" in refused.text


def test_a_handler_of_reports_alone_gets_all(server: Server) -> None:
    server.add_stream("ORDERS", "orders.>")
    seen: list[ackbus.Status] = []
    with ackbus.connect(server.url, on_report=lambda report: seen.append(report.status)) as bus:
        bus.publish("orders.created")
        bus.flush(20)
        bus.publish("nobody.takes.this")
    assert seen == [ackbus.Status.OK, ackbus.Status.NO_STREAM]


def test_a_handler_of_errors_alone_hears_no_success() -> None:
    seen: list[ackbus.Report] = []
    with ackbus.connect("memory:", on_error=seen.append) as bus:
        bus.publish("a", tag=object())
        bus.flush(20)
        assert bus.stats().published == 1
    assert seen == []


def test_failures_without_a_handler_are_logged(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    with ackbus.connect(server.url) as bus:
        bus.publish("nobody.takes.this")
        bus.flush(20)
        wait_for("the record", lambda: [record for record in caplog.records if "no on_error handler" in record.message])
    (record,) = [record for record in caplog.records if "no on_error handler" in record.message]
    assert (record.name, record.levelno) == ("ackbus", logging.ERROR)
    assert "nobody.takes.this" in record.message and "NO_STREAM" in record.message


def test_every_failure_is_dead_lettered_at_a_window_of_one(server: Server) -> None:
    server.add_stream("DEAD", "dead.>")

    def dead_letter(report: ackbus.Report) -> None:
        bus.publish("dead.letters", report.payload)

    with ackbus.connect(server.url, max_pending=1, on_error=dead_letter) as bus:
        for n in range(50):
            bus.publish("nobody.takes.this", b"%d" % n)
        bus.flush(30)
        bus.flush(30)
    assert server.payloads("DEAD") == [b"%d" % n for n in range(50)]


def test_what_waits_is_refused_in_a_handler() -> None:
    seen: list[str] = []

    def handler(report: ackbus.Report) -> None:
        assert ackbus.in_callback()
        calls: list[Any] = [bus.flush, bus.close, bus.wait_connected, bus.purge, lambda: bus.publish_wait("a"), lambda: ackbus.connect("memory:")]
        for call in calls:
            try:
                call()
            except ackbus.WrongThreadError as error:
                seen.append(str(error))

    with ackbus.connect("memory:", on_report=handler) as bus:
        bus.publish("a")
        bus.flush(20)
        assert bus.stats().accepted == 1
    assert len(seen) == 6
    assert all("may not be called from a callback" in text and "wait elsewhere" in text for text in seen)
    assert not ackbus.in_callback()


def test_an_exception_in_a_handler_goes_to_the_hook_and_costs_no_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    raised: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda hook: raised.append((type(hook.exc_value), str(hook.exc_value), hook.object)))
    seen: list[object] = []

    def handler(report: ackbus.Report) -> None:
        seen.append(report.tag)
        if report.tag % 2:
            raise ValueError(f"no odd tags: {report.tag}")

    def on_event(event: ackbus.Event) -> None:
        raise KeyError(event.kind.name)

    with ackbus.connect("memory:", on_report=handler, on_event=on_event) as bus:
        for n in range(100):
            bus.publish("a", tag=n)
    assert seen == list(range(100))
    assert [entry for entry in raised if entry[0] is ValueError] == [(ValueError, f"no odd tags: {n}", handler) for n in range(1, 100, 2)]
    assert {entry for entry in raised if entry[0] is KeyError} == {(KeyError, "'CONNECTED'", on_event), (KeyError, "'CLOSED'", on_event)}


def test_events(server: Server) -> None:
    events: list[ackbus.Event] = []
    with ackbus.connect(server.url, on_event=events.append, topics={"orders.>": {"stream": "ORDERS", "create": "if_missing"}}) as bus:
        bus.publish_wait("orders.created", timeout=20)
        server.stop()
        wait_for("the loss", lambda: any(event.kind is ackbus.EventKind.DISCONNECTED for event in events))
        server.start()
        wait_for("the return", lambda: any(event.kind is ackbus.EventKind.RECONNECTED for event in events))
        assert bus.publish_wait("orders.created", timeout=20).seq == 2
        assert bus.stats().reconnects == 1
    kinds = [event.kind for event in events if event.kind is not ackbus.EventKind.CONNECT_FAILED]
    assert kinds == [ackbus.EventKind[name] for name in ("CONNECTED", "STREAM_CREATED", "DISCONNECTED", "RECONNECTED", "CLOSED")]
    first = events[0]
    assert first.server == server.url and first.status is ackbus.Status.OK and first.value == 1 and first.topic == ""
    assert first.time > 1_700_000_000
    assert repr(first) == f"<ackbus.Event CONNECTED: {first.text}>"


def test_nothing_is_held_after_close() -> None:
    class Tag:
        pass

    class Handler:
        def __call__(self, report: ackbus.Report) -> None:
            pass

    tags = [Tag() for _ in range(300)]
    handler = Handler()
    alive = [weakref.ref(tag) for tag in tags] + [weakref.ref(handler)]
    with silent_server() as url:
        bus = ackbus.connect(url, retry_on_connect=True, on_error=handler, on_event=handler)  # type: ignore[arg-type]
        for tag in tags[:100]:
            bus.publish("a", tag=tag)
        futures = [bus.submit("a", tag=tag) for tag in tags[100:200]]
        for tag in tags[200:]:
            with pytest.raises(ackbus.InvalidTopicError):
                bus.publish("a b", tag=tag)
        bus.close(0)
    for future in futures:
        assert isinstance(future.exception(20), ackbus.ClosedError)
    del tag, tags, handler, futures, future
    gc.collect()
    assert [reference() for reference in alive if reference() is not None] == []


def test_handlers_run_on_one_thread_that_is_not_the_callers() -> None:
    threads: set[int] = set()
    with ackbus.connect("memory:", on_report=lambda _: threads.add(threading.get_native_id())) as bus:
        for _ in range(100):
            bus.publish("a")
    assert len(threads) == 1 and threading.get_native_id() not in threads

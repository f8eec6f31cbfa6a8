"""What the publisher takes, what it returns, and what it says when something is wrong."""

from __future__ import annotations

import array
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from datetime import timedelta
from typing import Any

import pytest
from conftest import Server
from silent import silent_server

import ackbus
from ackbus import _options

ORDERS: dict[str, ackbus.Topic] = {"orders.>": {"stream": "ORDERS", "create": "if_missing"}}


def test_a_message_arrives_with_all_it_has(server: Server) -> None:
    with ackbus.connect(server.url, topics=ORDERS) as bus:
        assert bus.publish("orders.created", b"1") == 1
        ack = bus.publish_wait("orders.paid", "zwei", headers={"a": "b", "many": ["c", "d"]}, msg_id="an-id", timeout=10)
        assert (ack.id, ack.stream, ack.seq, ack.duplicate, ack.ephemeral, ack.attempts) == (2, "ORDERS", 2, False, False, 1)
        assert 0 < ack.latency < 10
        assert repr(ack) == "<ackbus.Ack ORDERS:2>"
        again = bus.publish_wait("orders.paid", "zwei", msg_id="an-id", timeout=10)
        assert (again.seq, again.duplicate) == (2, True)
        with pytest.raises(ackbus.WrongExpectationError) as refused:
            bus.publish_wait("orders.paid", b"3", expected_last_seq=7, timeout=10)
        assert (refused.value.server_code, refused.value.persistence, refused.value.retriable) == (10071, ackbus.Persistence.NOT_PERSISTED, True)
    stored = server.stored("ORDERS")
    assert [(message.topic, message.payload) for message in stored] == [("orders.created", b"1"), ("orders.paid", b"zwei")]
    assert stored[1].headers["Nats-Msg-Id"] == "an-id"
    assert stored[1].headers["a"] == "b"


@pytest.mark.parametrize(
    ("payload", "stored"),
    [
        (b"bytes", b"bytes"),
        ("grüß", "grüß".encode()),
        (bytearray(b"array"), b"array"),
        (memoryview(b"a slice of it")[2:7], b"slice"),
        (memoryview(b"abcdef")[::2], b"ace"),
        (array.array("H", [1, 2]), b"\x01\x00\x02\x00"),
        (b"", b""),
    ],
)
def test_payloads(payload: Any, stored: bytes) -> None:
    reports: list[ackbus.Report] = []
    with ackbus.connect("memory:", on_report=reports.append) as bus:
        bus.publish("a", payload)
    assert reports[0].payload == stored


@pytest.mark.parametrize(
    ("call", "kind", "text"),
    [
        (lambda bus: bus.publish("a b"), ackbus.InvalidTopicError, 'the topic "a b"'),
        (lambda bus: bus.publish("a.*"), ackbus.InvalidTopicError, "wildcard"),
        (lambda bus: bus.publish(b"a"), TypeError, "topic: bytes is not allowed; give a str"),
        (lambda bus: bus.publish("a", 5), TypeError, "payload: int is not allowed"),
        (lambda bus: bus.publish("a", [1, 2]), TypeError, "payload: list is not allowed"),
        (lambda bus: bus.publish("a", "\ud800"), ValueError, "payload: '\\ud800' is not valid Unicode"),
        (lambda bus: bus.publish("a", headers=5), TypeError, "headers: int is not allowed"),
        (lambda bus: bus.publish("a", headers={"n": 5}), TypeError, "headers['n']: int is not allowed"),
        (lambda bus: bus.publish("a", headers={"n": "a\nb"}), ackbus.InvalidHeaderError, "n"),
        (lambda bus: bus.publish("a", headers={"n:": "a"}), ackbus.InvalidHeaderError, "n:"),
        (lambda bus: bus.publish("a", msg_id=5), TypeError, "msg_id: int is not allowed"),
        (lambda bus: bus.publish("a", ttl=-1), ValueError, "ttl: -1 is not allowed"),
        (lambda bus: bus.publish("a", ttl="soon"), TypeError, "ttl: 'soon' is not allowed"),
        (lambda bus: bus.publish("a", stall_wait=float("nan")), ValueError, "stall_wait: nan is not allowed"),
        (lambda bus: bus.publish("a", expected_last_seq=-1), ValueError, "expected_last_seq: -1 is not allowed"),
        (lambda bus: bus.publish("a", hdrs={}), TypeError, "hdrs"),
        (lambda bus: bus.submit("a", hdrs={}), TypeError, 'unexpected keyword argument "hdrs"'),
        (lambda bus: bus.publish("a", b"x" * 2_000_000), ackbus.MessageTooLargeError, "the server takes 1048576"),
        (lambda bus: bus.flush(timeout=-1), ValueError, "timeout: -1 is not allowed"),
        (lambda bus: bus.purge(unsent=False, in_flight=False), ackbus.InvalidArgumentError, "purge what?"),
        (lambda bus: bus.set_topic("a.>", strem="A"), TypeError, "did you mean 'stream'?"),
        (lambda bus: bus.set_topic("a.>", mode="both"), ackbus.InvalidOptionError, "both"),
    ],
)
def test_wrong_arguments_say_what_and_why(call: Callable[[Any], object], kind: type[Exception], text: str) -> None:
    with ackbus.connect("memory:") as bus:
        with pytest.raises(kind) as raised:
            call(bus)
        assert text in str(raised.value)
        assert bus.stats().accepted == 0


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ({"max_pendin": 1}, TypeError, "did you mean 'max_pending'?"),
        ({"ack_wait_ms": 1}, TypeError, "did you mean 'ack_wait'?"),
        ({"max_pending": 0}, ackbus.InvalidOptionError, "max_pending"),
        ({"ack_wait": -1}, ValueError, "ack_wait: -1 is not allowed"),
        ({"ack_wait": "1s"}, TypeError, "ack_wait: str is not allowed"),
        ({"on_full": "wait"}, ackbus.InvalidOptionError, "on_full"),
        ({"topics": {"a.>": "A"}}, TypeError, "topics['a.>']: str is not allowed"),
        ({"topics": {"a.>.b": {"stream": "A"}}}, ackbus.InvalidTopicError, "a.>.b"),
        ({"on_error": 5}, TypeError, "on_error: int is not callable"),
        ({"servers": "ftp://a"}, ackbus.InvalidOptionError, "allowed are nats:// and tls://"),
        ({"servers": 5}, TypeError, "servers: int is not allowed"),
        ({"user": "u"}, ackbus.InvalidOptionError, "password"),
    ],
)
def test_wrong_options_say_what_and_why(arguments: dict[str, Any], kind: type[Exception], text: str) -> None:
    with pytest.raises(kind) as raised:
        ackbus.connect(**{"servers": "memory:", **arguments})
    assert text in str(raised.value)


def test_durations_are_seconds_or_timedeltas() -> None:
    with ackbus.connect("memory:", ack_wait=1.5, delivery_timeout=timedelta(minutes=1), stall_wait=float("inf"), max_reconnects=None) as bus:  # type: ignore[typeddict-item]
        assert bus.publish_wait("a", timeout=timedelta(seconds=10), delivery_timeout=2).seq == 1


def test_durations_become_whole_milliseconds_and_are_never_shortened() -> None:
    wanted = {0: 0, 1: 1_000, 0.069: 69, 1.5: 1_500, 0.0001: 1, 2.0004: 2_001, timedelta(seconds=1, microseconds=1): 1_001, float("inf"): -1}
    assert {given: _options.milliseconds("ack_wait", given) for given in wanted} == wanted


def test_nobody_is_there(start_server: Callable[..., Server]) -> None:
    gone = start_server()
    gone.stop()
    with pytest.raises(ackbus.ConnectFailedError, match=r"Connection refused.*check servers=") as raised:
        ackbus.connect(gone.url)
    assert isinstance(raised.value, ConnectionError)


def test_wrong_password(start_server: Callable[..., Server]) -> None:
    server = start_server("--user", "u", "--pass", "right")
    with pytest.raises(ackbus.AuthFailedError, match="check user and password") as raised:
        ackbus.connect(server.url, user="u", password="wrong-one")
    assert "wrong-one" not in str(raised.value)


def test_publish_many_accepts_a_prefix_and_says_how_far_it_came() -> None:
    with ackbus.connect("memory:") as bus:
        assert bus.publish_many([("a", b"1"), ("b", "2", {"msg_id": "x"}), ("c", bytearray(b"3"))]) == [1, 2, 3]
        assert bus.publish_many(iter([b"4", b"5"]), topic="d") == [4, 5]
        with pytest.raises(ackbus.InvalidTopicError) as raised:
            bus.publish_many([("a", b"6"), ("a b", b"7"), ("a", b"8")])
        assert raised.value.accepted_ids == [6]
        assert raised.value.__notes__ == ["publish_many: message 1 was not accepted, those before it were"]
        with pytest.raises(TypeError, match=r"int is not allowed; give \(topic, payload\)"):
            bus.publish_many([5])  # type: ignore[list-item]
        with pytest.raises(ZeroDivisionError):
            bus.publish_many(("a", b"%d" % (1 // (1 - n))) for n in range(3))
        bus.flush(10)
        assert bus.stats().published == 7


def test_a_submitted_message_has_a_future(server: Server) -> None:
    with ackbus.connect(server.url, topics=ORDERS, on_error=pytest.fail) as bus:
        future = bus.submit("orders.created", b"1")
        assert isinstance(future, Future) and not future.cancel()
        assert future.result(10).seq == 1
        lost = bus.submit("nobody.takes.this")
        with pytest.raises(ackbus.NoStreamError, match="create a stream for the topic") as raised:
            lost.result(10)
        assert raised.value.persistence is ackbus.Persistence.NOT_PERSISTED
        futures = [bus.submit("orders.created", b"%d" % n) for n in range(500)]
        assert not wait(futures, 20).not_done
        assert [future.result().seq for future in futures] == list(range(2, 502))


def test_eight_threads_publish_at_once_through_a_window_of_one() -> None:
    seen: list[object] = []
    with ackbus.connect("memory:", max_pending=1, on_report=lambda report: seen.append(report.tag)) as bus:

        def publish(thread: int) -> None:
            for n in range(500):
                bus.publish("a", b"x", tag=(thread, n))

        threads = [threading.Thread(target=publish, args=(thread,)) for thread in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        bus.flush(30)
        assert bus.stats().pending_max == 1
    assert sorted(seen) == [(thread, n) for thread in range(8) for n in range(500)]  # type: ignore[type-var]
    assert [n for thread, n in seen if thread == 3] == list(range(500))  # type: ignore[misc]


def test_a_full_window_waits_fails_or_gives_up() -> None:
    with silent_server() as url:
        bus = ackbus.connect(url, retry_on_connect=True, max_pending=1)
        bus.publish("a")
        begin = time.monotonic()
        with pytest.raises(ackbus.QueueFullError, match=r"max_pending=1.*raise max_pending") as raised:
            bus.publish("a", stall_wait=0.05)
        assert time.monotonic() - begin >= 0.05
        assert isinstance(raised.value, BufferError) and raised.value.retriable
        with pytest.raises(ackbus.QueueFullError):
            bus.publish_wait("a", timeout=0.01)
        with pytest.raises(ackbus.TimedOutError, match="1 messages are still pending"):
            bus.flush(0.01)
        assert (bus.pending, bus.stats().queue_full) == (1, 2)
        assert bus.purge() == 1
        bus.close(0)


def test_the_outcome_of_a_wait_that_timed_out_goes_to_the_handlers() -> None:
    failed: list[ackbus.Report] = []
    with silent_server() as url:
        bus = ackbus.connect(url, retry_on_connect=True, on_error=failed.append)
        with pytest.raises(ackbus.TimedOutError, match="it stays pending"):
            bus.publish_wait("a", b"payload", tag="luggage", timeout=0.01)
        assert bus.pending == 1
        bus.close(0)
    assert [(report.tag, report.payload, report.status) for report in failed] == [("luggage", b"payload", ackbus.Status.CLOSED)]


def test_after_close() -> None:
    bus = ackbus.connect("memory:")
    assert not bus.closed
    bus.close()
    bus.close()
    assert bus.closed
    for call in (lambda: bus.publish("a"), lambda: bus.submit("a"), lambda: bus.publish_many([("a", b"")]), lambda: bus.publish_wait("a")):
        with pytest.raises(ackbus.ClosedError):
            call()
    assert bus.info().state is ackbus.State.CLOSED
    assert bus.pending == 0


def test_ephemeral_topics(server: Server) -> None:
    with ackbus.connect(server.url, topics={"metrics.>": {"mode": "ephemeral"}}) as bus:
        ack = bus.publish_wait("metrics.cpu", b"1", timeout=10)
        assert (ack.ephemeral, ack.stream, ack.seq, repr(ack)) == (True, "", 0, "<ackbus.Ack id=1 ephemeral>")
        bus.set_topic("metrics.stored.>", mode="persistent", stream="METRICS", create="if_missing")
        assert bus.publish_wait("metrics.stored.cpu", b"2", timeout=10).stream == "METRICS"
        stats = bus.stats()
        assert (stats.accepted, stats.published, stats.ephemeral) == (1, 1, 1)
        assert stats.as_dict()["published"] == 1


def test_what_it_says_of_itself(server: Server) -> None:
    with ackbus.connect(server.url) as bus:
        info = bus.info()
        assert (info.state, info.max_payload, info.last_error) == (ackbus.State.CONNECTED, 1 << 20, None)
        assert info.server == server.url and info.server_version.startswith("2.")
        assert repr(bus) == f"<ackbus.Publisher CONNECTED {server.url} pending=0>"
        bus.wait_connected(0)

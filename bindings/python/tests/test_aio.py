"""The publisher for asyncio: nothing blocks the loop, and cancelling loses nothing."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import uvloop
from conftest import Server
from silent import silent_server

import ackbus
import ackbus.aio

LIMIT = 30.0
ORDERS: dict[str, ackbus.Topic] = {"orders.>": {"stream": "ORDERS", "create": "if_missing"}}

Run = Callable[[Callable[[], Awaitable[None]]], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a coroutine function in a loop of its own, in asyncio's debug mode."""
    factory = uvloop.new_event_loop if request.param == "uvloop" else None

    def run(main: Callable[[], Awaitable[None]]) -> None:
        async def limited() -> None:
            await asyncio.wait_for(main(), LIMIT)

        with asyncio.Runner(debug=True, loop_factory=factory) as runner:
            runner.run(limited())

    yield run


def test_publishing(server: Server, run: Run) -> None:
    async def main() -> None:
        async with ackbus.aio.connect(server.url, topics=ORDERS) as bus:
            ack = await bus.publish("orders.created", b"1", headers={"a": "b"})
            assert (ack.stream, ack.seq) == ("ORDERS", 1)
            futures = [await bus.submit("orders.created", b"%d" % n) for n in range(2, 1_002)]
            assert [ack.seq for ack in await asyncio.gather(*futures)] == list(range(2, 1_002))
            acks = await bus.publish_many([("orders.paid", b"a"), ("orders.paid", "b", {"msg_id": "b"})])
            assert [ack.seq for ack in acks] == [1_002, 1_003]

            async def payloads() -> Any:
                yield b"c"
                yield b"d"

            assert [ack.seq for ack in await bus.publish_many(payloads(), topic="orders.paid")] == [1_004, 1_005]
            assert (bus.pending, bus.pending_bytes, bus.stats().published, bus.closed) == (0, 0, 1_005, False)
            assert bus.info().state is ackbus.State.CONNECTED
            assert repr(bus) == f"<ackbus.aio.Publisher CONNECTED {server.url} pending=0>"
        assert bus.closed

    run(main)
    assert server.stored("ORDERS")[0].headers["a"] == "b"
    assert server.count("ORDERS") == 1_005


def test_failures_are_exceptions(server: Server, run: Run) -> None:
    async def main() -> None:
        bus = await ackbus.aio.connect(server.url, topics=ORDERS)
        with pytest.raises(ackbus.NoStreamError):
            await bus.publish("nobody.takes.this")
        with pytest.raises(ackbus.InvalidTopicError):
            await bus.publish("a b")
        with pytest.raises(TypeError, match="hdrs"):
            await bus.publish("a", hdrs={})  # type: ignore[call-arg]
        with pytest.raises(TypeError, match="give \\(topic, payload\\)"):
            await bus.publish_many([5])
        first, second = await bus.publish_many([("nobody.takes.this", b""), ("orders.created", b"")], return_exceptions=True)
        assert isinstance(first, ackbus.NoStreamError) and isinstance(second, ackbus.Ack)
        with pytest.raises(ackbus.NoStreamError):
            await bus.publish_many([("nobody.takes.this", b""), ("orders.created", b"")])
        await bus.close()
        await bus.close()
        with pytest.raises(ackbus.ClosedError):
            await bus.publish("orders.created")

    run(main)


@pytest.mark.parametrize(
    ("arguments", "kind", "text"),
    [
        ({"on_full": "wait"}, ackbus.InvalidOptionError, "on_full"),
        ({"stall_wait": -1}, ValueError, "stall_wait: -1 is not allowed"),
        ({"stall_wait": "1s"}, TypeError, "stall_wait: str is not allowed"),
        ({"on_report": 5}, TypeError, "on_report: int is not callable"),
    ],
)
def test_wrong_options_say_what_and_why(arguments: dict[str, Any], kind: type[Exception], text: str, run: Run) -> None:
    async def main() -> None:
        with pytest.raises(kind) as raised:
            await ackbus.aio.connect("memory:", **arguments)
        assert text in str(raised.value)

    run(main)


def test_a_handler_of_reports_alone_gets_all_that_no_future_waits_for(server: Server, run: Run) -> None:
    server.add_stream("ORDERS", "orders.>")

    async def main() -> None:
        seen: list[tuple[object, str]] = []
        async with ackbus.aio.connect(server.url, on_report=lambda report: seen.append((report.tag, report.status.name))) as bus:
            (await bus.submit("orders.created", tag="stored")).cancel()
            await bus.flush(20)
            (await bus.submit("nobody.takes.this", tag="lost")).cancel()
            assert (await bus.publish("orders.created", tag="awaited")).seq == 2
        assert seen == [("stored", "OK"), ("lost", "NO_STREAM")]

    run(main)


def test_nobody_is_there(start_server: Callable[..., Server], run: Run) -> None:
    gone = start_server()
    gone.stop()

    async def main() -> None:
        with pytest.raises(ackbus.ConnectFailedError, match="check servers="):
            await ackbus.aio.connect(gone.url)
        with pytest.raises(TypeError, match="did you mean 'max_pending'"):
            ackbus.aio.connect(gone.url, max_pendin=1)  # type: ignore[call-arg]

    run(main)


def test_many_publish_through_a_window_of_one_in_the_order_of_their_coming(run: Run) -> None:
    async def main() -> None:
        async with ackbus.aio.connect("memory:", max_pending=1) as bus:
            acks = await asyncio.gather(*(bus.publish("a", b"%d" % n) for n in range(1_000)))
            assert [ack.seq for ack in acks] == list(range(1, 1_001))
            assert bus.stats().pending_max == 1

    run(main)


def test_a_full_window_lets_the_loop_go_on(run: Run) -> None:
    async def main() -> None:
        failed: list[ackbus.Report] = []
        with silent_server() as url:
            bus = await ackbus.aio.connect(url, retry_on_connect=True, max_pending=1, on_error=failed.append)
            first = await bus.submit("a")
            waiting = asyncio.create_task(bus.publish("a"))
            for _ in range(100):
                await asyncio.sleep(0)
            assert not waiting.done()
            with pytest.raises(ackbus.QueueFullError, match="max_pending=1 messages are pending"):
                await bus.submit("a", stall_wait=0.05)
            with pytest.raises(ackbus.QueueFullError):
                bus.submit_nowait("a")
            # A payload that changes while it waits is sent as it was.
            buffer = bytearray(b"before")
            third = asyncio.create_task(bus.publish("a", buffer, tag="third"))
            await asyncio.sleep(0)
            buffer[:] = b"behind"
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)
            assert await bus.purge() == 1
            with pytest.raises(ackbus.PurgedError):
                await first
            while bus.pending == 0:
                await asyncio.sleep(0.001)
            third.cancel()
            await bus.close(0)
            assert [(report.tag, report.payload) for report in failed] == [("third", b"before")]
            assert bus.stats().accepted == 2, "the one that was cancelled while it waited was never accepted"

    run(main)


def test_cancelling_loses_neither_slot_nor_outcome(run: Run) -> None:
    async def main() -> None:
        reports: list[ackbus.Report] = []
        with silent_server() as url:
            bus = await ackbus.aio.connect(url, retry_on_connect=True, max_pending=2, on_error=reports.append)
            task = asyncio.create_task(bus.publish("a", b"1", tag="first"))
            while bus.pending == 0:
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert bus.pending == 1, "it stays accepted"
            future = await bus.submit("a", b"2", tag="second")
            future.cancel()
            with pytest.raises(ackbus.TimedOutError):
                await bus.flush(0.01)
            await bus.close(0)
        assert [(report.tag, report.payload, report.status) for report in reports] == [
            ("first", b"1", ackbus.Status.CLOSED),
            ("second", b"2", ackbus.Status.CLOSED),
        ]

    run(main)


@pytest.mark.parametrize("stall_wait", [None, 60])
def test_cancelling_one_that_has_just_been_let_in_loses_nothing(run: Run, stall_wait: float | None) -> None:
    async def main() -> None:
        failed: list[object] = []
        with silent_server() as url:
            bus = await ackbus.aio.connect(url, retry_on_connect=True, max_pending=1, on_error=lambda report: failed.append(report.tag))
            (await bus.submit("a", tag="first")).cancel()
            task = asyncio.create_task(bus.publish("a", tag="second", stall_wait=stall_wait))
            await asyncio.sleep(0)
            bus._native.purge()
            bus._drain()
            assert bus.pending == 1, "it is in, and its task has not heard of it"
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await bus.close(0)
        assert failed == ["first", "second"]

    run(main)


def test_one_that_is_let_in_as_its_time_ends_is_accepted(run: Run) -> None:
    async def main() -> None:
        bus = await ackbus.aio.connect("memory:", max_pending=1)
        first = await bus.submit("a")
        task = asyncio.create_task(bus.submit("a", stall_wait=0.05))
        await asyncio.sleep(0)
        # The loop sleeps over the limit, and finds the timer and the room at once.
        time.sleep(0.2)
        bus._drain()
        assert (await first).seq == 1
        assert (await (await task)).seq == 2
        await bus.close()

    run(main)


def test_handlers_run_in_the_loop_and_may_be_coroutines(server: Server, run: Run) -> None:
    server.add_stream("DEAD", "dead.>")

    async def main() -> None:
        events: list[str] = []
        threads: set[int] = set()
        done = asyncio.Event()

        async def dead_letter(report: ackbus.Report) -> None:
            threads.add(threading.get_ident())
            await bus.publish("dead.letters", report.payload)
            if report.payload == b"49":
                done.set()

        bus = await ackbus.aio.connect(server.url, max_pending=4, on_error=dead_letter, on_event=lambda event: events.append(event.kind.name))
        for n in range(50):
            (await bus.submit("nobody.takes.this", b"%d" % n)).cancel()
        await done.wait()
        await bus.flush(20)
        await bus.close()
        assert threads == {threading.get_ident()}
        assert events[0] == "CONNECTED" and events[-1] == "CLOSED"

    run(main)
    assert sorted(server.payloads("DEAD"), key=int) == [b"%d" % n for n in range(50)]


def test_every_failure_is_dead_lettered_at_a_window_of_one(server: Server, run: Run) -> None:
    server.add_stream("DEAD", "dead.>")

    async def main() -> None:
        letters: list[asyncio.Future[ackbus.Ack]] = []
        bus = await ackbus.aio.connect(server.url, max_pending=1, on_error=lambda report: letters.append(bus.submit_nowait("dead.letters", report.payload)))
        for n in range(50):
            (await bus.submit("nobody.takes.this", b"%d" % n)).cancel()
        await bus.flush(20)
        assert [ack.seq for ack in await asyncio.gather(*letters)] == list(range(1, 51))
        await bus.close()

    run(main)
    assert server.payloads("DEAD") == [b"%d" % n for n in range(50)]


def test_an_exception_in_a_handler_costs_no_outcome(run: Run) -> None:
    async def main() -> None:
        failures: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context["exception"]))

        def on_event(event: ackbus.Event) -> None:
            raise ValueError(event.kind.name)

        async with ackbus.aio.connect("memory:", on_event=on_event) as bus:
            assert (await bus.publish("a")).seq == 1
        assert [str(failure) for failure in failures] == ["CONNECTED", "CLOSED"]

    run(main)


def test_flush_waits_for_what_was_accepted_before(server: Server, run: Run) -> None:
    async def main() -> None:
        async with ackbus.aio.connect(server.url, topics=ORDERS) as bus:
            futures = [await bus.submit("orders.created") for _ in range(2_000)]
            await bus.flush(20)
            assert all(future.done() for future in futures)
            await bus.wait_connected(1)

    run(main)


def test_a_server_that_restarts(server: Server, run: Run) -> None:
    async def main() -> None:
        async with ackbus.aio.connect(server.url, topics=ORDERS) as bus:
            await bus.publish("orders.created", b"1")
            server.stop(9)
            futures = [await bus.submit("orders.created", b"%d" % n) for n in range(2, 102)]
            await asyncio.to_thread(server.start)
            assert [ack.seq for ack in await asyncio.gather(*futures)] == list(range(2, 102))

    run(main)
    assert server.payloads("ORDERS") == [b"%d" % n for n in range(1, 102)]


def test_two_loops_in_two_threads(server: Server) -> None:
    server.add_stream("ORDERS", "orders.>")
    results: dict[str, int] = {}

    def work(name: str) -> None:
        async def main() -> None:
            async with ackbus.aio.connect(server.url) as bus:
                acks = await bus.publish_many([(f"orders.{name}", b"%d" % n) for n in range(500)])
                results[name] = len({ack.seq for ack in acks})

        asyncio.run(asyncio.wait_for(main(), LIMIT))

    threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {"a": 500, "b": 500}
    assert server.count("ORDERS") == 1_000


def test_nothing_is_held_after_close(run: Run) -> None:
    class Tag:
        pass

    alive: list[weakref.ref[Any]] = []

    async def main() -> None:
        async with ackbus.aio.connect("memory:") as bus:
            for _ in range(100):
                tag = Tag()
                future = await bus.submit("a", tag=tag)
                alive.extend((weakref.ref(tag), weakref.ref(future)))
                await future
            alive.append(weakref.ref(bus))

    run(main)
    gc.collect()
    assert [reference() for reference in alive if reference() is not None] == []


def test_one_that_nobody_closed_warns(run: Run) -> None:
    async def main() -> None:
        bus = await ackbus.aio.connect("memory:")
        bus._let_go()
        with pytest.warns(ResourceWarning, match="unclosed <ackbus.aio.Publisher CONNECTED"):
            del bus
            gc.collect()

    run(main)

"""Nobody waits in the event loop who could go: beside streams that are held, and behind those that give up."""

from __future__ import annotations

import asyncio

import pytest
from conftest import Server
from silent import silent_server
from test_aio import Run, run

import ackbus
import ackbus.aio

__all__ = ["run"]

RULES: dict[str, ackbus.Topic] = {"bad.>": {"stream": "BAD"}, "good.>": {"stream": "GOOD"}}


async def fill_share(bus: ackbus.aio.Publisher, share: int) -> None:
    """Fills what the stream that is missing may hold of the window."""
    (await bus.submit("bad.1")).cancel()
    while bus.stats().gates_held == 0:
        await asyncio.sleep(0.001)
    for _ in range(share - 1):
        (await bus.submit("bad.1")).cancel()
    with pytest.raises(ackbus.QueueFullError, match="gate_share"):
        bus.submit_nowait("bad.1")


def test_a_held_stream_holds_up_nobody_else(server: Server, run: Run) -> None:
    server.add_stream("GOOD", "good.>")

    async def main() -> None:
        options: ackbus.Options = {"on_no_stream": "wait", "max_pending": 8, "gate_share": 50, "close_timeout": 10}
        async with ackbus.aio.connect(server.url, topics=RULES, on_report=lambda report: None, **options) as bus:
            await fill_share(bus, 4)
            waiting = [asyncio.create_task(bus.publish("bad.1", b"%d" % n)) for n in range(50)]
            await asyncio.sleep(0)
            tasks = [bus.publish(f"good.{n % 20}", b"%d" % n) for n in range(200)]
            acks = await asyncio.gather(*tasks)
            assert sorted(ack.seq for ack in acks) == list(range(1, 201))
            assert not any(task.done() for task in waiting)
            for task in waiting[:25]:
                task.cancel()
            await asyncio.gather(*waiting[:25], return_exceptions=True)
            assert (len(bus._queue), bus.pending) == (25, 4)
            with pytest.raises(ackbus.QueueFullError, match="gate_share"):
                await bus.submit("bad.2", stall_wait=0.05)
            assert len(bus._queue) == 25
            # The stream comes: they go, in the order of their coming.
            await asyncio.to_thread(server.add_stream, "BAD", "bad.>")
            assert [(await task).seq for task in waiting[25:]] == list(range(5, 30))
            assert len(bus._queue) == 0

    run(main)
    assert server.payloads("BAD") == [b""] * 4 + [b"%d" % n for n in range(25, 50)]


def test_each_topic_keeps_its_order_through_a_small_window(server: Server, run: Run) -> None:
    server.add_stream("GOOD", "good.>")

    async def main() -> None:
        async with ackbus.aio.connect(server.url, topics=RULES, max_pending=3) as bus:
            await asyncio.gather(*(bus.publish(f"good.{n % 20}", b"%d" % n) for n in range(1_000)))
            assert bus.stats().pending_max <= 3

    run(main)
    stored = server.stored("GOOD")
    for topic in range(20):
        payloads = [message.payload for message in stored if message.topic == f"good.{topic}"]
        assert payloads == [b"%d" % n for n in range(topic, 1_000, 20)]


def test_publishes_whose_time_is_up_leave_nothing_behind(run: Run) -> None:
    async def main() -> None:
        with silent_server() as url:
            bus = await ackbus.aio.connect(url, retry_on_connect=True, max_pending=1, on_error=lambda report: None)
            (await bus.submit("a")).cancel()
            head = asyncio.create_task(bus.publish("a", b"head"))
            for stall_wait in (0.01, None):

                async def one(n: int, stall_wait: float | None = stall_wait) -> None:
                    async with asyncio.timeout(None if stall_wait else 0.05):
                        await bus.publish(f"a.{n % 7}", b"x" * 1_000, stall_wait=stall_wait)

                outcomes = await asyncio.gather(*(one(n) for n in range(300)), return_exceptions=True)
                assert {type(outcome) for outcome in outcomes} == {ackbus.QueueFullError if stall_wait else TimeoutError}
                assert len(bus._queue) == 1
            head.cancel()
            await asyncio.gather(head, return_exceptions=True)
            assert len(bus._queue) == 0
            await bus.close(0)

    run(main)


def test_a_message_that_gives_up_lets_a_smaller_one_go(run: Run) -> None:
    async def main() -> None:
        with silent_server() as url:
            bus = await ackbus.aio.connect(url, retry_on_connect=True, max_pending_bytes=10_000, on_error=lambda report: None)
            (await bus.submit("a", b"x" * 8_000)).cancel()
            large = asyncio.create_task(bus.submit("a", b"x" * 8_000))
            small = asyncio.create_task(bus.submit("b", b"x"))
            await asyncio.sleep(0.01)
            assert not small.done(), "large messages do not starve"
            large.cancel()
            (await small).cancel()
            assert bus.pending == 2
            await bus.close(0)

    run(main)


def test_who_waits_hears_of_the_end_and_of_new_rules(server: Server, run: Run) -> None:
    server.add_stream("GOOD", "good.>", "bad.special")

    async def main() -> None:
        options: ackbus.Options = {"on_no_stream": "wait", "max_pending": 8, "gate_share": 50}
        bus = await ackbus.aio.connect(server.url, topics=RULES, on_error=lambda report: None, **options)
        await fill_share(bus, 4)
        special = asyncio.create_task(bus.publish("bad.special"))
        waiting = asyncio.create_task(bus.publish("bad.1"))
        await asyncio.sleep(0)
        bus.set_topic("bad.special", stream="GOOD")
        assert (await special).stream == "GOOD"
        closing = asyncio.create_task(bus.close(3))
        await asyncio.wait({waiting, closing}, return_when=asyncio.FIRST_COMPLETED)
        assert waiting.done() and not closing.done(), "it does not wait for what is pending"
        with pytest.raises(ackbus.ClosedError):
            await waiting
        await closing

    run(main)

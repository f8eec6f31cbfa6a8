"""One run of one client: python clients.py CLIENT ADDRESS N SIZE [--hold]

Prints `acked=… msgs_per_s=… cpu_us_per_msg=… rss_kb=…`. The clock runs from the first publish to the last acknowledgement; CPU is that of this process, the
threads of the client's library included. --hold: publishes N messages that nobody acknowledges, and tells the peak of memory while they are pending.

Each client is set up as its documentation tells those who want throughput; what is not said here is its default.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TOPIC = "bench.load"
WINDOW = 10_000
GROUP = 1_000
LIMIT = 120


class Stopwatch:
    def __init__(self) -> None:
        self.wall, self.cpu = time.perf_counter(), self._cpu()

    def print(self, acked: int) -> None:
        wall, cpu = time.perf_counter() - self.wall, self._cpu() - self.cpu
        # Not ru_maxrss, which a process inherits from the one that started it.
        rss = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]
        print(f"acked={acked} msgs_per_s={acked / wall:.0f} cpu_us_per_msg={cpu * 1e6 / max(acked, 1):.3f} rss_kb={rss}", flush=True)

    @staticmethod
    def _cpu() -> float:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return used.ru_utime + used.ru_stime


def ackbus_sync(send: Callable[[Any, bytes, int], None], *, reports: bool = False) -> Callable[[str, int, bytes, bool], None]:
    def run(address: str, count: int, payload: bytes, hold: bool) -> None:
        import ackbus

        heard = 0

        def on_report(report: Any) -> None:
            nonlocal heard
            heard += 1

        more: dict[str, Any] = {"on_report": on_report} if reports else {}
        with ackbus.connect(f"nats://{address}", max_pending=WINDOW, log_level="off", on_error=(lambda report: None) if hold else None, **more) as bus:
            watch = Stopwatch()
            send(bus, payload, count)
            if hold:
                assert bus.pending == count
                watch.print(0)
                bus.close(0)
                return
            bus.flush(LIMIT)
            acked = bus.stats().published
            assert not reports or heard == acked
            watch.print(acked)

    return run


def publish(bus: Any, payload: bytes, count: int) -> None:
    send = bus.publish
    for _ in range(count):
        send(TOPIC, payload)


def publish_many(bus: Any, payload: bytes, count: int) -> None:
    for _ in range(count // GROUP):
        bus.publish_many([payload] * GROUP, topic=TOPIC)


def submit(bus: Any, payload: bytes, count: int) -> None:
    for _ in range(count // GROUP):
        for future in [bus.submit(TOPIC, payload) for _ in range(GROUP)]:
            future.result(LIMIT)


def hold_futures(bus: Any, payload: bytes, count: int) -> None:
    global held
    held = [bus.submit(TOPIC, payload) for _ in range(count)]


held: list[Any] = []


def ackbus_aio(address: str, count: int, payload: bytes, hold: bool) -> None:
    import ackbus.aio

    async def main() -> None:
        async with ackbus.aio.connect(f"nats://{address}", max_pending=WINDOW, log_level="off", on_error=lambda report: None) as bus:
            watch = Stopwatch()
            if hold:
                futures = [await bus.submit(TOPIC, payload) for _ in range(count)]
                assert bus.pending == count
                watch.print(0)
                for future in futures:
                    future.cancel()
                await bus.close(0)
                return
            for _ in range(count // GROUP):
                await asyncio.gather(*[await bus.submit(TOPIC, payload) for _ in range(GROUP)])
            watch.print(bus.stats().published)

    asyncio.run(main())


def nats_py(address: str, count: int, payload: bytes, hold: bool) -> None:
    import nats

    async def main() -> None:
        client = await nats.connect(f"nats://{address}", pending_size=-1)
        js = client.jetstream(publish_async_max_pending=WINDOW)
        failed = 0

        def done(future: asyncio.Future[Any]) -> None:
            nonlocal failed
            failed += not future.cancelled() and future.exception() is not None

        watch = Stopwatch()
        for _ in range(count):
            (await js.publish_async(TOPIC, payload)).add_done_callback(done)
        if hold:
            await client.flush()
            assert js.publish_async_pending() == count
            watch.print(0)
        else:
            await asyncio.wait_for(js.publish_async_completed(), LIMIT)
            watch.print(count - failed)
        await client.close()

    asyncio.run(main())


def kafka(*, callback: bool) -> Callable[[str, int, bytes, bool], None]:
    def run(address: str, count: int, payload: bytes, hold: bool) -> None:
        from confluent_kafka import Producer

        # Nobody listens on port 1: what is produced stays in the queue.
        where: dict[str, Any] = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0} if hold else {"test.mock.num.brokers": 1}
        producer = Producer({**where, "queue.buffering.max.messages": WINDOW if hold else 100_000})
        acked = 0

        def delivered(error: Any, message: Any) -> None:
            nonlocal acked
            acked += error is None

        more: dict[str, Any] = {"on_delivery": delivered} if callback else {}
        # The first message finds the broker and makes the topic; that is not what is measured.
        if not hold:
            producer.produce(TOPIC.replace(".", "-"), payload)
            assert producer.flush(LIMIT) == 0
        watch = Stopwatch()
        for number in range(count):
            while True:
                try:
                    producer.produce(TOPIC.replace(".", "-"), payload, **more)
                    break
                except BufferError:
                    producer.poll(0.01)
            if callback and number % GROUP == 0:
                producer.poll(0)
        if hold:
            # Its queue has other things in it, too.
            assert len(producer) >= count, len(producer)
            watch.print(0)
            producer.purge()
            return
        left = producer.flush(LIMIT)
        watch.print(acked if callback else count - left)

    return run


CLIENTS: dict[str, Callable[[str, int, bytes, bool], None]] = {
    "ackbus-publish": ackbus_sync(publish),
    "ackbus-on-report": ackbus_sync(publish, reports=True),
    "ackbus-publish-many": ackbus_sync(publish_many),
    "ackbus-submit": ackbus_sync(submit),
    "ackbus-hold-futures": ackbus_sync(hold_futures),
    "ackbus-aio": ackbus_aio,
    "nats-py": nats_py,
    "kafka": kafka(callback=False),
    "kafka-callback": kafka(callback=True),
}

if __name__ == "__main__":
    name, address, count, size = sys.argv[1:5]
    CLIENTS[name](address, int(count), b"x" * int(size), "--hold" in sys.argv)

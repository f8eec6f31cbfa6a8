"""One run of one client: python clients.py CLIENT HOST:PORT SUBJECT N SIZE WINDOW [--mode M] [--rate R] [--latencies FILE] [--no-msg-id] [--hold]

CLIENT is ackbus-python, nats-py, or kafka (confluent-kafka, with a mock broker in its own process instead of HOST:PORT). The clock runs from the first publish
to the last acknowledgement. Each client is set up as its documentation tells those who want throughput; what is not said here is its default.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pace import LoopPace, Pace

GROUP = 1_000
"""Messages of one publish_many, futures that are waited for together."""
LIMIT = 120


class Stopwatch:
    def __init__(self) -> None:
        self.rss = status("VmRSS:")
        self.usage = resource.getrusage(resource.RUSAGE_SELF)
        self.wall = time.perf_counter()

    def stop(self, load: argparse.Namespace, acked: int) -> None:
        """Prints the line. The process counts whole, the threads of the client's library included."""
        wall = time.perf_counter() - self.wall
        usage, before = resource.getrusage(resource.RUSAGE_SELF), self.usage
        cpu = usage.ru_utime + usage.ru_stime - before.ru_utime - before.ru_stime
        failed = 0 if load.hold else load.count - acked
        print(
            f"n={load.count} acked={acked} failed={failed} msgs_per_s={acked / wall:.1f} cpu_us_per_msg={cpu * 1e6 / load.count:.4f}"
            f" rss_start_kb={self.rss} rss_kb={status('VmHWM:')} voluntary={usage.ru_nvcsw - before.ru_nvcsw} involuntary={usage.ru_nivcsw - before.ru_nivcsw}",
            flush=True,
        )
        if load.hold:
            os._exit(0)  # nobody acks: a close would wait for that
        if acked != load.count:
            sys.exit(f"{load.count - acked} of {load.count} messages were not acked")


def status(name: str) -> str:
    """A line of /proc/self/status, in KiB. Not ru_maxrss: a process inherits that from the one that started it."""
    return Path("/proc/self/status").read_text().split(name)[1].split()[0]


# ---- ackbus ----


def ackbus_sync(load: argparse.Namespace, payload: bytes) -> None:
    import ackbus

    pace = Pace(load.rate, load.count)
    heard = 0

    def on_report(report: Any) -> None:
        nonlocal heard
        heard += 1
        if load.rate:
            pace.acked(report.tag)

    more: dict[str, Any] = {"on_report": on_report} if load.mode == "report" else {}
    msg_id = "auto" if load.msg_id else "none"
    with ackbus.connect(f"nats://{load.address}", max_pending=load.window, msg_id=msg_id, log_level="off", **more) as bus:
        watch = Stopwatch()
        pace.begin()
        SENDERS[load.mode](bus, load, payload, pace)
        if not load.hold:
            bus.flush(LIMIT)
        acked = bus.stats().published
        watch.stop(load, acked if load.mode != "report" else heard)
    pace.write(load.latencies)


def publish(bus: Any, load: argparse.Namespace, payload: bytes, pace: Pace) -> None:
    send, subject = bus.publish, load.subject
    for _ in range(load.count):
        send(subject, payload)


def publish_tagged(bus: Any, load: argparse.Namespace, payload: bytes, pace: Pace) -> None:
    send, subject = bus.publish, load.subject
    for index in range(load.count):
        pace.wait(index)
        send(subject, payload, tag=index)


def publish_many(bus: Any, load: argparse.Namespace, payload: bytes, pace: Pace) -> None:
    for group in groups(load.count):
        bus.publish_many([payload] * group, topic=load.subject)


held: list[Any] = []


def submit(bus: Any, load: argparse.Namespace, payload: bytes, pace: Pace) -> None:
    for group in groups(load.count):
        futures = [bus.submit(load.subject, payload) for _ in range(group)]
        if load.hold:
            held.append(futures)
            continue
        for future in futures:
            future.result(LIMIT)


SENDERS: dict[str, Callable[[Any, argparse.Namespace, bytes, Pace], None]] = {
    "publish": publish,
    "report": publish_tagged,
    "many": publish_many,
    "submit": submit,
}


def groups(count: int) -> list[int]:
    return [min(GROUP, count - start) for start in range(0, count, GROUP)]


def ackbus_aio(load: argparse.Namespace, payload: bytes) -> None:
    import ackbus.aio

    async def main() -> None:
        msg_id = "auto" if load.msg_id else "none"
        async with ackbus.aio.connect(f"nats://{load.address}", max_pending=load.window, msg_id=msg_id, log_level="off") as bus:
            pace = LoopPace(load.rate, load.count)
            watch = Stopwatch()
            pace.begin()
            if load.rate or load.hold:
                futures = []
                for index in range(load.count):
                    await pace.sleep(index)
                    futures.append(await bus.submit(load.subject, payload))
                    if load.rate:
                        futures[-1].add_done_callback(lambda future, index=index: pace.acked(index))
                if not load.hold:
                    await asyncio.gather(*futures)
            else:
                for group in groups(load.count):
                    await asyncio.gather(*[await bus.submit(load.subject, payload) for _ in range(group)])
            watch.stop(load, bus.stats().published)
        pace.write(load.latencies)

    asyncio.run(main())


def ackbus_python(load: argparse.Namespace, payload: bytes) -> None:
    (ackbus_aio if load.mode == "aio" else ackbus_sync)(load, payload)


# ---- peers ----


def nats_py(load: argparse.Namespace, payload: bytes) -> None:
    import nats

    async def main() -> None:
        client = await nats.connect(f"nats://{load.address}", pending_size=-1)
        js = client.jetstream(publish_async_max_pending=load.window)
        pace = LoopPace(load.rate, load.count)
        failed = 0
        prefix = f"{time.time_ns():x}"

        def done(future: asyncio.Future[Any], index: int) -> None:
            nonlocal failed
            failed += not future.cancelled() and future.exception() is not None
            if load.rate:
                pace.acked(index)

        watch = Stopwatch()
        pace.begin()
        for index in range(load.count):
            await pace.sleep(index)
            headers = {"Nats-Msg-Id": f"{prefix}-{index}"} if load.msg_id else None
            # Without wait_stall: a limit costs a task for each message.
            future = await js.publish_async(load.subject, payload, headers=headers)
            future.add_done_callback(lambda future, index=index: done(future, index))
        if load.hold:
            await client.flush()
            assert js.publish_async_pending() == load.count
            watch.stop(load, 0)
        await asyncio.wait_for(js.publish_async_completed(), LIMIT)
        watch.stop(load, load.count - failed)
        pace.write(load.latencies)
        await client.close()

    asyncio.run(main())


def kafka(load: argparse.Namespace, payload: bytes) -> None:
    from confluent_kafka import Producer

    callback, topic = load.mode == "callback", load.subject.replace(".", "-")
    # Nobody listens on port 1: what is produced stays in the queue.
    where: dict[str, Any] = {"bootstrap.servers": "127.0.0.1:1", "log_level": 0} if load.hold else {"test.mock.num.brokers": 1}
    producer = Producer({**where, "queue.buffering.max.messages": load.count if load.hold else 100_000})
    acked = 0

    def delivered(error: Any, message: Any) -> None:
        nonlocal acked
        acked += error is None

    more: dict[str, Any] = {"on_delivery": delivered} if callback else {}
    # The first message finds the broker and makes the topic; that is not what is measured.
    if not load.hold:
        producer.produce(topic, payload)
        assert producer.flush(LIMIT) == 0
    watch = Stopwatch()
    for number in range(load.count):
        while True:
            try:
                producer.produce(topic, payload, **more)
                break
            except BufferError:
                producer.poll(0.01)
        if callback and number % GROUP == 0:
            producer.poll(0)
    if load.hold:
        watch.stop(load, 0)
    left = producer.flush(LIMIT)
    watch.stop(load, acked if callback else load.count - left)


CLIENTS: dict[str, tuple[Callable[[argparse.Namespace, bytes], None], list[str]]] = {
    "ackbus-python": (ackbus_python, [*SENDERS, "aio"]),
    "nats-py": (nats_py, ["future"]),
    "kafka": (kafka, ["plain", "callback"]),
}


def main() -> None:
    parser = argparse.ArgumentParser(description="see the top of this file")
    parser.add_argument("client", choices=CLIENTS)
    parser.add_argument("address")
    parser.add_argument("subject")
    parser.add_argument("count", type=int)
    parser.add_argument("size", type=int)
    parser.add_argument("window", type=int)
    parser.add_argument("--mode")
    parser.add_argument("--rate", type=int, default=0)
    parser.add_argument("--latencies", default="")
    parser.add_argument("--no-msg-id", dest="msg_id", action="store_false")
    parser.add_argument("--hold", action="store_true")
    load = parser.parse_args()
    run, modes = CLIENTS[load.client]
    load.mode = load.mode or modes[0]
    if load.mode not in modes:
        parser.error(f"MODE is {load.mode!r}; allowed: {', '.join(modes)}")
    if bool(load.rate) != bool(load.latencies):
        parser.error("--rate and --latencies are given both or neither")
    if load.rate and (load.client, load.mode) not in {("ackbus-python", "report"), ("ackbus-python", "aio"), ("nats-py", "future")}:
        parser.error(f"{load.client} has no --rate with mode {load.mode}")
    run(load, b"x" * load.size)


if __name__ == "__main__":
    main()

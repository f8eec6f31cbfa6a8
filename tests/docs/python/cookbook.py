"""The recipes of docs/ERRORS.md, run one after the other: python cookbook.py [URL]"""

import queue
import sys
import time
from collections.abc import Callable

import ackbus


class Again:
    """Keeps what failed, for another try later. The handler itself must not wait, so it does not sleep and try."""

    def __init__(self) -> None:
        self.failed: queue.SimpleQueue[ackbus.Report] = queue.SimpleQueue()

    def __call__(self, report: ackbus.Report) -> None:
        self.failed.put(report)

    def publish(self, bus: ackbus.Publisher) -> None:
        """The next one, once more: under the same Msg-Id, so that a stream that has it already knows the copy."""
        report = self.failed.get()
        bus.publish(report.topic, report.payload, msg_id=report.msg_id, tag=report.tag)


def retry(url: str) -> None:
    again = Again()
    with ackbus.connect(url, on_error=again) as bus:
        bus.publish("retry.orders", b"order 1")  # no stream takes it: NO_STREAM
        bus.flush(timeout=10)
        bus.set_topic("retry.>", stream="RETRY", create="if_missing")  # what an operator does
        again.publish(bus)
        bus.flush(timeout=10)
        print(f"retry: {bus.stats().published} of {bus.stats().accepted} persisted, {again.failed.qsize()} wait for another try")


class Breaker:
    """Opens after so many failures in a row. While it is open callers do without the bus; after a pause one message is let through to see how things stand."""

    def __init__(self, limit: int, pause: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit, self.pause, self.clock = limit, pause, clock
        self.row = 0
        self.open_until = 0.0

    def report(self, report: ackbus.Report) -> None:
        """The one handler of all outcomes: `on_report` alone gets failures too."""
        if report.error is None:
            self.row = 0
            return
        self.row += 1
        if self.row >= self.limit:
            self.open_until = self.clock() + self.pause

    def allows(self) -> bool:
        if self.row >= self.limit:
            if self.clock() < self.open_until:
                return False
            self.open_until = self.clock() + self.pause
        return True


def circuit_breaker(url: str) -> None:
    now = 0.0
    breaker = Breaker(limit=3, pause=10.0, clock=lambda: now)
    with ackbus.connect(url, on_report=breaker.report) as bus:

        def publish() -> bool:
            if not breaker.allows():
                return False
            bus.publish("breaker.orders", b"{}")
            bus.flush(timeout=10)
            return True

        tried = [publish() for _ in range(5)]  # three fail, and two are not tried
        bus.set_topic("breaker.>", stream="BREAKER", create="if_missing")
        now += 10.0
        tried += [publish() for _ in range(3)]
        print("breaker:", "".join("x" if done else "-" for done in tried), f"{bus.stats().published} persisted")


def create_stream(url: str) -> None:
    rules: dict[str, ackbus.Topic] = {
        "payments.>": {
            "stream": "PAYMENTS",
            "create": "if_missing",
            "replicas": 1,
            "max_age": 7 * 24 * 3600.0,
            "duplicate_window": 600.0,  # a message may be sent again for ten minutes, and is stored once
        }
    }
    with ackbus.connect(url, topics=rules) as bus:
        ack = bus.publish_wait("payments.made", b"{}", timeout=10)
        print(f"create: {ack.stream} exists and holds {ack.seq}")


def optimistic_lock(url: str) -> None:
    with ackbus.connect(url, topics={"stock.>": {"stream": "STOCK", "create": "if_missing"}}) as bus:
        ack = bus.publish_wait("stock.tea", b"12", expected_last_subject_seq=0, timeout=10)
        bus.publish_wait("stock.tea", b"11", expected_last_subject_seq=ack.seq, timeout=10)
        try:
            bus.publish_wait("stock.tea", b"10", expected_last_subject_seq=ack.seq, timeout=10)
        except ackbus.WrongExpectationError as error:
            print(f"lock: {error}; it is {error.persistence and error.persistence.name}")


if __name__ == "__main__":
    server = sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"
    retry(server)
    circuit_breaker(server)
    create_stream(server)
    optimistic_lock(server)

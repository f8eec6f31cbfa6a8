"""What to do when messages come faster than they are acknowledged: python backpressure.py [URL]"""

import sys

import ackbus

RULES: dict[str, ackbus.Topic] = {"readings.>": {"stream": "READINGS", "create": "if_missing"}}
WINDOW = 64
COUNT = 5_000


def wait(url: str) -> None:
    """Every reading counts: publish waits while the window is full. This is what happens if nothing else is said."""
    with ackbus.connect(url, topics=RULES, max_pending=WINDOW) as bus:
        for number in range(COUNT):
            bus.publish("readings.all", str(number))
        bus.flush(timeout=30)
        stats = bus.stats()
    print(f"wait: {stats.published} of {COUNT} persisted, never more than {stats.pending_max} pending")


def drop(url: str) -> None:
    """The newest reading replaces the older ones: what finds no room is left out, and the caller knows."""
    dropped = 0
    with ackbus.connect(url, topics=RULES, max_pending=WINDOW, on_full="fail") as bus:
        for number in range(COUNT):
            try:
                bus.publish("readings.some", str(number))
            except ackbus.QueueFullError:
                dropped += 1
        bus.flush(timeout=30)
        stats = bus.stats()
    print(f"drop: {stats.published} persisted and {dropped} left out, {stats.published + dropped} in all")


def wait_a_little(url: str) -> None:
    """Something between: each reading may wait for a second, then the caller hears that the server does not keep up."""
    with ackbus.connect(url, topics=RULES, max_pending=WINDOW) as bus:
        for number in range(COUNT):
            bus.publish("readings.patient", str(number), stall_wait=1)
        bus.flush(timeout=30)
        print(f"wait a little: {bus.stats().published} of {COUNT} persisted")


if __name__ == "__main__":
    server = sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"
    wait(server)
    drop(server)
    wait_a_little(server)

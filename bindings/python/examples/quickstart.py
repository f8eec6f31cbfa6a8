"""Publishes ten messages and says what became of them: python quickstart.py [URL]"""

import sys

import ackbus


def failed(report: ackbus.Report) -> None:
    """Called for each message that was not persisted, on a thread of the bus's own."""
    print(f"{report.topic}: {report.error} ({report.persistence.name})", file=sys.stderr)


def main(url: str) -> int:
    rules: dict[str, ackbus.Topic] = {"orders.>": {"stream": "ORDERS", "create": "if_missing"}}
    with ackbus.connect(url, topics=rules, on_error=failed) as bus:
        for number in range(9):
            bus.publish("orders.created", f"order {number}")  # returns at once
        ack = bus.publish_wait("orders.created", b"order 9", timeout=10)
        print(f"the last one is {ack.stream}:{ack.seq}")
        bus.flush(timeout=10)
        stats = bus.stats()
    print(f"{stats.published} of {stats.accepted} persisted")
    return 0 if stats.published == stats.accepted else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"))

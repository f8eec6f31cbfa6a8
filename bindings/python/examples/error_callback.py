"""Keeps what was not persisted in a file, one line of JSON for each: python error_callback.py [URL [FILE]]

`orders.*` has a stream; nothing takes `invoices.*`, so those messages fail.
"""

import base64
import json
import sys
from collections import Counter

import ackbus


class DeadLetters:
    """The error handler. Only the bus's report thread calls it, so it needs no lock."""

    def __init__(self, path: str) -> None:
        self.file = open(path, "a", encoding="utf-8")  # noqa: SIM115
        self.counts: Counter[str] = Counter()

    def __call__(self, report: ackbus.Report) -> None:
        self.counts[report.persistence.name] += 1
        letter = {
            "topic": report.topic,
            "payload": base64.b64encode(report.payload).decode(),
            "msg_id": report.msg_id,
            "order": report.tag,
            "status": report.status.name,
            # NOT_PERSISTED may be published again without a second copy; POSSIBLY_PERSISTED should be, with the same msg_id.
            "persistence": report.persistence.name,
            "text": report.text,
        }
        print(json.dumps(letter), file=self.file, flush=True)


def main(url: str, path: str) -> int:
    dead_letters = DeadLetters(path)
    rules: dict[str, ackbus.Topic] = {"orders.*": {"stream": "ORDERS", "create": "if_missing"}}
    with dead_letters.file, ackbus.connect(url, topics=rules, on_error=dead_letters) as bus:
        for order in range(10):
            topic = "invoices.new" if order % 5 == 4 else "orders.new"
            bus.publish(topic, f"order {order}", tag=order)  # the tag, any object, comes back in the report
        bus.flush(timeout=10)
        stats = bus.stats()
    print(f"{stats.published} persisted, {dead_letters.counts['NOT_PERSISTED']} not, {dead_letters.counts['POSSIBLY_PERSISTED']} in doubt; see {path}")
    return 0 if stats.published + dead_letters.counts.total() == stats.accepted else 1


if __name__ == "__main__":
    server = sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"
    sys.exit(main(server, sys.argv[2] if len(sys.argv) > 2 else "dead-letters.ndjson"))

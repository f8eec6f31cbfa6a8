"""The four schemes of docs/SCHEMES.md, run one after the other: python schemes.py [URL]"""

import sys
from collections import Counter

import ackbus

RULES: dict[str, ackbus.Topic] = {"readings.>": {"stream": "READINGS", "create": "if_missing"}, "ticks.>": {"mode": "ephemeral"}}
COUNT = 1_000


def fire_and_forget(url: str) -> str:
    with ackbus.connect(url, topics=RULES) as bus:
        for number in range(COUNT):
            bus.publish("ticks.all", str(number))
        bus.flush(timeout=10)
        return f"{bus.stats().ephemeral} sent, and nobody knows more"


def handler(url: str) -> str:
    outcomes: Counter[str] = Counter()

    def outcome(report: ackbus.Report) -> None:
        outcomes[report.persistence.name] += 1

    with ackbus.connect(url, topics=RULES, on_report=outcome) as bus:
        for number in range(COUNT):
            bus.publish("readings.all", str(number), tag=number)
        bus.flush(timeout=10)
    return f"{outcomes['PERSISTED']} persisted"


def waiters(url: str) -> str:
    with ackbus.connect(url, topics=RULES) as bus:
        futures = [bus.submit("readings.all", str(number)) for number in range(COUNT)]
        acks = [future.result(timeout=10) for future in futures]
    return f"{len(acks)} persisted, in the order of publishing: {[ack.seq for ack in acks] == sorted(ack.seq for ack in acks)}"


def synchronous(url: str) -> str:
    with ackbus.connect(url, topics=RULES) as bus:
        acks = [bus.publish_wait("readings.all", str(number), timeout=10) for number in range(COUNT)]
    return f"{len(acks)} persisted, one at a time"


if __name__ == "__main__":
    server = sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"
    for scheme in (fire_and_forget, handler, waiters, synchronous):
        print(f"{scheme.__name__}: {scheme(server)}")

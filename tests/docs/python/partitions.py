"""One topic space over several streams, as docs/SCALE.md has it: python partitions.py [URL], with a server that has tests/docs/server.conf."""

import sys
import zlib
from collections import Counter

import ackbus

PARTITIONS = 4
KEYS = [f"sensor-{number}" for number in range(1_000)]
RULES: dict[str, ackbus.Topic] = {f"sensors.{n}.>": {"stream": f"SENSORS_{n}", "create": "if_missing"} for n in range(PARTITIONS)}


def topic(key: str) -> str:
    return f"sensors.{zlib.crc32(key.encode()) % PARTITIONS}.{key}"


def publisher_chooses(url: str) -> Counter[str]:
    with ackbus.connect(url, topics=RULES, connections=PARTITIONS) as bus:
        futures = [bus.submit(topic(key), b"20.5") for key in KEYS]
        return Counter(future.result(timeout=10).stream for future in futures)


def server_chooses(url: str) -> Counter[str]:
    with ackbus.connect(url, connections=PARTITIONS) as bus:
        futures = [bus.submit(f"sensors.{key}", b"20.5") for key in KEYS]
        return Counter(future.result(timeout=10).stream for future in futures)


if __name__ == "__main__":
    server = sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"
    for choose in (publisher_chooses, server_chooses):
        streams = choose(server)
        print(f"{choose.__name__}: {streams.total()} messages in {', '.join(sorted(streams))}")

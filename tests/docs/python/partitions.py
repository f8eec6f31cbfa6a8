"""One topic space over several streams, as docs/SCALE.md has it: python partitions.py [URL], with a server that has tests/docs/server.conf."""

import sys
import zlib
from collections import Counter

import ackbus

PARTITIONS = 4
KEYS = [f"sensor-{number}" for number in range(1_000)]


def rules() -> dict[str, ackbus.Topic]:
    return {f"sensors.{n}.>": {"stream": f"SENSORS_{n}", "create": "if_missing"} for n in range(PARTITIONS)}


def topic(key: str) -> str:
    return f"sensors.{zlib.crc32(key.encode()) % PARTITIONS}.{key}"


def publisher_chooses(url: str) -> dict[str, str]:
    with ackbus.connect(url, topics=rules()) as bus:
        futures = {key: bus.submit(topic(key), b"20.5") for key in KEYS}
        return {key: future.result(timeout=10).stream for key, future in futures.items()}


def server_chooses(url: str) -> dict[str, str]:
    with ackbus.connect(url) as bus:
        futures = {key: bus.submit(f"sensors.{key}", b"20.5") for key in KEYS}
        return {key: future.result(timeout=10).stream for key, future in futures.items()}


if __name__ == "__main__":
    server = sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"
    for choose in (publisher_chooses, server_chooses):
        streams = choose(server)
        if choose(server) != streams:
            raise SystemExit("a key has changed its stream, so its order is lost")
        keys = Counter(streams.values())
        print(f"{choose.__name__}: " + ", ".join(f"{keys[stream]} keys in {stream}" for stream in sorted(keys)))

"""Publishes from several processes, each with a bus of its own: python multiprocessing_spawn.py [URL]

A publisher does not survive a fork: in the child every call raises ForkedError. With "spawn" (or "forkserver") children begin afresh and connect themselves.
"""

import multiprocessing
import os
import sys
from concurrent.futures import ProcessPoolExecutor

import ackbus

WORKERS, EACH = 3, 1_000


def work(url: str, worker: int) -> tuple[int, int]:
    """Runs in a child: connects, publishes its part, closes."""
    rules: dict[str, ackbus.Topic] = {"jobs.>": {"stream": "JOBS", "create": "if_missing"}}
    with ackbus.connect(url, topics=rules, name=f"worker-{worker}") as bus:
        for number in range(EACH):
            bus.publish(f"jobs.{worker}", str(number))
        bus.flush(timeout=30)
        return os.getpid(), bus.stats().published


def main(url: str) -> int:
    with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("spawn")) as pool:
        results = list(pool.map(work, [url] * WORKERS, range(WORKERS)))
    persisted = sum(count for _, count in results)
    print(f"{persisted} of {WORKERS * EACH} persisted by {WORKERS} workers")
    return 0 if persisted == WORKERS * EACH else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"))

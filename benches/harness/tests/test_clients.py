"""Every client that is built keeps the contract of benches/README.md, in each of its modes, against the endpoint."""

import os
import subprocess
import tempfile
import unittest
from pathlib import Path

from harness import counts, plan
from harness.clients import Places
from harness.measure import Failed, publish
from harness.plan import RAW, Cell
from harness.servers import serve

ROOT = Path(__file__).resolve().parents[3]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PYTHONS = [ROOT / f".tools/{name}/bin/python" for name in ("bench-python", "python")]
PLACES = Places(ROOT, TARGET / "debug", TARGET / "bench", next((path for path in PYTHONS if path.exists()), PYTHONS[0]))
COUNT, RATE = 2_000, 10_000

CELLS = list(dict.fromkeys([*plan.throughput("endpoint"), *plan.modes(), *plan.threads()]))


def has(cell: Cell) -> bool:
    """A client in Python is there if its package is."""
    package = {"ackbus-python": "ackbus", "nats-py": "nats", "kafka": "confluent_kafka"}.get(cell.client)
    return PLACES.there(cell.client) and (
        package is None or subprocess.run([PLACES.python, "-c", f"import {package}"], capture_output=True, check=False).returncode == 0
    )


class Clients(unittest.TestCase):
    def setUp(self) -> None:
        if not PLACES.there(RAW):
            self.skipTest("the clients are not built: make test-bench does it")
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.work = Path(folder.name)

    def each(self, cells: list[Cell]) -> list[Cell]:
        found = [cell for cell in cells if has(cell)]
        self.assertTrue(found)
        return found

    def test_what_is_acked_is_what_the_endpoint_acked(self) -> None:
        with serve("endpoint", PLACES.programs) as target:
            for cell in self.each(CELLS):
                with self.subTest(cell=cell):
                    figures = publish(PLACES, cell, target, COUNT, self.work)
                    self.assertEqual((figures["n"], figures["acked"], figures["failed"]), (COUNT, COUNT, 0))
                    names = ("msgs_per_s", "cpu_us_per_msg", "rss_start_kb", "rss_kb")
                    self.assertTrue(all(figures[name] > 0 for name in names) and {"voluntary", "involuntary"} <= figures.keys(), figures)

    def test_at_a_rate_every_message_has_a_latency_and_none_goes_before_it_is_due(self) -> None:
        with serve("endpoint", PLACES.programs) as target:
            for cell in self.each([Cell(cell.client, mode=cell.mode, rate=RATE) for cell in plan.latency()]):
                with self.subTest(cell=cell):
                    figures = publish(PLACES, cell, target, COUNT, self.work)
                    # The last message is due after (COUNT - 1) / RATE.
                    self.assertLessEqual(figures["msgs_per_s"], RATE * COUNT / (COUNT - 1))
                    self.assertLess(figures["p50_us"], figures["p100_us"])
                    self.assertLess(figures["p100_us"], 60_000_000)

    def test_where_nobody_acks_all_is_handed_over(self) -> None:
        with serve("silent", PLACES.programs) as target:
            for cell in self.each([Cell(client, window=COUNT) for client in plan.CLIENTS]):
                with self.subTest(cell=cell):
                    figures = publish(PLACES, cell, target, COUNT, self.work, hold=True)
                    self.assertEqual((figures["n"], figures["acked"]), (COUNT, 0))

    def test_wrong_arguments_are_named(self) -> None:
        for cell in self.each([Cell(client) for client in plan.CLIENTS]):
            for more, word in ((["--mode", "nonsense"], "nonsense"), (["--rate", "5"], "--latencies"), (["--fast"], "--fast")):
                with self.subTest(cell=cell, more=more):
                    command = PLACES.run(cell, "127.0.0.1:1", COUNT, *more)
                    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
                    self.assertIn(word, done.stderr)
                    self.assertNotEqual(done.returncode, 0)

    def test_a_rate_is_refused_where_messages_do_not_go_when_they_are_due(self) -> None:
        for cell in self.each([Cell("ackbus-c", mode=mode) for mode in ("batch", "packed", "wait")]):
            with self.subTest(cell=cell):
                command = PLACES.run(cell, "127.0.0.1:1", COUNT, "--rate", "5", "--latencies", str(self.work / "latencies"))
                done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
                self.assertIn("callback or poll with --rate", done.stderr)
                self.assertEqual(done.returncode, 2)

    def test_a_run_that_the_stream_does_not_confirm_is_no_result(self) -> None:
        with serve("endpoint", PLACES.programs) as target:
            fresh = target.fresh

            def late() -> None:
                fresh()
                publish(PLACES, Cell(RAW), Other(target.address), 1_000, self.work)

            target.fresh = late  # type: ignore[method-assign]
            with self.assertRaisesRegex(Failed, "2000 messages were acked, but the stream got 3000"):
                publish(PLACES, Cell(RAW), target, COUNT, self.work)

    def test_allocations_are_counted_by_thread(self) -> None:
        file = self.work / "allocations"
        env = os.environ | {"LD_PRELOAD": str(PLACES.built / "allocations.so"), "ALLOCATIONS_FILE": str(file)}
        script = "import threading\nthread = threading.Thread(target=lambda: [bytearray(4096) for _ in range(1000)])\nthread.start()\nthread.join()"
        subprocess.run([PLACES.python, "-c", script], env=env, check=True)
        calls = counts.by_thread(file.read_bytes())
        self.assertGreaterEqual(sum(calls.values()), 1000)
        self.assertLess(sum(calls.values()), 100_000)


class Other:
    """A target that asks nothing: whoever publishes to it is not looked after."""

    def __init__(self, address: str) -> None:
        self.address = address

    def fresh(self) -> None:
        pass

    def stored(self) -> int:
        return 1_000

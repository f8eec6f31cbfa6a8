import tempfile
import unittest
from pathlib import Path

from harness import page, reach
from harness.plan import HELD, RAW, Cell, Table
from harness.results import Results

RATE = {"n": [1000.0], "msgs_per_s": [1_000_000.0], "cpu_us_per_msg": [0.5], "rss_kb": [10240.0], "voluntary": [3.0], "involuntary": [1.0]}


def some() -> Results:
    results = Results(Path(tempfile.gettempdir(), "there-is-no-such-file.json"))
    versions = {"nats-server": "nats-server: v2"}
    results.begin(
        {
            "date": "then",
            "commit": "abc",
            "cpu": "CPU",
            "cores": 2,
            "kernel": "6",
            "load_average": 0.1,
            "rounds": 1,
            "seconds": 1.0,
            "quick": False,
            "tracer": "perf",
        }
        | {"versions": versions}
    )
    endpoint = Table("throughput", "endpoint", ())
    results.put(endpoint, Cell(RAW), RATE)
    results.put(endpoint, Cell("ackbus-c"), RATE | {"msgs_per_s": [900_000.0], "msgs_per_s_to_raw": [0.9]})
    results.put(endpoint, Cell("nats-c"), RATE | {"msgs_per_s": [200_000.0], "msgs_per_s_to_raw": [0.2]})
    results.put(endpoint, Cell("nats-go"), None, "skipped: not built on this machine")
    results.put(
        Table("latency", "memory", (), "80%"),
        Cell(RAW, rate=96_000),
        {"p50_us": [100.0], "p99_us": [200.0], "p99.9_us": [300.0], "cpu_us_per_msg": [1.0], "msgs_per_s": [95_990.0]},
    )
    return results


class Page(unittest.TestCase):
    def test_has_what_was_measured_and_says_what_was_not(self) -> None:
        text = page.render(some(), set())
        self.assertIn("| ackbus-c | 900,000 |  | 0.90 |  | 0.50 |  | 10 | 3.0 + 1.0 |", text)
        self.assertIn("* nats-go: skipped: not built on this machine", text)
        self.assertIn("### memory, 80% = 96,000/s", text)
        self.assertIn("| raw | 100 |  | 200 |  | 300 |  |  |  | 95,990 | 1.00 |", text)
        self.assertNotIn("## Idle", text)
        self.assertNotIn(".svg", text)

    def test_shows_the_pictures_that_are_there(self) -> None:
        self.assertIn("![Throughput](throughput.svg)", page.render(some(), {"throughput.svg"}))


class Reach(unittest.TestCase):
    def rows(self, results: Results) -> dict[str, list[str]]:
        return {aim.what: aim.row()[1:] for aim in reach.aims(results)}

    def test_is_computed_from_the_results(self) -> None:
        rows = self.rows(some())
        self.assertEqual(rows["Endpoint, C API, Msg-Ids, a report each: rate ÷ raw loop"], ["≥ 0.85", "0.9", "met"])
        self.assertEqual(rows["Endpoint, the same: rate ÷ Debian's libnats"], ["≥ 6", "4.5", "**missed**"])
        self.assertEqual(rows["Endpoint, 8 publishing threads: rate ÷ one thread's"], ["≥ 0.85", "–", "not measured"])

    def test_the_best_peer_is_that_of_each_round(self) -> None:
        results, table = some(), Table("throughput", "memory", ())
        results.put(table, Cell("ackbus-c"), {"cpu_us_per_msg": [1.0, 2.0]})
        results.put(table, Cell("nats-c"), {"cpu_us_per_msg": [4.0, 10.0]})
        results.put(table, Cell("nats-go"), {"cpu_us_per_msg": [8.0, 20.0]})
        self.assertEqual(self.rows(results)["Real server, memory stream: CPU ÷ best peer's"], ["≤ 0.2", "0.225 (0.2 to 0.25)", "met within the spread"])

    def test_what_was_measured_at_another_time_is_not_compared(self) -> None:
        results, table = some(), Table("throughput", "endpoint", ())
        results.begin({"date": "later"})
        results.put(table, Cell("nats-c"), RATE)
        self.assertEqual(self.rows(results)["Endpoint, the same: rate ÷ Debian's libnats"], ["≥ 6", "–", "not measured"])

    def test_memory_counts_payload_and_bookkeeping(self) -> None:
        results = some()
        results.put(Table("held", "silent", ()), Cell("ackbus-c", window=HELD), {"held_bytes_per_msg": [380.0, 390.0]})
        self.assertEqual(
            self.rows(results)["Memory of a pending message of 128 bytes, 100,000 pending"], ["≤ 384 bytes", "385 bytes (380 to 390)", "met within the spread"]
        )

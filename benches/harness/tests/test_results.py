import tempfile
import unittest
from pathlib import Path

from harness.plan import HELD, RAW, Cell, Table
from harness.results import Figures, Results, against_raw

TABLE = Table("throughput", "endpoint", (Cell(RAW), Cell("ackbus-c")))


class Stored(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = Path(folder.name, "results.json")

    def session(self, name: str) -> Results:
        results = Results(self.path)
        results.begin({"date": name})
        return results

    def test_a_new_run_replaces_its_own_cells_alone(self) -> None:
        first = self.session("first")
        first.put(TABLE, TABLE.cells[0], {"msgs_per_s": [1.0]})
        first.put(TABLE, TABLE.cells[1], {"msgs_per_s": [2.0]})
        first.save()
        second = self.session("second")
        second.put(TABLE, TABLE.cells[1], {"msgs_per_s": [3.0]})
        second.save()
        stored = Results(self.path)
        self.assertEqual(
            [(cell["client"], cell["figures"], cell["session"]) for cell in stored.cells],
            [(RAW, {"msgs_per_s": [1.0]}, 0), ("ackbus-c", {"msgs_per_s": [3.0]}, 1)],
        )
        self.assertEqual([session["date"] for session in stored.sessions], ["first", "second"])

    def test_a_session_of_which_nothing_is_left_is_dropped(self) -> None:
        for name in ("first", "second"):
            results = self.session(name)
            for cell in TABLE.cells:
                results.put(TABLE, cell, {"msgs_per_s": [1.0]})
            results.save()
        stored = Results(self.path)
        self.assertEqual(([session["date"] for session in stored.sessions], {cell["session"] for cell in stored.cells}), (["second"], {0}))

    def test_a_table_is_done_when_each_cell_has_its_rounds_or_a_reason(self) -> None:
        results = self.session("first")
        results.put(TABLE, TABLE.cells[0], {"msgs_per_s": [1.0, 2.0]})
        self.assertFalse(results.done(TABLE, 2))
        results.put(TABLE, TABLE.cells[1], None, "skipped: not built on this machine")
        self.assertTrue(results.done(TABLE, 2))
        self.assertFalse(results.done(TABLE, 3))

    def test_the_rate_of_a_share_is_told_but_does_not_make_another_cell(self) -> None:
        results = self.session("first")
        for rate in (100, 200):
            results.put(TABLE, Cell(RAW, rate=rate), {"p50_us": [1.0]})
        self.assertEqual([cell["rate"] for cell in results.cells], [200])
        self.assertEqual(results.figures(TABLE.name, Cell(RAW), "p50_us"), [1.0])
        self.assertEqual(results.figures(TABLE.name, Cell(RAW, window=HELD), "p50_us"), [])


class Ratios(unittest.TestCase):
    def test_are_within_a_round_and_a_setting(self) -> None:
        raw, own, other = Cell(RAW), Cell("ackbus-c"), Cell("ackbus-c", msg_id=False)
        runs: dict[Cell, Figures] = {
            raw: {"msgs_per_s": [100.0, 200.0], "p50_us": [4.0, 4.0]},
            own: {"msgs_per_s": [50.0, 150.0], "p50_us": [4.0, 5.0]},
            other: {"msgs_per_s": [1.0, 1.0]},
        }
        against_raw(list(runs), runs)
        self.assertEqual((runs[own]["msgs_per_s_to_raw"], runs[own]["p50_us_to_raw"], runs[raw]["msgs_per_s_to_raw"]), ([0.5, 0.75], [1.0, 1.25], [1.0, 1.0]))
        self.assertNotIn("msgs_per_s_to_raw", runs[other])

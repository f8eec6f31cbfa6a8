import tempfile
import time
import unittest
from array import array
from pathlib import Path

from pace import SECOND, TICK, Pace, due_after


class Due(unittest.TestCase):
    def test_times_keep_their_rate_without_drift(self) -> None:
        self.assertEqual([due_after(20_000, index) for index in (0, 1, 3, 20_000)], [0, 50_000, 150_000, SECOND])
        self.assertEqual([due_after(3, index) for index in (1, 2, 3, 3_000_000_001)], [333_333_333, 666_666_666, SECOND, 1_000_000_000 * SECOND + 333_333_333])


class Waiting(unittest.TestCase):
    def test_what_is_late_goes_at_once(self) -> None:
        pace = Pace(1_000_000, 10)
        pace.begin()
        pace.now = pace.start + due_after(1_000_000, 9)
        self.assertEqual([pace.until(index) for index in (0, 9)], [None, None])

    def test_nobody_wakes_more_often_than_a_tick_and_late_wakes_do_not_add_up(self) -> None:
        pace = Pace(1_000, 10)
        pace.begin()
        pace.start += 3_600 * SECOND
        due = pace.start + due_after(1_000, 9)
        self.assertEqual(pace.until(9), due)
        pace.wake = due - TICK + 1
        self.assertEqual(pace.until(9), due + 1)
        pace.woke()
        self.assertEqual(pace.wake, due + 1)

    def test_a_wait_ends_when_the_message_is_due(self) -> None:
        pace = Pace(1_000, 10)
        pace.begin()
        pace.wait(5)
        self.assertGreaterEqual(time.monotonic_ns(), pace.start + 5 * SECOND // 1_000)
        self.assertIsNone(pace.until(5))

    def test_latency_counts_from_when_the_message_was_due(self) -> None:
        pace = Pace(1, 3)
        pace.begin()
        began = pace.start
        pace.start -= 1_000 * SECOND
        for index in range(3):
            pace.acked(index)
        took = time.monotonic_ns() - began
        with tempfile.TemporaryDirectory() as folder:
            pace.write(f"{folder}/latencies")
            written = array("Q", Path(folder, "latencies").read_bytes())
        for index, latency in enumerate(written):
            self.assertTrue(0 <= latency - (1_000 - index) * SECOND <= took, (index, latency, took))

    def test_without_a_rate_nothing_waits_and_nothing_is_kept(self) -> None:
        pace = Pace(0, 3)
        pace.begin()
        pace.wait(1_000_000)
        self.assertEqual(len(pace.latencies), 0)

import struct
import unittest

from harness.arithmetic import UNSET, Spread, latencies, percentile, round_down, slope, verdict


class Percentiles(unittest.TestCase):
    def test_are_values_that_were_measured_by_nearest_rank(self) -> None:
        ascending = list(range(1, 1001))
        self.assertEqual([percentile(ascending, percent) for percent in (50, 99, 99.9, 100)], [500, 990, 999, 1000])
        self.assertEqual([percentile([10, 20, 30], percent) for percent in (1, 33, 34, 67, 99.9)], [10, 10, 20, 30, 30])
        self.assertEqual(percentile([7], 0.1), 7)

    def test_need_values_and_a_percentage(self) -> None:
        for values, percent in (([], 50.0), ([1], 0.0), ([1], 100.1)):
            with self.assertRaises(ValueError):
                percentile(values, percent)

    def test_of_what_a_client_wrote_are_microseconds_in_any_order(self) -> None:
        written = struct.pack("=4Q", 4_000, 1_000, 3_000, 2_000)
        self.assertEqual(latencies(written, 4), {"p50_us": 2.0, "p99_us": 4.0, "p99.9_us": 4.0, "p100_us": 4.0})

    def test_are_refused_when_a_message_has_no_latency(self) -> None:
        with self.assertRaisesRegex(ValueError, "1 of 2 messages have no latency"):
            latencies(struct.pack("=2Q", 5, UNSET), 2)
        with self.assertRaisesRegex(ValueError, "2 latencies of 3 messages"):
            latencies(struct.pack("=2Q", 5, 6), 3)


class Rounds(unittest.TestCase):
    def test_have_a_median_and_ends(self) -> None:
        self.assertEqual(Spread.of([3, 1, 2]), Spread(2, 1, 3))
        self.assertEqual(Spread.of([4, 1, 2, 3]), Spread(2.5, 1, 4))
        with self.assertRaises(ValueError):
            Spread.of([])

    def test_the_median_meets_a_bound_or_the_best_round_does(self) -> None:
        least = [verdict(values, 0.85, at_least=True) for values in ([0.8, 0.85, 0.9], [0.8, 0.84, 0.85], [0.8, 0.81, 0.84])]
        self.assertEqual(least, ["met", "met within the spread", "**missed**"])
        most = [verdict(values, 1.3, at_least=False) for values in ([1.2, 1.3, 9.0], [1.3, 1.4, 1.5], [1.31, 1.4, 1.5])]
        self.assertEqual(most, ["met", "met within the spread", "**missed**"])

    def test_what_starting_costs_falls_out(self) -> None:
        self.assertEqual(slope((50_000, 1_000 + 50_000 * 3), (250_000, 1_000 + 250_000 * 3)), 3.0)
        self.assertEqual(slope((10, 70), (30, 70)), 0.0)

    def test_lengths_are_round(self) -> None:
        self.assertEqual([round_down(value) for value in (7.9, 99, 123_456, 1_999_999.5)], [7, 99, 120_000, 1_900_000])

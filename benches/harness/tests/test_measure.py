import struct
import unittest

from harness.counts import by_thread, total
from harness.measure import bounded, parse
from harness.plan import Cell

PERF = "# started on Mon\n\n690890,,raw_syscalls:sys_enter,690890,100.00,,\n"
STRACE = """% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 50.00    0.000100           1        80         2 futex
------ ----------- ----------- --------- --------- ----------------
100.00    0.000100           1       123         4 total
"""


class Lines(unittest.TestCase):
    def test_figures_are_read_by_their_names(self) -> None:
        self.assertEqual(parse("n=10 msgs_per_s=1.5 voluntary=-1\n"), {"n": 10.0, "msgs_per_s": 1.5, "voluntary": -1.0})
        self.assertEqual(parse("client=raw n=x"), {})

    def test_system_calls_are_summed_by_either_tool(self) -> None:
        self.assertEqual((total(PERF, "perf"), total(STRACE, "strace")), (690890, 123))

    def test_allocations_are_read_by_thread(self) -> None:
        table = struct.pack("=16sQ16sQ16sQ", b"publish", 7, b"ackbus-io", 0, b"", 0)
        self.assertEqual(by_thread(table), {"publish": 7, "ackbus-io": 0})

    def test_runs_are_bounded_by_messages_and_bytes(self) -> None:
        self.assertEqual([bounded(Cell("raw"), count) for count in (10, 123_456, 1e9)], [1_000, 120_000, 4_000_000])
        self.assertEqual(bounded(Cell("raw", size=64 << 10), 1e9), 32_000)

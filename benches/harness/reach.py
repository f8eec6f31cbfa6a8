"""What was to be reached, and whether it was: computed from the results, row by row."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .arithmetic import Spread, verdict
from .plan import HELD, PEERS, SIZE, Cell
from .results import Results

C, PEER_CELLS = Cell("ackbus-c"), [Cell(peer) for peer in PEERS]
BOOKKEEPING = 256
"""Bytes that a pending message may take besides its payload."""
IO_ALLOCATIONS = 0.0005
"""What counts as none: a table that grows once or twice between two runs is not steady state's."""


@dataclass(frozen=True)
class Aim:
    what: str
    bound: float
    at_least: bool
    values: Sequence[float]
    unit: str = ""

    def row(self) -> list[str]:
        wanted = f"{'≥' if self.at_least else '≤'} {self.bound:,.4g}{self.unit}"
        if not self.values:
            return [self.what, wanted, "–", "not measured"]
        spread = Spread.of(self.values)
        measured = f"{spread.median:,.3g}{self.unit}"
        if len(self.values) > 1:
            measured += f" ({spread.least:,.3g} to {spread.greatest:,.3g})"
        return [self.what, wanted, measured, verdict(self.values, self.bound, at_least=self.at_least)]


def aims(results: Results) -> Iterator[Aim]:
    def of(table: str, cell: Cell, name: str) -> list[float]:
        return results.figures(table, cell, name)

    endpoint = "throughput/endpoint"
    yield Aim("Endpoint, C API, Msg-Ids, a report each: rate ÷ raw loop", 0.85, True, of(endpoint, C, "msgs_per_s_to_raw"))
    yield Aim("Endpoint, the same: CPU", 0.7, False, of(endpoint, C, "cpu_us_per_msg"), " µs/msg")
    yield Aim("Endpoint, the same: rate ÷ Debian's libnats", 6, True, ratios(results, endpoint, C, "msgs_per_s", [Cell("nats-c")]))
    eight = ratios(results, "threads/endpoint", Cell("ackbus-c", threads=8), "msgs_per_s", [C])
    yield Aim("Endpoint, 8 publishing threads: rate ÷ one thread's", 0.85, True, eight)
    for load, words in (("memory", "memory stream"), ("file", "file stream")):
        table = f"throughput/{load}"
        yield Aim(f"Real server, {words}: rate ÷ raw loop", 0.97, True, of(table, C, "msgs_per_s_to_raw"))
        yield Aim(f"Real server, {words}: CPU ÷ best peer's", 0.2, False, ratios(results, table, C, "cpu_us_per_msg", PEER_CELLS))
    table = "latency/memory/20000"
    for name in ("p50", "p99"):
        yield Aim(f"Real server, memory stream, 20,000 msg/s: {name} ÷ raw loop's", 1.3, False, of(table, C, f"{name}_us_to_raw"))
    yield Aim("Real server, memory stream, 20,000 msg/s: p50 ÷ best peer's", 0.25, False, ratios(results, table, C, "p50_us", PEER_CELLS))
    large = ratios(results, "window/endpoint", Cell("ackbus-c", window=100_000), "cpu_us_per_msg", [Cell("ackbus-c", window=1_000)])
    yield Aim("Endpoint, window 100,000: CPU ÷ that with window 1,000", 1.15, False, large)
    held = of("held/silent", Cell("ackbus-c", window=HELD), "held_bytes_per_msg")
    yield Aim(f"Memory of a pending message of {SIZE} bytes, {HELD:,} pending", SIZE + BOOKKEEPING, False, held, " bytes")
    yield Aim("Allocations per message on the I/O thread, steady state", IO_ALLOCATIONS, False, of("counts/endpoint", C, "allocations_io_per_msg"))
    for count in (1, 1_000):
        wakeups = of("idle/memory", Cell("ackbus-idle", mode="callback", publishers=count), "wakeups_per_s")
        yield Aim(f"{count:,} idle publisher{'s' if count > 1 else ''}: times a second that each wakes", 2, False, wakeups)


def ratios(results: Results, table: str, cell: Cell, name: str, others: Sequence[Cell]) -> list[float]:
    """Round by round, to the least of the others: the best peer, where less is better. One that was not measured in these rounds does not take part."""
    values, beside = results.together(table, cell, name, others)
    return [value / min(them) for value, *them in zip(values, *beside, strict=True)] if beside else []

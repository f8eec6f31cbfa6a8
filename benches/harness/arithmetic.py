"""From many numbers to few."""

from __future__ import annotations

import statistics
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

UNSET = 2**64 - 1
"""What a client writes for a message whose ack it never saw."""


@dataclass(frozen=True)
class Spread:
    """The median of a few rounds, and their ends."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread:
        known = list(values)
        if not known:
            raise ValueError("no values: a spread needs at least one")
        return cls(statistics.median(known), min(known), max(known))


def percentile(ascending: Sequence[int], percent: float) -> int:
    """By nearest rank: the least value that so many per cent of all do not exceed. No value is made up between two that were measured."""
    if not ascending:
        raise ValueError("no values: a percentile needs at least one")
    if not 0 < percent <= 100:
        raise ValueError(f"percent is {percent}; allowed: above 0, up to 100")
    # In thousandths, because 99.9 % of 1,000 in floating point is a little more than 999.
    rank = -(-len(ascending) * round(percent * 1000) // 100_000)
    return ascending[rank - 1]


def latencies(written: bytes, count: int) -> dict[str, float]:
    """Percentiles in microseconds of what a client wrote: nanoseconds, 8 bytes for each message."""
    values = array("Q", written)
    if len(values) != count:
        raise ValueError(f"{len(values)} latencies of {count} messages")
    ascending = sorted(values)
    if ascending[-1] == UNSET:
        raise ValueError(f"{ascending.count(UNSET)} of {count} messages have no latency")
    return {f"p{name}_us": percentile(ascending, float(name)) / 1000 for name in ("50", "99", "99.9", "100")}


def slope(few: tuple[int, float], many: tuple[int, float]) -> float:
    """What one more message costs, from two runs as (messages, cost): what starting and ending cost falls out."""
    return (many[1] - few[1]) / (many[0] - few[0])


def round_down(value: float, digits: int = 2) -> int:
    """To so many significant digits: a number of messages that people can read."""
    whole = int(value)
    unit = 10 ** max(len(str(whole)) - digits, 0)
    return whole // unit * unit


def verdict(values: Sequence[float], bound: float, *, at_least: bool) -> str:
    """Whether a figure reaches its bound: by its median, or with its best round, or not."""
    spread = Spread.of(values)
    if spread.median >= bound if at_least else spread.median <= bound:
        return "met"
    best = spread.greatest if at_least else spread.least
    return "met within the spread" if (best >= bound if at_least else best <= bound) else "**missed**"

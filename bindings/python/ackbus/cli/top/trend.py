"""What a publisher did between two readings, and over the last minute."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from .reading import ACKED, SLOWEST, START, Reading

MINUTE = 60.0


@dataclass(frozen=True, slots=True)
class Point:
    """One interval."""

    number: int
    """Of the interval, so that points are grouped the same whenever they are drawn."""
    time: float
    acked: float
    """A second."""
    p99: float | None
    """Seconds; None: nothing was acknowledged."""


def increase(before: Sequence[tuple[float, float]], after: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """What was added to a histogram. Bounds that are new count from nothing."""
    known = dict(before)
    return [(bound, count - known.get(bound, 0.0)) for bound, count in after]


def quantile(share: float, buckets: Sequence[tuple[float, float]]) -> float | None:
    """The value that this share of what was counted does not exceed, as Prometheus' ``histogram_quantile`` has it: in a line across its bucket.

    None: nothing was counted. Infinity: it is beyond the last bound that says something.
    """
    total = buckets[-1][1] if buckets else 0.0
    if not total > 0:
        return None
    rank = share * total
    lower, below = 0.0, 0.0
    for bound, count in buckets:
        if count >= rank and count > below:
            return lower + (bound - lower) * (rank - below) / (count - below) if math.isfinite(bound) else math.inf
        lower, below = bound, count
    return math.inf


@dataclass(slots=True)
class Trend:
    """One publisher over time."""

    last: Reading
    time: float
    """Of the last reading, by a clock that only goes forward."""
    seconds: float = 0.0
    """Between the last two readings; 0: there is one alone."""
    rates: dict[str, float] = field(default_factory=dict)
    """Of all counters, a second."""
    latencies: list[tuple[float, float]] = field(default_factory=list)
    """The histogram of the last interval; with one reading alone, of all the publisher's life."""
    points: deque[Point] = field(default_factory=deque)
    _number: int = 0

    def __post_init__(self) -> None:
        self.latencies = self.last.buckets

    def take(self, reading: Reading, time: float) -> None:
        """The next reading. One from another run of the program begins anew: what it counted before says nothing about this interval."""
        before, seconds = self.last, time - self.time
        if seconds == 0:
            return
        self.last, self.time = reading, time
        if seconds < 0 or restarted(before, reading):
            self.seconds, self.rates, self.latencies = 0.0, {}, reading.buckets
            self.points.clear()
            return
        self.seconds = seconds
        self.rates = {name: (value - before.samples[name]) / seconds for name, value in reading.samples.items() if counts(name) and name in before.samples}
        self.latencies = increase(before.buckets, reading.buckets)
        self._number += 1
        self.points.append(Point(self._number, time, self.rates.get(ACKED, 0.0), self.quantile(0.99)))
        while self.points and self.points[0].time <= time - MINUTE:
            self.points.popleft()

    def pause(self) -> None:
        """There was no reading: what was true of an interval is true no longer."""
        self.rates, self.latencies = {}, []

    def quantile(self, share: float) -> float | None:
        """Of the last interval, in seconds; not above the slowest of all, which is known exactly."""
        found, slowest = quantile(share, self.latencies), self.last.samples.get(SLOWEST)
        return found if found is None or slowest is None or math.isinf(found) else min(found, slowest)


def counts(name: str) -> bool:
    return name.endswith("_total")


def restarted(before: Reading, after: Reading) -> bool:
    """Whether the program that is read now is not the one that was read before."""
    if before.samples.get(START) != after.samples.get(START):
        return True
    return any(after.samples.get(name, value) < value for name, value in before.samples.items() if counts(name))


def rebinned(values: Sequence[tuple[int, float | None]], width: int) -> list[float | None]:
    """At most ``width`` values for a line, the newest last: each is the highest of as many neighbours as it takes, always the same ones."""
    if not values or width < 1:
        return []
    together = 1
    while values[-1][0] // together - values[0][0] // together >= width:
        together += 1
    first = values[0][0] // together
    line: list[float | None] = [None] * (values[-1][0] // together - first + 1)
    for number, value in values:
        place = number // together - first
        if value is not None:
            line[place] = max(value, line[place] or 0.0)
    return line

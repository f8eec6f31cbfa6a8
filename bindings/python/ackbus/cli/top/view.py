"""How it looks, line by line: on a terminal, and as plain text."""

from __future__ import annotations

import math
import textwrap
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from . import words
from .reading import (
    ACCEPTED,
    ACKED,
    BYTES,
    CONNECTED,
    ERRORS,
    PENDING,
    PENDING_BYTES,
    PENDING_BYTES_LIMIT,
    PENDING_LIMIT,
    SLOWEST,
    START,
    TROUBLES,
    Failure,
)
from .trend import Trend, rebinned

LABEL = 14
"""Cells of the first column."""
GAP = "  "
FULL, HIGH = 0.8, 0.5
"""Shares of a limit from which it is red, or yellow."""
LONGEST_NAME = 24


@dataclass(slots=True)
class State:
    """All that is drawn."""

    source: str
    trends: dict[str, Trend] = field(default_factory=dict)
    problem: str = ""
    """Why there is nothing new."""
    since: float = 0.0
    """When that began, by time.monotonic."""
    read: float = 0.0
    """When something new was read, by time.monotonic."""


@dataclass(frozen=True, slots=True)
class Glyphs:
    """What bars and lines are made of."""

    full: str = "█"
    empty: str = "░"
    steps: str = "▁▂▃▄▅▆▇█"
    unknown: str = "–"

    @classmethod
    def of(cls, encoding: str) -> Glyphs:
        return cls() if encoding.lower().startswith("utf") else cls("#", ".", "_.-=+*%#", "-")


@dataclass(frozen=True, slots=True)
class Painter:
    """Draws into lines of one width."""

    width: int
    glyphs: Glyphs

    def lines(self, state: State) -> list[Text]:
        """None is wider than the width."""
        trends = list(state.trends.values())
        lines = list(self._problem(state)) if state.problem else []
        lines += self._several(trends) if len(trends) > 1 else self._one(trends[0])
        for line in lines:
            line.truncate(self.width, overflow="crop")
        return lines

    def _problem(self, state: State) -> Iterator[Text]:
        text = f"{state.problem}; for {words.duration(time.monotonic() - state.since)}, trying again"
        for line in textwrap.wrap(text, self.width):
            yield Text(line, "bold red")
        yield Text()

    # One publisher

    def _one(self, trend: Trend) -> Iterator[Text]:
        yield from self._heading(trend)
        yield Text()
        yield Text(" " * LABEL + f"{'a second':>12}{'in all':>16}", "dim")
        for label, name, words_of in (
            ("accepted", ACCEPTED, words.rate),
            ("acked", ACKED, words.rate),
            ("errors", ERRORS, words.rate),
            ("sent", BYTES, words.size),
        ):
            per_second, in_all = trend.rates.get(name), trend.last.samples.get(name)
            total = words.size if name == BYTES else words.whole
            style = "red" if name == ERRORS and per_second else ""
            yield self._row(label, Text(f"{self._known(per_second, words_of):>12}{self._known(in_all, total):>16}", style))
        yield Text()
        yield self._level("pending", trend, PENDING, PENDING_LIMIT, bytes_=False)
        yield self._level("", trend, PENDING_BYTES, PENDING_BYTES_LIMIT, bytes_=True)
        yield Text()
        yield from self._latency(trend)
        yield Text()
        yield from self._troubles(trend)
        yield Text()
        yield from self._failures([("", failure) for failure in trend.last.failures])

    def _heading(self, trend: Trend) -> Iterator[Text]:
        info, start = trend.last.info, trend.last.samples.get(START)
        parts = [Text(trend.last.name, "bold"), self._standing(trend)]
        if server := info.get("server", ""):
            parts.append(Text(server))
        if version := info.get("server_version", ""):
            parts.append(Text(f"nats-server {version}"))
        if start is not None:
            parts.append(Text(f"up {words.duration(time.time() - start)}"))
        yield from self._flow(parts)

    def _standing(self, trend: Trend) -> Text:
        connected = trend.last.samples.get(CONNECTED)
        if connected is None:
            return Text(self.glyphs.unknown)
        state = trend.last.state or ("connected" if connected else "not connected")
        return Text(state, "green" if connected else "bold red")

    def _row(self, label: str, *cells: Text | str) -> Text:
        return Text.assemble((f"{label:<{LABEL}}", "dim"), *cells)

    def _known(self, number: float | None, words_of: Callable[[float], str]) -> str:
        return self.glyphs.unknown if number is None else words_of(number)

    def _level(self, label: str, trend: Trend, name: str, limit_name: str, *, bytes_: bool) -> Text:
        """How much of a limit is used."""
        words_of = words.size if bytes_ else words.whole
        now, limit = trend.last.samples.get(name), trend.last.samples.get(limit_name)
        if now is None or not limit:
            return self._row(label, self._known(now, words_of))
        share = min(max(now / limit, 0.0), 1.0)
        text = f" {share:>4.0%} {words_of(now):>10} of {words_of(limit)}"
        cells = min(self.width - LABEL - 28, 60)
        if cells < 5:
            return self._row(label, text.strip())
        # What is not nothing is seen.
        full = min(max(round(share * cells), int(now > 0)), cells)
        style = "red" if share >= FULL else "yellow" if share >= HIGH else "green"
        return self._row(label, Text(self.glyphs.full * full, style), Text(self.glyphs.empty * (cells - full), "dim"), text)

    def _latency(self, trend: Trend) -> Iterator[Text]:
        if trend.last.buckets:
            found = [f"{name} {self._quantile(trend, share)}" for name, share in (("p50", 0.5), ("p99", 0.99))]
            slowest = trend.last.samples.get(SLOWEST)
            if slowest is not None:
                found.append(f"slowest {words.latency(slowest, slowest)}")
            if not trend.seconds:
                found.append("(all so far)")
            yield self._row("ack latency", GAP.join(found))
        if trend.points:
            highest = self._highest(trend)
            yield self._minute("  p99", [(point.number, point.p99) for point in trend.points], lambda top: words.latency(top, highest))
            yield self._minute("  acked", [(point.number, point.acked) for point in trend.points], lambda top: f"{words.rate(top)}/s")

    def _minute(self, label: str, values: Sequence[tuple[int, float | None]], words_of: Callable[[float], str]) -> Text:
        """A line of the last minute, from 0 to its highest value."""
        cells = max(min(self.width - LABEL - 18, 60), 1)
        line = rebinned(values, cells)
        known = [value for value in line if value is not None]
        top = max(known, default=0.0)
        return self._row(label, Text(f"{self._steps(line, top):>{cells}}", "cyan"), f" to {words_of(top)}" if known else "")

    def _quantile(self, trend: Trend, share: float) -> str:
        value = trend.quantile(share)
        return self.glyphs.unknown if value is None else words.latency(value, self._highest(trend))

    def _highest(self, trend: Trend) -> float:
        return max((bound for bound, _ in trend.last.buckets if math.isfinite(bound)), default=0.0)

    def _steps(self, values: Sequence[float | None], top: float) -> str:
        """A line of one character for each value, from 0 to ``top``."""
        steps = self.glyphs.steps

        def step(value: float) -> str:
            return steps[-1] if value >= top > 0 or not math.isfinite(value) else steps[int(value / top * len(steps))] if top > 0 else steps[0]

        return "".join(" " if value is None else step(value) for value in values)

    def _troubles(self, trend: Trend) -> Iterator[Text]:
        found = []
        for label, name in TROUBLES.items():
            if (number := trend.last.samples.get(name)) is not None:
                found.append(Text(f"{label} {words.whole(number)}", "yellow" if trend.rates.get(name) else ""))
        yield from self._flow(found)

    def _flow(self, parts: Iterable[Text]) -> Iterator[Text]:
        """As many to a line as have room."""
        line = Text()
        for part in parts:
            if line.cell_len and line.cell_len + len(GAP) + part.cell_len > self.width:
                yield line
                line = Text()
            line = Text.assemble(line, GAP if line.cell_len else "", part)
        if line.cell_len:
            yield line

    # Several publishers

    def _several(self, trends: Sequence[Trend]) -> Iterator[Text]:
        names = [cut(trend.last.name, LONGEST_NAME) for trend in trends]
        columns: dict[str, list[Text]] = {
            "publisher": [Text(name, "bold") for name in names],
            "": [self._standing(trend) for trend in trends],
            "accepted/s": self._rates(trends, ACCEPTED),
            "acked/s": self._rates(trends, ACKED),
            "errors/s": self._rates(trends, ERRORS, "red"),
            "pending": [self._share(trend) for trend in trends],
            "p99": [Text(self._quantile(trend, 0.99)) for trend in trends],
        }
        widths = {title: max(cell_len(title), *(cell.cell_len for cell in cells)) for title, cells in columns.items()}
        for dispensable in ("accepted/s", "p99", "", "acked/s", "pending"):
            if sum(widths.values()) + len(GAP) * (len(widths) - 1) > self.width:
                del widths[dispensable]
        left = ("publisher", "")
        yield Text(GAP.join(title.ljust(width) if title in left else title.rjust(width) for title, width in widths.items()), "dim")
        for index in range(len(trends)):
            line = Text()
            for title, width in widths.items():
                cell = columns[title][index]
                space = " " * (width - cell.cell_len)
                line = Text.assemble(line, GAP if line.cell_len else "", *((cell, space) if title in left else (space, cell)))
            yield line
        yield Text()
        yield from self._failures([(name, failure) for name, trend in zip(names, trends, strict=True) for failure in trend.last.failures])

    def _rates(self, trends: Iterable[Trend], name: str, style: str = "") -> list[Text]:
        rates = [trend.rates.get(name) for trend in trends]
        return [Text(self._known(rate, words.rate), style if rate else "") for rate in rates]

    def _share(self, trend: Trend) -> Text:
        now, limit = trend.last.samples.get(PENDING), trend.last.samples.get(PENDING_LIMIT)
        if now is None or not limit:
            return Text(self._known(now, words.whole))
        share = now / limit
        return Text(f"{words.whole(now)} {share:>4.0%}", "red" if share >= FULL else "yellow" if share >= HIGH else "")

    # Errors of either

    def _failures(self, failures: Iterable[tuple[str, Failure]]) -> Iterator[Text]:
        """The newest first, those without a time by their count."""
        rows = sorted(((name, failure) for name, failure in failures if failure.count), key=lambda row: (-(row[1].time or 0.0), -row[1].count))
        if not rows:
            return
        of = [f"{name}{GAP}" if name else "" for name, _ in rows]
        name_width, status_width = max(map(cell_len, of)), max(len("last errors"), *(cell_len(failure.status) for _, failure in rows))
        yield Text(f"{' ' * name_width}{'last errors':<{status_width}}{GAP}{'count':>9}{GAP}{'ago':>10}", "dim")
        for name, (_, failure) in zip(of, rows, strict=True):
            age = self.glyphs.unknown if failure.time is None else words.duration(time.time() - failure.time)
            line = f"{set_cell_size(name, name_width)}{set_cell_size(failure.status, status_width)}{GAP}{words.whole(failure.count):>9}{GAP}{age:>10}"
            yield Text.assemble(line, GAP, failure.text)


def cut(text: str, width: int) -> str:
    """No wider than that."""
    return text if cell_len(text) <= width else set_cell_size(text, width)

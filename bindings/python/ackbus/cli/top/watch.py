"""What is known of the source: reading by reading."""

from __future__ import annotations

import time

from ..usage import Usage
from .reading import Reading
from .source import Snapshot, Source, Unreadable
from .trend import Trend
from .view import State


class Watch:
    """Keeps what is drawn up to date. One thread uses it; another may call :meth:`look` meanwhile."""

    def __init__(self, source: Source, publisher: str | None) -> None:
        self.source = source
        self.state = State(source.name)
        self._publisher = publisher

    def begin(self) -> None:
        """The first reading must succeed: what is wrong then is more often the source than the program. Raises :exc:`Usage`."""
        news = self.look()
        if isinstance(news, Snapshot):
            news = self._chosen(news)
        if isinstance(news, Unreadable):
            raise Usage(str(news))
        self.take(news)

    def look(self) -> Snapshot | Unreadable | None:
        """Reads, and changes nothing here."""
        try:
            return self.source.read()
        except Unreadable as problem:
            return problem

    def take(self, news: Snapshot | Unreadable | None) -> None:
        """What :meth:`look` found; None is nothing new."""
        state = self.state
        if isinstance(news, Snapshot):
            news = self._chosen(news)
        if isinstance(news, Snapshot):
            state.problem, state.read = "", time.monotonic()
            state.trends = {name: self._trend(name, reading, news.time) for name, reading in news.readings.items()}
        elif news is not None:
            if not state.problem:
                state.since = time.monotonic()
            state.problem = str(news)
            for trend in state.trends.values():
                trend.pause()

    def _trend(self, name: str, reading: Reading, moment: float) -> Trend:
        trend = self.state.trends.get(name)
        if trend is None:
            return Trend(reading, moment)
        trend.take(reading, moment)
        return trend

    def _chosen(self, snapshot: Snapshot) -> Snapshot | Unreadable:
        name = self._publisher
        if name is None:
            return snapshot
        if name not in snapshot.readings:
            return Unreadable(f"{self.source.name}: no publisher {name!r} in it; there is {', '.join(sorted(snapshot.readings))}")
        return Snapshot({name: snapshot.readings[name]}, snapshot.time)

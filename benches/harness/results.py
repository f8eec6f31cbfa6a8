"""results.json: what was measured when, cell by cell. A new run of a cell replaces the old one, and leaves the others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .arithmetic import Spread
from .plan import RAW, Cell, Table

Figures = dict[str, list[float]]
"""One value for each round."""


class Results:
    def __init__(self, path: Path) -> None:
        self.path = path
        stored = json.loads(path.read_text()) if path.exists() else {"sessions": [], "cells": []}
        self.sessions: list[dict[str, Any]] = stored["sessions"]
        self.cells: list[dict[str, Any]] = stored["cells"]

    def begin(self, session: dict[str, Any]) -> None:
        """Where and with what the cells that follow are measured."""
        self.sessions.append(session)

    def put(self, table: Table, cell: Cell, figures: Figures | None, note: str = "") -> None:
        """``figures`` None: the cell was not measured, and the note says why."""
        entry = {"table": table.name, **cell.key(), "rate": cell.rate, "session": len(self.sessions) - 1, "note": note, "figures": figures}
        found = [index for index, old in enumerate(self.cells) if same(old, table.name, cell)]
        if found:
            self.cells[found[0]] = entry
        else:
            self.cells.append(entry)

    def get(self, table: str, cell: Cell) -> dict[str, Any] | None:
        return next((entry for entry in self.cells if same(entry, table, cell)), None)

    def figures(self, table: str, cell: Cell, name: str) -> list[float]:
        """Empty when it was not measured."""
        entry = self.get(table, cell)
        return (entry["figures"] or {}).get(name, []) if entry else []

    def together(self, table: str, cell: Cell, name: str, others: Sequence[Cell]) -> tuple[list[float], list[list[float]]]:
        """A figure of a cell, and of those others that were measured in the same rounds. Only such figures may be divided."""
        own = self.get(table, cell)
        if own is None:
            return [], []
        beside = [entry for other in others if (entry := self.get(table, other)) and entry["session"] == own["session"]]
        values = self.figures(table, cell, name)
        return values, [other for entry in beside if len(other := (entry["figures"] or {}).get(name, [])) == len(values)]

    def of(self, table: str) -> list[dict[str, Any]]:
        return [entry for entry in self.cells if entry["table"] == table]

    def done(self, table: Table, rounds: int) -> bool:
        """Whether each cell has its rounds, or a reason why not."""
        entries = [self.get(table.name, cell) for cell in table.cells]
        return all(entry is not None and (entry["figures"] is None or len(next(iter(entry["figures"].values()))) >= rounds) for entry in entries)

    def save(self) -> None:
        """Written whole or not at all. Sessions of which no cell is left are dropped."""
        used = sorted({entry["session"] for entry in self.cells} | {len(self.sessions) - 1})
        number = {old: new for new, old in enumerate(used) if old >= 0}
        cells = [entry | {"session": number[entry["session"]]} for entry in self.cells]
        sessions = [self.sessions[old] for old in number]
        lines = ",\n  ".join(json.dumps(entry) for entry in cells)
        text = f'{{"sessions": {json.dumps(sessions, indent=1)},\n "cells": [\n  {lines}\n]}}\n'
        new = self.path.with_suffix(".new")
        new.write_text(text)
        new.replace(self.path)
        self.sessions, self.cells = sessions, cells


def same(entry: dict[str, Any], table: str, cell: Cell) -> bool:
    return entry["table"] == table and all(entry[name] == value for name, value in cell.key().items())


def against_raw(cells: Sequence[Cell], runs: dict[Cell, Figures]) -> None:
    """Adds to each cell its ratios to the raw loop's run of the same setting in the same round."""
    raws = {cell.setting: runs[cell] for cell in cells if cell.client == RAW and runs.get(cell)}
    for cell, figures in runs.items():
        raw = raws.get(cell.setting)
        if raw is None:
            continue
        for name in ("msgs_per_s", "p50_us", "p99_us"):
            if name in figures and name in raw and len(figures[name]) == len(raw[name]):
                figures[f"{name}_to_raw"] = [own / other for own, other in zip(figures[name], raw[name], strict=True)]


def median(values: Sequence[float]) -> float | None:
    return Spread.of(values).median if values else None

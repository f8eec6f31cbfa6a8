"""Runs the benchmark, or a part of it, and writes results.json, README.md and the pictures. `make bench` builds what it needs and starts it."""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from . import counts, page, plan
from .clients import Places, first, output, read, versions
from .measure import Failed, count_for, publish
from .plan import Cell, Table
from .results import Figures, Results, against_raw, median
from .servers import Target, serve

ROOT = Path(__file__).resolve().parents[2]
IDLE_SECONDS = 10


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


class Run:
    def __init__(self, given: argparse.Namespace, places: Places, results: Results, work: Path, tracer: str | None) -> None:
        self.given, self.places, self.results, self.work, self.tracer = given, places, results, work, tracer
        self.failures = 0

    def play(self, table: Table, number: int, of: int) -> None:
        if self.given.skip_done and self.results.done(table, self.rounds(table)):
            note(f"[{number}/{of}] {table.name}: done before")
            return
        began = time.monotonic()
        note(f"[{number}/{of}] {table.name} …")
        cells = [cell for cell in table.cells if self.is_there(table, cell)]
        with serve(table.load, self.places.programs) as target:
            runs = self.measure(table, cells, target)
        against_raw(list(runs), runs)
        for cell, figures in runs.items():
            if figures:
                self.results.put(table, cell, figures)
        self.results.save()
        note(f"[{number}/{of}] {table.name}: {time.monotonic() - began:.0f} s")

    def is_there(self, table: Table, cell: Cell) -> bool:
        if self.places.there(cell.client):
            return True
        self.skip(table, cell, "not built on this machine")
        return False

    def skip(self, table: Table, cell: Cell, why: str) -> None:
        note(f"  {label(cell)}: skipped: {why}")
        self.results.put(table, cell, None, f"skipped: {why}")

    def rounds(self, table: Table) -> int:
        alone = table.group in {"counts", "idle"} or (table.group == "held" and self.given.quick)
        return 1 if alone else self.given.rounds

    def measure(self, table: Table, cells: list[Cell], target: Target) -> dict[Cell, Figures]:
        """Round by round, each cell once in each: what the machine does besides meets all alike. A cell that fails is left out from then on."""
        if table.group == "latency":
            cells = self.paced(table, cells)
        lengths: dict[Cell, int] = {}
        runs: dict[Cell, Figures] = {cell: {} for cell in cells}
        for round_number in range(1, self.rounds(table) + 1):
            for cell in list(runs):
                try:
                    figures = self.once(table, cell, target, lengths)
                except Failed as why:
                    note(f"  {label(cell)}: FAILED: {why}")
                    self.results.put(table, cell, None, f"failed: {why}")
                    self.failures += 1
                    del runs[cell]
                    continue
                for name, value in figures.items():
                    runs[cell].setdefault(name, []).append(value)
                note(f"  round {round_number} {label(cell)}: " + " ".join(f"{name}={value:.6g}" for name, value in figures.items()))
        return runs

    def once(self, table: Table, cell: Cell, target: Target, lengths: dict[Cell, int]) -> dict[str, float]:
        if table.group == "counts":
            return self.count(cell, target)
        if table.group == "idle":
            return counts.idle(self.places, cell, target, IDLE_SECONDS)
        if table.group == "held":
            figures = publish(self.places, cell, target, cell.window, self.work, hold=True)
            return {"held_bytes_per_msg": (figures["rss_kb"] - figures["rss_start_kb"]) * 1024 / cell.window}
        seconds = self.given.seconds * (0.5 if self.given.quick else 1)
        if cell.rate:
            count = int(cell.rate * 2 * seconds)
        else:
            count = lengths.get(cell) or lengths.setdefault(cell, count_for(self.places, cell, target, seconds, self.work))
        figures = publish(self.places, cell, target, count, self.work)
        return {name: value for name, value in figures.items() if name not in {"acked", "failed", "rss_start_kb", "allocations_per_msg"}}

    def count(self, cell: Cell, target: Target) -> dict[str, float]:
        figures = counts.allocations(self.places, cell, target, self.work)
        return figures | (counts.system_calls(self.places, cell, target, self.work, self.tracer) if self.tracer else {})

    def paced(self, table: Table, cells: list[Cell]) -> list[Cell]:
        """The cells at the table's rate; without those that do not reach it, whose latency would only tell how long the run was."""
        rates = {cell.client: self.results.figures(f"throughput/{table.load}", Cell(cell.client), "msgs_per_s") for cell in cells}
        if table.rate.endswith("%"):
            limit = median(rates[plan.RAW])
            if limit is None:
                for cell in cells:
                    self.skip(table, cell, f"the limit is not known: throughput/{table.load} was not measured")
                return []
            rate = int(limit * plan.SHARE / 100)
        else:
            rate = int(table.rate)
        at_rate = []
        for cell in cells:
            best = max(rates[cell.client], default=rate)
            if best < rate:
                self.skip(table, replace(cell, rate=rate), f"its best rate with this load is {best:,.0f} msg/s, this one {rate:,}")
            else:
                at_rate.append(replace(cell, rate=rate))
        return at_rate


def label(cell: Cell) -> str:
    default = Cell(cell.client)
    more = [f"{name}={value}" for name, value in vars(cell).items() if value != getattr(default, name)]
    return " ".join([cell.client, *more])


def session(given: argparse.Namespace, places: Places, server: Path, tracer: str | None) -> dict[str, object]:
    dirty = "+" if output(["git", "-C", str(ROOT), "status", "--porcelain", "--", "src", "bindings", "benches"]) else ""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": output(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]) + dirty,
        "cpu": first(r"model name\s*: (.*)", read(Path("/proc/cpuinfo"))),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "load_average": round(os.getloadavg()[0], 2),
        "rounds": given.rounds,
        "seconds": given.seconds,
        "quick": given.quick,
        "tracer": tracer,
        "versions": versions(places, server),
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    words = {"groups": plan.GROUPS, "loads": plan.LOADS, "clients": plan.CLIENTS}
    for name, allowed in words.items():
        parser.add_argument(f"--{name}", default=",".join(allowed), help="of these, with commas")
    parser.add_argument("--rounds", type=int, help="default: 5; quick: 3")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long a run takes, roughly; twice that for latencies")
    parser.add_argument(
        "--quick", action="store_true", help="the endpoint and a memory stream, short runs, latencies at 20,000/s alone, no modes, no idle publishers"
    )
    parser.add_argument("--skip-done", action="store_true", help="leave out the tables that results.json has whole, whenever they were measured")
    parser.add_argument("--page", action="store_true", help="measure nothing; write the page and the pictures from results.json")
    parser.add_argument("--out", type=Path, default=ROOT / "docs/bench", help="the folder of results.json and README.md")
    parser.add_argument("--target", type=Path, default=ROOT / "target", help="cargo's folder")
    parser.add_argument("--python", type=Path, default=ROOT / ".tools/bench-python/bin/python", help="an interpreter with ackbus and its peers")
    given = parser.parse_args()
    for name, allowed in words.items():
        chosen = [word for word in getattr(given, name).split(",") if word]
        if unknown := [word for word in chosen if word not in allowed]:
            parser.error(f"--{name}: {', '.join(unknown)}; allowed: {', '.join(allowed)}")
        setattr(given, name, chosen)
    if given.rounds is None:
        given.rounds = 3 if given.quick else 5
    if given.rounds < 1 or given.seconds <= 0:
        parser.error("--rounds must be at least 1, --seconds above 0")
    return given


def main() -> int:
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    results = Results(given.out / "results.json")
    failures = 0
    if not given.page:
        places = Places(ROOT, given.target / "release", given.target / "bench", given.python)
        server = Path(os.environ.get("ACKBUS_NATS_SERVER", ROOT / ".tools/nats-server/bin/nats-server"))
        tables = plan.select(given.groups, given.loads, given.clients, plan.quick if given.quick else lambda table: True)
        with tempfile.TemporaryDirectory(prefix="ackbus-bench-") as work:
            tracer = counts.tracer(Path(work))
            results.begin(session(given, places, server, tracer))
            run = Run(given, places, results, Path(work), tracer)
            try:
                for number, table in enumerate(tables, 1):
                    run.play(table, number, len(tables))
            except KeyboardInterrupt:
                note("interrupted: the tables before this one are kept, and --skip-done goes on behind them")
                return 130
            failures = run.failures
    page.write(results, given.out)
    if failures:
        note(f"{failures} cells failed; the page says which")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())

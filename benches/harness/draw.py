"""The pictures of docs/bench: bars with their ends for rate and CPU, dots for latencies, lines for sweeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .arithmetic import Spread
from .plan import LOADS, RAW, SHARE
from .results import Results

LIMIT, OURS, THEIRS = "#264653", "#4c9f70", "#9db4c0"


def all_of(results: Results, folder: Path) -> None:
    """Draws what there are results for. Without a date, so that the same figures give the same files."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "ackbus", "svg.fonttype": "none", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False})
    for name, figure in (("throughput", throughput(results)), ("latency", latency(results)), ("sweeps", sweeps(results))):
        if figure is not None:
            figure.tight_layout()
            figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def colour(client: str) -> str:
    return LIMIT if client == RAW else OURS if client.startswith("ackbus") else THEIRS


def throughput(results: Results) -> Any:
    """A row of panels for each load: rate, and CPU on a logarithmic scale."""
    from matplotlib import pyplot

    found = [(load, entries) for load in LOADS if (entries := with_ids(results, f"throughput/{load}"))]
    if not found:
        return None
    figure, panels = pyplot.subplots(len(found), 2, figsize=(10, 2.4 * len(found)), squeeze=False)
    for row, (load, entries) in zip(panels, found, strict=True):
        bars(row[0], entries, "msgs_per_s", 1000)
        row[0].set_title(f"{load}: thousand messages per second", loc="left")
        bars(row[1], entries, "cpu_us_per_msg", 1)
        logarithmic(row[1], "x")
        row[1].set_title(f"{load}: client CPU, µs per message", loc="left")
    return figure


def logarithmic(panel: Any, axis: str) -> None:
    """With numbers at its ticks that people read, and no ticks between them."""
    getattr(panel, f"set_{axis}scale")("log")
    panel.minorticks_off()
    getattr(panel, f"{axis}axis").set_major_formatter("{x:,.10g}")


def with_ids(results: Results, table: str) -> list[dict[str, Any]]:
    return [entry for entry in results.of(table) if entry["figures"] and entry["msg_id"]]


def bars(panel: Any, entries: list[dict[str, Any]], name: str, unit: float) -> None:
    spreads = [Spread.of(value / unit for value in entry["figures"][name]) for entry in entries]
    clients = [entry["client"] for entry in entries]
    ends = [[of.median - of.least for of in spreads], [of.greatest - of.median for of in spreads]]
    panel.barh(clients, [of.median for of in spreads], xerr=ends, color=[colour(client) for client in clients], height=0.7, ecolor="#555555", capsize=2)
    panel.invert_yaxis()


def latency(results: Results) -> Any:
    """From p50 over p99 to p99.9 for each client; a panel for each load and rate."""
    from matplotlib import pyplot

    order = ("1000", "20000", f"{SHARE}%")
    found = {(load, rate): entries for load in ("endpoint", "memory") for rate in order if (entries := with_ids(results, f"latency/{load}/{rate}"))}
    if not found:
        return None
    loads, rates = list(dict.fromkeys(load for load, _ in found)), [rate for rate in order if any(rate == own for _, own in found)]
    figure, panels = pyplot.subplots(len(loads), len(rates), figsize=(4 * len(rates), 2.8 * len(loads)), squeeze=False)
    for panel in panels.flat:
        panel.axis("off")
    for (load, rate), entries in found.items():
        panel = panels[loads.index(load)][rates.index(rate)]
        panel.axis("on")
        for entry in entries:
            values = [Spread.of(entry["figures"][name]).median for name in ("p50_us", "p99_us", "p99.9_us")]
            panel.plot(values, [entry["client"]] * 3, color=colour(entry["client"]), linewidth=1)
            for value, marker in zip(values, "o|x", strict=True):
                panel.plot([value], [entry["client"]], marker, color=colour(entry["client"]), markersize=5)
        logarithmic(panel, "x")
        panel.invert_yaxis()
        panel.set_title(f"{load}, {entries[0]['rate']:,}/s: p50 ● p99 | p99.9 ×, µs", loc="left")
    return figure


def sweeps(results: Results) -> Any:
    """Rate over payload, window and threads, with the raw loop where it was measured too."""
    from matplotlib import pyplot

    wanted = [("payload", "size", "payload, bytes"), ("window", "window", "window, messages"), ("threads", "threads", "publishing threads")]
    found = [(what, entries) for what in wanted if (entries := with_ids(results, f"{what[0]}/endpoint"))]
    if not found:
        return None
    figure, panels = pyplot.subplots(2, len(found), figsize=(4 * len(found), 5), squeeze=False)
    for column, ((_, name, words), entries) in zip(panels.T, found, strict=True):
        for client in dict.fromkeys(entry["client"] for entry in entries):
            own = [entry for entry in entries if entry["client"] == client]
            for panel, figure_name in zip(column, ("msgs_per_s", "cpu_us_per_msg"), strict=True):
                spreads = [Spread.of(entry["figures"][figure_name]) for entry in own]
                at = [entry[name] for entry in own]
                panel.plot(at, [of.median for of in spreads], "o-", label=client, color=colour(client), linewidth=1, markersize=3)
                panel.fill_between(at, [of.least for of in spreads], [of.greatest for of in spreads], color=colour(client), alpha=0.2, linewidth=0)
        column[0].set_title(f"messages per second over {words}", loc="left")
        column[1].set_title("CPU, µs per message", loc="left")
        ticks = sorted({entry[name] for entry in entries})
        for panel in column:
            logarithmic(panel, "x")
            panel.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
            if name == "threads":
                panel.set_ylim(bottom=0)
                panel.yaxis.set_major_formatter("{x:,.10g}")
            else:
                logarithmic(panel, "y")
        column[0].legend(frameon=False)
    return figure

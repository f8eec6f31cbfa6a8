"""Draws docs/faults/faults.svg (stacked bars of the outcomes per client and fault) and soak.svg from what the runner wrote.

Usage: plot.py FOLDER
"""

import json
import pathlib
import sys

import matplotlib
import matplotlib.pyplot as plt

# What a user wants is calm, what misleads him is loud.
SHARES = [
    ("acked", "acked, and stored", "#4c9f70"),
    ("true_fail", "true failure", "#9db4c0"),
    ("in_doubt", "in doubt, and said so", "#e9c46a"),
    ("told_wrong", "told as failed, but stored", "#e76f51"),
    ("hung", "no outcome", "#7b2cbf"),
    ("lost", "told as stored, but lost", "#d00000"),
    ("dups", "stored twice", "#000000"),
]


def faults(folder: pathlib.Path) -> None:
    """One panel per fault, one bar per client, in shares of what was accepted."""
    results = json.loads((folder / "results.json").read_text())
    rows = list(dict.fromkeys(result["row"] for result in results))
    names = {line.split(":")[0][4:]: line.split(":", 1)[1].strip() for line in (folder / "README.md").read_text().splitlines() if line.startswith("### ")}
    columns = 4
    lines = -(-len(rows) // columns)
    figure, panels = plt.subplots(lines, columns, figsize=(4.6 * columns, 2.3 * lines), squeeze=False)
    for panel in panels.flat[len(rows) :]:
        panel.axis("off")
    for panel, row in zip(panels.flat, rows, strict=False):
        sums: dict[str, dict[str, float]] = {}
        for result in (result for result in results if result["row"] == row):
            total = sums.setdefault(result["client"], dict.fromkeys([key for key, *_ in SHARES] + ["accepted"], 0))
            result["told_wrong"] = result["false_fail"] + result["mislabelled"]
            result["acked"] -= result["lost"]
            for key in total:
                total[key] += result[key]
        clients = list(sums)[::-1]
        left = [0.0] * len(clients)
        for key, label, colour in SHARES:
            widths = [100 * sums[client][key] / max(sums[client]["accepted"], 1) for client in clients]
            panel.barh(clients, widths, left=left, color=colour, label=label, height=0.75)
            left = [start + width for start, width in zip(left, widths, strict=True)]
        panel.set_title(f"{row}: {names.get(row, '')}", fontsize=9, loc="left")
        panel.set_xlim(0, max(100.0, *left))
        panel.tick_params(labelsize=7)
        panel.spines[["top", "right"]].set_visible(False)
    handles, labels = panels.flat[0].get_legend_handles_labels()
    figure.suptitle("Of the messages that a client accepted, in %", fontsize=11, x=0.01, ha="left")
    figure.legend(handles, labels, loc="upper right", ncols=len(SHARES), fontsize=8, frameon=False)
    figure.tight_layout(rect=(0, 0, 1, 0.985))
    save(figure, folder / "faults.svg")


def soak(folder: pathlib.Path) -> None:
    """Memory, descriptors and pending messages over time; faults as bands."""
    data = json.loads((folder / "soak.json").read_text())
    minutes = [sample["second"] / 60 for sample in data["samples"]]
    figure, panels = plt.subplots(3, 1, figsize=(11, 6), sharex=True)
    wanted = [("rss_kb", "resident memory, MiB", 1024), ("descriptors", "open descriptors", 1), ("pending", "pending messages", 1)]
    for panel, (key, label, unit) in zip(panels, wanted, strict=True):
        for fault in data["faults"]:
            panel.axvspan(fault["from"] / 60, fault["to"] / 60, color="#e9c46a", alpha=0.35, linewidth=0)
        panel.plot(minutes, [sample[key] / unit for sample in data["samples"]], color="#264653", linewidth=1)
        panel.set_ylabel(label, fontsize=8)
        panel.set_ylim(bottom=0)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_title(f"{data['client']}: {len(data['faults'])} random faults (shaded), seed {data['seed']}", fontsize=10, loc="left")
    panels[-1].set_xlabel("minutes")
    figure.tight_layout()
    save(figure, folder / "soak.svg")


def save(figure: plt.Figure, path: pathlib.Path) -> None:
    """Without a date, so that the same figures give the same file."""
    matplotlib.rcParams["svg.hashsalt"] = "ackbus"
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    where = pathlib.Path(sys.argv[1])
    if (where / "results.json").exists():
        faults(where)
    if (where / "soak.json").exists():
        soak(where)

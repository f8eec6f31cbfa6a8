"""docs/bench/README.md, from results.json alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from . import draw
from .arithmetic import Spread
from .plan import HELD, LOADS, RAW, SHARE, SIZE, SPREAD, WINDOW
from .reach import aims
from .results import Results

Entry = dict[str, Any]

INTRODUCTION = f"""# The benchmark

ackbus beside its peers, and beside a loop on a raw socket that does the least any client can do: print frames into a buffer, write it, count acks.
That loop is the limit. This page is written by `make bench`; `make bench QUICK=1` measures a part in a few minutes, and `make bench BENCH='--help'`
lists how to choose another. Where the instructions of a message go is in [PROFILE.md](PROFILE.md).

Absolute figures move with the machine and with what else it does; **ratios within one table are what to read**. Each table was measured in rounds,
and in each round every client ran once, in turn; figures are medians of the rounds, with least and greatest behind them. A ratio to the raw loop is
to its run of the same round and setting.

* **Loads.** The *endpoint* acks every publish at once and stores nothing, so that the client is the limit. *memory* and *file* are a stream of one
  nats-server; *memory-r3* and *file-r3* have three replicas on a cluster of three, and clients connect to the stream's leader. All of it, clients,
  servers and endpoint, runs on the same machine and shares its cores. The server's settings are its defaults.
* **Messages.** {SIZE} bytes and at most {WINDOW:,} without ack, if nothing else is said; with Msg-Ids, one publishing thread.
* **Clients.** Each is set up as its documentation tells those who want throughput, and told of each ack or each failure; the programs are in
  `benches/`. ackbus in C, C++ and Rust gets a report for every message; in Python and Go, as in nats.go, a handler is told of failures, and the modes
  below have the rest. kafka is confluent-kafka with a mock broker in its own process and CPU time.
* **Checked.** A run counts only if every message was acked and the stream then holds as many (the endpoint counts what it acks).
* **CPU** is the client's whole process, user and system, all threads. **Peak memory** is that of the process, interpreter and runtime included.
"""

LATENCY = f"""\
Open loop: message *i* is due at start + *i* ÷ rate, and its latency counts from then until its handler is told, whenever it was really sent; a client
that falls behind cannot hide it. All clients keep the pace in the same way: the publishing thread sleeps (`clock_nanosleep` or an equal timer, to an
absolute time, timer slack 1 µs) until the next message is due, but wakes at most every 50 µs, and then publishes all that is due. That costs each of
them the same CPU, and up to 50 µs of latency where messages are due more often. {SHARE} % is of the raw loop's rate with the same load. A client
whose own limit is below the rate is left out; one that fell behind all the same is seen by its msg/s. Percentiles are those of
a run; in one at 1,000/s two messages are slower than its p99.9.
"""


def write(results: Results, folder: Path) -> None:
    draw.all_of(results, folder)
    (folder / "README.md").write_text(render(results, {path.name for path in folder.glob("*.svg")}))


def render(results: Results, pictures: set[str]) -> str:
    parts = [INTRODUCTION, machine(results), "## The reach\n", reach(results)]
    parts += group(results, "Throughput", [f"throughput/{load}" for load in LOADS], rate_table, pictures, "throughput.svg")
    rates = [f"latency/{load}/{rate}" for load in ("endpoint", "memory") for rate in ("1000", "20000", f"{SHARE}%")]
    parts += group(results, "Ack latency", rates, latency_table, pictures, "latency.svg", LATENCY)
    parts += group(results, "Sweeps", ["payload/endpoint", "window/endpoint", "threads/endpoint"], rate_table, pictures, "sweeps.svg")
    parts += group(results, "Several connections", [f"connections/{load}" for load in ("endpoint", "memory", SPREAD)], rate_table, pictures, "", CONNECTIONS)
    parts += group(results, "Ways to publish", ["modes/endpoint"], rate_table, pictures, "", MODES)
    parts += group(results, "Allocations and system calls", ["counts/endpoint"], count_table, pictures, "", COUNTS)
    parts += group(results, "Memory of pending messages", ["held/silent"], held_table, pictures, "", HELD_TEXT)
    parts += group(results, "Idle publishers", ["idle/memory", "idle/in-process"], idle_table, pictures, "", IDLE)
    return "\n".join(parts)


CONNECTIONS = f"""The option `connections`. Messages go in turn to 16 topics, which the connections share;
*{SPREAD}* is eight streams on one server, each with two of the topics.
"""
MODES = """`wait`: each thread publishes a message and waits for its ack, then the next. `future`, `ticket` and `submit`: one for each message, a window of them
or a group of 1,000 is kept, each is waited for. `batch`, `packed`: 64 messages a call, `many`: 1,000. `poll`: a thread polls reports.
"""
COUNTS = """\
In runs of their own, two of different length, so that start and end fall out. Allocations are calls of `malloc` and its like, counted by a preloaded
library; in Python with its own allocator off, in Go also the objects of Go's heap. System calls are counted by `perf` where it can, else by `strace`.
"""
HELD_TEXT = f"""{HELD:,} messages of {SIZE} bytes are published to an endpoint that acks none: how much the process grew, for each.
"""
IDLE = """\
Publishers in one process, each with one message behind it; then nothing happens for 10 s. Each column is for one publisher: the process with all of
them, less what it was before, through their number. *memory* is a nats-server, *in-process* the backend `memory:`.

* One publisher is the process with everything that the first one brings: code pages, the allocator's arenas. The rows of 1,000 say what one more costs.
* Threads: `ackbus-io`, and `ackbus-report` if there is a callback. A stack is 2 MiB of address space and 16 KiB of memory.
* Descriptors: the socket, tokio's epoll (two) and its wake-up descriptor, and in poll mode the one of `wake_fd`. A process that opens 1,000 publishers
  needs `ulimit -n` of 5,100. When there are none left, `connect` says so: `no runtime: Too many open files`.
* Open is from `connect` to the first acknowledgement, close a whole `close`.
* Wake-ups: each time a thread of the process went to sleep again. A connection sends a PING every 5 s (`ping_interval_ms`) and reads its PONG; the rest
  is tokio's timer, which takes two or three steps to a moment that is seconds away. `tests/costs` fails if it is more than two a second.
* `memory:` includes the sweep that follows the first message's `ack_wait_ms`, and the pending monitor (`monitor_interval_ms`).
"""


def machine(results: Results) -> str:
    rows = []
    for number, session in enumerate(results.sessions):
        tables = sorted({entry["table"].split("/")[0] for entry in results.cells if entry["session"] == number})
        if not tables:
            continue
        what = f"{session['date']}, commit {session['commit']}: {', '.join(tables)}"
        tracing = f"system calls counted by {session['tracer']}" if session["tracer"] else "system calls skipped: neither perf nor strace can count them here"
        how = f"{session['rounds']} rounds, runs of about {session['seconds'] / (2 if session['quick'] else 1):g} s; {tracing}"
        where = f"{session['cpu']}, {session['cores']} cores, Linux {session['kernel']}, load average {session['load_average']} at the start"
        rows.append(f"* {what}. {how}. {where}. " + "; ".join(f"{name} {version}" for name, version in session["versions"].items()) + ".")
    return "## Measured\n\n" + "\n".join(rows) + "\n"


def reach(results: Results) -> str:
    text = """Medians of the rounds, with their ends; *within the spread* means that the best round reached it and the median did not.

"""
    return text + markdown(["", "wanted", "measured", ""], [aim.row() for aim in aims(results)], left=1)


def group(
    results: Results, title: str, tables: list[str], render_table: Callable[[list[Entry]], str], pictures: set[str], picture: str, text: str = ""
) -> Iterable[str]:
    found = [(name, entries) for name in tables if (entries := results.of(name))]
    if not found:
        return
    yield f"## {title}\n"
    if text:
        yield text
    if picture in pictures:
        yield f"![{title}]({picture})\n"
    for name, entries in found:
        if len(tables) > 1:
            yield f"### {heading(name, entries)}\n"
        yield render_table(entries)
        left_out = [f"* {client_of(entry, entries)}: {entry['note']}" for entry in entries if not entry["figures"]]
        if left_out:
            yield "\n".join(left_out) + "\n"


def heading(table: str, entries: list[Entry]) -> str:
    group, load, *rate = table.split("/")
    if not rate:
        return load if group == "throughput" else f"{group}, {load}"
    actual = max((entry["rate"] for entry in entries if entry["figures"]), default=0)
    return f"{load}, {rate[0] if rate[0].endswith('%') else f'{int(rate[0]):,}/s'}" + (f" = {actual:,}/s" if rate[0].endswith("%") else "")


def client_of(entry: Entry, entries: list[Entry]) -> str:
    """The client, and in what it differs from others of its table."""
    words = [entry["client"]]
    if entry["mode"] and entry["table"].startswith("modes"):
        words.append(f"`{entry['mode']}`")
    if entry["threads"] > 1:
        words.append(f"{entry['threads']} threads")
    if entry["connections"]:
        words.append(f"{entry['connections']} connection{'s' if entry['connections'] > 1 else ''}")
    for name, word in (("size", "{:,} bytes"), ("window", "window {:,}"), ("publishers", "{:,} publishers")):
        if len({other[name] for other in entries}) > 1:
            words.append(word.format(entry[name]))
    return " ".join(words if entry["msg_id"] else [*words, "without Msg-Ids"])


def rate_table(entries: list[Entry]) -> str:
    head = ["client", "msg/s", "", "÷ raw", "", "CPU µs/msg", "", "peak MiB", "switches per 1,000: waited + interrupted"]
    rows = []
    for entry in measured(entries):
        figures = entry["figures"]
        ratio = spread(figures.get("msgs_per_s_to_raw"), "{:.2f}") if entry["client"] != RAW else ["", ""]
        switches = [
            spread([1000 * times / count for times, count in zip(figures[name], figures["n"], strict=True)], "{:.1f}")[0]
            for name in ("voluntary", "involuntary")
        ]
        rows.append(
            [
                client_of(entry, entries),
                *spread(figures["msgs_per_s"], "{:,.0f}"),
                *ratio,
                *spread(figures["cpu_us_per_msg"], "{:.2f}"),
                spread([kb / 1024 for kb in figures["rss_kb"]], "{:.0f}")[0],
                " + ".join(switches),
            ]
        )
    return markdown(head, rows, left=1)


def latency_table(entries: list[Entry]) -> str:
    head = ["client", "p50 µs", "", "p99 µs", "", "p99.9 µs", "", "p50 ÷ raw", "p99 ÷ raw", "msg/s", "CPU µs/msg"]
    rows = []
    for entry in measured(entries):
        figures = entry["figures"]
        values = [text for name in ("p50_us", "p99_us", "p99.9_us") for text in spread(figures[name], "{:,.0f}")]
        ratios = [spread(figures.get(name), "{:.2f}")[0] if entry["client"] != RAW else "" for name in ("p50_us_to_raw", "p99_us_to_raw")]
        kept = [spread(figures["msgs_per_s"], "{:,.0f}")[0], spread(figures["cpu_us_per_msg"], "{:.2f}")[0]]
        rows.append([client_of(entry, entries), *values, *ratios, *kept])
    return markdown(head, rows, left=1)


def count_table(entries: list[Entry]) -> str:
    names = [("allocations_per_msg", "{:.3f}"), ("allocations_io_per_msg", "{:.4f}"), ("syscalls_per_1000", "{:,.0f}")]
    rows = [[entry["client"], *(spread(entry["figures"].get(name), form)[0] for name, form in names)] for entry in measured(entries)]
    return markdown(["client", "allocations per message", "of them on ackbus' I/O thread", "system calls per 1,000 messages"], rows, left=1)


def held_table(entries: list[Entry]) -> str:
    rows = [[entry["client"], *spread(entry["figures"]["held_bytes_per_msg"], "{:,.0f}")] for entry in measured(entries)]
    return markdown(["client", "bytes per pending message", ""], rows, left=1)


def idle_table(entries: list[Entry]) -> str:
    names = [("threads", "{:.0f}"), ("descriptors", "{:.0f}"), ("rss_kb", "{:,.0f}"), ("open_ms", "{:.2f}"), ("close_ms", "{:.2f}")]
    names += [("wakeups_per_s", "{:.2f}"), ("cpu_us_per_s", "{:,.0f}")]
    rows = [[entry["mode"], f"{entry['publishers']:,}", *(spread(entry["figures"][name], form)[0] for name, form in names)] for entry in measured(entries)]
    head = ["reports by", "publishers", "threads", "descriptors", "resident KiB", "open, ms", "close, ms", "wake-ups/s", "CPU µs/s"]
    return markdown(head, rows, left=1)


def measured(entries: list[Entry]) -> list[Entry]:
    return [entry for entry in entries if entry["figures"]]


def spread(values: list[float] | None, form: str) -> list[str]:
    """The median, and the ends."""
    if not values:
        return ["–", ""]
    of = Spread.of(values)
    return [form.format(of.median), f"{form.format(of.least)}–{form.format(of.greatest)}" if len(values) > 1 else ""]


def markdown(head: list[str], rows: list[list[str]], *, left: int) -> str:
    """A table whose first `left` columns are text."""
    lines = [head, ["---" if column < left else "--:" for column in range(len(head))], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines) + "\n"

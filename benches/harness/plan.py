"""What is measured: tables of cells. A cell is one client put to one load, and is run once in each round."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

RAW = "raw"
SIZE, WINDOW = 128, 4096
HELD = 100_000
RATES = (1_000, 20_000)
SHARE = 80
"""The third rate: so many per cent of what the raw loop reaches with the same load."""

ACKBUS = ["ackbus-c", "ackbus-cpp", "ackbus-rust", "ackbus-python", "ackbus-go"]
PEERS = ["nats-c", "nats-go", "nats-py", "async-nats"]
OTHERS = ["kafka"]
"""Clients of another engine, with a broker of their own."""
CLIENTS = [RAW, *ACKBUS, *PEERS, *OTHERS]
ALWAYS = {"silent", "in-process", "memory-s8"}
"""Loads of single tables; the others are chosen from."""
LOADS = ["endpoint", "memory", "file", "memory-r3", "file-r3"]
SPREAD = "memory-s8"
"""Eight memory streams on one server; each has two of the topics that clients with several connections publish to."""
GROUPS = ["throughput", "latency", "payload", "window", "threads", "connections", "modes", "counts", "held", "idle"]


@dataclass(frozen=True)
class Cell:
    """One client with its settings. Rate 0 is as fast as it goes."""

    client: str
    mode: str = ""
    msg_id: bool = True
    size: int = SIZE
    window: int = WINDOW
    threads: int = 1
    rate: int = 0
    publishers: int = 1
    connections: int = 0
    """0: one connection and one topic; else that many, and 16 topics."""

    def key(self) -> dict[str, Any]:
        """What tells it from the others of its table. The rate is not part of it: 80 % is another number in each run."""
        return {name: value for name, value in asdict(self).items() if name != "rate"}

    @property
    def setting(self) -> tuple[bool, int, int]:
        """Cells are compared with the raw loop's of the same setting."""
        return self.msg_id, self.size, self.window


@dataclass(frozen=True)
class Table:
    group: str
    load: str
    cells: tuple[Cell, ...]
    rate: str = ""
    """A number of messages per second, or "80%"; for latencies only."""

    @property
    def name(self) -> str:
        return "/".join(part for part in (self.group, self.load, self.rate) if part)


def throughput(load: str) -> list[Cell]:
    clients = CLIENTS if load == "endpoint" else [RAW, *ACKBUS, *PEERS]
    without = [RAW, "ackbus-c", "nats-c", "nats-go", "async-nats"] if not load.endswith("r3") else []
    return [Cell(client) for client in clients] + [Cell(client, msg_id=False) for client in without]


def latency() -> list[Cell]:
    """A handler is told of each ack, where the client has a mode without. C++ is C's with a thin coat, and each client costs a minute."""
    told = {"ackbus-python": "report", "ackbus-go": "report"}
    return [Cell(client, mode=told.get(client, "")) for client in [RAW, *ACKBUS, *PEERS] if client != "ackbus-cpp"]


def sweep(clients: list[str], name: str, values: list[int]) -> list[Cell]:
    return [replace(Cell(client), **{name: value}) for value in values for client in clients]


def threads() -> list[Cell]:
    return [Cell(RAW), *(Cell("ackbus-c", threads=count) for count in (1, 2, 4, 8, 16))]


def connections() -> list[Cell]:
    """With one publishing thread and with four: one thread may be the limit."""
    cells = [Cell("ackbus-c", connections=count, threads=threads) for threads in (1, 4) for count in (1, 2, 4, 8)]
    return [Cell(RAW), *cells]


def modes() -> list[Cell]:
    ways = {
        "ackbus-c": ["callback", "poll", "batch", "packed"],
        "ackbus-cpp": ["callback", "future"],
        "ackbus-rust": ["callback", "ticket"],
        "ackbus-python": ["publish", "report", "many", "submit", "aio"],
        "ackbus-go": ["publish", "report", "ticket"],
        "kafka": ["plain", "callback"],
    }
    cells = [Cell(RAW), *(Cell(client, mode=mode) for client, names in ways.items() for mode in names)]
    # A waiter for each message: as many as there are threads.
    return [*cells, *(Cell("ackbus-c", mode="wait", threads=count) for count in (1, 16))]


def tables() -> Iterator[Table]:
    """All of them. Throughput comes first: it gives the limits that the third rate is a share of."""
    for load in LOADS:
        yield Table("throughput", load, tuple(throughput(load)))
    for load in ("endpoint", "memory"):
        for rate in (*map(str, RATES), f"{SHARE}%"):
            yield Table("latency", load, tuple(latency()), rate)
    both = [RAW, "ackbus-c"]
    yield Table("payload", "endpoint", tuple(sweep(both, "size", [16, 128, 1 << 10, 16 << 10, 64 << 10])))
    yield Table("window", "endpoint", tuple(sweep(both, "window", [1, 10, 100, 1_000, 10_000, 100_000])))
    yield Table("threads", "endpoint", tuple(threads()))
    for load in ("endpoint", "memory", SPREAD):
        yield Table("connections", load, tuple(connections()))
    yield Table("modes", "endpoint", tuple(modes()))
    yield Table("counts", "endpoint", tuple(Cell(client) for client in [RAW, *ACKBUS, *PEERS]))
    yield Table("held", "silent", tuple(Cell(client, window=HELD) for client in CLIENTS if client != RAW))
    for load in ("memory", "in-process"):
        yield Table("idle", load, tuple(Cell("ackbus-idle", mode=mode, publishers=count) for mode in ("callback", "poll") for count in (1, 1_000)))


def quick(table: Table) -> bool:
    """Whether a table belongs to the short run."""
    if table.group == "latency":
        return table.rate == "20000"
    return table.load in {"endpoint", "memory", *ALWAYS} and table.group not in {"modes", "idle", "connections"}


def select(groups: list[str], loads: list[str], clients: list[str], wanted: Callable[[Table], bool]) -> list[Table]:
    """The part that was asked for; the raw loop stays in every table that has it, because the others are compared with it."""
    chosen = []
    for table in tables():
        cells = tuple(cell for cell in table.cells if cell.client in {RAW, "ackbus-idle", *clients})
        if table.group in groups and table.load in {*loads, *ALWAYS} and wanted(table) and any(cell.client != RAW for cell in cells):
            chosen.append(replace(table, cells=cells))
    return chosen

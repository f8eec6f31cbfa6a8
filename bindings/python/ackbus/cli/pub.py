"""``ackbus pub``."""

from __future__ import annotations

import argparse
import json
import os
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from threading import Lock
from typing import Any, BinaryIO

import ackbus

from . import usage
from .dead_letters import DeadLetters
from .output import milliseconds, note, result
from .progress import Snapshot, shown
from .publisher import connected, told
from .records import FORMATS, InputError, Record, RecordError, Source, pack
from .stopping import Stopped, Stopping
from .template import Template
from .usage import Usage

COMPLAINTS = 10
"""Failures that are told one by one; the others are counted."""
INTERRUPTED_WAIT = 10.0
"""Seconds that acknowledgements are waited for after Ctrl-C; a second one ends the wait."""
STOPPING = "stopping: no more is read; waiting for acknowledgements (Ctrl-C again: no longer)"
EMBEDDED_STREAM = "ACKBUS"

WHAT = "publish the records of a file"
DESCRIPTION = """\
Publish each record of FILE, or of standard input, to TOPIC, wait for all acknowledgements, and print what became of them.
"""

EPILOG = """\
templates:
  With --format ndjson, TOPIC and --msg-id may name fields of the record: orders.{region}, {customer.id}. {line} is the record's number and {sha256}
  the digest of its bytes, in every format. {{ and }} are braces. A record without the field is not published; it goes to the dead letters.

runs that may be repeated:
  --msg-id gives each record an id that is the same in every run, so the stream keeps one copy (within its duplicate window; the ackbus default for new
  streams is the server's, two minutes). Take a field that identifies the record, or {sha256}. {line} identifies it in one file only: not in its dead letters.

dead letters:
  FILE gets the records that were not persisted as they were read, in the same format, to be published again; FILE.reasons gets a line of JSON for each:
  record, topic, status, persistence, server_code, msg_id, text. A record "POSSIBLY_PERSISTED" is in doubt: it may be stored. Without --msg-id, publishing it
  again may make a second copy. Both files are appended to.

examples:
  ackbus pub orders.{region} orders.ndjson --format ndjson --msg-id '{id}' --stream ORDERS --create --dead-letter failed.ndjson
  tail -f app.log | ackbus pub logs.app
  ackbus pub demo.lines README.md --embedded --store /tmp/demo
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ackbus pub", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("topic", metavar="TOPIC", help="where to, such as orders.created or orders.{region}")
    parser.add_argument("file", metavar="FILE", nargs="?", default="-", help="what to read; - or none: standard input")
    parser.add_argument(
        "--format",
        choices=FORMATS,
        default="lines",
        help="lines: each line, without its newline (the default)\nndjson: each line that is not blank, which must be valid JSON\n"
        "frames: 4 bytes of length, big-endian, and as many bytes",
    )
    parser.add_argument("--msg-id", metavar="TEMPLATE", help="the id by which the stream knows a second copy")
    parser.add_argument("--header", metavar="NAME=VALUE", action="append", default=[], help="a header for every message; may be repeated")
    parser.add_argument("--dead-letter", metavar="FILE", help="where records go that were not persisted")
    parser.add_argument(
        "--timeout", type=usage.seconds, default=60.0, metavar="SECONDS", help="how long to wait for the last acknowledgements; -1: no limit (default: 60)"
    )
    parser.add_argument(
        "--metrics",
        type=usage.address,
        metavar="ADDRESS:PORT",
        help="serve the metrics over HTTP meanwhile, for ackbus top and Prometheus;\n"
        ":PORT is this machine alone, port 0 a free one; the URL goes to standard error",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    group = parser.add_argument_group("stream")
    group.add_argument("--stream", metavar="NAME", help="the stream that must take the messages")
    group.add_argument("--create", action="store_true", help="create it if it is missing, for the subjects of TOPIC")
    group.add_argument("--rule", metavar="KEY=VALUE", action="append", default=[], help="any key of a topic rule, such as --rule storage=memory")
    usage.add_connection(parser)
    # With argparse's own subcommands FILE could not follow an option.
    return parser.parse_intermixed_args(arguments)


class _Run:
    """What is known of one run. ``refused`` is the main thread's, ``failed``, ``in_doubt`` and ``duplicates`` are the report thread's."""

    def __init__(self, form: str, dead_letters: DeadLetters | None) -> None:
        self.refused = self.failed = self.in_doubt = self.duplicates = 0
        self.problem = ""
        """What ended the run early."""
        self._form = form
        self._dead_letters = dead_letters
        # Dead letters come from both threads.
        self._lock = Lock()
        self._complaints = 0

    def refuse(self, record: Record, topic: str, status: str, text: str) -> None:
        """A record that was never accepted."""
        self.refused += 1
        self._note(_pieces(record, self._form), record.number, topic, status, "NOT_PERSISTED", 0, "", text)

    def on_error(self, report: ackbus.Report) -> None:
        if report.persistence is ackbus.Persistence.NOT_PERSISTED:
            self.failed += 1
        else:
            self.in_doubt += 1
        whole = (pack(report.payload, self._form),)
        number: Any = report.tag
        self._note(whole, number, report.topic, report.status.name, report.persistence.name, report.server_code, report.msg_id, report.text)

    def on_report(self, report: ackbus.Report) -> None:
        self.duplicates += report.duplicate

    def _note(self, whole: Iterable[bytes], number: int, topic: str, status: str, persistence: str, server_code: int, msg_id: str, text: str) -> None:
        with self._lock:
            if self._dead_letters is not None:
                reason = dict(record=number, topic=topic, status=status, persistence=persistence, server_code=server_code, msg_id=msg_id, text=text)
                self._dead_letters.add(whole, reason)
                self.problem = self.problem or self._dead_letters.failure
            self._complaints += 1
            if self._complaints <= COMPLAINTS:
                doubt = ", but may be stored" if persistence == "POSSIBLY_PERSISTED" else ""
                note(f"record {number}: {status}{doubt}: {text}")
            elif self._complaints == COMPLAINTS + 1:
                note("further failures are counted, and not told one by one")


def run(given: argparse.Namespace) -> int:
    topic = Template("TOPIC", given.topic, given.format)
    msg_id = None if given.msg_id is None else Template("--msg-id", given.msg_id, given.format)
    if msg_id is not None and not msg_id.names:
        raise Usage(f"--msg-id {given.msg_id!r} would be the same for every record; use a placeholder, such as {{sha256}}")
    headers = usage.headers(given.header) or None
    options = usage.options(given.options, reserved=("report", "on_full"))
    servers = usage.servers(given)
    stream, create = given.stream, given.create
    if given.embedded:
        stream, create = stream or EMBEDDED_STREAM, True
    rule = usage.rule(given.rule, stream, create, topic.subjects())
    stopping = Stopping()
    with ExitStack() as stack:
        stack.enter_context(stopping.installed())
        file = stack.enter_context(_open(given.file))
        source = Source(file)
        dead_letters = None
        if given.dead_letter:
            dead_letters = DeadLetters(given.dead_letter, file)
            stack.callback(dead_letters.close)
        current = _Run(given.format, dead_letters)
        # Only ids of the user's own can be in the stream already.
        heard: dict[str, Any] = {"on_report": current.on_report} if msg_id is not None else {}
        bus = stack.enter_context(connected(servers, given, stopping, topics={">": rule} if rule else None, on_error=current.on_error, **heard, **options))
        if given.metrics is not None:
            stack.enter_context(told(bus, given.metrics))
        begin = time.perf_counter()

        def look() -> Snapshot:
            stats = bus.stats()
            failed = current.refused + current.failed + current.in_doubt
            return Snapshot(taken=source.taken, pending=stats.pending, acked=stats.published, failed=failed, p99=stats.latency_p99_ns / 1e9)

        with shown(look, _size(file)):
            try:
                with stopping.interruptible():
                    _feed(bus, FORMATS[given.format](source), topic, msg_id, headers, current, stopping)
            except Stopped:
                note(STOPPING)
            except (InputError, ackbus.Error) as error:
                current.problem = f"{error.status.name}: {error.message}" if isinstance(error, ackbus.Error) else str(error)
            _settle(bus, given.timeout, stopping)
        seconds = time.perf_counter() - begin
        if current.problem:
            note(f"ackbus pub: ended early: {current.problem}")
        figures = _figures(current, bus.stats(), seconds)
    result(json.dumps(figures) if given.json else _table(figures, given.dead_letter))
    return stopping.exit_code or int(bool(figures["failed"] or figures["in_doubt"] or current.problem))


def _feed(
    bus: ackbus.Publisher,
    records: Iterable[Record],
    topic: Template,
    msg_id: Template | None,
    headers: dict[str, list[str]] | None,
    current: _Run,
    stopping: Stopping,
) -> None:
    """Publishes every record. Raises what ends the run."""
    for record in records:
        if current.problem:
            return
        name = ""
        try:
            if record.problem:
                raise RecordError(record.problem)
            name = topic.fill(record)
            bus.publish(name, record.payload, tag=record.number, headers=headers, msg_id=msg_id.fill(record) if msg_id else None)
        except RecordError as error:
            failure = ("INVALID_RECORD", str(error))
        except ackbus.InvalidHeaderError as error:
            # All records have the same headers.
            raise Usage(f"--header: {error.message}") from error
        except ackbus.Error as error:
            if error.fatal or isinstance(error, ackbus.ClosedError):
                raise
            failure = (error.status.name, error.message)
        except ValueError as error:
            # A lone surrogate, which JSON allows and UTF-8 does not.
            failure = ("INVALID_UTF8", str(error))
        else:
            continue
        with stopping.postponed():
            current.refuse(record, name, *failure)


def _settle(bus: ackbus.Publisher, timeout: float, stopping: Stopping) -> None:
    """Waits for outcomes, and closes, so that every message has one. The first Ctrl-C of a run shortens the wait, the second ends it."""
    shorter = min(timeout, INTERRUPTED_WAIT)
    stopped = stopping.answered
    for wait in [shorter] if stopped else [timeout, shorter]:
        try:
            with stopping.interruptible():
                bus.flush(wait)
            break
        except ackbus.TimedOutError:
            note(f"no acknowledgement of {bus.pending} messages within {wait:g} s")
            break
        except Stopped:
            if not stopped:
                note(STOPPING)
            stopped = True
        except ackbus.Error:
            # Close says what became of them.
            break
    while True:
        try:
            bus.close(0)
            return
        except ackbus.CallbackBusyError:
            # Dead letters take as long as they take.
            continue


def _pieces(record: Record, form: str) -> Iterator[bytes]:
    """The record as it was read."""
    if record.rest is None:
        yield pack(record.payload, form)
    else:
        yield record.payload
        yield from record.rest
        yield b"\n"


def _open(name: str) -> BinaryIO:
    try:
        if name == "-":
            if sys.stdin is None:
                raise Usage("FILE: there is no standard input")
            if sys.stdin.isatty():
                note("reading standard input; Ctrl-D ends it")
            return open(sys.stdin.fileno(), "rb", buffering=1 << 17, closefd=False)
        return open(name, "rb", buffering=1 << 17)
    except OSError as error:
        raise Usage(f"FILE {name}: {error.strerror}") from None


def _size(file: BinaryIO) -> int | None:
    """How many bytes there are to read, of a regular file."""
    found = os.fstat(file.fileno())
    return found.st_size if stat.S_ISREG(found.st_mode) else None


def _figures(current: _Run, stats: ackbus.Stats, seconds: float) -> dict[str, Any]:
    failed = current.refused + current.failed
    sent = stats.published + stats.ephemeral
    return {
        "records": sent + failed + current.in_doubt,
        "persisted": stats.published,
        "duplicates": current.duplicates,
        "unacknowledged": stats.ephemeral,
        "failed": failed,
        "in_doubt": current.in_doubt,
        "seconds": round(seconds, 6),
        "rate": round(sent / seconds, 1),
        "latency_p50_seconds": stats.latency_p50_ns / 1e9,
        "latency_p99_seconds": stats.latency_p99_ns / 1e9,
    }


def _table(figures: dict[str, Any], dead_letter: str | None) -> str:
    rows = [("records", f"{figures['records']:,}", ""), ("persisted", f"{figures['persisted']:,}", "")]
    if figures["duplicates"]:
        rows.append(("  duplicates", f"{figures['duplicates']:,}", "were in the stream already"))
    if figures["unacknowledged"]:
        rows.append(("ephemeral", f"{figures['unacknowledged']:,}", "sent, never acknowledged"))
    where = f"see {dead_letter}.reasons" if dead_letter else ""
    rows += [
        ("failed", f"{figures['failed']:,}", where if figures["failed"] else ""),
        ("in doubt", f"{figures['in_doubt']:,}", f"may be stored; {where}".rstrip("; ") if figures["in_doubt"] else ""),
        ("time", f"{figures['seconds']:.3f} s", ""),
        ("rate", f"{figures['rate']:,.0f} msg/s", ""),
    ]
    if figures["persisted"]:
        rows += [(f"latency {q}", milliseconds(figures[f"latency_{q}_seconds"]), "to the acknowledgement") for q in ("p50", "p99")]
    width = max(len(value.split()[0]) for _, value, _ in rows)
    return "\n".join(f"{name:<13}{value.split()[0]:>{width}} {' '.join(value.split()[1:]):<6} {remark}".rstrip() for name, value, remark in rows)

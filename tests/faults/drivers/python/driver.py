"""What the fault drivers in Python share: all but the client. tests/faults/README.md is the protocol."""

from __future__ import annotations

import functools
import json
import os
import re
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

TICK = 0.05
"""Seconds between two samples, and between two writes."""

AFTER_CLOSE = 0.3
"""Seconds after close for handlers that run although they must not."""

# Long, so that a payload is cut out of it at once.
_letters = b"abcdefghijklmnopqrstuvwxyz" * 41


class Arguments:
    """What the runner asks for."""

    def __init__(self, words: list[str]) -> None:
        given: dict[str, str] = {}
        self.options: dict[str, str] = {}
        self.rules: dict[str, dict[str, str]] = {}
        for word in words:
            key, found, value = word.partition("=")
            if not found:
                raise SystemExit(f"driver: {word!r} is not allowed; give key=value")
            if key.startswith("set:"):
                self.options[key.removeprefix("set:")] = value
            elif key.startswith("topic:"):
                # A pattern may hold a colon, a name does not.
                pattern, _, name = key.removeprefix("topic:").rpartition(":")
                if not pattern:
                    raise SystemExit(f"driver: {word!r} is not allowed; give topic:PATTERN:NAME=VALUE")
                self.rules.setdefault(pattern, {})[name] = value
            else:
                given[key] = value
        if not {"url", "subjects", "count"} <= given.keys():
            raise SystemExit("driver: url, subjects and count must be given; tests/faults/README.md describes all keys")
        try:
            self._take(given)
        except ValueError as error:
            raise SystemExit(f"driver: {error}") from None

    def _take(self, given: dict[str, str]) -> None:
        self.url = given["url"]
        self.subjects = given["subjects"].split(",")
        self.count = int(given["count"])
        self.sizes = [int(size) for size in given.get("sizes", "256").split(",")]
        self.rate = float(given.get("rate", "0"))
        self.prefix = given.get("prefix", "m")
        self.pairs = given.get("pairs") == "1"
        self.max_pending = int(given["max_pending"]) if "max_pending" in given else None
        self.ack_timeout = int(given.get("ack_timeout_ms", "10000")) / 1000
        self.mode = given.get("mode", "normal")

    def message(self, k: int) -> tuple[str, bytes, str]:
        """Subject, payload and Msg-Id of message k."""
        number = k - 1 if self.pairs and k % 2 == 0 else k
        size = self.sizes[(k - 1) % len(self.sizes)]
        return self.subjects[(k - 1) % len(self.subjects)], payload(k, size), f"{self.prefix}-{number}"

    def pause(self, begin: float, k: int) -> float:
        """Seconds until a message is due, on the clock of time.monotonic."""
        return begin + (k - 1) / self.rate - time.monotonic() if self.rate else 0


def payload(k: int, size: int) -> bytes:
    head = b"%d " % k
    start = (k + len(head)) % 26
    if size <= 1000:
        return (head + _letters[start : start + size])[:size]
    body = _letters[start : start + 26] * (size // 26 + 1)
    return (head + body)[:size]


class Bad(NamedTuple):
    """A message that a client should refuse."""

    name: str
    subject: str
    header: tuple[str, str] | None = None
    msg_id: str | None = None


BAD_PAYLOAD = b"bad"
BAD_WAIT = 2.0
"""Seconds for the outcome of a bad message that publish took."""


def bad_messages(subject: str) -> list[Bad]:
    return [
        Bad("empty subject", ""),
        Bad("space", "a b"),
        Bad("line end", "a\r\nPUB x 0\r\n\r\n"),
        Bad("star", "a.*"),
        Bad("gt", "a.>"),
        Bad("empty token", "a..b"),
        Bad("leading dot", ".a"),
        Bad("trailing dot", "a."),
        Bad("nul", "a\0b"),
        Bad("header line end", subject, header=("A", "x\r\nB: y")),
        Bad("header name", subject, header=("A B", "x")),
        Bad("msg id line end", subject, msg_id="x\r\nNats-Rollup: all"),
        # Last, because a server closes the connection for it.
        Bad("long subject", "a" * 5000),
    ]


_quoted = functools.lru_cache(maxsize=100)(json.dumps)
"""Many messages fail with the same text."""


def now() -> int:
    return time.time_ns() // 1000


class Output:
    """Gathers lines and writes them together. What is said of every message is formatted by hand: json.dumps takes longer than a publish."""

    def __init__(self) -> None:
        # Many threads append, which is atomic; what is written is taken from the front.
        self._lines: list[str] = []
        self._add = self._lines.append
        self._writing = threading.Lock()
        self._ended = False

    def accept(self, k: int) -> None:
        self._add(f'{{"e":"accept","id":{k},"t":{now()}}}\n')

    def acked(self, k: int, seq: int, duplicate: bool) -> None:
        self._add(f'{{"e":"outcome","id":{k},"t":{now()},"kind":"acked","seq":{seq},"dup":{"true" if duplicate else "false"}}}\n')

    def not_acked(self, k: int, kind: str, text: str, code: int) -> None:
        more = f',"code":{code}' if code else ""
        self._add(f'{{"e":"outcome","id":{k},"t":{now()},"kind":"{kind}","text":{_quoted(text)}{more}}}\n')

    def check(self, what: str, ok: bool, text: str) -> None:
        self.line("check", what=what, ok=ok, text=text)

    def line(self, event: str, **fields: Any) -> None:
        self._add(json.dumps({"e": event, "t": now(), **fields}, separators=(",", ":")) + "\n")

    def flush(self) -> None:
        with self._writing:
            self._write()

    def end(self) -> None:
        with self._writing:
            self.line("end", rss_kb=_peak_memory())
            self._write()
            self._ended = True

    def _write(self) -> None:
        count = len(self._lines)
        if self._ended or not count:
            return
        left = memoryview("".join(self._lines[:count]).encode())
        del self._lines[:count]
        while left:
            left = left[os.write(1, left) :]


def _peak_memory() -> int:
    """In KiB. Not that of getrusage, which begins with the memory of the process that started this one."""
    with open("/proc/self/status") as status:
        found = re.search(r"VmHWM:\s*(\d+) kB", status.read())
    assert found
    return int(found[1])


def every_tick(do: Callable[[], object]) -> None:
    def work() -> None:
        while True:
            time.sleep(TICK)
            do()

    threading.Thread(target=work, daemon=True).start()


def obey(told: Callable[[str, int], object]) -> None:
    """Hands on each command. When standard input ends the process does, whatever the rest of it waits for."""

    def work() -> None:
        # Not sys.stdin: the interpreter cannot end while a thread waits in it.
        rest = b""
        while more := os.read(0, 4096):
            *lines, rest = (rest + more).split(b"\n")
            for line in lines:
                command = json.loads(line)
                if command["do"] not in ("close", "stop"):
                    raise ValueError(f"{command['do']!r} is not known; close and stop are")
                told(command["do"], command["value"])
        os._exit(0)

    def guarded() -> None:
        try:
            work()
        except (ValueError, KeyError) as error:
            print(f"driver: a command is wrong: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)

    threading.Thread(target=guarded, daemon=True).start()

"""Where an exposition comes from: a URL, a file, or standard input."""

from __future__ import annotations

import http.client
import os
import re
import sys
import time
import urllib.error
import urllib.request
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from ..usage import Usage
from .reading import NotMetrics, Reading, printable, readings

ACCEPT = "application/openmetrics-text; version=1.0.0, text/plain; version=0.0.4; q=0.5"
PATIENCE = 5.0
"""Seconds that an answer may take."""
LARGEST = 16 << 20
"""Bytes of an exposition; what is larger is something else."""
HOST_AND_PORT = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w.-]*):\d+(/.*)?")


class Unreadable(Exception):
    """There is no exposition to be had now: one line."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All publishers of one exposition."""

    readings: dict[str, Reading]
    time: float
    """When it was made, in seconds of a clock that only goes forward; of one source alone they can be compared."""


class Source(Protocol):
    name: str
    once: bool
    """Whether it can be read only once."""

    def read(self) -> Snapshot | None:
        """What it says now; None: the same as before. Raises :exc:`Unreadable`."""


def source(given: str) -> Source:
    """What the user means. Raises :exc:`Usage` if that can be nothing."""
    if given == "-":
        return Pipe(None)
    if "://" in given:
        return Page(_checked(given))
    path = Path(given)
    if path.exists():
        if path.is_dir():
            raise Usage(f"{given}: Is a directory")
        return File(path) if path.is_file() else Pipe(path)
    if HOST_AND_PORT.fullmatch(given):
        return Page(_checked(f"http://{'127.0.0.1' if given.startswith(':') else ''}{given}"))
    raise Usage(f"{given!r} is no file, and no URL: give http://HOST:PORT/metrics, HOST:PORT, a file, or -")


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise Usage(f"{printable(url)}: {error}") from None
    if parts.scheme not in ("http", "https"):
        raise Usage(f"{printable(url)}: the scheme is {parts.scheme!r}; metrics are read by http or https")
    if not host or url != printable(url) or " " in url:
        raise Usage(f"{printable(url)}: this is no URL; give http://HOST:PORT/metrics")
    if "@" in parts.netloc:
        raise Usage(f"http://…@{host}: a name and a password in the URL are not supported")
    return parts._replace(path=parts.path if parts.path.strip("/") else "/metrics").geturl()


class Page:
    """By HTTP."""

    once = False

    def __init__(self, url: str) -> None:
        self.name = url

    def read(self) -> Snapshot:
        request = urllib.request.Request(self.name, headers={"Accept": ACCEPT, "User-Agent": "ackbus-top"})
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                body = answer.read(LARGEST + 1)
                # Half of the way there and back is not known to be fair, but it is small beside an interval.
                moment = time.monotonic()
                form = answer.headers.get("Content-Type", "")
        except urllib.error.HTTPError as error:
            error.close()
            hint = "; metrics are usually at /metrics" if error.code == 404 and urlsplit(self.name).path != "/metrics" else ""
            raise Unreadable(f"{self.name}: {error.code} {printable(error.reason)}{hint}") from None
        except TimeoutError:
            raise Unreadable(f"{self.name}: no answer within {PATIENCE:g} s") from None
        except urllib.error.URLError as error:
            reason = error.reason
            if isinstance(reason, TimeoutError):
                reason = f"no answer within {PATIENCE:g} s"
            raise Unreadable(f"{self.name}: {reason.strerror or reason if isinstance(reason, OSError) else reason}") from None
        except http.client.BadStatusLine as error:
            raise Unreadable(f"{self.name}: the answer is not HTTP: {printable(str(error))[:60]!r}") from None
        except (http.client.HTTPException, OSError) as error:
            raise Unreadable(f"{self.name}: {printable(str(error)) or type(error).__name__}") from None
        return _snapshot(self.name, body, moment, openmetrics="openmetrics" in form)


class File:
    """A file that a program writes anew; :meth:`read` waits for that."""

    once = False

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._path = path
        self._seen: tuple[int, ...] = ()

    def read(self) -> Snapshot | None:
        try:
            with self._path.open("rb") as file:
                found = os.fstat(file.fileno())
                seen = (found.st_ino, found.st_size, found.st_mtime_ns)
                if seen == self._seen:
                    return None
                body = file.read(LARGEST + 1)
        except OSError as error:
            raise Unreadable(f"{self.name}: {error.strerror}") from None
        snapshot = _snapshot(self.name, body, found.st_mtime_ns / 1e9)
        self._seen = seen
        return snapshot


class Pipe:
    """Standard input, or a file that is no file, such as a shell's ``<(…)``: to its end."""

    once = True

    def __init__(self, path: Path | None) -> None:
        self.name = "standard input" if path is None else str(path)
        self._path = path

    def read(self) -> Snapshot:
        if self._path is None and sys.stdin is None:
            raise Unreadable("there is no standard input")
        try:
            with nullcontext(sys.stdin.buffer) if self._path is None else self._path.open("rb") as stream:
                body = stream.read(LARGEST + 1)
        except OSError as error:
            raise Unreadable(f"{self.name}: {error.strerror}") from None
        return _snapshot(self.name, body, time.monotonic())


def _snapshot(name: str, body: bytes, moment: float, *, openmetrics: bool | None = None) -> Snapshot:
    """``openmetrics`` None: what the text itself says."""
    if len(body) > LARGEST:
        raise Unreadable(f"{name}: over {LARGEST >> 20} MiB; that is no exposition")
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise Unreadable(f"{name}: this is no text in UTF-8") from None
    if openmetrics is None:
        # Its end, or what the older format does not have: then the end is missing, and half a number may be the last one.
        openmetrics = text.rstrip("\n").endswith("# EOF") or "# UNIT " in text
    try:
        return Snapshot(readings(text, openmetrics=openmetrics), moment)
    except NotMetrics as error:
        raise Unreadable(f"{name}: {error}") from None

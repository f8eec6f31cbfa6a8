"""What the user said, and what is wrong with it."""

from __future__ import annotations

import argparse
import difflib
import math
import os
from collections.abc import Collection, Iterable
from typing import Any

from .._options import OPTION_KEYS, TOPIC_KEYS

DEFAULT_SERVER = "nats://127.0.0.1:4222"


class Usage(Exception):
    """The command cannot run as it was given: one line, exit code 2."""


def add_connection(parser: argparse.ArgumentParser) -> None:
    """The arguments that say where to publish."""
    group = parser.add_argument_group("connection")
    group.add_argument(
        "--server", metavar="URL", action="append", help=f"where to connect; may be repeated\n(default: $ACKBUS_SERVERS, $NATS_URL, {DEFAULT_SERVER})"
    )
    group.add_argument("--embedded", action="store_true", help="start a nats-server for this run, and end it after")
    group.add_argument("--store", metavar="DIR", help="with --embedded: where its streams are kept\n(default: a temporary folder, removed at the end)")
    group.add_argument(
        "-o",
        dest="options",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="any option of docs/CONFIGURATION.md, such as\n-o credentials_file=me.creds or -o ack_wait_ms=2000 (also ack_wait=2, in seconds)",
    )
    group.add_argument("-v", "--verbose", action="store_true", help="log what happens to the connection")


def servers(given: argparse.Namespace) -> str:
    """Where to connect, unless a server is embedded."""
    if given.embedded and given.server:
        raise Usage("--embedded and --server exclude each other")
    if given.store and not given.embedded:
        raise Usage("--store needs --embedded")
    return ",".join(given.server or ()) or os.environ.get("ACKBUS_SERVERS") or os.environ.get("NATS_URL") or DEFAULT_SERVER


def options(given: Iterable[str], *, reserved: Collection[str]) -> dict[str, Any]:
    """``-o`` as keyword arguments of ``connect``. ``reserved``: what the command sets itself."""
    found = _settings("-o", given, OPTION_KEYS - {"servers"})
    for name in found:
        if name in reserved:
            raise Usage(f"-o {name}: the command sets it itself")
    return found


def rule(given: Iterable[str], stream: str | None, create: bool, subjects: str) -> dict[str, Any]:
    """``--rule``, ``--stream`` and ``--create`` as a topic rule."""
    found = _settings("--rule", given, TOPIC_KEYS)
    if stream is not None:
        found["stream"] = stream
    if create:
        if "stream" not in found:
            raise Usage("--create needs --stream NAME")
        found["create"] = "if_missing"
    if found.get("create") == "if_missing":
        found.setdefault("subjects", subjects)
    return found


def _settings(flag: str, given: Iterable[str], keys: frozenset[str]) -> dict[str, Any]:
    """Texts for the core to check, but durations as seconds."""
    found: dict[str, Any] = {}
    for text in given:
        key, sign, value = text.partition("=")
        if not sign:
            raise Usage(f"{flag} {text!r}: give KEY=VALUE")
        name = key.removesuffix("_ms")
        if f"{name}_ms" in keys:
            found[name] = _seconds(f"{flag} {text}", value, milliseconds=key.endswith("_ms"))
        elif key in keys:
            found[key] = value
        else:
            near = difflib.get_close_matches(key, sorted(keys), 1)
            raise Usage(f"{flag} {key}: no such key" + (f"; did you mean {near[0]}?" if near else f"; allowed: {', '.join(sorted(keys))}"))
    return found


def _seconds(what: str, text: str, *, milliseconds: bool) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if number == -1:
        return math.inf
    if not 0 <= number < math.inf:
        raise Usage(f"{what}: give {'milliseconds' if milliseconds else 'seconds'} as a number of at least 0, or -1 for no limit")
    return number / 1_000 if milliseconds else number


def headers(given: Iterable[str]) -> dict[str, list[str]]:
    """``--header K=V``, of which several may have the same name."""
    found: dict[str, list[str]] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign:
            raise Usage(f"--header {text!r}: give NAME=VALUE")
        found.setdefault(name, []).append(value)
    return found


def seconds(text: str) -> float:
    """For argparse: a duration."""
    try:
        return _seconds("", text, milliseconds=False)
    except Usage:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give seconds as a number of at least 0, or -1 for no limit") from None


def address(text: str) -> tuple[str, int]:
    """For argparse: where to listen."""
    host, colon, port = text.rpartition(":")
    bare = host.removeprefix("[").removesuffix("]")
    if colon and (":" not in host or host == f"[{bare}]") and port.isascii() and port.isdigit() and int(port) <= 65_535:
        return bare or "127.0.0.1", int(port)
    raise argparse.ArgumentTypeError(
        f"{text!r} is not allowed; give ADDRESS:PORT, such as 127.0.0.1:9464, or :PORT for this machine alone; port 0 is a free one"
    )


def count(lowest: int, highest: int) -> Any:
    """For argparse: a whole number in these bounds."""

    def parse(text: str) -> int:
        if text.isascii() and text.replace("_", "").isdigit() and lowest <= int(text) <= highest:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give a whole number from {lowest} to {highest}")

    return parse

"""From keyword arguments to the core's options. The core checks the values; here only Python's types become its texts."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterable, Mapping
from datetime import timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from . import _logging, _native

if TYPE_CHECKING:
    # collections.abc has it from 3.12 on.
    from typing_extensions import Buffer

    Payload = bytes | str | Buffer
else:
    Payload = bytes | str | bytearray | memoryview

Seconds = float | timedelta
"""A duration: seconds as a number, or a timedelta. ``math.inf``: no limit, where the option allows it."""


class Topic(TypedDict, total=False):
    """A topic rule: how the topics that match a pattern are handled. Every key may be left out."""

    mode: Literal["persistent", "ephemeral"]
    """persistent: stored by a stream, acknowledged. ephemeral: sent at most once, never acknowledged. Default persistent."""
    stream: str
    """The stream that must take the topics. It is checked once, before the first message goes out."""
    in_flight: int
    """How many messages may be unacknowledged at once. 1 keeps the order even when the stream refuses some."""
    create: Literal["never", "if_missing"]
    """Whether to create the stream when it is missing. Default never."""
    subjects: str | Iterable[str]
    """For creation: the stream's subjects. Default: the pattern."""
    storage: Literal["file", "memory"]
    """For creation: where the stream keeps its messages. Default file."""
    replicas: int
    """For creation: how many servers hold the stream. Default: the server's."""
    retention: Literal["limits", "interest", "workqueue"]
    """For creation: when the stream forgets a message. Default limits."""
    discard: Literal["old", "new"]
    """For creation: what the stream does at its limits. Default old."""
    max_msgs: int
    """For creation: how many messages the stream keeps. Default: no limit."""
    max_bytes: int
    """For creation: how many bytes the stream keeps. Default: no limit."""
    max_age: Seconds
    """For creation: how long the stream keeps a message. Default: no limit."""
    duplicate_window: Seconds
    """For creation: how long the stream remembers message ids. Default: the server's."""


class MessageOptions(TypedDict, total=False):
    """What a message may have besides topic and payload."""

    tag: object
    """Handed back in the report."""
    headers: Mapping[str, str | Iterable[str]]
    """Names and values; several values make several headers of that name."""
    msg_id: str
    """By which the stream knows a second copy. Default: one that the bus makes."""
    expected_stream: str
    """Refused unless this stream stores it."""
    expected_last_msg_id: str
    """Refused unless the stream's last message has this Msg-Id."""
    expected_last_seq: int
    """Refused unless this is the stream's last sequence; 0: unless the stream is empty."""
    expected_last_subject_seq: int
    """Refused unless this is the topic's last sequence; 0: unless the topic has none."""
    traceparent: str
    """The trace that it belongs to: ``version-traceid-parentid-flags`` (W3C Trace Context)."""
    tracestate: str
    """What tracing systems add to it. Only with ``traceparent``."""
    ttl: Seconds
    """How long the stream keeps it, if the stream allows that."""
    stall_wait: Seconds
    """How long to wait for room."""
    delivery_timeout: Seconds
    """How long it may stay pending."""
    report_always: bool
    """Call a handler with its outcome whatever the option ``report`` says."""


class Options(TypedDict, total=False):
    """What ``connect`` takes, all of it optional. docs/CONFIGURATION.md has the meaning of each; durations are seconds here."""

    name: str
    inbox_prefix: str
    jetstream_domain: str
    token: str
    user: str
    password: str
    credentials: str
    credentials_file: str | os.PathLike[str]
    nkey_seed: str
    nkey_seed_file: str | os.PathLike[str]
    tls_required: bool
    tls_ca_file: str | os.PathLike[str]
    tls_cert_file: str | os.PathLike[str]
    tls_key_file: str | os.PathLike[str]
    tls_server_name: str
    tls_first: bool
    max_pending: int
    max_pending_bytes: int
    on_full: Literal["block", "fail"]
    stall_wait: Seconds
    gate_share: int
    ack_wait: Seconds
    delivery_timeout: Seconds
    max_attempts: int
    retry_backoff: Seconds
    retry_backoff_max: Seconds
    msg_id: Literal["auto", "caller", "none"]
    resend_without_msg_id: bool
    retry_stream_full: bool
    on_no_stream: Literal["fail", "wait"]
    assume_duplicate_window: Seconds
    connect_timeout: Seconds
    retry_on_connect: bool
    reconnect_wait: Seconds
    max_reconnects: int
    ping_interval: Seconds
    discover_servers: bool
    on_disconnect: Literal["wait", "fail"]
    connections: int
    report: Literal["failures", "all", "none"]
    event_queue: int
    pending_warn: int
    monitor_interval: Seconds
    close_timeout: Seconds
    log_level: Literal["off", "error", "warn", "info", "debug", "trace"]


OPTION_KEYS, TOPIC_KEYS = (frozenset(keys) for keys in _native.option_keys())


def options(servers: str | Iterable[str], given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The core's options. None means: not given."""
    if isinstance(servers, int):
        raise TypeError(f"servers: {type(servers).__name__} is not allowed; give an address such as nats://127.0.0.1:4222, or several")
    pairs = [("servers", _text("servers", servers))]
    for name, value in given.items():
        key = _key(name, OPTION_KEYS, "connect() got an unexpected keyword argument")
        if value is not None:
            pairs.append((key, _value(name, key, value)))
    if given.get("log_level") is None:
        pairs.append(("log_level", _logging.level()))
    return pairs


def topics(rules: Mapping[str, Topic] | None) -> list[tuple[str, str, str]]:
    """The core's topic rules."""
    triples = []
    for pattern, rule in (rules or {}).items():
        if not isinstance(rule, Mapping):
            raise TypeError(f"topics[{pattern!r}]: {type(rule).__name__} is not allowed; give a mapping such as {{'stream': 'ORDERS'}}")
        triples += [(pattern, *pair) for pair in topic(pattern, rule)]
    return triples


def topic(pattern: str, rule: Mapping[str, Any]) -> list[tuple[str, str]]:
    """One rule's settings."""
    pairs = []
    for name, value in rule.items():
        key = _key(name, TOPIC_KEYS, f"topics[{pattern!r}]: unknown key")
        if value is not None:
            pairs.append((key, _value(f"topics[{pattern!r}][{name!r}]", key, value)))
    return pairs


def _key(name: str, keys: frozenset[str], complaint: str) -> str:
    if f"{name}_ms" in keys:
        return f"{name}_ms"
    if name in keys and not name.endswith("_ms"):
        return name
    known = sorted(key.removesuffix("_ms") for key in keys if key != "servers")
    near = difflib.get_close_matches(name.removesuffix("_ms"), known, 1)
    raise TypeError(f"{complaint} {name!r}" + (f"; did you mean {near[0]!r}?" if near else f"; allowed: {', '.join(known)}"))


def _value(name: str, key: str, value: Any) -> str:
    return str(milliseconds(name, value)) if key.endswith("_ms") else _text(name, value)


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str | int):
        return str(value)
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray | Mapping):
        parts = list(value)
        if all(isinstance(part, str) for part in parts):
            return ",".join(parts)
    raise TypeError(f"{name}: {type(value).__name__} is not allowed")


def milliseconds(name: str, value: Any) -> int:
    """A duration in whole milliseconds, rounded up: a limit that was asked for is never shortened. -1: no limit."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name}: {type(value).__name__} is not allowed; give seconds as a number, or a timedelta")
    if value == math.inf:
        return -1
    if math.isnan(value) or value < 0:
        raise ValueError(f"{name}: {value} is not allowed; give seconds as a number of at least 0, or a timedelta")
    # 0.069 * 1000 is a little more than 69.
    return math.ceil(round(value * 1_000, 6))

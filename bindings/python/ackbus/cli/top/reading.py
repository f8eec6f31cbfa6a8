"""What an exposition says of the publishers in it, at one moment."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_older

ACCEPTED = "ackbus_accepted_messages_total"
ACKED = "ackbus_published_messages_total"
ERRORS = "ackbus_publish_error_messages_total"
BYTES = "ackbus_out_bytes_total"
PENDING, PENDING_LIMIT = "ackbus_pending_messages", "ackbus_pending_limit_messages"
PENDING_BYTES, PENDING_BYTES_LIMIT = "ackbus_pending_bytes", "ackbus_pending_limit_bytes"
LATENCY, SLOWEST = "ackbus_ack_latency_seconds_bucket", "ackbus_ack_latency_max_seconds"
FAILED = "ackbus_failed_messages_total"
INFO, STATE, CONNECTED, START = "ackbus_publisher_info", "ackbus_state", "ackbus_connected", "ackbus_start_time_seconds"
TROUBLES = {
    "ack timeouts": "ackbus_ack_timeout_attempts_total",
    "retries": "ackbus_retry_attempts_total",
    "resent": "ackbus_resent_attempts_total",
    "reconnects": "ackbus_reconnects_total",
    "gates held": "ackbus_gates_held_total",
    "queue full": "ackbus_queue_full_calls_total",
}
"""What is told by the count, and stands out while it grows."""

OF_A_SAMPLE = (STATE, "status", "le", "quantile")
"""Labels that tell the samples of one publisher apart; all others are the publisher's."""


class NotMetrics(Exception):
    """The text is no exposition, or has nothing of ackbus: one line."""


@dataclass(frozen=True, slots=True)
class Failure:
    """How often messages failed with one status, and what was said of the last of them."""

    status: str
    count: float
    text: str = ""
    time: float | None = None
    """Unix time of the last one."""


@dataclass(slots=True)
class Reading:
    """The figures of one publisher."""

    name: str
    samples: dict[str, float] = field(default_factory=dict)
    """By the sample's name; a family that the program does not tell is missing."""
    buckets: list[tuple[float, float]] = field(default_factory=list)
    """Acknowledgements that took no longer than so many seconds; the last bound is infinity."""
    failures: list[Failure] = field(default_factory=list)
    state: str = ""
    """Such as ``reconnecting``."""
    info: dict[str, str] = field(default_factory=dict)


def readings(text: str, *, openmetrics: bool) -> dict[str, Reading]:
    """The publishers in an exposition, by name. ``openmetrics``: or else the older text format. Raises :exc:`NotMetrics`."""
    parse: Any = parse_openmetrics if openmetrics else parse_older
    try:
        samples = [sample for family in parse(text) for sample in family.samples]
    except Exception as error:
        # The parser raises whatever a malformed text makes of it, ValueError at best.
        form = "OpenMetrics" if openmetrics else "the Prometheus text format"
        raise NotMetrics(f"this is not {form}: {printable(str(error))[:200] or type(error).__name__}") from error
    publishers: dict[frozenset[tuple[str, str]], list[Any]] = {}
    infos = []
    for sample in samples:
        if sample.name == INFO:
            infos.append(sample)
        elif sample.name.startswith("ackbus_"):
            labels = frozenset((name, value) for name, value in sample.labels.items() if name not in OF_A_SAMPLE)
            publishers.setdefault(labels, []).append(sample)
    if not publishers:
        raise NotMetrics(f"no metrics of ackbus among {len(samples)} samples" if samples else "there are no metrics in it")
    names = _names(publishers)
    found = {}
    for labels, labelled in publishers.items():
        about = [info.labels for info in infos if labels <= info.labels.items()]
        found[names[labels]] = _reading(names[labels], labelled, about)
    return found


def _names(publishers: Iterable[frozenset[tuple[str, str]]]) -> dict[frozenset[tuple[str, str]], str]:
    """By the label ``publisher``, and by all others where that is not enough."""
    given = Counter(dict(labels).get("publisher", "") for labels in publishers)
    names = {}
    for labels in publishers:
        known = dict(sorted(labels))
        name = known.pop("publisher", "")
        if known and (not name or given[name] > 1):
            name = f"{name} {','.join(f'{key}={value}' for key, value in known.items())}".lstrip()
        names[labels] = printable(name) or "ackbus"
    return names


def _reading(name: str, samples: Iterable[Any], infos: Iterable[Mapping[str, str]]) -> Reading:
    reading = Reading(name)
    for sample in samples:
        if not math.isfinite(sample.value):
            # As if it were not told.
            continue
        if sample.name == LATENCY:
            if not math.isnan(bound := _number(sample.labels.get("le"))):
                reading.buckets.append((bound, sample.value))
        elif sample.name == FAILED:
            last = sample.exemplar
            text, time = (last.labels.get("text", ""), last.timestamp) if last else ("", None)
            reading.failures.append(Failure(printable(sample.labels.get("status", "")), sample.value, printable(text), None if time is None else float(time)))
        elif sample.name == STATE:
            if sample.value:
                reading.state = printable(sample.labels.get(STATE, "")).lower()
        elif not any(label in sample.labels for label in OF_A_SAMPLE):
            reading.samples[sample.name] = float(sample.value)
    reading.buckets.sort()
    for info in infos:
        reading.info.update({key: printable(value) for key, value in info.items()})
    return reading


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:
        return math.nan


def printable(text: str) -> str:
    """On one line, and without what a terminal would obey."""
    return "".join(char if char.isprintable() else " " for char in text).strip()

"""Expositions made by hand, in the form of the core's: what ``ackbus top`` reads."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

START = 1_700_000_000.5
BOUNDS = (0.001, 0.01, 0.1)
EOF = "# EOF\n"


def counter(name: str, value: float, publisher: str = "orders", **labels: str) -> str:
    return f"# TYPE {name} counter\n{name}_total{_labels(publisher, labels)} {value}\n"


def gauge(name: str, value: float, publisher: str = "orders", **labels: str) -> str:
    return f"# TYPE {name} gauge\n{name}{_labels(publisher, labels)} {value}\n"


def _labels(publisher: str, labels: dict[str, str]) -> str:
    return "{" + ",".join(f'{key}="{value}"' for key, value in [("publisher", publisher), *labels.items()]) + "}"


def failed(rows: Iterable[tuple[str, float, str, float]], publisher: str = "orders") -> str:
    """Rows of status, count, text and time; without a text there is no exemplar."""
    text = "# TYPE ackbus_failed_messages counter\n"
    for status, count, said, time in rows:
        exemplar = f' # {{text="{said}"}} 1 {time}' if said else ""
        text += f'ackbus_failed_messages_total{{publisher="{publisher}",status="{status}"}} {count}{exemplar}\n'
    return text


def histogram(counts: Sequence[int], publisher: str = "orders") -> str:
    """``counts``: how many took no longer than each of BOUNDS, and how many there were."""
    text = "# TYPE ackbus_ack_latency_seconds histogram\n"
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), counts, strict=True):
        text += f'ackbus_ack_latency_seconds_bucket{{publisher="{publisher}",le="{bound}"}} {count}\n'
    return text + f'ackbus_ack_latency_seconds_count{{publisher="{publisher}"}} {counts[-1]}\nackbus_ack_latency_seconds_sum{{publisher="{publisher}"}} 1.5\n'


def whole(
    *,
    accepted: int = 0,
    acked: int = 0,
    errors: int = 0,
    retries: int = 0,
    pending: int = 0,
    state: str = "connected",
    start: float = START,
    failures: Iterable[tuple[str, float, str, float]] = (),
    latencies: Sequence[int] = (0, 0, 0, 0),
) -> str:
    """All that ``top`` shows of one publisher, named orders."""
    standing = "".join(f'ackbus_state{{publisher="orders",ackbus_state="{name}"}} {int(name == state)}\n' for name in ("connected", "reconnecting"))
    return (
        '# TYPE ackbus_publisher info\nackbus_publisher_info{publisher="orders",version="0.1.0",server="nats://127.0.0.1:4222",server_version="2.15.1"} 1\n'
        + f"# TYPE ackbus_state stateset\n{standing}"
        + gauge("ackbus_connected", int(state == "connected"))
        + gauge("ackbus_start_time_seconds", start)
        + counter("ackbus_accepted_messages", accepted)
        + counter("ackbus_published_messages", acked)
        + counter("ackbus_publish_error_messages", errors)
        + counter("ackbus_out_bytes", accepted * 1024)
        + counter("ackbus_retry_attempts", retries)
        + gauge("ackbus_pending_messages", pending)
        + gauge("ackbus_pending_limit_messages", 10_000)
        + gauge("ackbus_pending_bytes", pending * 1024)
        + gauge("ackbus_pending_limit_bytes", 128 << 20)
        + gauge("ackbus_ack_latency_max_seconds", 0.25)
        + failed(failures)
        + histogram(latencies)
        + EOF
    )

"""What a publisher tells about itself."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from ._enums import State
from ._errors import Error


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """A snapshot of one publisher's figures since it connected; docs/STATISTICS.md has the meaning of each.

    At rest, for persistent messages: ``accepted == published + publish_errors + pending``.
    """

    accepted: int
    """Persistent messages that ``publish`` took: each gets exactly one outcome."""
    pending: int
    """Persistent messages accepted and not yet settled, now."""
    pending_bytes: int
    """Bytes that count against ``max_pending_bytes`` now."""
    events_dropped: int
    """Events that made room for newer ones because nobody took them."""
    published: int
    """Persistent messages that the server acknowledged, duplicates included."""
    publish_errors: int
    """Persistent messages that settled without an acknowledgement."""
    pending_max: int
    """The most that counted against ``max_pending`` at once."""
    ack_timeouts: int
    """Attempts whose ``ack_wait`` ran out."""
    duplicates: int
    """Acknowledgements that found the id in the stream already."""
    attempts: int
    """Sendings that were begun."""
    retries: int
    """Attempts after a message's first."""
    resent: int
    """Attempts written whole of messages that had been written whole before."""
    late_acks: int
    """Replies to messages that had settled."""
    alien_replies: int
    """Replies that are no acknowledgement."""
    queue_full: int
    """Publishes that found no room."""
    gates_held: int
    """How often a gate closed because its stream was missing, overloaded or without a leader."""
    ephemeral: int
    """Ephemeral messages written."""
    ephemeral_dropped: int
    """Ephemeral messages not written in time."""
    reports_delivered: int
    """Reports handed over."""
    reconnects: int
    """Connections after the first."""
    bytes_out: int
    """Bytes of the protocol that the kernel took, before TLS."""
    wakeups: int
    """How often a publishing thread woke the I/O thread."""
    latency_p50_ns: int
    """Half of the acknowledged messages took no longer, in nanoseconds."""
    latency_p99_ns: int
    """99 % of the acknowledged messages took no longer, in nanoseconds."""
    latency_max_ns: int
    """The slowest acknowledgement, in nanoseconds."""

    def as_dict(self) -> dict[str, int]:
        """The figures by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Info:
    """How a publisher stands, and with whom."""

    state: State
    """Whether it is connected, or closed, or has failed."""
    server: str
    """The server of the newest connection, without credentials."""
    server_version: str
    """Its version; empty before the first connection."""
    max_payload: int
    """The largest payload with headers that every server of ours takes, in bytes; 0 before the first connection."""
    last_error: Error | None
    """What last went wrong with a connection."""

"""The words and numbers that every language of ackbus shares."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """The result of a call, or the final word on a message. The numbers are stable."""

    OK = 0
    INVALID_ARGUMENT = 100
    INVALID_UTF8 = 101
    INVALID_TOPIC = 102
    INVALID_HEADER = 103
    INVALID_OPTION = 104
    INVALID_STATE = 105
    WRONG_THREAD = 106
    TOO_LARGE = 107
    ABI_MISMATCH = 108
    FORKED = 109
    QUEUE_FULL = 200
    TIMED_OUT = 201
    PURGED = 202
    CALLBACK_BUSY = 203
    CLOSED = 204
    INTERRUPTED = 205
    DISCONNECTED = 300
    CONNECT_FAILED = 301
    AUTH_FAILED = 302
    TLS_FAILED = 303
    ACK_TIMEOUT = 304
    DENIED = 305
    PROTOCOL_ERROR = 306
    FAILED = 307
    NO_STREAM = 400
    STREAM_FULL = 401
    OVERLOADED = 402
    WRONG_EXPECTATION = 403
    QUOTA_EXCEEDED = 404
    REJECTED = 405
    UNAVAILABLE = 406
    CREATE_FAILED = 407
    INTERNAL = 500


class Persistence(IntEnum):
    """What is known about a message's copy in the stream."""

    NOT_PERSISTED = 0
    """Proven: no attempt was stored. Sending it again cannot make a second copy."""
    POSSIBLY_PERSISTED = 1
    """An attempt may have been stored. Sending it again may make a second copy."""
    PERSISTED = 2
    """The server acknowledged it."""


class EventKind(IntEnum):
    """What happened to a publisher, other than to a message."""

    CONNECTED = 1
    DISCONNECTED = 2
    RECONNECTED = 3
    CONNECT_FAILED = 4
    LAME_DUCK = 5
    SERVERS_DISCOVERED = 6
    STREAM_CREATED = 7
    STREAM_DIFFERS = 8
    STREAM_RISK = 9
    WINDOW_UNKNOWN = 10
    GATE_HELD = 11
    GATE_OPENED = 12
    DENIED = 13
    PENDING_HIGH = 14
    PENDING_NORMAL = 15
    AUTH_FAILED = 16
    QUARANTINED = 17
    CLOCK_JUMP = 18
    ACK_SILENCE = 19
    FAILED = 20
    CLOSED = 21


class State(IntEnum):
    """How a publisher stands."""

    CONNECTING = 0
    CONNECTED = 1
    RECONNECTING = 2
    CLOSING = 3
    CLOSED = 4
    FAILED = 5


# By number, for the native half: calling an IntEnum costs a microsecond, a dict 40 ns.
STATUSES: dict[int, Status] = {member.value: member for member in Status}
PERSISTENCES: dict[int, Persistence] = {member.value: member for member in Persistence}
EVENT_KINDS: dict[int, EventKind] = {member.value: member for member in EventKind}

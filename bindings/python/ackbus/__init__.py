"""ackbus: an event bus publisher with one unified acknowledgement handler, for NATS JetStream.

``publish`` hands a message over and returns at once; one handler settles the acknowledgements of all messages of all topics and tells exactly one outcome for
each: persisted, proven not persisted, or possibly persisted. :mod:`ackbus.aio` is the same for asyncio.

    import ackbus

    with ackbus.connect("nats://127.0.0.1:4222", on_error=lambda report: print(report)) as bus:
        bus.publish("orders.created", b"...")
"""

from __future__ import annotations

from ._enums import EventKind, Persistence, State, Status
from ._errors import (
    AckTimeoutError,
    AuthFailedError,
    CallbackBusyError,
    ClosedError,
    ConnectFailedError,
    CreateFailedError,
    DeniedError,
    DisconnectedError,
    Error,
    FailedError,
    ForkedError,
    InvalidArgumentError,
    InvalidHeaderError,
    InvalidOptionError,
    InvalidStateError,
    InvalidTopicError,
    MessageTooLargeError,
    NoStreamError,
    OverloadedError,
    ProtocolError,
    PurgedError,
    QueueFullError,
    QuotaExceededError,
    RejectedError,
    StreamFullError,
    TimedOutError,
    TlsFailedError,
    UnavailableError,
    WrongExpectationError,
    WrongThreadError,
)
from ._figures import Info, Stats
from ._native import Ack, Event, Report, __version__, forked, in_callback
from ._options import MessageOptions, Options, Topic
from ._publisher import Publisher, connect

__all__ = [
    "Ack",
    "AckTimeoutError",
    "AuthFailedError",
    "CallbackBusyError",
    "ClosedError",
    "ConnectFailedError",
    "CreateFailedError",
    "DeniedError",
    "DisconnectedError",
    "Error",
    "Event",
    "EventKind",
    "FailedError",
    "ForkedError",
    "Info",
    "InvalidArgumentError",
    "InvalidHeaderError",
    "InvalidOptionError",
    "InvalidStateError",
    "InvalidTopicError",
    "MessageOptions",
    "MessageTooLargeError",
    "NoStreamError",
    "Options",
    "OverloadedError",
    "Persistence",
    "ProtocolError",
    "Publisher",
    "PurgedError",
    "QueueFullError",
    "QuotaExceededError",
    "RejectedError",
    "Report",
    "State",
    "Stats",
    "Status",
    "StreamFullError",
    "TimedOutError",
    "TlsFailedError",
    "Topic",
    "UnavailableError",
    "WrongExpectationError",
    "WrongThreadError",
    "__version__",
    "connect",
    "forked",
    "in_callback",
]

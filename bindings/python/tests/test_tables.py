"""The package's tables against the core's: what is added there must not be forgotten here."""

from __future__ import annotations

import pickle
from dataclasses import fields

import pytest

import ackbus
import ackbus.aio
from ackbus import _enums, _errors, _native, _options


def test_statuses() -> None:
    assert [(status.name, status.value) for status in ackbus.Status] == [(name, number) for name, number, _ in _native.statuses()]


def test_event_kinds() -> None:
    assert [(kind.name, kind.value) for kind in ackbus.EventKind] == _native.event_kinds()


def test_options() -> None:
    options, rules = _native.option_keys()
    assert {key.removesuffix("_ms") for key in options} - {"servers"} == set(_options.Options.__annotations__)
    assert {key.removesuffix("_ms") for key in rules} == set(_options.Topic.__annotations__)


def test_stats() -> None:
    assert [field.name for field in fields(ackbus.Stats)] == [name for name, *_ in _native.stats_fields()]


@pytest.mark.parametrize("status", [status for status in ackbus.Status if status is not ackbus.Status.OK])
def test_every_status_has_an_exception(status: ackbus.Status) -> None:
    error = _errors._make(status, "what was wrong", 1, 10077, True, False)
    assert isinstance(error, ackbus.Error)
    plain = {ackbus.Status.ABI_MISMATCH, ackbus.Status.INTERRUPTED, ackbus.Status.INTERNAL}
    assert (type(error) is ackbus.Error) == (status in plain), "an exception class of its own"
    assert str(error).startswith(f"{status.name}: what was wrong")
    assert error.persistence is ackbus.Persistence.POSSIBLY_PERSISTED


@pytest.mark.parametrize(
    ("kind", "also"),
    [
        (ackbus.TimedOutError, TimeoutError),
        (ackbus.AckTimeoutError, TimeoutError),
        (ackbus.ConnectFailedError, ConnectionError),
        (ackbus.AuthFailedError, PermissionError),
        (ackbus.DeniedError, PermissionError),
        (ackbus.InvalidTopicError, ValueError),
        (ackbus.InvalidOptionError, ValueError),
        (ackbus.NoStreamError, LookupError),
        (ackbus.QueueFullError, BufferError),
        (ackbus.ClosedError, RuntimeError),
        (ackbus.ForkedError, RuntimeError),
    ],
)
def test_exceptions_are_also_the_built_in_ones(kind: type[ackbus.Error], also: type[Exception]) -> None:
    assert issubclass(kind, ackbus.Error) and issubclass(kind, also)


def test_exceptions_survive_pickling() -> None:
    error = _errors._make(401, "the stream is full", 0, 10077, True, False)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is ackbus.StreamFullError
    assert (str(again), again.status, again.persistence, again.server_code, again.retriable, again.fatal) == (
        str(error),
        ackbus.Status.STREAM_FULL,
        ackbus.Persistence.NOT_PERSISTED,
        10077,
        True,
        False,
    )


def test_everything_public_is_documented() -> None:
    without = [name for name in ackbus.__all__ if not name.startswith("__") and not (getattr(ackbus, name).__doc__ or "").strip()]
    for kind in (ackbus.Publisher, ackbus.aio.Publisher, ackbus.Report, ackbus.Ack, ackbus.Event):
        without += [f"{kind.__name__}.{name}" for name in dir(kind) if not name.startswith("_") and not (getattr(kind, name).__doc__ or "").strip()]
    assert without == []
    assert _enums.STATUSES[0] is ackbus.Status.OK

"""Records of the core in Python's logging."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

import programs
import pytest
from conftest import Server, wait_for

import ackbus
from ackbus import _native


def test_the_loggers_level_is_the_publishers(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "ackbus"), ackbus.connect("memory:"):
        wait_for("a record", lambda: [record for record in caplog.records if "connected to memory:" in record.message])
    (record,) = [record for record in caplog.records if "connected to memory:" in record.message]
    assert (record.name, record.levelname) == ("ackbus", "INFO")


def test_by_default_ordinary_life_is_silent(caplog: pytest.LogCaptureFixture) -> None:
    with ackbus.connect("memory:") as bus:
        bus.publish("a")
    assert _native.flush_log(20)
    assert caplog.records == []


def test_a_level_of_ones_own(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, "ackbus"), ackbus.connect("memory:", log_level="error"):
        pass
    assert _native.flush_log(20)
    assert caplog.records == []


def test_no_record_and_no_error_has_a_secret_in_it(start_server: Callable[..., Server], caplog: pytest.LogCaptureFixture) -> None:
    right, wrong = "right-7c2f0f8b6f0e4a5d", "wrong-2b1d9a7e4c3f5e60"
    server = start_server("--user", "app", "--pass", right)
    with caplog.at_level(logging.NOTSET + 1, "ackbus"):
        with ackbus.connect(server.url, user="app", password=right, log_level="trace") as bus:
            told = f"{bus!r} {bus.info!r}"
        with pytest.raises(ackbus.AuthFailedError) as refused:
            ackbus.connect(server.url, user="app", password=wrong, log_level="trace")
        with pytest.raises(ackbus.InvalidOptionError) as unfit:
            ackbus.connect(server.url, user="app", password=f"{wrong}\n")
        assert _native.flush_log(20)
    records = [record.getMessage() for record in caplog.records]
    assert any("AUTH_FAILED" in record for record in records) and any("CONNECTED" in record for record in records), records
    for text in (*records, told, str(refused.value), repr(refused.value), str(unfit.value), repr(unfit.value)):
        assert right not in text and wrong not in text


def test_a_handler_that_holds_its_lock_stops_nobody() -> None:
    """T6: a thread that holds a logging handler's lock publishes and waits for the outcome, while the core logs."""
    entered = threading.Event()

    class Slow(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            entered.set()

    handler, logger = Slow(), logging.getLogger("ackbus")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(5)
    try:
        handler.acquire()
        try:
            with ackbus.connect("memory:", log_level="trace") as bus:
                assert bus.publish_wait("a", timeout=20).seq == 1
        finally:
            handler.release()
        assert entered.wait(20)
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)


def test_without_configuration_errors_still_reach_stderr(start_server: object) -> None:
    program = """
        import ackbus
        bus = ackbus.connect("memory:", topics={"a.>": {"stream": "ORDERS"}})
        bus.publish("a.b", expected_last_seq=99)
        bus.close()
    """
    code, output, errors = programs.run(program)
    assert (code, output) == (0, ""), errors
    assert "not persisted, and no on_error handler is set: message 1" in errors

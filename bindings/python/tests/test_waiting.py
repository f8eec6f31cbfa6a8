"""Nothing waits with the interpreter in its hand (T4), and Ctrl-C is heard (T27)."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable

import programs
import pytest
from conftest import wait_for
from silent import silent_server

import ackbus

CALLS: dict[str, Callable[[ackbus.Publisher], object]] = {
    "publish": lambda bus: bus.publish("a"),
    "publish_many": lambda bus: bus.publish_many([("a", b"")]),
    "submit": lambda bus: bus.submit("a"),
    "publish_wait": lambda bus: bus.publish_wait("a"),
    "flush": lambda bus: bus.flush(),
    "wait_connected": lambda bus: bus.wait_connected(),
    "close": lambda bus: bus.close(),
}


@pytest.mark.parametrize("name", CALLS)
def test_other_threads_run_while_one_waits(name: str) -> None:
    with silent_server() as url:
        bus = ackbus.connect(url, retry_on_connect=True, max_pending=1, close_timeout=3_600)
        bus.publish("a")

        def wait() -> None:
            with contextlib.suppress(ackbus.Error):
                CALLS[name](bus)

        waiting = threading.Thread(target=wait)
        waiting.start()
        # If it held the interpreter, this thread would not come back from its first sleep.
        for _ in range(20):
            time.sleep(0.005)
        assert waiting.is_alive()
        bus.close(0)
        waiting.join(20)
        assert not waiting.is_alive()


PROGRAM = """
import ackbus, os, signal, sys, threading, time
bus = ackbus.connect(sys.argv[1], retry_on_connect=True, max_pending=1, close_timeout=3600)
bus.publish("a")
for _ in range(5):
    sent = []
    def interrupt():
        time.sleep(0.15)
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)
    threading.Thread(target=interrupt).start()
    try:
        {call}
    except KeyboardInterrupt:
        print(time.monotonic() - sent[0])
bus.close(0)
"""


@pytest.mark.parametrize("call", ["bus.flush()", "bus.publish('a')", "bus.publish_many([('a', b'')])", "bus.publish_wait('a')", "bus.wait_connected()"])
def test_ctrl_c_ends_a_wait(call: str) -> None:
    with silent_server() as url:
        code, output, errors = programs.run(PROGRAM.format(call=call), url)
    times = [float(line) for line in output.split()]
    assert (code, len(times)) == (0, 5), errors
    # The best of five: a loaded machine delays some.
    assert min(times) < 0.2, times


def test_ctrl_c_ends_a_close_that_goes_on() -> None:
    program = """
        import ackbus, sys
        bus = ackbus.connect(sys.argv[1], retry_on_connect=True)
        bus.publish("a")
        print("ready", flush=True)
        try:
            bus.close()
        except KeyboardInterrupt:
            try:
                bus.publish("a")
            except ackbus.ClosedError:
                print("closing")
        bus.close(0)
        print(bus.stats().publish_errors)
    """
    with silent_server() as url:
        child = programs.start(program, url)
        assert child.stdout is not None and child.stdout.readline() == "ready\n"
        time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        code, output, errors = programs.finish(child)
    assert (code, output) == (0, "closing\n1\n"), errors


def test_a_signal_handler_may_publish_while_its_thread_waits() -> None:
    seen: list[int] = []

    def handler(number: int, frame: object) -> None:
        seen.append(bus.publish("b"))

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with silent_server() as url:
            bus = ackbus.connect(url, retry_on_connect=True, close_timeout=0)
            bus.publish("a")
            threading.Timer(0.1, lambda: signal.raise_signal(signal.SIGUSR1)).start()
            with pytest.raises(ackbus.TimedOutError):
                bus.flush(1)
            wait_for("the signal", lambda: seen)
            assert (seen, bus.pending) == ([2], 2)
            bus.close()
    finally:
        signal.signal(signal.SIGUSR1, before)

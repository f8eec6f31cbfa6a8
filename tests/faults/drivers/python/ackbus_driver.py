"""The fault driver for ackbus' Python package: ackbus.connect, with one handler for all outcomes."""

from __future__ import annotations

import math
import os
import queue
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import ackbus
from ackbus import EventKind, Persistence, Report, Status

import driver

_KINDS = {Persistence.NOT_PERSISTED: "refused", Persistence.POSSIBLY_PERSISTED: "in_doubt"}
_STATES = {EventKind.DISCONNECTED: "disconnected", EventKind.RECONNECTED: "reconnected", EventKind.FAILED: "failed"}


class Driver:
    def __init__(self, arguments: driver.Arguments, stopped: threading.Event) -> None:
        self.arguments = arguments
        self.output = driver.Output()
        self.stopped = stopped
        self.outcomes = 0
        self.bad_outcome: queue.SimpleQueue[str] = queue.SimpleQueue()
        options = _keywords(arguments.options)
        if arguments.max_pending:
            options["max_pending"] = arguments.max_pending
        rules: dict[str, Any] = {pattern: _keywords(rule) for pattern, rule in arguments.rules.items()}
        self.in_handler = _MODES.get(arguments.mode)
        self.closing = False
        self.in_handlers = 0.0
        self.bus = ackbus.connect(arguments.url, topics=rules, on_report=self.on_outcome, on_error=self.on_outcome, on_event=self.on_event, **options)

    def on_outcome(self, report: Report) -> None:
        if self.closing:
            begin = time.monotonic()
            self.tell(report)
            self.in_handlers += time.monotonic() - begin
        else:
            self.tell(report)

    def tell(self, report: Report) -> None:
        k = report.tag
        if k is None:
            self.bad_outcome.put(f"{report.persistence.name}: {report.text}")
            return
        if report.persistence is Persistence.PERSISTED:
            self.output.acked(k, report.seq, report.duplicate)
        else:
            self.output.not_acked(k, _KINDS[report.persistence], f"{report.status.name}: {report.text}", report.server_code)
        self.outcomes += 1
        if self.in_handler:
            self.in_handler(self)

    def on_event(self, event: ackbus.Event) -> None:
        if event.kind in _STATES:
            self.output.line("state", state=_STATES[event.kind])
        if event.status != Status.OK:
            self.output.line("error", text=f"{event.kind.name}: {event.status.name}: {event.text}")

    def publish_all(self) -> None:
        arguments = self.arguments
        begin = time.monotonic()
        for k in range(1, arguments.count + 1):
            if (pause := arguments.pause(begin, k)) > 0:
                self.stopped.wait(pause)
            if self.stopped.is_set():
                break
            self.publish(k)
            if k == (arguments.count + 1) // 2:
                if arguments.mode == "bad":
                    self.publish_bad()
                elif arguments.mode == "fork":
                    self.fork()
        self.output.line("published")

    def publish(self, k: int) -> None:
        subject, payload, msg_id = self.arguments.message(k)
        try:
            self.bus.publish(subject, payload, tag=k, msg_id=msg_id)
        except ackbus.Error as error:
            self.output.line("reject", id=k, text=str(error))
            if error.status is Status.CLOSED:
                self.stopped.set()
        else:
            self.output.accept(k)

    def publish_bad(self) -> None:
        for bad in driver.bad_messages(self.arguments.subjects[0]):
            headers = dict([bad.header]) if bad.header else None
            try:
                self.bus.publish(bad.subject, driver.BAD_PAYLOAD, headers=headers, msg_id=bad.msg_id)
            except Exception as error:
                self.output.check(f"bad: {bad.name}", True, str(error))
                continue
            try:
                text = f"accepted, then {self.bad_outcome.get(timeout=driver.BAD_WAIT)}"
            except queue.Empty:
                text = "accepted, and no outcome in 2 s"
            self.output.check(f"bad: {bad.name}", False, text)

    def fork(self) -> None:
        """The child tells through a pipe; it is ended if it hangs."""
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.write(writer, self.in_child().encode())
            os._exit(0)
        os.close(writer)
        readable, _, _ = select.select([reader], [], [], 10)
        text = os.read(reader, 4096).decode() if readable else "the child hung for 10 s"
        os.close(reader)
        if not readable:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        self.output.check("fork", text == "publish: FORKED; close: FORKED" and status == 0, text)

    def in_child(self) -> str:
        """Says what came of both calls."""

        def attempt(call: Callable[[], object]) -> str:
            try:
                call()
            except ackbus.Error as error:
                return error.status.name
            return "OK"

        publish = attempt(lambda: self.bus.publish(self.arguments.subjects[0], b"child"))
        return f"publish: {publish}; close: {attempt(lambda: self.bus.close(1))}"

    def block(self) -> None:
        if self.outcomes == 1000:
            time.sleep(10)

    def throw(self) -> None:
        if self.outcomes % 100 == 0:
            raise RuntimeError(f"thrown by the handler at outcome {self.outcomes}")

    def republish(self) -> None:
        if self.outcomes <= 100:
            self.publish(self.arguments.count + self.outcomes)

    def close_in_handler(self) -> None:
        if self.outcomes == 1000:
            ok, text = False, "OK"
            try:
                self.bus.close(1)
            except ackbus.Error as error:
                ok, text = error.status is Status.WRONG_THREAD, str(error)
            self.output.check("close in the handler", ok, text)

    def close(self, limit: float) -> None:
        self.output.line("close_begin")
        self.closing = True
        text = "OK"
        while True:
            try:
                self.bus.close(limit)
            except ackbus.CallbackBusyError:
                # Its advice: call close again. A handler that is busy keeps what is left from being told.
                continue
            except ackbus.Error as error:
                text = str(error)
            break
        self.output.line("close_end", text=text, handlers_ms=round(self.in_handlers * 1000))

    def sample(self) -> None:
        self.output.line("pending", n=self.bus.pending)
        self.output.flush()


_MODES: dict[str, Callable[[Driver], None]] = {
    "block": Driver.block,
    "throw": Driver.throw,
    "republish": Driver.republish,
    "close": Driver.close_in_handler,
}


def _keywords(keys: dict[str, str]) -> dict[str, Any]:
    """Python has seconds where the keys that all languages share have milliseconds."""
    return {key.removesuffix("_ms"): _seconds(value) if key.endswith("_ms") else value for key, value in keys.items()}


def _seconds(milliseconds: str) -> float:
    return math.inf if milliseconds == "-1" else int(milliseconds) / 1000


def main() -> None:
    arguments = driver.Arguments(sys.argv[1:])
    limit: queue.SimpleQueue[float] = queue.SimpleQueue()
    stopped = threading.Event()

    def told(do: str, value: int) -> None:
        if do == "close":
            limit.put(value / 1000)
        else:
            stopped.set()

    driver.obey(told)
    this = Driver(arguments, stopped)
    this.output.line("ready", client=f"ackbus (Python) {ackbus.__version__}")
    driver.every_tick(this.sample)
    threading.Thread(target=this.publish_all, daemon=True).start()
    this.close(limit.get())
    time.sleep(driver.AFTER_CLOSE)
    this.output.end()


main()

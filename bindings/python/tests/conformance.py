"""Plays ``tests/conformance/scenarios.json`` through the Python package; README.md there defines the format.

A scenario is played through a :class:`Bus`, which has the verbs of the file: the synchronous publisher is one, the one for asyncio another.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol

import ackbus
import ackbus.aio

ROOT = Path(__file__).parents[3]
PATIENCE = 30.0

Json = dict[str, Any]


class Failure(AssertionError):
    """The scenario does not hold."""


class Control:
    """``ackbus-test-server control``: servers, streams and faults by lines of JSON."""

    def __init__(self) -> None:
        program = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug/ackbus-test-server"
        assert program.is_file(), f"{program} is missing: cargo build --bin ackbus-test-server"
        self._process = subprocess.Popen([program, "control"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)

    def ask(self, request: Json) -> Json:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: Json = json.loads(self._process.stdout.readline())
        if not answer["ok"]:
            raise Failure(f"{request}: {answer['error']}")
        return answer

    def end(self) -> None:
        self._process.communicate(timeout=PATIENCE)


class Bus(Protocol):
    """The verbs of the scenarios."""

    def publish(self, topic: str, payload: bytes, more: Json) -> None: ...
    def publish_batch(self, messages: list[tuple[str, bytes, Json]]) -> int: ...
    def publish_wait(self, topic: str, payload: bytes, timeout: float | None, more: Json) -> ackbus.Ack: ...
    def flush(self, timeout: float | None) -> None: ...
    def purge(self, unsent: bool, in_flight: bool) -> int: ...
    def close(self, timeout: float | None) -> None: ...
    def wait_connected(self, timeout: float | None) -> None: ...
    def set_topic(self, pattern: str, **rule: Any) -> None: ...
    def stats(self) -> ackbus.Stats: ...


class SyncBus:
    """The synchronous publisher."""

    def __init__(self, told: Told, servers: str, topics: Json, options: Json) -> None:
        self._bus = ackbus.connect(servers, topics=topics, on_report=told.report, on_error=told.report, on_event=told.event, **options)
        self.flush, self.close, self.wait_connected = self._bus.flush, self._bus.close, self._bus.wait_connected
        self.set_topic, self.stats = self._bus.set_topic, self._bus.stats

    def publish(self, topic: str, payload: bytes, more: Json) -> None:
        self._bus.publish(topic, payload, **more)

    def publish_batch(self, messages: list[tuple[str, bytes, Json]]) -> int:
        try:
            return len(self._bus.publish_many(messages))  # type: ignore[arg-type]
        except ackbus.Error as error:
            raise Partly(len(error.accepted_ids)) from error

    def publish_wait(self, topic: str, payload: bytes, timeout: float | None, more: Json) -> ackbus.Ack:
        return self._bus.publish_wait(topic, payload, timeout=timeout, **more)

    def purge(self, unsent: bool, in_flight: bool) -> int:
        return self._bus.purge(unsent=unsent, in_flight=in_flight)


class AioBus:
    """The publisher for asyncio, with a loop in a thread. Futures nobody waits for are cancelled, so that their outcomes go to the handlers."""

    def __init__(self, told: Told, servers: str, topics: Json, options: Json) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()

        async def connect() -> ackbus.aio.Publisher:
            return await ackbus.aio.connect(servers, topics=topics, on_report=told.report, on_error=told.report, on_event=told.event, **options)

        try:
            self._bus = self._run(connect())
        except BaseException:
            self._end()
            raise
        self.stats = self._bus.stats

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(2 * PATIENCE)

    def _end(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(PATIENCE)
            self._loop.close()

    def publish(self, topic: str, payload: bytes, more: Json) -> None:
        async def publish() -> None:
            (await self._bus.submit(topic, payload, **more)).cancel()

        self._run(publish())

    def publish_batch(self, messages: list[tuple[str, bytes, Json]]) -> int:
        for accepted, (topic, payload, more) in enumerate(messages):
            try:
                self.publish(topic, payload, more)
            except ackbus.Error as error:
                raise Partly(accepted) from error
        return len(messages)

    def publish_wait(self, topic: str, payload: bytes, timeout: float | None, more: Json) -> ackbus.Ack:
        async def publish() -> ackbus.Ack:
            try:
                async with asyncio.timeout(timeout):
                    return await self._bus.publish(topic, payload, **more)
            except TimeoutError as error:
                if isinstance(error, ackbus.Error):
                    raise
                raise ackbus.TimedOutError("the await was cancelled", status=ackbus.Status.TIMED_OUT) from error

        return self._run(publish())

    def flush(self, timeout: float | None) -> None:
        self._run(self._bus.flush(timeout))

    def purge(self, unsent: bool, in_flight: bool) -> int:
        return self._run(self._bus.purge(unsent=unsent, in_flight=in_flight))

    def close(self, timeout: float | None) -> None:
        self._run(self._bus.close(timeout))

    def wait_connected(self, timeout: float | None) -> None:
        self._run(self._bus.wait_connected(timeout))

    def set_topic(self, pattern: str, **rule: Any) -> None:
        self._bus.set_topic(pattern, **rule)

    def __del__(self) -> None:
        self._end()


class Partly(Exception):
    """A batch of which so many were accepted; the cause says why not all."""


class Told:
    """What the handlers heard, in the words of the scenarios."""

    def __init__(self) -> None:
        self.reports: list[Json] = []
        self.events: list[str] = []

    def report(self, report: ackbus.Report) -> None:
        flags = [name for name, flag in (("DUPLICATE", report.duplicate), ("EPHEMERAL", report.ephemeral)) if flag]
        fields = {name: getattr(report, name) for name in ("tag", "server_code", "attempts", "stream", "domain", "msg_id", "topic", "text")}
        words = {"status": report.status.name, "persistence": report.persistence.name, "stream_seq": report.seq, "payload": report.payload.decode()}
        self.reports.append({**fields, **words, "flags": flags})

    def event(self, event: ackbus.Event) -> None:
        self.events.append(event.kind.name)


def scenarios() -> list[Json]:
    """All of them."""
    file = json.loads((ROOT / "tests/conformance/scenarios.json").read_text())
    assert file["format"] == 1
    return list(file["scenarios"])


def play(scenario: Json, control: Control, connect: Callable[[Told, str, Json, Json], Bus]) -> None:
    """Plays one; raises :class:`Failure`."""
    control.ask({"do": "reset"})
    values: dict[str, str] = {}
    for request in scenario.get("setup", ()):
        answer = control.ask(request)
        for kind in ("server", "proxy"):
            if kind in answer:
                values |= {f"{kind}{answer[kind]}.{field}": value for field, value in answer.items() if isinstance(value, str)}
    text = re.sub(r"\$\{([^}]+)\}", lambda found: values[found[1]], json.dumps(scenario["publisher"]))
    publisher = json.loads(text)
    told = Told()
    bus = _failing(publisher.get("fails"), lambda: _connect(publisher, told, connect))
    if bus is None:
        return
    try:
        for number, step in enumerate(scenario.get("steps", ()), 1):
            try:
                _walk(step, bus, told, control)
            except Failure as failure:
                raise Failure(f"step {number} ({step['do']}): {failure}") from failure
        bus.close(PATIENCE)
    except BaseException:
        bus.close(0)
        raise
    expect = scenario.get("expect", {})
    _judge_told(expect, told)
    _judge_stats(expect, bus.stats())
    _judge_stored(expect, control)


def _connect(publisher: Json, told: Told, connect: Callable[[Told, str, Json, Json], Bus]) -> Bus:
    options = dict(publisher.get("options", {}))
    servers = options.pop("servers", "nats://127.0.0.1:4222")
    # What Python would choose by itself: the file adds nothing.
    settings = {"report": "failures", "log_level": "warn"} | dict(_setting(*pair) for pair in options.items())
    topics = {pattern: dict(_setting(*pair) for pair in rule.items()) for pattern, rule in publisher.get("topics", {}).items()}
    return connect(told, servers, topics, settings)


def _setting(key: str, value: str) -> tuple[str, Any]:
    """A text of the file as Python's users would write it."""
    if not key.endswith("_ms"):
        return key, value
    try:
        number = int(value)
    except ValueError:
        return key.removesuffix("_ms"), value
    return key.removesuffix("_ms"), math.inf if number == -1 else number / 1_000


def _failing(fails: Json | None, call: Callable[[], Any]) -> Any:
    """Does it. With ``fails`` it must fail so, and None comes back."""
    try:
        result = call()
    except ackbus.Error as error:
        if fails is None:
            raise Failure(f"it failed: {error}") from error
        wrong = error.status.name != fails["status"] or fails.get("text", "") not in str(error)
        if wrong or ("not_text" in fails and fails["not_text"] in str(error)):
            raise Failure(f"{error}; wanted {fails}") from error
        return None
    except (TypeError, ValueError) as error:
        # A mistake that Python's types refuse before the core sees it.
        if fails is None or not fails["status"].startswith("INVALID"):
            raise Failure(f"it failed: {error}; wanted {fails}") from error
        return None
    if fails is not None:
        raise Failure(f"it did not fail: {result}; wanted {fails}")
    return result


_OF_A_MESSAGE = (
    "tag",
    "msg_id",
    "expected_stream",
    "expected_last_msg_id",
    "expected_last_seq",
    "expected_last_subject_seq",
    "traceparent",
    "tracestate",
    "report_always",
)


def _message(step: Json, index: int = 0) -> tuple[str, bytes, Json]:
    payload = "x" * step["payload_size"] if "payload_size" in step else step.get("payload", "").replace("#", str(index))
    more = {name: step[name] for name in _OF_A_MESSAGE if name in step}
    more |= {name: step[f"{name}_ms"] / 1_000 for name in ("ttl", "stall_wait", "delivery_timeout") if f"{name}_ms" in step}
    more["tag"] = more.get("tag", 0) + index
    headers: dict[str, list[str]] = {}
    for name, value in step.get("headers", ()):
        headers.setdefault(name, []).append(value)
    return step["topic"], payload.encode(), more | ({"headers": headers} if headers else {})


def _walk(step: Json, bus: Bus, told: Told, control: Control) -> None:
    limit = step["timeout_ms"] / 1_000 if step.get("timeout_ms") is not None else None
    fails = step.get("fails")
    match step["do"]:
        case "publish":
            for index in range(step.get("repeat", 1)):
                _failing(fails, lambda index=index: bus.publish(*_message(step, index)) or True)  # type: ignore[misc]
        case "publish_batch":
            _batch(step, bus)
        case "publish_wait":
            _wait(step, bus, limit)
        case "flush":
            _failing(fails, lambda: bus.flush(limit))
        case "purge":
            count = bus.purge(step.get("unsent", False), step.get("in_flight", False))
            if count != step["count"]:
                raise Failure(f"{count} were purged")
        case "close":
            bus.close(limit)
        case "wait_connected":
            _failing(fails, lambda: bus.wait_connected(limit))
        case "set_topic":
            key, value = _setting(step["key"], step["value"])
            _failing(fails, lambda: bus.set_topic(step["pattern"], **{key: value}))
        case "wait_reports":
            _until("reports", lambda: len(told.reports) >= step["count"])
        case "wait_event":
            _until(step["kind"], lambda: step["kind"] in told.events)
        case "wait_stats":
            _until(f"{step['at_least']}", lambda: all(getattr(bus.stats(), name) >= value for name, value in step["at_least"].items()))
        case "control":
            control.ask(step["request"])
        case other:
            raise Failure(f"there is no step {other}")


def _batch(step: Json, bus: Bus) -> None:
    def publish() -> None:
        nonlocal accepted
        try:
            accepted = bus.publish_batch([_message(message) for message in step["messages"]])
        except Partly as partly:
            (accepted,) = partly.args
            assert partly.__cause__ is not None
            raise partly.__cause__ from None

    accepted = 0
    _failing(step.get("fails"), publish)
    if accepted != step["accepted"]:
        raise Failure(f"{accepted} were accepted")


def _wait(step: Json, bus: Bus, limit: float | None) -> None:
    topic, payload, more = _message(step)
    if "outcome" not in step:
        _failing(step.get("fails"), lambda: bus.publish_wait(topic, payload, limit, more))
        return
    flags: list[str] = []
    try:
        ack = bus.publish_wait(topic, payload, limit, more)
        flags = [name for name, flag in (("DUPLICATE", ack.duplicate), ("EPHEMERAL", ack.ephemeral)) if flag]
        persistence = "POSSIBLY_PERSISTED" if ack.ephemeral else "PERSISTED"
        outcome = {
            "status": "OK",
            "persistence": persistence,
            "stream": ack.stream,
            "domain": ack.domain,
            "stream_seq": ack.seq,
            "attempts": ack.attempts,
            "server_code": 0,
            "text": "",
        }
    except ackbus.Error as error:
        if error.persistence is None:
            raise Failure(f"it has no outcome: {error}") from error
        outcome = {"status": error.status.name, "persistence": error.persistence.name, "server_code": error.server_code, "text": str(error)}
    # An Ack and an exception have no more; the rest is in the reports of other scenarios.
    wanted = {name: value for name, value in step["outcome"].items() if name in outcome or name == "flags"}
    _compare(wanted, outcome | {"flags": flags})


def _until(what: str, met: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not met():
        if time.monotonic() > end:
            raise Failure(f"waited in vain for {what}")
        time.sleep(0.002)


def _compare(wanted: Json, report: Json) -> None:
    for name, value in wanted.items():
        match name:
            case "tag" | "tags":
                continue
            case "text":
                good = value in report["text"]
            case "attempts_at_least":
                good = report["attempts"] >= value
            case "flags":
                continue
            case _:
                good = report[name] == value
        if not good:
            raise Failure(f"{name}: wanted {value!r} in {report}")
    if sorted(report["flags"]) != sorted(wanted.get("flags", [])):
        raise Failure(f"flags: wanted {wanted.get('flags', [])} in {report}")


def _judge_told(expect: Json, told: Told) -> None:
    left = {report["tag"]: report for report in told.reports}
    if len(left) != len(told.reports):
        raise Failure(f"a tag was reported twice: {told.reports}")
    for wanted in expect.get("reports", ()):
        first, last = wanted.get("tags", [wanted.get("tag")] * 2)
        for tag in range(first, last + 1):
            if tag not in left:
                raise Failure(f"tag {tag} was not reported: {told.reports}")
            _compare(wanted, left.pop(tag))
    if left:
        raise Failure(f"reports that nobody expects: {left}")
    for report in told.reports:
        if (report["status"] == "OK") != (report["persistence"] == "PERSISTED") and "EPHEMERAL" not in report["flags"]:
            raise Failure(f"OK and PERSISTED are not the same: {report}")
    missing = [kind for kind in expect.get("events", ()) if kind not in told.events]
    unwanted = [kind for kind in expect.get("no_events", ()) if kind in told.events]
    if missing or unwanted:
        raise Failure(f"events: {missing} missing, {unwanted} unwanted in {told.events}")


def _judge_stats(expect: Json, stats: ackbus.Stats) -> None:
    wrong = {name: value for name, value in expect.get("stats", {}).items() if getattr(stats, name) != value}
    wrong |= {name: f"≥ {value}" for name, value in expect.get("stats_at_least", {}).items() if getattr(stats, name) < value}
    wrong |= {name: f"≤ {value}" for name, value in expect.get("stats_at_most", {}).items() if getattr(stats, name) > value}
    if wrong or stats.accepted != stats.published + stats.publish_errors + stats.pending:
        raise Failure(f"figures: wanted {wrong} in {stats}")


def _judge_stored(expect: Json, control: Control) -> None:
    for stream, wanted in expect.get("streams", {}).items():
        if wanted is None:
            if control.ask({"do": "stream_info", "server": 1, "stream": stream})["info"] is not None:
                raise Failure(f"there is a stream {stream}")
            continue
        messages = control.ask({"do": "read", "server": 1, "stream": stream})["messages"]
        _compare_messages(stream, wanted, messages)
        ids = [id for message in messages for id in message["headers"].get("Nats-Msg-Id", ())]
        if len(ids) != len(set(ids)):
            raise Failure(f"{stream}: an id is there twice: {ids}")
    for number, wanted in expect.get("received", {}).items():
        count = sum(message.get("repeat", 1) for message in wanted)
        messages = control.ask({"do": "received", "subscription": int(number), "count": count})["messages"]
        _compare_messages(f"subscription {number}", wanted, messages)


def _compare_messages(where: str, wanted: list[Json], messages: list[Json]) -> None:
    all_wanted = [(message, index) for message in wanted for index in range(message.get("repeat", 1))]
    if len(all_wanted) != len(messages):
        raise Failure(f"{where}: {len(messages)} messages, wanted {len(all_wanted)}: {str(messages)[:2000]}")
    for (want, index), message in zip(all_wanted, messages, strict=True):
        payload = want.get("payload", "").replace("#", str(index)) if "payload_size" not in want else "x" * want["payload_size"]
        headers = message.get("headers", {})
        ids = headers.get("Nats-Msg-Id", [])
        given = want.get("msg_id", True)
        good = message["subject"] == want["subject"] and message["payload"] == payload
        good = good and all(headers.get(name) == values for name, values in want.get("headers", {}).items())
        if "headers" in message:
            good = good and (len(ids) == 1 if given is True else not ids if given is False else ids == [given])
        if not good:
            raise Failure(f"{where}: wanted {want} (number {index}), found {message}")

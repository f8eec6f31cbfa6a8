"""ackbus for asyncio: the same publisher, whose waits are awaits.

    async with ackbus.aio.connect("nats://127.0.0.1:4222") as bus:
        ack = await bus.publish("orders.created", b"...")

Outcomes are taken in batches when the event loop finds the bus's descriptor readable: no thread and no task per message, and nothing blocks the loop.
"""

from __future__ import annotations

import asyncio
import inspect
import math
import warnings
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Generator, Iterable, Mapping
from types import TracebackType
from typing import Any, Literal, Self, Unpack, overload

from . import _exit, _logging, _native, _options
from ._figures import Info, Stats
from ._line import WINDOW, Line, Waiting
from ._native import Ack, Event, Report
from ._options import MessageOptions, Payload, Seconds
from ._publisher import info_of, repr_of, settings, stats_of

__all__ = ["Publisher", "connect"]


class Publisher:
    """A publisher of one event loop. :func:`connect` makes one; use it from that loop's thread only.

    A future whose await was cancelled costs no message its outcome: it goes to ``on_report`` and ``on_error``, like that of any message nobody waits for.
    """

    def __init__(self, native: _native.Publisher, loop: asyncio.AbstractEventLoop, stall_wait: float, on_event: Callable[[Event], object] | None) -> None:
        self._native = native
        self._loop = loop
        self._stall_wait = stall_wait
        self._on_event = on_event
        self._queue = Line()
        self._descriptor: int | None = native.wake_fd()
        loop.add_reader(self._descriptor, self._drain)

    async def publish(self, topic: str, payload: Payload = b"", **more: Unpack[MessageOptions]) -> Ack:
        """Publishes and waits for the acknowledgement.

        If the await is cancelled, the message stays accepted (once it was) and its outcome goes the usual way.
        Raises what :meth:`submit` raises, and the exception of an outcome that is not persisted, such as :exc:`NoStreamError`.
        """
        return await (await self.submit(topic, payload, **more))

    async def submit(self, topic: str, payload: Payload = b"", **more: Unpack[MessageOptions]) -> asyncio.Future[Ack]:
        """Publishes, waiting for room in the window if need be, and returns the future of its acknowledgement.

        Raises :exc:`InvalidTopicError`, :exc:`InvalidHeaderError`, :exc:`MessageTooLargeError`, :exc:`ClosedError`, and :exc:`QueueFullError` when there was no
        room within ``stall_wait``, or at once with ``on_full="fail"``: the message was not accepted.
        """
        future: asyncio.Future[Ack] = self._loop.create_future()
        # Whoever waits goes first, unless it waits for a share of another stream.
        held_by = WINDOW
        if not self._queue or self._queue.lets_pass(topic):
            number = self._native.try_submit(future, topic, payload, more, False)
            if number > 0:
                return future
            held_by = -1 - number
        await self._wait_for_room(future, topic, payload, more, held_by)
        return future

    def submit_nowait(self, topic: str, payload: Payload = b"", **more: Unpack[MessageOptions]) -> asyncio.Future[Ack]:
        """The same without waiting, for code that is no coroutine, such as a handler. Raises :exc:`QueueFullError` when there is no room now."""
        future: asyncio.Future[Ack] = self._loop.create_future()
        self._native.try_submit(future, topic, payload, more, True)
        return future

    @overload
    async def publish_many(
        self, messages: Iterable[Any] | AsyncIterable[Any], *, topic: str | None = None, return_exceptions: Literal[False] = False
    ) -> list[Ack]: ...

    @overload
    async def publish_many(
        self, messages: Iterable[Any] | AsyncIterable[Any], *, topic: str | None = None, return_exceptions: bool
    ) -> list[Ack | BaseException]: ...

    async def publish_many(self, messages: Iterable[Any] | AsyncIterable[Any], *, topic: str | None = None, return_exceptions: bool = False) -> list[Any]:
        """Publishes a series and waits for all acknowledgements, which it returns in order.

        ``messages``: ``(topic, payload)`` or ``(topic, payload, dict of keyword arguments)``; payloads alone with ``topic``.
        With ``return_exceptions`` a message that was not persisted has its exception in the list; else the first such exception is raised, once all were sent.
        """
        futures = []
        if isinstance(messages, AsyncIterable):
            async for message in messages:
                futures.append(await self._submit_one(message, topic))
        else:
            for message in messages:
                futures.append(await self._submit_one(message, topic))
        return await asyncio.gather(*futures, return_exceptions=return_exceptions)

    async def _submit_one(self, message: Any, topic: str | None) -> asyncio.Future[Ack]:
        if topic is not None:
            return await self.submit(topic, message)
        match message:
            case (name, payload):
                return await self.submit(name, payload)
            case (name, payload, more):
                return await self.submit(name, payload, **more)
        raise TypeError(f"{type(message).__name__} is not allowed; give (topic, payload) or (topic, payload, dict), or payloads alone with topic=…")

    async def flush(self, timeout: Seconds | None = None) -> None:
        """Waits until everything accepted before this call is settled, and its futures are done. Raises :exc:`TimedOutError`."""
        await self._aside(self._native.flush, timeout)
        self._drain()

    async def purge(self, *, unsent: bool = True, in_flight: bool = True) -> int:
        """Removes pending messages; each settles with :exc:`PurgedError`. Returns how many there were."""
        count = await self._loop.run_in_executor(None, lambda: self._native.purge(unsent=unsent, in_flight=in_flight))
        self._drain()
        return count

    async def close(self, timeout: Seconds | None = None) -> None:
        """Closes: no more publishes, waits up to ``timeout`` (default ``close_timeout``) for acknowledgements, and settles the rest.

        Messages that still waited for room are not accepted: :exc:`ClosedError`.
        """
        try:
            await self._aside(self._native.close, timeout)
        finally:
            if self._native.closed:
                self._drain()
                self._let_go()

    async def wait_connected(self, timeout: Seconds | None = None) -> None:
        """Waits until every connection stands. Raises :exc:`TimedOutError` with the last error of the connection."""
        await self._aside(self._native.wait_connected, timeout)

    def set_topic(self, pattern: str, **rule: Unpack[_options.Topic]) -> None:
        """Changes a topic rule, for messages that are published from now on."""
        for key, value in _options.topic(pattern, rule):
            self._native._set_topic(pattern, key, value)

    @property
    def pending(self) -> int:
        """Messages accepted and not yet settled."""
        return self._native.pending

    @property
    def pending_bytes(self) -> int:
        """Bytes that pending messages take in the window."""
        return self._native.pending_bytes

    @property
    def closed(self) -> bool:
        """Whether ``close`` has ended."""
        return self._native.closed

    def stats(self) -> Stats:
        """The figures of this moment."""
        return stats_of(self._native)

    def info(self) -> Info:
        """How the publisher stands, and with whom."""
        return info_of(self._native)

    def metrics(self) -> str:
        """The figures of this moment as OpenMetrics text: :func:`ackbus.metrics.text` for one publisher."""
        return self._native.metrics()

    @property
    def _handle(self) -> _native.Publisher:
        """For :mod:`ackbus.metrics`."""
        return self._native

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    def __del__(self) -> None:
        native = getattr(self, "_native", None)
        if native is not None and not native.closed and not _native.forked():
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)

    def __repr__(self) -> str:
        return repr_of("ackbus.aio.Publisher", self._native)

    def _drain(self) -> None:
        """Resolves what was settled, tells of events, and lets waiting messages in. The loop calls it when the descriptor is readable."""
        more = self._native.drain()
        for event in self._native.drain_events():
            if self._on_event is not None:
                self._guarded(self._on_event, event)
        if self._queue:
            self._queue.admit(self._enter)
        if not more:
            self._let_go()

    def _enter(self, waiting: Waiting) -> int | None:
        """What this one waits for; ``None``: it waits no longer."""
        if waiting.entered.done():
            return None
        try:
            number = self._native.try_submit(waiting.future, waiting.topic, waiting.payload, waiting.more, False)
        except Exception as error:
            waiting.entered.set_exception(error)
            return None
        if number < 0:
            return -1 - number
        waiting.entered.set_result(None)
        return None

    async def _wait_for_room(self, future: asyncio.Future[Ack], topic: str, payload: Payload, more: MessageOptions, held_by: int) -> None:
        limit = _seconds(more.get("stall_wait"), self._stall_wait)
        if limit <= 0:
            self._native.try_submit(future, topic, payload, more, True)
            return
        if not isinstance(payload, bytes | str):
            # The caller may change a buffer while the message waits.
            payload = bytes(memoryview(payload))
        waiting = Waiting(self._loop.create_future(), future, topic, payload, more)
        self._queue.append(waiting, held_by)
        try:
            async with asyncio.timeout(None if limit == math.inf else limit):
                await waiting.entered
        except asyncio.CancelledError:
            # It may have been let in just now: then its outcome goes the usual way, like that of every message nobody waits for.
            future.cancel()
            raise
        except TimeoutError:
            if waiting.entered.cancelled():
                # Its last chance; if there is still no room, the core says why.
                self._native.try_submit(future, topic, payload, more, True)
            else:
                waiting.entered.result()
        finally:
            self._queue.leave(waiting, self._enter)

    async def _aside(self, call: Callable[[Any], None], timeout: Seconds | None) -> None:
        """A call that waits, on a thread of the loop's executor. The loop goes on, and with it what the call waits for."""
        await self._loop.run_in_executor(None, call, timeout)

    def _guarded(self, handler: Callable[[Any], object], argument: object) -> None:
        try:
            handler(argument)
        except Exception as error:
            self._loop.call_exception_handler({"message": "an ackbus handler failed", "exception": error})

    def _let_go(self) -> None:
        if self._descriptor is not None:
            self._loop.remove_reader(self._descriptor)
            self._descriptor = None
        self._queue.end(self._enter)


class _Connecting(Awaitable[Publisher]):
    """``await`` it, or use it in ``async with``."""

    def __init__(self, connecting: Callable[[], Coroutine[Any, Any, Publisher]]) -> None:
        self._connecting = connecting
        self._bus: Publisher | None = None

    def __await__(self) -> Generator[Any, None, Publisher]:
        return self._connecting().__await__()

    async def __aenter__(self) -> Publisher:
        self._bus = await self
        return self._bus

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bus is not None:
            await self._bus.close()


def connect(
    servers: str | Iterable[str] = "nats://127.0.0.1:4222",
    *,
    topics: Mapping[str, _options.Topic] | None = None,
    on_report: Callable[[Report], object] | None = None,
    on_error: Callable[[Report], object] | None = None,
    on_event: Callable[[Event], object] | None = None,
    **options: Unpack[_options.Options],
) -> _Connecting:
    """Connects: ``bus = await connect(…)`` or ``async with connect(…) as bus``. The arguments are those of :func:`ackbus.connect`.

    Handlers run in the event loop; coroutine functions are started as tasks. ``on_report`` and ``on_error`` get the outcomes that no future waits for.
    """
    pairs, triples = settings(servers, topics, options, on_report=on_report, on_error=on_error, on_event=on_event)
    # The window never blocks the loop: the core, which has checked what was asked for, refuses, and the wait is an await.
    pairs.append(("on_full", "fail"))
    stall_wait = 0.0 if options.get("on_full") == "fail" else _seconds(options.get("stall_wait"), math.inf)

    async def connecting() -> Publisher:
        loop = asyncio.get_running_loop()
        _logging.install()
        reported, failed, happened = (_in_loop(loop, handler) for handler in (on_report, on_error, on_event))
        native = await loop.run_in_executor(None, _native.Publisher, pairs, triples, reported, failed, None, True)
        _exit.watch(native)
        return Publisher(native, loop, stall_wait, happened)

    return _Connecting(connecting)


def _in_loop(loop: asyncio.AbstractEventLoop, handler: Callable[[Any], object] | None) -> Callable[[Any], object] | None:
    """Coroutine functions become tasks, which are kept until they end."""
    if handler is None or not inspect.iscoroutinefunction(handler):
        return handler
    tasks: set[asyncio.Task[Any]] = set()

    def start(argument: object) -> None:
        task = loop.create_task(handler(argument))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    return start


def _seconds(given: Seconds | None, default: float) -> float:
    """A ``stall_wait``; infinity: no limit."""
    if given is None:
        return default
    limit = _options.milliseconds("stall_wait", given)
    return math.inf if limit < 0 else limit / 1_000

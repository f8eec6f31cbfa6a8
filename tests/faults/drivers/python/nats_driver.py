"""The fault driver for nats-py: publish_async of its JetStream context, with asyncio.wait_for for each future, as its users do.

It calls no code of its users for acknowledgements, so the modes that act in a handler do as normal. Nor does it fork: an event loop does not survive that.
"""

from __future__ import annotations

import asyncio
import sys
import time
from importlib.metadata import version
from typing import Any

import nats
import nats.errors
import nats.js.errors
from nats.js.api import Header, PubAck

import driver


class Driver:
    def __init__(self, arguments: driver.Arguments) -> None:
        self.arguments = arguments
        self.output = driver.Output()
        self.stopped = False
        self.closing = asyncio.get_running_loop().create_future()
        # The loop itself holds tasks weakly.
        self.waiting: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        driver.obey(lambda do, value: loop.call_soon_threadsafe(self.told, do, value))
        self.nc = await nats.connect(
            self.arguments.url.split(","),
            # It goes on trying, soon, and notices a dead connection in seconds; the defaults are 60 tries, 2 s, and 2 minutes.
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.1,
            ping_interval=5,
            max_outstanding_pings=2,
            error_cb=self.on_error,
            disconnected_cb=self.on_disconnected,
            reconnected_cb=self.on_reconnected,
            closed_cb=self.on_closed,
        )
        self.js = self.nc.jetstream(publish_async_max_pending=self.arguments.max_pending or 10_000)
        self.output.line("ready", client=f"nats-py {version('nats-py')}")
        driver.every_tick(self.sample)
        publishing = asyncio.create_task(self.publish_all())
        await self.close(await self.closing)
        await asyncio.sleep(driver.AFTER_CLOSE)
        publishing.cancel()
        self.output.end()

    def told(self, do: str, value: int) -> None:
        self.stopped = True
        if do == "close" and not self.closing.done():
            self.closing.set_result(value / 1000)

    async def publish_all(self) -> None:
        arguments = self.arguments
        begin = time.monotonic()
        for k in range(1, arguments.count + 1):
            if (pause := arguments.pause(begin, k)) > 0:
                await asyncio.sleep(pause)
            if self.stopped:
                break
            await self.publish(k)
            if arguments.mode == "bad" and k == (arguments.count + 1) // 2:
                await self.publish_bad()
        self.output.line("published")

    async def publish(self, k: int) -> None:
        subject, payload, msg_id = self.arguments.message(k)
        try:
            future = await self.js.publish_async(subject, payload, headers={Header.MSG_ID: msg_id})
        except Exception as error:
            self.output.line("reject", id=k, text=_text(error))
            if isinstance(error, nats.errors.ConnectionClosedError):
                self.stopped = True
            return
        self.output.accept(k)
        task = asyncio.create_task(self.outcome(k, future))
        self.waiting.add(task)
        task.add_done_callback(self.waiting.discard)

    async def outcome(self, k: int, future: asyncio.Future[PubAck]) -> None:
        try:
            ack = await asyncio.wait_for(future, self.arguments.ack_timeout)
        except TimeoutError as error:
            self.output.not_acked(k, "in_doubt", _text(error), 0)
        except nats.js.errors.NoStreamResponseError as error:
            self.output.not_acked(k, "refused", _text(error), 503)
        except nats.js.errors.APIError as error:
            self.output.not_acked(k, "refused", _text(error), error.err_code or 0)
        except Exception as error:
            self.output.not_acked(k, "failed", _text(error), 0)
        else:
            # It passes on whatever the reply holds: -1, 1.5, an infinity.
            seq = ack.seq if isinstance(ack.seq, int) and 0 <= ack.seq < 2**64 else 0
            self.output.acked(k, seq, bool(ack.duplicate))

    async def publish_bad(self) -> None:
        for bad in driver.bad_messages(self.arguments.subjects[0]):
            headers = dict([bad.header]) if bad.header else {}
            if bad.msg_id:
                headers[Header.MSG_ID] = bad.msg_id
            try:
                future = await self.js.publish_async(bad.subject, driver.BAD_PAYLOAD, headers=headers or None)
            except Exception as error:
                self.output.check(f"bad: {bad.name}", True, _text(error))
                continue
            try:
                text = f"accepted, then {await asyncio.wait_for(future, driver.BAD_WAIT)}"
            except TimeoutError:
                text = "accepted, and no outcome in 2 s"
            except Exception as error:
                text = f"accepted, then {_text(error)}"
            self.output.check(f"bad: {bad.name}", False, text)

    async def close(self, limit: float) -> None:
        """Waits for acknowledgements, and closes."""
        self.output.line("close_begin")
        text = "OK"
        try:
            await asyncio.wait_for(self.js.publish_async_completed(), limit)
        except TimeoutError:
            text = f"{self.js.publish_async_pending()} messages were pending when the time was over"
        try:
            await self.nc.close()
        except Exception as error:
            text = _text(error)
        self.output.line("close_end", text=text)

    def sample(self) -> None:
        self.output.line("pending", n=self.js.publish_async_pending())
        self.output.flush()

    async def on_error(self, error: Exception) -> None:
        self.output.line("error", text=_text(error))

    async def on_disconnected(self) -> None:
        self.state("disconnected")

    async def on_reconnected(self) -> None:
        self.state("reconnected")

    async def on_closed(self) -> None:
        self.state("failed")

    def state(self, state: str) -> None:
        """Tells what happens to the connection, unless it is closed on purpose."""
        if not self.closing.done():
            self.output.line("state", state=state)


def _text(error: Any) -> str:
    return f"{type(error).__name__}: {error}"


async def main() -> None:
    await Driver(driver.Arguments(sys.argv[1:])).run()


asyncio.run(main())

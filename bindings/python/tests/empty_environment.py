"""Run in an environment that has the wheel and nothing else: the package needs no other to publish, in threads and in asyncio."""

import asyncio

import ackbus
import ackbus.aio

with ackbus.connect("memory:") as bus:
    assert bus.publish_wait("a", b"1", timeout=20).seq == 1


async def main() -> None:
    async with ackbus.aio.connect("memory:") as bus:
        assert (await bus.publish("a", b"1")).seq == 1


asyncio.run(main())

"""A web service that publishes what it gets, until Ctrl-C or SIGTERM: python asyncio_service.py [URL [PORT]]

    curl -d '{"item": "tea"}' http://127.0.0.1:8080/orders

It answers 201 only when the order is stored. Needs aiohttp.
"""

import sys
import uuid
from collections.abc import AsyncIterator

from aiohttp import web

import ackbus.aio

BUS = web.AppKey("bus", ackbus.aio.Publisher)


async def order(request: web.Request) -> web.Response:
    body = await request.read()
    # A client that repeats a request with the same key makes no second order.
    key = request.headers.get("Idempotency-Key") or uuid.uuid4().hex
    try:
        # Nothing blocks the loop: a full window is waited for here, for two seconds at most.
        ack = await request.app[BUS].publish("orders.created", body, msg_id=key, stall_wait=2)
    except ackbus.QueueFullError:
        return web.json_response({"error": "busy, try again"}, status=503, headers={"Retry-After": "1"})
    except ackbus.Error as error:
        # Proven not stored, or in doubt: with its key the client may try again in both cases.
        return web.json_response({"error": str(error)}, status=502)
    return web.json_response({"order": ack.seq}, status=200 if ack.duplicate else 201)


async def bus(app: web.Application) -> AsyncIterator[None]:
    """Connects before the first request, and closes after the last: what is pending is waited for."""
    url: str = sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222"
    async with ackbus.aio.connect(url, topics={"orders.>": {"stream": "ORDERS", "create": "if_missing"}}) as app[BUS]:
        yield
    print(f"{app[BUS].stats().published} orders persisted", flush=True)


if __name__ == "__main__":
    app = web.Application()
    app.add_routes([web.post("/orders", order)])
    app.cleanup_ctx.append(bus)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[2]) if len(sys.argv) > 2 else 8080)

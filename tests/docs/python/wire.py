"""How many bytes a message takes on the network: python wire.py [URL]"""

import sys

import ackbus

COUNT = 10_000


def main(url: str) -> None:
    with ackbus.connect(url, topics={"wire.>": {"stream": "WIRE", "create": "if_missing"}}) as bus:
        bus.publish_wait("wire.orders.created", bytes(128), timeout=10)
        before = bus.stats()
        for _ in range(COUNT):
            bus.publish("wire.orders.created", bytes(128))
        bus.flush(timeout=60)
        after = bus.stats()
    each = (after.bytes_out - before.bytes_out) / (after.attempts - before.attempts)
    print(f"{each:.0f} bytes for each message of 128")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222")

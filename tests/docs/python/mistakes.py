"""What a newcomer reads after the usual mistakes: python mistakes.py [URL]

docs/quickstart/python.md shows this program and what it prints.
"""

import sys
from collections.abc import Callable

import ackbus


def say(call: Callable[[], object]) -> None:
    try:
        call()
    except (ackbus.Error, TypeError) as error:
        print(f"{type(error).__name__}: {error}")


def mistakes(url: str) -> None:
    # A value that an option does not have, and an option that does not exist.
    say(lambda: ackbus.connect(url, on_full="wait"))  # type: ignore[arg-type]
    say(lambda: ackbus.connect(url, max_pendign=100))  # type: ignore[call-arg]

    # Nobody listens there.
    say(lambda: ackbus.connect("nats://127.0.0.1:1"))

    def failed(report: ackbus.Report) -> None:
        print("the handler:", report.error)
        say(bus.flush)  # in a handler, which would wait for itself

    with ackbus.connect(url, on_error=failed) as bus:
        # A pattern where a topic is wanted.
        say(lambda: bus.publish("orders.*", b"{}"))

        # Something that is neither bytes nor text.
        say(lambda: bus.publish("orders.created", {"id": 1}))  # type: ignore[arg-type]

        # No stream takes the topic: publish succeeds, and the handler is told. Who waits for the outcome hears it himself.
        say(lambda: bus.publish_wait("invoices.new", b"{}"))
        bus.publish("invoices.new", b"{}")
        bus.flush()

    # Too late.
    say(lambda: bus.publish("orders.created", b"{}"))


if __name__ == "__main__":
    mistakes(sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222")

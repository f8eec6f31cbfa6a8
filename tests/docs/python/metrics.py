"""Serves its metrics and reads them: python metrics.py [URL]. docs/OPERATE.md shows this program and what it prints."""

import sys
from urllib.request import urlopen

import ackbus
import ackbus.metrics


def main(url: str) -> None:
    rules: dict[str, ackbus.Topic] = {"counted.>": {"stream": "COUNTED", "create": "if_missing"}}
    with (
        ackbus.connect(url, name="shop", topics=rules, on_error=print) as bus,
        ackbus.metrics.serve(bus, port=0, addr="127.0.0.1") as exporter,  # port 0: a free one; others need one that they know
    ):
        bus.publish("counted.one", "{}")
        bus.publish("counted.two", "{}")
        bus.flush(timeout=10)
        with urlopen(exporter.url) as answer:  # http://127.0.0.1:…/metrics
            text = answer.read().decode()
        print(answer.headers["Content-Type"])
        print(*(line for line in text.splitlines() if line.startswith("ackbus_published_messages")), sep="\n")


main(sys.argv[1] if len(sys.argv) > 1 else "nats://127.0.0.1:4222")

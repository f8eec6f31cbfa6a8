"""``ackbus top``."""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import sys

from ..stopping import Stopped, Stopping
from ..usage import Usage

WHAT = "watch a running publisher through its metrics"
DESCRIPTION = """\
Show what the publishers of a running program do: rates, what is pending, latencies, the last errors. SOURCE is where the program tells its metrics
(ackbus pub --metrics, ackbus.metrics.serve, a handler in Go): a URL, HOST:PORT for http://HOST:PORT/metrics, a file that is written anew, or - for
standard input.
"""
EPILOG = """\
On a terminal it draws anew every --interval; q or Ctrl-C ends it. Elsewhere it prints the same as plain text. While the source is gone it goes on trying.
Rates and latencies are those of the last interval; a first reading has no rates, and the latencies of all messages so far. Quantiles are computed from the
histogram's buckets as Prometheus does it. It reads OpenMetrics and the older Prometheus text; what a program does not tell is shown as –.

examples:
  ackbus pub logs.app --metrics 127.0.0.1:9464 <app.log &
  ackbus top 127.0.0.1:9464
  curl -s http://127.0.0.1:9464/metrics | ackbus top -
"""


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="ackbus top", description=DESCRIPTION, epilog=EPILOG, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", metavar="SOURCE", help="URL, HOST:PORT, file, or -")
    parser.add_argument("--publisher", metavar="NAME", help="show this one alone, of several")
    parser.add_argument("--interval", type=_interval, default=1.0, metavar="SECONDS", help="between two readings, from 0.1 to 3600 (default: 1)")
    parser.add_argument("--once", action="store_true", help="print it once, as plain text; of a URL after two readings, so that there are rates")
    return parser.parse_args(arguments)


def _interval(text: str) -> float:
    try:
        if 0.1 <= (number := float(text)) <= 3600:
            return number
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not allowed; give seconds from 0.1 to 3600")


def run(given: argparse.Namespace) -> int:
    missing = [name for name in ("rich", "prometheus_client") if importlib.util.find_spec(name) is None]
    if missing:
        raise Usage(f'{" and ".join(missing)} missing; install what it needs with: pip install "ackbus[cli]"')
    # Not before: the other commands need neither.
    from .plain import follow, once
    from .screen import draw
    from .source import source
    from .watch import Watch

    watch = Watch(source(given.source), given.publisher)
    only_once = given.once or watch.source.once
    stopping = Stopping()
    with stopping.installed():
        try:
            with stopping.interruptible():
                watch.begin()
                if only_once:
                    return once(watch, given.interval)
                if not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb":
                    return follow(watch, given.interval)
            draw(watch, given.interval, stopping)
            return 0
        except Stopped as stopped:
            # Ctrl-C is how it is meant to end, but not how it is meant to print once.
            if stopping.exit_code == 128 + signal.SIGINT and not only_once:
                return 0
            return stopped.exit_code

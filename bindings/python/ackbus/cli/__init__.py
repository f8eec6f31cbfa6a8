"""The command line: ``ackbus`` or ``python -m ackbus``. Its help is its documentation; README.md has examples."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .. import Error, __version__
from . import bench, pub, serve, top
from .output import note
from .stopping import Stopped
from .usage import Usage

__all__ = ["main"]

WHAT = "Publish to NATS JetStream, and know what became of every message."
COMMANDS = {"pub": pub, "top": top, "serve": serve, "bench": bench}
EPILOG = """\
exit codes:
  0    everything was persisted
  1    some of it was not, or is in doubt
  2    nothing was published: wrong usage, or no connection
  130  Ctrl-C (143: SIGTERM), after a clean close and the figures
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line; the exit code. argparse ends wrong usage with SystemExit(2)."""
    parser = argparse.ArgumentParser(prog="ackbus", description=WHAT, epilog=EPILOG, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--version", action="version", version=f"ackbus {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="\n".join(f"{name:<6} {module.WHAT}" for name, module in COMMANDS.items()))
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="see ackbus COMMAND --help")
    words = parser.parse_args(arguments)
    command = COMMANDS[words.command]
    given = command.parse(words.arguments)
    try:
        return int(command.run(given))
    except Usage as error:
        note(f"ackbus {words.command}: {error}")
    except Error as error:
        # A run that has begun survives it: nothing was published.
        note(f"ackbus {words.command}: {error.status.name}: {error.message}")
    except Stopped as stopped:
        return stopped.exit_code
    return 2

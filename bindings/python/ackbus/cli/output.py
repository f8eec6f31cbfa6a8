"""What the command line says: results to standard output, everything else to standard error."""

from __future__ import annotations

import os
import sys

ERASE = "\r\x1b[K"
"""Erases a terminal's line, so that a shorter one leaves nothing behind."""

line_is_drawn = False
"""Whether a line of progress stands on the terminal and must make room."""


def note(text: str) -> None:
    """A line to standard error, above whatever is drawn there. From any thread."""
    print(f"{ERASE}{text}" if line_is_drawn else text, file=sys.stderr, flush=True)


def result(text: str) -> bool:
    """To standard output. A reader that has gone away is no failure of what was done; returns whether there is one."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        # The interpreter flushes once more at exit: give it something that takes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


def milliseconds(seconds: float) -> str:
    """Three digits are enough for anybody."""
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:,.2f} s"

"""What happens when the interpreter ends while publishers are open (T7)."""

from __future__ import annotations

import atexit
import sys
import weakref
from typing import TYPE_CHECKING

from . import _logging, _native
from ._errors import Error

if TYPE_CHECKING:
    from ._native import Publisher

WAIT = 5.0
"""Seconds that the acknowledgements of a publisher nobody closed are waited for."""

_open: weakref.WeakSet[Publisher] = weakref.WeakSet()


def watch(bus: Publisher) -> None:
    """Closes this publisher at exit, if nobody else does."""
    _open.add(bus)


@atexit.register
def _close_all() -> None:
    # Threads of ours that touch the interpreter must end before it does. A forked child has none.
    if _native.forked():
        return
    for bus in list(_open):
        if bus.closed:
            continue
        left = _close(bus)
        if left:
            print(f"ackbus: {left} messages were not settled when the program ended; call close(), or use the publisher in a with statement", file=sys.stderr)
    _native.join_abandoned()
    _logging.remove()


def _close(bus: Publisher) -> int:
    """Closes without losing more time than :data:`WAIT`. Returns how many messages were not settled."""
    left = 0
    try:
        bus.flush(WAIT)
    except (Error, KeyboardInterrupt):
        left = bus.pending
    try:
        bus.close(0)
    except Error as error:
        print(f"ackbus: {error}", file=sys.stderr)
    return left

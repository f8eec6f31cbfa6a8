"""Records of the core on their way to :mod:`logging`, under ``ackbus`` and its children.

They come from a thread of the core's own, so a handler that takes a lock, or publishes, stops nobody.
"""

from __future__ import annotations

import logging

from . import _native

_LEVELS = {1: logging.ERROR, 2: logging.WARNING, 3: logging.INFO, 4: logging.DEBUG, 5: 5}
_logger = logging.getLogger("ackbus")
_installed = False


def _emit(level: int, target: str, text: str) -> None:
    logger = logging.getLogger(target.replace("::", "."))
    number = _LEVELS.get(level, logging.ERROR)
    if logger.isEnabledFor(number):
        logger.log(number, "%s", text)


def install() -> None:
    """Begins to forward; before the first connect, so that a program that only imports ackbus has no thread of ours."""
    global _installed
    if not _installed:
        _native.set_log(_emit)
        _installed = True


def remove() -> None:
    """Forwards what is queued, then no more."""
    global _installed
    if _installed:
        _native.flush_log(1.0)
        _native.set_log(None)
        _native.flush_log(1.0)
        _installed = False


def level() -> str:
    """The ``log_level`` that the logger ``ackbus`` asks for."""
    wanted = _logger.getEffectiveLevel()
    for number, name in ((5, "trace"), (logging.DEBUG, "debug"), (logging.INFO, "info"), (logging.WARNING, "warn"), (logging.ERROR, "error")):
        if wanted <= number:
            return name
    return "off"


def unhandled(count: int, first: str) -> None:
    """Failures without a handler are logged: nothing is lost silently."""
    more = f" (and {count - 1} more)" if count > 1 else ""
    _logger.error("not persisted, and no on_error handler is set: %s%s", first, more)

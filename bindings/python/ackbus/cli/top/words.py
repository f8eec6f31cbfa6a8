"""Figures as people read them."""

from __future__ import annotations

import math

from ..output import milliseconds

UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
DAY, HOUR, MINUTE = 86_400, 3_600, 60


def whole(number: float) -> str:
    return f"{number:,.0f}"


def rate(number: float) -> str:
    """A second. What is rare has a decimal, so that one in ten seconds is not nothing."""
    return f"{number:.1f}" if 0 < number < 9.95 and round(number, 1) != round(number) else whole(number)


def size(number: float) -> str:
    """Bytes."""
    unit = 0
    while number >= 1023.5 and unit < len(UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:.{0 if unit == 0 or number >= 99.95 else 1}f} {UNITS[unit]}"


def latency(seconds: float, highest: float) -> str:
    """``highest``: the last bound of the histogram, which an infinite one is beyond."""
    return milliseconds(seconds) if math.isfinite(seconds) else f"over {milliseconds(highest)}"


def duration(seconds: float) -> str:
    number = int(max(seconds, 0))
    if number < MINUTE:
        return f"{number} s"
    if number < HOUR:
        return f"{number // MINUTE} min"
    if number < DAY:
        return f"{number // HOUR} h {number % HOUR // MINUTE:02} min"
    return f"{number // DAY:,} d {number % DAY // HOUR} h"

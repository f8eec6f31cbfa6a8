"""No page states a figure of performance that nothing in the tree prints.

Such figures are rates, times, bytes for a message and factors. Each stands in a region or block that is written by a program (pages.py), or it is one of
ALLOWED: a quantity of an example, a sum that the reader can do, or a setting of somebody else's.
"""

from __future__ import annotations

import re

from pages import BLOCK, DOCS, REGION, ROOT

NUMBER = r"(?<![\w.,])\d[\d,.]*(?:[kMG]\b|\s(?:million|thousand|billion))?\s?"
UNITS = (
    r"(?:msgs?|messages|publishes|acks)?\s?(?:/s\b|/µs|a second\b|per second\b)",
    r"[µumn]s\b",
    r"[kMGT]?i?B(?:it)?/s\b",
    r"bytes (?:per|for each|a) (?:pending )?message",
    r"×",
    r"times (?:as|more|less|faster|slower|the)\b",
)
FIGURE = re.compile(f"{NUMBER}(?:{'|'.join(UNITS)})")
COLUMN = re.compile(r"^\|.*(?:(?:msgs?|messages)/s\b|µs\b|bytes (?:per|for each)\b).*\|$")
"""The head of a table whose cells are such figures, though the cells name no unit."""
PAGES = (ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "bindings/python/README.md", *sorted(DOCS.rglob("*.md")))
WRITTEN = {"docs/CONFIGURATION.md", "docs/STATISTICS.md", "docs/bench/README.md", "docs/faults/README.md"}
"""By programs as a whole, and tested by them."""
COUNTED = {"docs/bench/PROFILE.md"}
"""A report of what was counted and timed once, commit by commit; it names the tools."""

ALLOWED = {
    "docs/OPERATE.md": {
        "p50 0.495 ms  p99 1.05 ms  slowest 20.9 ms": "a screen of `ackbus top`, as an example",
        "▂▇ to 15.6 ms": "the same",
        "██ to 4,654/s": "the same",
    },
    "docs/SCALE.md": {
        "1, 10 and 100 million messages a second": "goals",
        "1 million a second": "a goal",
        "10 million a second": "a goal",
        "100 million a second": "a goal",
        "window = 1,000,000 × latency": "a goal times latency",
        "so 10,000 at 10 ms": "1,000,000/s × 10 ms",
    },
    "docs/SIZING.md": {
        "At 100 ms a window of 100 carries 1,000 messages a second": "100 ÷ 100 ms",
        "10,000/s × 6 s of an election = 60,000": "an example and its product",
    },
    "docs/migrate/nats-c.md": {"`jsOptions.PublishAsync.StallWait`, 200 ms": "its default"},
    "docs/migrate/nats-go.md": {"`jetstream.WithStallWait(d)`, 200 ms": "its default"},
}
"""For each page what it may say, and what that is."""


def check() -> list[str]:
    wrong = []
    for page in PAGES:
        name = page.relative_to(ROOT).as_posix()
        if name not in WRITTEN | COUNTED:
            wrong += stated(name, page.read_text())
    return wrong


def stated(name: str, text: str) -> list[str]:
    """The figures of a page that nobody vouches for, and allowances that it does not need."""
    text = REGION.sub(lambda found: blank(found[0]), text)
    text = BLOCK.sub(lambda found: blank(found[0]) if found["kind"] in ("code", "output") else found[0], text)
    wrong = []
    for phrase in ALLOWED.get(name, {}):
        if phrase not in text:
            wrong.append(f"{name}: it does not say {phrase!r} any more, which tests/docs/claims.py allows")
        text = text.replace(phrase, blank(phrase))
    for line, words in enumerate(text.splitlines(), 1):
        wrong += [
            f"{name}:{line}: {found[0]!r}: which program prints it? Let it write the figure (tests/docs/figures.py), or say in tests/docs/claims.py what it is"
            for found in (*FIGURE.finditer(words), *COLUMN.finditer(words))
        ]
    return wrong


def blank(text: str) -> str:
    """As many lines, with nothing in them."""
    return "\n" * text.count("\n")

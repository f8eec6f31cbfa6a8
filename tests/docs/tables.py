"""Tables whose words are in the sources: what statuses are called in each language, and what events mean."""

from __future__ import annotations

import re
from pathlib import Path

from ackbus import Error, Status
from ackbus._errors import CLASSES


def statuses(root: Path) -> str:
    """The name of each status in each language."""
    go = numbered(root / "bindings/go/errors.go", r"^\t(\w+) +Status = (\d+)$")
    rust = numbered(root / "src/base/error.rs", r"^    (\w+) = (\d+), \"\w+\",")
    lines = ["| number | C | C++, `ackbus::` | Python, `ackbus.` | Go, `ackbus.` | Rust, `ackbus::` |", "|--:|---|---|---|---|---|"]
    for name, number in c_names(root, r"ACKBUS_(?:OK|ERR_\w+)"):
        short = name.removeprefix("ACKBUS_").removeprefix("ERR_")
        python = "" if number == Status.OK else f"`{CLASSES.get(Status(number), Error).__name__}`"
        lines.append(f"| {number} | `{name}` | `status::{short.lower()}` | {python} | `{go[number]}` | `Status::{rust[number]}` |")
    return "\n".join(lines) + "\n"


def events(root: Path) -> str:
    """What each kind of event means, in the words of the C header, which are those of the core."""
    go = numbered(root / "bindings/go/report.go", r"^\t(\w+) EventKind = (\d+)$")
    header = (root / "include/ackbus.h").read_text()
    lines = ["| kind | number | in C | in Go | it means |", "|---|--:|---|---|---|"]
    for name, number in c_names(root, r"ACKBUS_EVENT_\w+"):
        found = re.search(rf"/\*\*\n((?: \* .*\n)+) \*/\n#define {name} ", header)
        assert found, name
        meaning = " ".join(line.removeprefix(" * ") for line in found[1].splitlines())
        # What the numbers in brackets are about is for those who read the code.
        meaning = re.sub(r" \(P\d+\)", "", meaning)
        lines.append(f"| `{name.removeprefix('ACKBUS_EVENT_')}` | {number} | `{name}` | `{go[number]}` | {meaning} |")
    return "\n".join(lines) + "\n"


def c_names(root: Path, pattern: str) -> list[tuple[str, int]]:
    found = re.findall(rf"^#define ({pattern}) (\d+)$", (root / "include/ackbus.h").read_text(), re.MULTILINE)
    return [(name, int(number)) for name, number in found]


def numbered(file: Path, pattern: str) -> dict[int, str]:
    return {int(number): name for name, number in re.findall(pattern, file.read_text(), re.MULTILINE)}


WRITERS = {"statuses": statuses, "events": events}

"""The pages of docs/ and the code that they show.

Each fenced block has a comment above it that says where it comes from:

    <!-- code: FILE -->                 all of a file
    <!-- code: FILE | START | END -->   from the first line that begins with START to the next that begins with END, blanks before it aside
    <!-- output: FILE -->               what the program prints
    <!-- not run: WHY -->               a command that no test can run

Blocks of the language `text` are drawings and need none. Files are named from the root of the tree. What stands between `<!-- figures: NAME -->` and
`<!-- end -->` is computed from what `make bench` measured (figures.py), and between `<!-- table: NAME -->` and `<!-- end -->` it is what the sources say
(tables.py).
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import figures
import tables

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
WRITTEN = {"CONFIGURATION.md", "STATISTICS.md", "bench", "faults"}
"""Pages that other programs write, and test."""

BLOCK = re.compile(r"(?:^<!-- (?P<kind>[a-z ]+): (?P<what>[^\n]+?) -->\n)?^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
REGION = re.compile(r"^<!-- (?:figures|table): (?P<name>\w+) -->\n(?P<body>.*?)^<!-- end -->$", re.MULTILINE | re.DOTALL)
SUFFIXES = {"c": ".c", "cpp": ".cpp", "python": ".py", "go": ".go", "rust": ".rs", "sh": ".sh"}

Output = Callable[[str], str]
"""What the program in a file prints."""


class Wrong(Exception):
    """What is wrong with a page."""


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    kind: str
    what: str
    body: str

    @property
    def place(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"

    def source(self) -> str:
        """The file that it names."""
        return self.what.split(" | ")[0]

    def wanted(self, output: Output) -> str | None:
        """What it should say; None: whatever it says."""
        if self.kind == "code":
            if self.language != "text" and Path(self.source()).suffix != SUFFIXES.get(self.language):
                raise Wrong(f"{self.place}: the language is {self.language!r} and the file {self.source()}")
            return self.excerpt()
        if self.kind == "output":
            return output(self.source())
        if self.kind == "not run" or self.language == "text":
            return None
        raise Wrong(f"{self.place}: a block in {self.language or 'no language'} that says nothing of where it comes from")

    def excerpt(self) -> str:
        file, *ends = self.what.split(" | ")
        if not (ROOT / file).is_file():
            raise Wrong(f"{self.place}: there is no {file}")
        text = (ROOT / file).read_text()
        if not ends:
            return text
        start, end = ends
        lines = text.splitlines()
        first = next((i for i, line in enumerate(lines) if line.strip().startswith(start)), None)
        if first is None:
            raise Wrong(f"{self.place}: no line of {file} begins with {start!r}")
        # A closing brace is that of the first line's own level, not of a block inside.
        least = indent(lines[first]) if end == "}" else len(text)
        last = next((i for i in range(first + 1, len(lines)) if lines[i].strip().startswith(end) and indent(lines[i]) <= least), None)
        if last is None:
            raise Wrong(f"{self.place}: behind {start!r} no line of {file} begins with {end!r}")
        return textwrap.dedent("\n".join(lines[first : last + 1])) + "\n"


def indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def pages() -> list[Path]:
    return [page for page in sorted(DOCS.rglob("*.md")) if page.relative_to(DOCS).parts[0] not in WRITTEN]


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page, line, found["language"], found["kind"] or "", found["what"] or "", found["body"])


def regions(page: Path) -> Iterator[tuple[str, str]]:
    """The names of its regions, and what they say."""
    for found in REGION.finditer(page.read_text()):
        yield found["name"], found["body"]


def region(name: str) -> str | None:
    """What a region should say; None: nothing was measured yet."""
    if name in tables.WRITERS:
        return tables.WRITERS[name](ROOT)
    if name not in figures.WRITERS:
        raise Wrong(f"nobody knows how to compute {name!r}")
    return figures.region(name, ROOT)


def write(page: Path, output: Output) -> bool:
    """Writes the page's blocks and regions anew. Whether anything changed."""
    each = blocks(page)

    def block(found: re.Match[str]) -> str:
        wanted = next(each).wanted(output)
        return found[0] if wanted is None else with_body(found, wanted)

    def replaced(found: re.Match[str]) -> str:
        wanted = region(found["name"])
        return found[0] if wanted is None else with_body(found, wanted)

    text = page.read_text()
    fresh = REGION.sub(replaced, BLOCK.sub(block, text))
    page.write_text(fresh)
    return fresh != text


def with_body(found: re.Match[str], body: str) -> str:
    start, end = (place - found.start() for place in found.span("body"))
    return found[0][:start] + body + found[0][end:]

"""Whether docs/ shows what is true: python tests/docs/check.py [--write]

Every block of code is what a file of the tree says, every such file is compiled and run, and every output is what the program printed. Names of the C API and
options that the pages mention exist, drawings can be read, and no page states a figure that no program prints (claims.py). With --write blocks are brought up
to date first. Needs the library in target/release and the Python package installed. Links and the search are checked by `make docs` (site.py).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import ackbus
import claims
import drawings
import figures
import pages
import programs
from ackbus.cli.server import running
from pages import ROOT, Block, Wrong
from programs import Skipped

HERE = Path(__file__).parent
MAKEFILES = ("Makefile", "benches/bench.mk", "packaging/packaging.mk", "tests/faults/faults.mk")


def main(arguments: list[str]) -> int:
    if arguments not in ([], ["--write"]):
        print(__doc__, file=sys.stderr)
        return 2
    wrong: list[str] = []
    skipped: dict[str, str] = {}
    shown: set[str] = set()
    with running(arguments=["--config", str(HERE / "server.conf")]) as server:

        @cache
        def output(file: str) -> str:
            return programs.run(file, server.url)

        def check(what: str, test: Callable[..., list[str]], *arguments: object) -> None:
            try:
                wrong.extend(test(*arguments))
            except Wrong as error:
                wrong.append(str(error))
            except Skipped as why:
                skipped[what] = str(why)

        for page in pages.pages():
            if arguments:
                check(str(page.relative_to(ROOT)), written, page, output)
            for block in pages.blocks(page):
                check(block.place, compared, block, output)
                if block.kind in ("code", "output"):
                    shown.add(block.source())
                if block.kind == "not run":
                    skipped[block.place] = block.what
            for name, body in pages.regions(page):
                check(f"{page.relative_to(ROOT)}: {name}", computed, page, name, body)
            wrong += names(page) + targets(page)
        for file in sorted(shown):
            check(file, ran, file, output)
    wrong += forgotten(shown) + api() + drawings.check() + claims.check()
    for what, why in skipped.items():
        print(f"skipped: {what}: {why}")
    for text in dict.fromkeys(wrong):
        print(text, file=sys.stderr)
    print(f"docs: {len(pages.pages())} pages with code from {len(shown)} files; {len(wrong)} wrong")
    return 1 if wrong else 0


def written(page: Path, output: pages.Output) -> list[str]:
    if pages.write(page, output):
        print(f"written: {page.relative_to(ROOT)}")
    return []


def compared(block: Block, output: pages.Output) -> list[str]:
    wanted = block.wanted(output)
    return [] if wanted in (None, block.body) else [f"{block.place}: it is not what {block.what} says; --write mends it"]


def computed(page: Path, name: str, body: str) -> list[str]:
    wanted = pages.region(name)
    if wanted is None:
        raise Skipped(f"there is no {figures.RESULTS}; make bench writes it")
    return [] if wanted == body else [f"{page.relative_to(ROOT)}: the table {name} is not what its sources say; --write mends it"]


def ran(file: str, output: pages.Output) -> list[str]:
    match Path(file).suffix:
        case ".rs":
            raise Skipped("cargo runs it: the test `docs`, the example `quickstart`")
        case ".conf":
            return []  # the server was started with it
        case _ if file.endswith("_test.go") or "/asyncio_service" in file or "/httpservice/" in file:
            raise Skipped("the tests of its package run it")
    output(file)
    return []


def names(page: Path) -> list[str]:
    """Names that the text mentions and that do not exist."""
    text = page.read_text()
    header = (ROOT / "include/ackbus.h").read_text()
    metrics = (pages.DOCS / "STATISTICS.md").read_text()
    keys = set(re.findall(r"^\| `(\w+)` \|", (pages.DOCS / "CONFIGURATION.md").read_text(), re.MULTILINE))
    place = page.relative_to(ROOT)
    spans = re.findall(r"`([^`\n]+)`", text)
    wrong = [
        f"{place}: neither the C API nor the metrics have {name}"
        for span in spans
        for name in re.findall(r"\b(?:ackbus_(?!pkgconfig)[a-z]\w*|ACKBUS_[A-Z]\w*)", span)
        if not re.search(rf"\b{name}", header) and not re.search(rf"`{name}`", metrics)
    ]
    # The pages on migration name the options of others too.
    ours = "migrate" not in page.parts
    wrong += [f"{place}: there is no option {key}" for span in spans if ours and (key := option(span)) and key not in keys]
    go = "\n".join(file.read_text() for file in (ROOT / "bindings/go").glob("*.go"))
    wrong += [f"{place}: the Go package has no {name}" for span in spans for name in re.findall(r"\backbus\.(With\w+)", span) if f"func {name}(" not in go]
    return wrong


def api() -> list[str]:
    """Functions in the table of docs/API.md that their languages do not have."""
    sources = {
        "C++": (ROOT / "include/ackbus/publisher.hpp").read_text(),
        "Go": "\n".join(file.read_text() for file in (ROOT / "bindings/go").glob("*.go")),
        "Rust": (ROOT / "src/publisher/mod.rs").read_text(),
    }
    exists: dict[str, Callable[[str], object]] = {
        "C++": lambda name: re.search(rf"\b{name}\(", sources["C++"]),
        "Python": lambda name: hasattr(ackbus, name) or hasattr(ackbus.Publisher, name) or name in ("ackbus.aio", "with"),
        "Go": lambda name: re.search(rf"^func (?:\(p \*Publisher\) )?{name}\(", sources["Go"], re.MULTILINE),
        "Rust": lambda name: re.search(rf"\bpub fn {name}[<(]", sources["Rust"]),
    }
    _, _, table = (pages.DOCS / "API.md").read_text().partition("| what you want |")
    wrong = []
    for row in re.findall(r"^\| [a-z].*\|$", table, re.MULTILINE):
        for language, cell in zip(("C", "C++", "Python", "Go", "Rust"), row.split("|")[2:], strict=False):
            for name in re.findall(r"`(?:publisher::|Publisher::)?([\w.]+)[^`]*`", cell):
                if language in exists and not exists[language](name):
                    wrong.append(f"docs/API.md: {language} has no {name}")
    return wrong if table else ["docs/API.md: where is its table?"]


def targets(page: Path) -> list[str]:
    """Targets of make that a page names and that do not exist."""
    have = set(re.findall(r"^([a-z][\w-]*)(?: [a-z-]+)*:", "\n".join((ROOT / file).read_text() for file in MAKEFILES), re.MULTILINE))
    have |= {name for line in re.findall(r"^\.PHONY: (.*)$", "\n".join((ROOT / file).read_text() for file in MAKEFILES), re.MULTILINE) for name in line.split()}
    named = re.findall(r"`make ([a-z][a-z-]*)[^`]*`", page.read_text())
    return [f"{page.relative_to(ROOT)}: there is no `make {name}`" for name in named if name not in have]


def option(span: str) -> str:
    """`key=value` and `key`, where the key has the ending that only options have."""
    found = re.fullmatch(r"([a-z]\w*)=[\w.:-]+", span) or re.fullmatch(r"(\w+_ms)", span)
    return found[1] if found else ""


def forgotten(shown: set[str]) -> list[str]:
    """Programs that no page shows."""
    files = [file.relative_to(ROOT).as_posix() for folder in ("c", "cpp", "python", "go", "sh") for file in (HERE / folder).iterdir()]
    return [f"{file}: no page shows it" for file in files if file not in shown and Path(file).suffix in pages.SUFFIXES.values()]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

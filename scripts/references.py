"""Builds the API references of all languages for the site: python scripts/references.py FOLDER

Each language gets a folder: C and C++ by Doxygen, Rust by rustdoc, Python by pdoc from the package that is importable, Go by scripts/godoc.go. What is public
and has no comment, or a comment that leads nowhere, ends it with an error. For a language whose tool is missing there is a file LANGUAGE.skipped with the
reason.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
PYTHON = ("ackbus", "ackbus.aio", "ackbus.metrics", "ackbus.opentelemetry")
TABLES = {"ackbus.Options", "ackbus.Status", "ackbus.EventKind", "ackbus.State"}
"""Their members are explained by the pages of docs/, each in a table of its own."""

DOXYGEN = """
GENERATE_LATEX = NO
HAVE_DOT = NO
QUIET = YES
WARN_AS_ERROR = FAIL_ON_WARNINGS
JAVADOC_AUTOBRIEF = YES
FULL_PATH_NAMES = NO
VERBATIM_HEADERS = NO
HTML_OUTPUT = .
"""


class Skipped(Exception):
    """Why a reference cannot be built here."""


def c(folder: Path) -> None:
    doxygen(folder, "ackbus for C", "INPUT = include/ackbus.h\nOPTIMIZE_OUTPUT_FOR_C = YES\nEXTRACT_STATIC = YES")


def cpp(folder: Path) -> None:
    hidden = "*_batch batch::iterator handlers pending_ack desk failure"
    excluded = " ".join(f"ackbus::detail::{name}" for name in hidden.split())
    doxygen(folder, "ackbus for C++", f"INPUT = include/ackbus.hpp include/ackbus\nEXCLUDE_SYMBOLS = {excluded}\nINLINE_INHERITED_MEMB = YES")


def doxygen(folder: Path, name: str, options: str) -> None:
    call(["doxygen", "-"], f'PROJECT_NAME = "{name}"\nOUTPUT_DIRECTORY = "{folder}"\n{DOXYGEN}{options}\n')


def rust(folder: Path) -> None:
    # Built where everything is built, and written elsewhere: target/doc has the crates of the tests and benchmarks too. A cargo that does not know the
    # variable builds the dependencies once more.
    flags = {"RUSTDOCFLAGS": "-D warnings", "CARGO_BUILD_BUILD_DIR": str(TARGET)}
    call(["cargo", "doc", "--quiet", "--locked", "-p", "ackbus", "--no-deps", "--target-dir", str(TARGET / "rustdoc")], variables=flags)
    shutil.copytree(TARGET / "rustdoc/doc", folder, dirs_exist_ok=True)


def python(folder: Path) -> None:
    import pdoc  # type: ignore[import-not-found]  # only the environment of `make docs` has it

    warnings.simplefilter("error")
    missing = [name for module in PYTHON for name in undocumented(pdoc.doc.Module(pdoc.extract.load_module(module)))]
    if missing:
        raise SystemExit(f"python: no docstring: {', '.join(missing)}")
    pdoc.render.configure(docformat="restructuredtext", show_source=False)
    pdoc.pdoc(*PYTHON, output_directory=folder)


def undocumented(of: object) -> list[str]:
    """The public members of a module or class that have no docstring."""
    found = []
    for member in getattr(of, "members", {}).values():
        if member.name.startswith("_") or not member.taken_from[0].startswith("ackbus") or getattr(of, "fullname", "") in TABLES:
            continue
        if not member.docstring:
            found.append(member.fullname)
        found += undocumented(member)
    return found


def go(folder: Path) -> None:
    package = ROOT / "bindings/go"
    sources = (file for file in package.rglob("*.go") if not file.name.endswith("_test.go") and "internal" not in file.relative_to(package).parts)
    for source in sorted({file.parent for file in sources}):
        path = Path("ackbus", source.relative_to(package))
        page = folder / f"{path.name}.md"
        page.write_text(call(["go", "run", "scripts/godoc.go", str(source), path.as_posix()]))


def call(words: list[str], said: str = "", variables: dict[str, str] | None = None) -> str:
    """What the command prints. It must succeed."""
    if shutil.which(words[0]) is None:
        raise Skipped(f"{words[0]} is not installed")
    done = subprocess.run(words, cwd=ROOT, text=True, input=said, capture_output=True, env={**os.environ, **(variables or {})}, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(words)}\nended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


LANGUAGES: dict[str, Callable[[Path], None]] = {"c": c, "cpp": cpp, "rust": rust, "python": python, "go": go}


def main(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for name, build in LANGUAGES.items():
        (folder / name).mkdir(parents=True)
        try:
            build(folder / name)
        except Skipped as why:
            (folder / name).rmdir()
            (folder / f"{name}.skipped").write_text(str(why))
            print(f"skipped: the reference for {name}: {why}")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())

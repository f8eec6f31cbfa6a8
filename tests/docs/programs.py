"""Builds and runs the programs that the pages show, against a nats-server."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from pages import ROOT, Wrong

ADDRESS = "nats://127.0.0.1:4222"
"""The server of the pages. A program gets another one, and what it prints is told as if it had been this."""

TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BUILT = TARGET / "docs-programs"
LIBRARY = ["-L", str(TARGET / "release"), "-lackbus", "-pthread", f"-Wl,-rpath,{TARGET / 'release'}"]
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"]
LIMIT = 600
"""Seconds that a program or a compiler may take; most take less than one."""


class Skipped(Exception):
    """Why a program cannot run here."""


@cache
def command(file: str) -> list[str]:
    """Builds a program once; how it is started."""
    path = ROOT / file
    made = BUILT / file.replace("/", "-")
    made.parent.mkdir(parents=True, exist_ok=True)
    match path.suffix:
        case ".c":
            call([os.environ.get("CC", "cc"), "-std=c11", *WARNINGS, "-I", str(ROOT / "include"), str(path), "-o", str(made), *LIBRARY])
        case ".cpp":
            call([os.environ.get("CXX", "c++"), "-std=c++17", *WARNINGS, "-I", str(ROOT / "include"), str(path), "-o", str(made), *LIBRARY])
        case ".py":
            return [sys.executable, "-P", "-W", "error", str(path)]
        case ".go":
            if shutil.which("go") is None:
                raise Skipped("go is not installed")
            call(["go", "build", "-o", str(made), str(path)], path.parent)
        case ".sh":
            if "CARGO_TARGET_DIR" in os.environ:
                raise Skipped("its folders are those without CARGO_TARGET_DIR")
            text = path.read_text()
            for tool in ("cmake", "go", "pkg-config"):
                if re.search(rf"\b{tool} ", text) and shutil.which(tool) is None:
                    raise Skipped(f"{tool} is not installed")
            return ["bash", "-euo", "pipefail", "-c", text, file]
        case _:
            raise Wrong(f"{file}: nobody knows how to run it")
    return [str(made)]


def run(file: str, url: str) -> str:
    """What the program prints. It must succeed."""
    words = [word.replace(ADDRESS, url) for word in command(file)]
    if Path(file).suffix == ".sh":
        said = call(words)
    else:
        with tempfile.TemporaryDirectory(prefix="ackbus-docs-") as folder:  # some write files
            said = call([*words, url], Path(folder))
    return said.replace(url, ADDRESS).replace(url.removeprefix("nats://"), ADDRESS.removeprefix("nats://"))


def call(words: list[str], folder: Path = ROOT) -> str:
    """What the command prints. When its time is up, it ends with all that it started."""
    with subprocess.Popen(
        words, cwd=folder, text=True, start_new_session=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            said, complaints = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise Wrong(f"{' '.join(words)}\nhad not ended after {LIMIT} s") from None
    if process.returncode != 0:
        raise Wrong(f"{' '.join(words)}\nended with {process.returncode}:\n{said}{complaints}")
    return said

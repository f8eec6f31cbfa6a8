"""How each client is started, and which are there."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .plan import Cell

SUBJECT = "bench.load"


@dataclass(frozen=True)
class Places:
    """Where what the Makefile built is."""

    root: Path
    programs: Path
    """Cargo's."""
    built: Path
    """The C, C++ and Go programs."""
    python: Path
    """An interpreter with ackbus and its peers."""

    def command(self, client: str) -> list[str]:
        go = str(self.built / "publish-go")
        python = [str(self.python), str(self.root / "benches/python/clients.py")]
        return {
            "raw": [str(self.programs / "ackbus-bench-raw")],
            "ackbus-c": [str(self.built / "publish")],
            "ackbus-cpp": [str(self.built / "publish-cpp")],
            "ackbus-rust": [str(self.programs / "ackbus-bench-rust")],
            "ackbus-python": [*python, "ackbus-python"],
            "ackbus-go": [go, "ackbus-go"],
            "ackbus-idle": [str(self.programs / "ackbus-bench-idle")],
            "nats-c": [str(self.built / "nats-c")],
            "nats-go": [go, "nats-go"],
            "nats-py": [*python, "nats-py"],
            "async-nats": [str(self.programs / "ackbus-bench-async-nats")],
            "kafka": [*python, "kafka"],
        }[client]

    def there(self, client: str) -> bool:
        return Path(self.command(client)[0]).exists()

    def run(self, cell: Cell, address: str, count: int, *more: str) -> list[str]:
        """The whole command line of one run."""
        command = [*self.command(cell.client), address, SUBJECT, str(count), str(cell.size), str(cell.window), *more]
        if cell.mode:
            command += ["--mode", cell.mode]
        if cell.threads > 1:
            command += ["--threads", str(cell.threads)]
        if cell.connections:
            command += ["--connections", str(cell.connections)]
        return command if cell.msg_id else [*command, "--no-msg-id"]


def versions(places: Places, server: Path) -> dict[str, str]:
    """Of everything that takes part; what is not there is left out."""
    lock, go = (places.root / "Cargo.lock").read_text(), (places.root / "benches/go/go.mod").read_text()
    python = [str(places.python), "-c", "import sys; from importlib import metadata; print(metadata.version(sys.argv[1]))"]
    found = {
        "nats-server": number(output([str(server), "--version"])),
        "async-nats": first(r'name = "async-nats"\nversion = "(.*)"', lock),
        "nats.go": first(r"nats-io/nats.go v(\S+)", go),
        "libnats": first(r'NATS_VERSION_STRING\s+"(.*)"', read(Path("/usr/include/nats/version.h"))),
        "nats-py": output([*python, "nats-py"]),
        "confluent-kafka": output([*python, "confluent-kafka"]),
        "Rust": number(output(["rustc", "--version"])),
        "cc": number(output(["cc", "-dumpfullversion", "-dumpversion"])),
        "Go": number(output(["go", "version"])),
        "Python": number(output([str(places.python), "--version"])),
    }
    return {name: version for name, version in found.items() if version}


def number(text: str) -> str:
    return first(r"(\d+\.\d+[.\d]*)", text)


def output(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


def first(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    return found.group(1) if found else ""

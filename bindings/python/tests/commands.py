"""The command line as its users have it: a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

LIMIT = 40

COMMAND = [sys.executable, "-P", "-W", "error", "-m", "ackbus"]


def environment(**more: str) -> dict[str, str]:
    """Ours, but without servers of the user's own."""
    return {name: value for name, value in os.environ.items() if name not in ("ACKBUS_SERVERS", "NATS_URL")} | {"PYTHONUNBUFFERED": "1"} | more


class Done:
    """A command that has ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def figures(self) -> dict[str, int]:
        """The rows of the table that are whole numbers."""
        rows = (line.split() for line in self.out.splitlines())
        words = {"in": "in doubt"}
        return {words.get(row[0], row[0]): int(row[2 if row[0] == "in" else 1].replace(",", "")) for row in rows if row and row[0] in WHOLE}

    def __repr__(self) -> str:
        return f"exit code {self.code}\n{self.out}\n{self.err}"


WHOLE = ("records", "persisted", "duplicates", "failed", "in", "ephemeral")


def run(*arguments: str | Path, input: bytes | None = b"", env: dict[str, str] | None = None, **more: Any) -> Done:
    """Runs ``ackbus`` and waits for its end. A traceback is never an answer."""
    done = subprocess.run([*COMMAND, *map(str, arguments)], input=input, capture_output=True, timeout=LIMIT, env=env or environment(), check=False, **more)
    answer = Done(done.returncode, done.stdout.decode(), done.stderr.decode())
    assert "Traceback" not in answer.err and "Warning" not in answer.err, answer
    return answer


def python(program: str, *arguments: str, **more: Any) -> Done:
    """Runs a program that uses the command line from inside."""
    done = subprocess.run(
        [sys.executable, "-P", "-W", "error", "-c", program, *arguments], capture_output=True, timeout=LIMIT, env=environment(), check=False, **more
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

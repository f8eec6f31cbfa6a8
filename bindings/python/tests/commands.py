"""The command line as its users have it: a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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


@contextmanager
def started(*arguments: str | Path, command: list[str] = COMMAND, **more: object) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs. One that a failed test leaves is killed, and with it the server that it may have started."""
    streams: dict[str, object] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": environment(), "bufsize": 0} | more
    process = subprocess.Popen([*command, *map(str, arguments)], **streams)  # type: ignore[call-overload]
    try:
        yield process
    finally:
        if process.poll() is None:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            process.kill()
            process.wait()
            for child in children:
                with suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGKILL)
        for stream in (process.stdin, process.stdout, process.stderr):
            if stream is not None:
                stream.close()


def ended(process: subprocess.Popen[bytes]) -> tuple[int, str, str]:
    """Waits for its end: the exit code and what was said since."""
    out = process.stdout.read().decode() if process.stdout else ""
    err = process.stderr.read().decode() if process.stderr else ""
    return process.wait(LIMIT), out, err


def line(stream: object) -> str:
    return str(stream.readline().decode())  # type: ignore[attr-defined]


def feed(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)

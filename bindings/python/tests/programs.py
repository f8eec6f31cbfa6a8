"""Python programs in processes of their own: for what ends a process, or a fork, or a signal."""

from __future__ import annotations

import subprocess
import sys
import textwrap

LIMIT = 50.0


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    """Starts it, with its three streams as pipes. -P: the working directory may hold the sources, which have no native half."""
    command = [sys.executable, "-P", "-X", "dev", "-c", textwrap.dedent(program), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(child: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Waits for its end. Exit code, output, errors."""
    try:
        output, errors = child.communicate(timeout=LIMIT)
    except subprocess.TimeoutExpired:
        child.kill()
        output, errors = child.communicate()
        raise AssertionError(f"hung after\n{output}\n{errors}") from None
    return child.returncode, output, errors


def run(program: str, *arguments: str) -> tuple[int, str, str]:
    return finish(start(program, *arguments))

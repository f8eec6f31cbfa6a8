"""``ackbus top`` on a terminal: a real program, a real server, and tmux for eyes and fingers."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from commands import environment, feed, line, started
from conftest import LIMIT, Server, wait_for
from expositions import whole

TMUX = shutil.which("tmux")
pytestmark = pytest.mark.skipif(TMUX is None, reason="skipped: there is no tmux; on Debian: apt-get install tmux")

TOP = f"{sys.executable} -P -W error -m ackbus top"


class Pane:
    """A terminal with a shell in it, on a tmux server of its own."""

    def __init__(self, folder: str, width: int, height: int) -> None:
        self._socket = os.path.join(folder, "tmux")
        variables = environment(TERM="screen", LC_ALL="C.UTF-8", HISTFILE="/dev/null")
        for name in ("TMUX", "COLUMNS", "LINES"):
            variables.pop(name, None)
        size = ("-x", str(width), "-y", str(height))
        self._tmux("-f", "/dev/null", "new-session", "-d", *size, "exec env PS1='$ ' bash --norc --noprofile", env=variables)

    def _tmux(self, *words: str, env: dict[str, str] | None = None) -> str:
        assert TMUX is not None
        return subprocess.run([TMUX, "-u", "-S", self._socket, *words], check=True, capture_output=True, text=True, timeout=LIMIT, env=env).stdout

    def type(self, text: str) -> None:
        self._tmux("send-keys", "-l", text)
        self.press("Enter")

    def press(self, key: str) -> None:
        self._tmux("send-keys", key)

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def lines(self) -> list[str]:
        return [text.rstrip() for text in self._tmux("capture-pane", "-p").split("\n")[:-1]]

    def asked(self, what: str) -> str:
        """A format of tmux's, such as cursor_flag."""
        return self._tmux("display-message", "-p", f"#{{{what}}}").strip()

    def wait(self, what: str, condition: Callable[[list[str]], object]) -> list[str]:
        """Looks until the condition holds; the lines that it held for."""
        seen: list[str] = []

        def look() -> bool:
            seen[:] = self.lines()
            return bool(condition(seen))

        try:
            wait_for(what, look)
        except AssertionError as error:
            raise AssertionError("\n".join([str(error), *seen])) from None
        return list(seen)

    def close(self) -> None:
        self._tmux("kill-server")


@contextmanager
def pane(width: int = 80, height: int = 24) -> Iterator[Pane]:
    # Not pytest's folder, whose name may be too long for a socket's.
    with tempfile.TemporaryDirectory(prefix="ackbus-") as folder:
        pane = Pane(folder, width, height)
        try:
            pane.wait("the shell", lambda lines: lines[0] == "$")
            yield pane
        finally:
            pane.close()


def row(lines: list[str], label: str) -> list[str]:
    """The words after the label; none if there is no such line."""
    return next((text.split()[len(label.split()) :] for text in lines if text.startswith(label)), [])


def number(word: str) -> float:
    return float(word.replace(",", ""))


def rate(lines: list[str], label: str) -> float:
    words = row(lines, label)
    return number(words[0]) if len(words) == 2 and words[0] != "–" else -1


def total(lines: list[str], label: str) -> float:
    words = row(lines, label)
    return number(words[1]) if len(words) == 2 else -1


def shown(lines: list[str]) -> bool:
    """The whole view of a publisher named orders, to the last line."""
    return lines[0].startswith("orders  connected") and "quits" in lines[-1]


def at_prompt(lines: list[str]) -> bool:
    return [text for text in lines if text][-1:] == ["$"]


class Feeder:
    """Gives ``ackbus pub`` records, as fast as a thread can, until it is closed."""

    def __init__(self, process: subprocess.Popen[bytes], *records: bytes) -> None:
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(process, b"\n".join([*records, b""])))
        self._thread.start()

    def _run(self, process: subprocess.Popen[bytes], data: bytes) -> None:
        while not self._ended.wait(0.002):
            try:
                feed(process, data)
            except BrokenPipeError:
                return

    def close(self, process: subprocess.Popen[bytes]) -> None:
        """The process is ended too: a full pipe would hold the thread."""
        self._ended.set()
        process.send_signal(signal.SIGKILL)
        process.wait(LIMIT)
        self._thread.join(LIMIT)
        assert not self._thread.is_alive()


@contextmanager
def publishing(server: Server, *options: str) -> Iterator[str]:
    """A program that publishes all the time, one message in two to nobody. Where its metrics are."""
    server.add_stream("S", "a.ok")
    with started("pub", "a.{t}", "--format", "ndjson", "--server", server.url, "--metrics", ":0", "-o", "name=lines", *options) as process:
        url = line(process.stderr).removeprefix("metrics: ").strip()
        # What else it says must not fill the pipe.
        drain = threading.Thread(target=lambda: process.stderr and process.stderr.read())
        drain.start()
        feeder = Feeder(process, b'{"t":"ok"}', b'{"t":"no"}')
        try:
            yield url
        finally:
            feeder.close(process)
            drain.join(LIMIT)


def test_a_running_program(server: Server) -> None:
    with publishing(server, "-o", "max_pending=300") as url, pane() as terminal:
        terminal.type(f"{TOP} {url} --interval 0.2")
        lines = terminal.wait("rates", lambda lines: rate(lines, "acked") > 0 and rate(lines, "errors") > 0)
        assert lines[0].startswith(f"lines  connected  {server.url}  nats-server 2."), "at the top: nothing has scrolled"
        assert lines[23] == f"q quits  every 0.2 s  {url}"
        assert rate(lines, "accepted") > 0
        acked, errors = total(lines, "acked"), total(lines, "errors")
        assert acked > 0 and errors > 0
        assert terminal.asked("alternate_on") == "1"
        terminal.wait("totals that grow", lambda lines: total(lines, "acked") > acked and total(lines, "errors") > errors)
        minute = r"^  (?:p99|acked) +[▁-█ ]+ to [\d,.]+(?: ms|/s)$"
        lines = terminal.wait("the lines of a minute", lambda lines: len(re.findall(minute, "\n".join(lines), re.M)) == 2)
        assert re.search(r"^NO_STREAM +[\d,]+ +0 s  \S", "\n".join(lines), re.M), lines
        assert re.search(r"^ack latency   p50 \S+ ms  p99 \S+ ms  slowest ", "\n".join(lines), re.M), lines

        server.pause()
        try:
            lines = terminal.wait("messages that wait", lambda lines: "300 of 300" in " ".join(lines))
            assert re.search(r"^pending       █+ 100%", "\n".join(lines), re.M), lines
        finally:
            server.resume()
        terminal.wait("the window to be free again", lambda lines: "300 of 300" not in " ".join(lines) and total(lines, "acked") > acked)

        server.stop(signal.SIGKILL)
        terminal.wait("the lost connection", lambda lines: lines[0].startswith("lines  reconnecting  "))
        server.start()
        terminal.wait("the new connection", lambda lines: lines[0].startswith("lines  connected  ") and "reconnects 1" in " ".join(lines))
        terminal.press("q")
        terminal.wait("the prompt", at_prompt)


def test_a_program_that_ends_and_another_one_in_its_place(server: Server) -> None:
    with pane() as terminal:
        with publishing(server) as url:
            terminal.type(f"{TOP} {url} --interval 0.2")
            terminal.wait("rates", lambda lines: rate(lines, "acked") > 0)
        problem = re.compile(rf"{re.escape(url)}: Connection refused; for \d+ s, trying again")
        terminal.wait("its end", lambda lines: problem.fullmatch(lines[0]) and lines[2].startswith("lines  ") and row(lines, "acked")[0] == "–")
        address = re.search(r"//(.+)/metrics", url)
        assert address is not None
        with started("pub", "a.ok", "--server", server.url, "--metrics", address[1], "-o", "name=lines") as process:
            line(process.stderr)
            feed(process, b"1\n")
            terminal.wait("the other program", lambda lines: lines[0].startswith("lines  connected") and row(lines, "acked")[1:] == ["1"])
            process.send_signal(signal.SIGKILL)
            process.wait(LIMIT)
        terminal.press("C-c")
        terminal.wait("the prompt", at_prompt)


@pytest.mark.parametrize("key", ["q", "Q", "C-c"])
def test_the_terminal_is_as_it_was(tmp_path: Path, key: str) -> None:
    file = tmp_path / "figures"
    file.write_text(whole(acked=5))
    with pane() as terminal:
        terminal.type(f"stty -g >{tmp_path}/before; echo was here")
        terminal.wait("the echo", lambda lines: "was here" in lines and at_prompt(lines))
        terminal.type(f"{TOP} {file}; echo code $?; stty -g >{tmp_path}/after")
        lines = terminal.wait("the view", shown)
        assert lines[23] == f"q quits  every 1 s  {file}"[:80]
        assert (terminal.asked("alternate_on"), terminal.asked("cursor_flag")) == ("1", "0")
        terminal.press(key)
        lines = terminal.wait("its end", lambda lines: "code 0" in lines)
        assert "was here" in lines, "what stood there before"
        assert "q quits" not in "\n".join(lines) and "^C" not in "\n".join(lines)
        terminal.wait("the prompt", at_prompt)
        assert (terminal.asked("alternate_on"), terminal.asked("cursor_flag")) == ("0", "1")
    assert (tmp_path / "before").read_text() == (tmp_path / "after").read_text()


def test_sizes(tmp_path: Path) -> None:
    file = tmp_path / "figures"
    file.write_text(whole(acked=5, pending=5_000, failures=[("NO_STREAM", 3, "no stream takes the subject " * 4, 1e9)]))
    with pane() as terminal:
        terminal.type(f"{TOP} {file}")
        for width, height in ((80, 24), (50, 16), (20, 6), (3, 2), (80, 24), (132, 40)):
            terminal.resize(width, height)
            head, foot = "orders  connected"[:width].rstrip(), f"q quits  every 1 s  {file}"[:width].rstrip()

            def whole_view(lines: list[str], head: str = head, foot: str = foot, height: int = height) -> bool:
                return len(lines) == height and lines[0].startswith(head) and lines[-1] == foot

            lines = terminal.wait(f"{width}×{height}", whole_view)
            if width >= 80:
                bar = min(width - 42, 60)
                assert "pending       " + "█" * (bar // 2) + "░" * (bar - bar // 2) + "  50%      5,000 of 10,000" in lines
                assert lines.index("retries 0") + 2 == next(at for at, text in enumerate(lines) if text.startswith("last errors"))
        terminal.press("q")
        lines = terminal.wait("the prompt", at_prompt)
        assert "pending" not in "\n".join(lines)


def test_ctrl_z_and_fg(tmp_path: Path) -> None:
    file = tmp_path / "figures"
    file.write_text(whole(acked=5))
    with pane() as terminal:
        terminal.type(f"{TOP} {file}")
        for _ in range(2):
            terminal.wait("the view", shown)
            terminal.press("C-z")
            terminal.wait("the shell", lambda lines: any("Stopped" in text for text in lines) and at_prompt(lines))
            assert (terminal.asked("alternate_on"), terminal.asked("cursor_flag")) == ("0", "1")
            terminal.type("clear; fg")
        terminal.wait("the view", shown)
        terminal.press("q")
        terminal.wait("the prompt", at_prompt)


def test_keys_are_not_waited_for_where_there_is_no_keyboard(tmp_path: Path) -> None:
    file = tmp_path / "figures"
    file.write_text(whole(acked=5))
    with pane() as terminal:
        terminal.type(f"{TOP} {file} </dev/null")
        lines = terminal.wait("the view", shown)
        assert lines[23] == f"Ctrl-C quits  every 1 s  {file}"[:80]
        file.write_text(whole(acked=6))
        terminal.wait("the new figures", lambda lines: row(lines, "acked")[1:] == ["6"])
        terminal.press("C-c")
        terminal.wait("the prompt", at_prompt)


def test_a_terminal_that_goes_away(tmp_path: Path) -> None:
    """As when a window is closed: it ends, and does not go on in the background."""
    file = tmp_path / "figures"
    file.write_text(whole(acked=5))
    with pane() as terminal:
        terminal.type(f"echo $$ >{tmp_path}/shell; {TOP} {file}; true")
        terminal.wait("the view", shown)
        shell = (tmp_path / "shell").read_text().strip()
        (child,) = Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
    wait_for("its end", lambda: not Path(f"/proc/{child}").exists())

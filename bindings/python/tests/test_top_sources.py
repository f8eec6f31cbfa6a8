"""``ackbus top`` as a process: where it reads, how it ends, and what it says when there is nothing to read."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from commands import COMMAND, Done, environment, python, run
from conftest import LIMIT
from expositions import whole

from ackbus.cli import main
from ackbus.cli.top import source as sources
from ackbus.cli.top.source import Page, Unreadable

OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Program:
    """An HTTP server that says what a test wants."""

    def __init__(self) -> None:
        self.status, self.form, self.body = 200, OPENMETRICS, b""
        self.accepts: list[str] = []
        self.paths: list[str] = []
        program = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                program.accepts.append(self.headers["Accept"])
                program.paths.append(self.path)
                self.send_response(program.status)
                self.send_header("Content-Type", program.form)
                self.end_headers()
                self.wfile.write(program.body)

            def log_message(self, *words: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def program() -> Iterator[Program]:
    program = Program()
    yield program
    program.close()


@pytest.fixture
def called(capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Calls the command line in this process, where nothing of the test needs another."""

    def call(*arguments: str | Path) -> Done:
        try:
            code = main(["top", *map(str, arguments)])
        except SystemExit as ended:
            code = int(ended.code or 0)
        return Done(code, *capsys.readouterr())

    return call


@contextmanager
def top(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, "top", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        for stream in (process.stdout, process.stderr):
            assert stream is not None
            stream.close()


def until(process: subprocess.Popen[str], pattern: str) -> str:
    """Reads lines until one matches, and returns it."""
    assert process.stdout is not None
    for line in process.stdout:
        if re.search(pattern, line):
            return line
    raise AssertionError(f"ended without {pattern!r}")


def test_once_takes_two_readings_of_a_url(program: Program) -> None:
    program.body = whole(accepted=500, acked=400, pending=100).encode()
    answer = run("top", f"127.0.0.1:{program.port}", "--once", "--interval", "0.1")
    assert (answer.code, answer.err) == (0, "")
    head, name, *lines = answer.out.splitlines()
    assert head.split()[1:] == [f"http://127.0.0.1:{program.port}/metrics"]
    assert name.startswith("orders  connected  nats://127.0.0.1:4222  nats-server 2.15.1  up ")
    assert "accepted                 0             500" in lines
    assert program.paths == ["/metrics", "/metrics"]
    assert program.accepts[0] == "application/openmetrics-text; version=1.0.0, text/plain; version=0.0.4; q=0.5"


def test_once_with_a_program_that_ends_in_between(program: Program, called: Callable[..., Done], monkeypatch: pytest.MonkeyPatch) -> None:
    program.body = whole().encode()

    def pause(seconds: float) -> None:
        program.status = 503

    monkeypatch.setattr("ackbus.cli.top.plain.time.sleep", pause)
    answer = called(f":{program.port}", "--once")
    assert (answer.code, answer.out, answer.err) == (2, "", f"ackbus top: http://127.0.0.1:{program.port}/metrics: 503 Service Unavailable\n")


def test_a_path_and_a_query_are_kept(program: Program, called: Callable[..., Done]) -> None:
    program.body = whole().encode()
    assert called(f"http://127.0.0.1:{program.port}/bus?of=a", "--once", "--interval", "0.1").code == 0
    assert program.paths[0] == "/bus?of=a"


def test_the_older_format_is_told_by_its_content_type(program: Program, called: Callable[..., Done]) -> None:
    program.form, program.body = "text/plain; version=0.0.4; charset=utf-8", b'ackbus_pending_messages{publisher="a"} 7\n'
    answer = called(f":{program.port}", "--once", "--interval", "0.1")
    assert answer.code == 0, answer
    assert "pending       7" in answer.out.splitlines()


def test_standard_input_and_a_file_are_read_once(tmp_path: Path) -> None:
    file = tmp_path / "figures"
    file.write_text(whole(acked=5))
    for answer in (run("top", "-", input=file.read_bytes()), run("top", file, "--once")):
        assert (answer.code, answer.err) == (0, "")
        assert "acked                    –               5" in answer.out.splitlines()


def test_what_a_shell_puts_in_the_place_of_a_file(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=lambda: fifo.write_text(whole(acked=5)))
    writer.start()
    answer = run("top", fifo)
    writer.join(LIMIT)
    assert (answer.code, answer.err) == (0, "")
    assert answer.out.count("acked   ") == 1


def test_one_publisher_of_several(tmp_path: Path, called: Callable[..., Done]) -> None:
    file = tmp_path / "figures"
    file.write_text('ackbus_pending_messages{publisher="a"} 1\nackbus_pending_messages{publisher="b"} 2\n')
    assert "publisher" in called(file, "--once").out
    one = called(file, "--once", "--publisher", "b")
    assert one.out.splitlines()[1] == "b  –" and "pending       2" in one.out.splitlines()
    none = called(file, "--once", "--publisher", "c")
    assert (none.code, none.err) == (2, f"ackbus top: {file}: no publisher 'c' in it; there is a, b\n")


@pytest.mark.parametrize(
    ("status", "form", "body", "text"),
    [
        (404, OPENMETRICS, b"", "404 Not Found"),
        (503, OPENMETRICS, b"", "503 Service Unavailable"),
        (200, "text/html", b"<html><body>Hello</body></html>", "this is not the Prometheus text format: "),
        (200, OPENMETRICS, b"# TYPE a counter\na_total 1\n# EOF\n", "no metrics of ackbus among 1 samples"),
        (200, OPENMETRICS, whole().encode()[:-6], "this is not OpenMetrics: Missing # EOF at end"),
        (200, OPENMETRICS, b"\xff\xfe", "this is no text in UTF-8"),
        (200, OPENMETRICS, b"# EOF\n", "there are no metrics in it"),
    ],
)
def test_a_wrong_url_is_one_clear_line(program: Program, status: int, form: str, body: bytes, text: str, called: Callable[..., Done]) -> None:
    program.status, program.form, program.body = status, form, body
    answer = called(f"127.0.0.1:{program.port}")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith(f"ackbus top: http://127.0.0.1:{program.port}/metrics: {text}") and answer.err.count("\n") == 1


def test_a_404_elsewhere_says_where_to_look(program: Program, called: Callable[..., Done]) -> None:
    program.status = 404
    answer = called(f"127.0.0.1:{program.port}/metric")
    assert answer.err == f"ackbus top: http://127.0.0.1:{program.port}/metric: 404 Not Found; metrics are usually at /metrics\n"


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("http://127.0.0.1:1", "http://127.0.0.1:1/metrics: Connection refused"),
        ("ftp://x/y", "ftp://x/y: the scheme is 'ftp'; metrics are read by http or https"),
        ("http://u:secret@host/", "http://…@host: a name and a password in the URL are not supported"),
        ("http://a b/", "http://a b/: this is no URL; give http://HOST:PORT/metrics"),
        ("http:///x", "http:///x: this is no URL; give http://HOST:PORT/metrics"),
        ("http://h:99999/", "http://h:99999/: Port out of range 0-65535"),
        ("/nowhere", "'/nowhere' is no file, and no URL: give http://HOST:PORT/metrics, HOST:PORT, a file, or -"),
        ("/", "/: Is a directory"),
    ],
)
def test_what_can_be_no_source(given: str, text: str, called: Callable[..., Done]) -> None:
    answer = called(given)
    assert (answer.code, answer.out, answer.err) == (2, "", f"ackbus top: {text}\n")


def test_a_server_of_something_else(called: Callable[..., Done]) -> None:
    """Such as the port of a nats-server."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def speak() -> None:
            taken, _ = listener.accept()
            with taken:
                taken.sendall(b'INFO {"server_id":"X"}\r\n')
                taken.recv(4096)

        thread = threading.Thread(target=speak)
        thread.start()
        answer = called(f"127.0.0.1:{listener.getsockname()[1]}")
        thread.join(LIMIT)
    assert answer.code == 2
    assert answer.err.endswith('/metrics: the answer is not HTTP: \'INFO {"server_id":"X"}\'\n'), answer


def test_a_server_that_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/metrics"
        with pytest.raises(Unreadable, match=re.escape(f"{url}: no answer within 0.2 s")):
            Page(url).read()


def test_an_answer_without_end(program: Program, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "LARGEST", 1 << 20)
    program.body = b"a 1\n" * (1 << 19)
    with pytest.raises(Unreadable, match=r"over 1 MiB; that is no exposition"):
        Page(f"http://127.0.0.1:{program.port}/").read()


@pytest.mark.parametrize("given", ["0", "0.09", "3601", "soon", "nan"])
def test_intervals_that_are_refused(given: str, called: Callable[..., Done]) -> None:
    answer = called("x", "--interval", given)
    assert answer.code == 2
    assert answer.err.endswith(f"argument --interval: {given!r} is not allowed; give seconds from 0.1 to 3600\n")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_without_a_terminal_it_prints_until_a_signal(program: Program, number: int, code: int) -> None:
    program.body = whole(accepted=1).encode()
    with top(f":{program.port}", "--interval", "0.1") as process:
        until(process, r"^accepted +– +1$")
        until(process, r"^accepted +0 +1$")
        program.body = whole(accepted=3).encode()
        assert float(until(process, r"^accepted +[\d.,]+ +3$").split()[1].replace(",", "")) > 0
        process.send_signal(number)
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read()
        assert (process.stderr.read(), process.wait(LIMIT)) == ("", code)


def test_it_ends_when_nobody_reads(program: Program) -> None:
    program.body = whole(accepted=1).encode()
    with top(f":{program.port}", "--interval", "0.1") as process:
        until(process, "^accepted")
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        assert (process.stderr.read(), process.wait(LIMIT)) == ("", 0)


def test_a_program_that_goes_and_comes_back(program: Program) -> None:
    program.body = whole(accepted=1).encode()
    with top(f":{program.port}", "--interval", "0.1") as process:
        until(process, "^accepted")
        program.status = 503
        assert process.stderr is not None
        assert process.stderr.readline() == f"ackbus top: http://127.0.0.1:{program.port}/metrics: 503 Service Unavailable; trying again\n"
        program.status, program.body = 200, whole(accepted=2).encode()
        until(process, r"^accepted +[\d.]+ +2$")
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 0
        assert process.stderr.read() == "", "told once"


def test_a_file_is_followed(tmp_path: Path) -> None:
    file, new = tmp_path / "figures", tmp_path / "new"
    file.write_text(whole(accepted=10))
    os.utime(file, (1_000, 1_000))
    with top(file, "--interval", "0.1") as process:
        until(process, r"^accepted +– +10$")
        new.write_text(whole(accepted=40))
        os.utime(new, (1_010, 1_010))
        new.replace(file)
        until(process, r"^accepted +3 +40$")
        file.unlink()
        assert process.stderr is not None
        assert process.stderr.readline() == f"ackbus top: {file}: No such file or directory; trying again\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(LIMIT) == 0


def test_a_file_that_is_as_it_was_is_no_news(tmp_path: Path) -> None:
    path = tmp_path / "figures"
    path.write_text(whole(accepted=1))
    file = sources.File(path)
    assert file.read() is not None and file.read() is None
    path.write_text(whole(accepted=10))
    snapshot = file.read()
    assert snapshot is not None and snapshot.readings["orders"].samples["ackbus_accepted_messages_total"] == 10


def test_a_file_that_was_not_written_whole(tmp_path: Path, called: Callable[..., Done]) -> None:
    file = tmp_path / "figures"
    file.write_text("# TYPE ackbus_pending_bytes gauge\n# UNIT ackbus_pending_bytes bytes\nackbus_pending_bytes 12")
    answer = called(file)
    assert (answer.code, answer.err) == (2, f"ackbus top: {file}: this is not OpenMetrics: Missing # EOF at end\n")


def test_without_the_extra_the_error_says_how_to_get_it() -> None:
    program = "import sys; sys.modules['rich'] = sys.modules['prometheus_client'] = None; from ackbus.cli import main; sys.exit(main(['top', '-']))"
    done = python(program)
    assert (done.code, done.out) == (2, "")
    assert done.err == 'ackbus top: rich and prometheus_client missing; install what it needs with: pip install "ackbus[cli]"\n'


def test_an_encoding_without_blocks(tmp_path: Path) -> None:
    file = tmp_path / "figures"
    file.write_text(whole(acked=5, pending=5_000, failures=[("DENIED", 1, "日本語", 1.0)]))
    answer = run("top", file, "--once", env=environment(PYTHONIOENCODING="ascii"))
    assert answer.code == 0
    assert answer.out.isascii() and "pending       ##############################....." in answer.out and "???" in answer.out

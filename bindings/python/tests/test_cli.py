"""``ackbus pub``: what it reads, what it publishes, what it says."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from commands import COMMAND, environment, python, run
from conftest import Server

import ackbus

CREATE = ("--stream", "S", "--create")


def rows(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_version_and_usage() -> None:
    assert run("--version").out == f"ackbus {ackbus.__version__}\n"
    assert run().code == 2
    assert run("pub").code == 2
    assert run("nonsense").code == 2
    answer = run("pub", "--help")
    assert (answer.code, answer.err) == (0, "")
    assert "--dead-letter FILE" in answer.out


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--server", "http://x"], "INVALID_OPTION: servers: the address has a scheme that is not known; allowed are nats:// and tls://, or no scheme"),
        (["-o", "max_pendin=1"], "-o max_pendin: no such key; did you mean max_pending?"),
        (["-o", "max_pending"], "-o 'max_pending': give KEY=VALUE"),
        (["-o", "max_pending=x"], 'INVALID_OPTION: max_pending: "x" is not allowed; allowed: 1 to 1,000,000 messages'),
        (["-o", "ack_wait=soon"], "-o ack_wait=soon: give seconds as a number of at least 0, or -1 for no limit"),
        (["-o", "ack_wait_ms=-5"], "-o ack_wait_ms=-5: give milliseconds as a number of at least 0, or -1 for no limit"),
        (["-o", "report=none"], "-o report: the command sets it itself"),
        (["--rule", "storag=memory"], "--rule storag: no such key; did you mean storage?"),
        (["--create"], "--create needs --stream NAME"),
        (["--header", "a"], "--header 'a': give NAME=VALUE"),
        (["--msg-id", "same"], "--msg-id 'same' would be the same for every record; use a placeholder, such as {sha256}"),
        (["--msg-id", "{id}"], "--msg-id '{id}': fields such as {id} need --format ndjson; {line} and {sha256} do not"),
        (["--msg-id", "{"], "--msg-id '{' is no template: Single '{' encountered in format string"),
        (["--msg-id", "{a..b}"], "--msg-id '{a..b}' is no template: a placeholder is {name} or {name.of.name}"),
        (["--msg-id", "{a!r}"], "--msg-id '{a!r}' is no template: a placeholder is {name} or {name.of.name}"),
        (["--embedded", "--server", "x"], "--embedded and --server exclude each other"),
        (["--store", "x"], "--store needs --embedded"),
        (["/"], "FILE /: Is a directory"),
        (["/no/such/file"], "FILE /no/such/file: No such file or directory"),
        (["--dead-letter", "/no/such/file"], "--dead-letter /no/such/file: No such file or directory"),
    ],
)
def test_wrong_usage_is_one_clear_line(arguments: list[str], text: str) -> None:
    answer = run("pub", "a.b", *arguments)
    assert (answer.code, answer.out, answer.err) == (2, "", f"ackbus pub: {text}\n")


def test_argparse_names_the_value() -> None:
    answer = run("pub", "a", "--timeout", "soon")
    assert answer.code == 2
    assert answer.err.endswith("argument --timeout: 'soon' is not allowed; give seconds as a number of at least 0, or -1 for no limit\n")


def test_no_connection_is_one_clear_line(start_server: Callable[..., Server]) -> None:
    closed = run("pub", "a", "--server", "nats://127.0.0.1:1")
    assert (closed.code, closed.out) == (2, "")
    assert closed.err == "ackbus pub: CONNECT_FAILED: no server could be reached: nats://127.0.0.1:1: Connection refused (os error 111)\n"
    locked = start_server("--user", "me", "--pass", "right")
    refused = run("pub", "a", "--server", f"nats://me:wrong@127.0.0.1:{locked.port}")
    assert (refused.code, refused.out) == (2, "")
    assert refused.err.startswith("ackbus pub: AUTH_FAILED: ") and refused.err.count("\n") == 1
    assert "wrong" not in refused.err
    good = run("pub", "a", "--server", f"127.0.0.1:{locked.port}", "-o", "user=me", "-o", "password=right", *CREATE, input=b"1")
    assert good.code == 0, good


def test_lines_from_a_file_and_from_standard_input(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "lines"
    content = [b"one", b"", b"  three ", b"\xff\x00binary", "fünf".encode(), b"crlf\r", b"last"]
    file.write_bytes(b"\n".join(content))
    answer = run("pub", "a.b", file, "--server", server.url, *CREATE)
    assert (answer.code, answer.err) == (0, "")
    assert answer.figures == {"records": 7, "persisted": 7, "failed": 0, "in doubt": 0}
    assert server.payloads("S") == content
    assert run("pub", "a.b", "-", "--server", server.url, input=b"x\ny\n").code == 0
    assert run("pub", "a.b", input=b"z\n", env=environment(ACKBUS_SERVERS=server.url, NATS_URL="nats://127.0.0.1:1")).code == 0
    assert run("pub", "a.b", input=b"z\n", env=environment(NATS_URL=server.url)).code == 0
    assert server.payloads("S")[7:] == [b"x", b"y", b"z", b"z"]
    assert {message.topic for message in server.stored("S")} == {"a.b"}


def test_an_empty_file_is_no_failure(server: Server) -> None:
    answer = run("pub", "a.b", os.devnull, "--server", server.url, *CREATE)
    assert answer.code == 0, answer
    assert answer.figures == {"records": 0, "persisted": 0, "failed": 0, "in doubt": 0}


def test_frames(server: Server) -> None:
    content = [b"one", b"", b"line\nline", b"\x00" * 1000]
    packed = b"".join(struct.pack(">I", len(payload)) + payload for payload in content)
    answer = run("pub", "a.b", "--format", "frames", "--server", server.url, *CREATE, input=packed)
    assert answer.code == 0, answer
    assert server.payloads("S") == content
    for cut, text in [
        (b"\x00\x00", "the input ends inside the length of record 5: 2 of 4 bytes"),
        (struct.pack(">I", 7) + b"abc", "the input ends inside record 5: 3 of 7 bytes"),
        (b"text", "record 5 claims to have 1952807028 bytes; allowed: 67108864. Is the input in frames of 4-byte big-endian lengths?"),
    ]:
        answer = run("pub", "a.b", "--format", "frames", "--server", server.url, input=packed + cut)
        assert (answer.code, answer.err) == (1, f"ackbus pub: ended early: {text}\n")
        assert answer.figures["persisted"] == 4


def test_ndjson_fields_make_topics_and_ids(server: Server, tmp_path: Path) -> None:
    lines = [
        b'{"region": "eu", "customer": {"id": 7}}',
        b"",
        b'{"region": "us.west", "customer": {"id": true}} ',
        b'{"region": 1.5, "customer": {"id": "x"}}',
    ]
    given = b"\n".join(lines)
    command = ("pub", "orders.{region}.{{x}}", "--format", "ndjson", "--msg-id", "c-{customer.id}-{line}", "--rule", "subjects=orders.>")
    answer = run(*command, "--header", "k=1", "--header", "k=2=3", "--header", "l=", "--server", server.url, *CREATE, input=given)
    assert answer.code == 0, answer
    stored = server.stored("S")
    assert [message.topic for message in stored] == ["orders.eu.{x}", "orders.us.west.{x}", "orders.1.5.{x}"]
    assert [message.payload for message in stored] == [lines[0], lines[2], lines[3]]
    assert [message.headers["Nats-Msg-Id"] for message in stored] == ["c-7-1", "c-true-3", "c-x-4"]
    assert {message.headers["l"] for message in stored} == {""}
    again = run(*command, "--server", server.url, *CREATE, input=given)
    assert again.code == 0, again
    assert again.figures == {"records": 3, "persisted": 3, "duplicates": 3, "failed": 0, "in doubt": 0}
    assert server.count("S") == 3


def test_the_digest_is_of_the_record(server: Server) -> None:
    answer = run("pub", "a.{sha256}", "--msg-id", "{sha256}", "--server", server.url, *CREATE, input=b"x\ny\nx\n")
    assert answer.figures == {"records": 3, "persisted": 3, "duplicates": 1, "failed": 0, "in doubt": 0}
    digests = [hashlib.sha256(payload).hexdigest() for payload in (b"x", b"y")]
    assert [(message.topic, message.headers["Nats-Msg-Id"]) for message in server.stored("S")] == [(f"a.{digest}", digest) for digest in digests]


def test_records_that_cannot_be_published_go_to_the_dead_letters(server: Server, tmp_path: Path) -> None:
    bad = [
        (b'{"id": 1}', "it has no field region"),
        (b'{"region": null}', "field region is null; allowed: text, number, true, false"),
        (b'{"region": {"a": 1}}', "field region is an object; allowed: text, number, true, false"),
        (b'{"region": [1]}', "field region is an array; allowed: text, number, true, false"),
        (b"[1]", "it has no field region"),
        (b"{", "not valid JSON: Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        (b'{"region": NaN}', "not valid JSON: NaN is no JSON"),
        (b"[" * 100_000, "not valid JSON: it is nested too deeply"),
        (b'{"region": "\xff"}', "not valid JSON: 'utf-8' codec can't decode byte 0xff in position 12: invalid start byte"),
    ]
    good = b'{"region": "eu"}'
    dead = tmp_path / "dead"
    command = ("pub", "o.{region}", "--format", "ndjson", "--dead-letter", dead, "--server", server.url, *CREATE)
    lines = [line for line, _ in bad] + [good, b'{"region": "a b"}', b'{"region": "\\ud800"}']
    answer = run(*command, input=b"\n".join(lines))
    assert answer.code == 1
    assert answer.figures == {"records": 12, "persisted": 1, "failed": 11, "in doubt": 0}
    assert server.payloads("S") == [good]
    assert dead.read_bytes() == b"".join(line + b"\n" for line in lines if line != good)
    reasons = rows(tmp_path / "dead.reasons")
    assert [(row["record"], row["text"]) for row in reasons[:9]] == [(number, text) for number, (_, text) in enumerate(bad, 1)]
    assert {row["status"] for row in reasons[:9]} == {"INVALID_RECORD"}
    assert [(row["record"], row["status"], row["topic"]) for row in reasons[9:]] == [
        (11, "INVALID_TOPIC", "o.a b"),
        (12, "INVALID_UTF8", "o.\ud800"),
    ]
    assert {row["persistence"] for row in reasons} == {"NOT_PERSISTED"}
    complaints = answer.err.splitlines()
    assert complaints[:2] == ["record 1: INVALID_RECORD: it has no field region", f"record 2: INVALID_RECORD: {bad[1][1]}"]
    assert complaints[10:] == ["further failures are counted, and not told one by one"]


def test_what_the_server_refused_can_be_published_again(server: Server, tmp_path: Path) -> None:
    dead = tmp_path / "dead"
    content = [b"one", b"", b"three\r", b"\x00\xff"]
    for form, given in [("lines", b"".join(payload + b"\n" for payload in content)), ("frames", b"".join(struct.pack(">I", len(p)) + p for p in content))]:
        topic = f"{form}.x"
        command = ("pub", topic, "--format", form, "--server", server.url)
        refused = run(*command, "--dead-letter", dead, input=given)
        assert refused.code == 1
        assert refused.figures == {"records": 4, "persisted": 0, "failed": 4, "in doubt": 0}
        assert dead.read_bytes() == given
        reasons = rows(tmp_path / "dead.reasons")
        assert [(row["record"], row["topic"], row["status"], row["persistence"]) for row in reasons] == [
            (number, topic, "NO_STREAM", "NOT_PERSISTED") for number in (1, 2, 3, 4)
        ]
        again = run(*command, dead, "--stream", form, "--create", "--dead-letter", tmp_path / "none")
        assert again.code == 0, again
        assert server.payloads(form) == content
        assert not (tmp_path / "none").exists() and not (tmp_path / "none.reasons").exists()
        dead.unlink()
        (tmp_path / "dead.reasons").unlink()


def test_dead_letters_are_appended_to_and_never_what_is_read(server: Server, tmp_path: Path) -> None:
    dead = tmp_path / "dead"
    for content in (b"1\n", b"2\n"):
        assert run("pub", "nobody", "--dead-letter", dead, "--server", server.url, input=content).code == 1
    assert dead.read_bytes() == b"1\n2\n"
    assert len(rows(tmp_path / "dead.reasons")) == 2
    empty = tmp_path / "empty"
    empty.touch()
    for file in (dead, empty):
        before = file.read_bytes()
        answer = run("pub", "nobody", file, "--dead-letter", file, "--server", server.url)
        assert (answer.code, answer.err) == (2, f"ackbus pub: --dead-letter {file}: this is the file that is read\n")
        assert file.read_bytes() == before


def test_dead_letters_that_cannot_be_written_end_the_run(server: Server, tmp_path: Path) -> None:
    full = tmp_path / "full"
    full.symlink_to("/dev/full")
    answer = run("pub", "a..b", "--dead-letter", full, "--server", server.url, input=b"1\n" * 100)
    assert answer.code == 1
    assert answer.err.splitlines()[-1] == "ackbus pub: ended early: the dead letters cannot be written: No space left on device"
    assert answer.figures["failed"] == 1


def test_a_record_that_is_too_large(server: Server, tmp_path: Path) -> None:
    dead = tmp_path / "dead"
    large = b"x" * (2 << 20)
    answer = run("pub", "a.b", "--dead-letter", dead, "--server", server.url, *CREATE, input=b"1\n" + large + b"\n2\n")
    assert answer.code == 1
    assert server.payloads("S") == [b"1", b"2"]
    assert dead.read_bytes() == large + b"\n"
    (reason,) = rows(tmp_path / "dead.reasons")
    assert (reason["record"], reason["status"]) == (2, "TOO_LARGE")


def test_a_wrong_header_is_wrong_usage(server: Server) -> None:
    answer = run("pub", "a.b", "--header", "a b=1", "--server", server.url, *CREATE, input=b"1\n2\n")
    assert (answer.code, answer.out) == (2, "")
    assert answer.err.startswith("ackbus pub: --header: ") and answer.err.count("\n") == 1


def test_json_and_the_memory_server() -> None:
    answer = run("pub", "a.b", "--server", "memory:", "--json", "-o", "ack_wait_ms=69", input=b"1\n2\n")
    assert answer.code == 0, answer
    figures = json.loads(answer.out)
    assert {name: figures[name] for name in ("records", "persisted", "duplicates", "unacknowledged", "failed", "in_doubt")} == {
        "records": 2,
        "persisted": 2,
        "duplicates": 0,
        "unacknowledged": 0,
        "failed": 0,
        "in_doubt": 0,
    }
    assert figures["rate"] > 0 and figures["latency_p99_seconds"] >= figures["latency_p50_seconds"] > 0


def test_ephemeral_topics_are_counted_apart(server: Server) -> None:
    answer = run("pub", "a.b", "--rule", "mode=ephemeral", "--server", server.url, input=b"1\n2\n")
    assert answer.code == 0, answer
    assert answer.figures == {"records": 2, "persisted": 0, "ephemeral": 2, "failed": 0, "in doubt": 0}


def test_nobody_reads_the_figures(server: Server) -> None:
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*COMMAND, "pub", "a.b", "--server", server.url, *CREATE],
        input=b"1\n",
        stdout=write,
        stderr=subprocess.PIPE,
        timeout=40,
        env=environment(),
        check=False,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")
    assert server.payloads("S") == [b"1"]


def test_a_closed_standard_input_is_wrong_usage() -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *COMMAND, "pub", "a", "--server", "memory:"], capture_output=True, timeout=40, env=environment(), check=False
    )
    assert (done.returncode, done.stderr) == (2, b"ackbus pub: FILE: there is no standard input\n")


@pytest.mark.parametrize("size", [300 << 20, 150 << 20])
def test_memory_is_bounded_whatever_the_file(tmp_path: Path, size: int) -> None:
    """One line of 300 MB, and 150 MB of short lines. A full window has 128 MiB of payloads and 50 of slots; the rest is the interpreter's."""
    file = tmp_path / "large"
    if size > 200 << 20:
        with file.open("wb") as sparse:
            sparse.truncate(size)
    else:
        file.write_bytes((b"x" * 1023 + b"\n") * (size >> 10))
    said, complained = (tmp_path / name for name in ("out", "err"))
    with said.open("wb") as out, complained.open("wb") as err:
        process = subprocess.Popen([*COMMAND, "pub", "a", str(file), "--server", "memory:"], stdout=out, stderr=err, env=environment())
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert usage.ru_maxrss << 10 < 260 << 20, f"{usage.ru_maxrss >> 10} MB for a file of {size >> 20} MB"
    if size > 200 << 20:
        assert process.returncode == 1
        assert complained.read_text() == "record 1: INVALID_RECORD: the line is longer than 67108864 bytes, which no server takes\n"
    else:
        assert (process.returncode, complained.read_text()) == (0, "")
        assert said.read_text().startswith(f"records      {size >> 10:,}\n")


def test_a_line_that_is_too_long_is_kept_whole(tmp_path: Path) -> None:
    dead = tmp_path / "dead"
    program = """
import sys
from ackbus.cli import main, records
records.MAX_RECORD, records.CHUNK = 10, 4
sys.exit(main(sys.argv[1:]))
"""
    given = b"short\n" + b"0123456789abcdefghi\n" + b"0123456789\n" + b"0123456789a"
    done = python(program, "pub", "a", "--server", "memory:", "--dead-letter", str(dead), input=given)
    assert done.code == 1
    assert done.figures == {"records": 4, "persisted": 2, "failed": 2, "in doubt": 0}
    assert dead.read_bytes() == b"0123456789abcdefghi\n0123456789a\n"
    assert [row["record"] for row in rows(tmp_path / "dead.reasons")] == [2, 4]


def test_python_m_ackbus_and_the_script_are_the_same() -> None:
    script = Path(sys.executable).with_name("ackbus")
    done = subprocess.run([script, "--version"], capture_output=True, timeout=40, check=True)
    assert done.stdout == run("--version").out.encode()

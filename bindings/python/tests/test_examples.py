"""The examples, and the first Python block of each README, run as a reader runs them."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from conftest import Server

PACKAGE = Path(__file__).parents[1]
EXAMPLES = PACKAGE / "examples"
PYTHON = [sys.executable, "-P", "-W", "error"]
LIMIT = 50


def run(name: str, *arguments: str | Path, warning: str = "") -> str:
    """Runs an example to its end; what it printed. ``warning``: what it logs."""
    done = subprocess.run([*PYTHON, EXAMPLES / name, *arguments], capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (done.returncode, done.stderr) == (0, warning), done
    return done.stdout


def test_no_example_is_forgotten() -> None:
    tested = set(re.findall(r'"(\w+\.py)"', Path(__file__).read_text()))
    assert {path.name for path in EXAMPLES.iterdir() if path.suffix == ".py"} == tested


def test_quickstart(server: Server) -> None:
    assert run("quickstart.py", server.url) == "the last one is ORDERS:10\n10 of 10 persisted\n"
    assert server.payloads("ORDERS") == [f"order {number}".encode() for number in range(10)]


def test_error_callback(server: Server, tmp_path: Path) -> None:
    dead = tmp_path / "dead"
    assert run("error_callback.py", server.url, dead) == f"8 persisted, 2 not, 0 in doubt; see {dead}\n"
    assert server.payloads("ORDERS") == [f"order {number}".encode() for number in (0, 1, 2, 3, 5, 6, 7, 8)]
    letters = [json.loads(line) for line in dead.read_text().splitlines()]
    assert [(letter["topic"], letter["order"], letter["status"], letter["persistence"]) for letter in letters] == [
        ("invoices.new", 4, "NO_STREAM", "NOT_PERSISTED"),
        ("invoices.new", 9, "NO_STREAM", "NOT_PERSISTED"),
    ]
    assert [letter["payload"] for letter in letters] == ["b3JkZXIgNA==", "b3JkZXIgOQ=="]


def test_backpressure(server: Server) -> None:
    wait, drop, patient = run("backpressure.py", server.url).splitlines()
    assert wait == "wait: 5000 of 5000 persisted, never more than 64 pending"
    found = re.fullmatch(r"drop: (\d+) persisted and (\d+) left out, 5000 in all", drop)
    assert found is not None and int(found[1]) >= 64
    assert patient == "wait a little: 5000 of 5000 persisted"
    assert server.count("READINGS") == 10_000 + int(found[1])


def test_multiprocessing(server: Server) -> None:
    assert run("multiprocessing_spawn.py", server.url) == "3000 of 3000 persisted by 3 workers\n"
    assert server.count("JOBS") == 3_000


def test_asyncio_service(server: Server) -> None:
    pytest.importorskip("aiohttp")
    # aiohttp does not tell which port it got for 0.
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [*PYTHON, "-u", EXAMPLES / "asyncio_service.py", server.url, str(port)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == f"======== Running on http://127.0.0.1:{port} ========\n"
        answers = []
        for key in ("a", "b", "a"):
            request = urllib.request.Request(f"http://127.0.0.1:{port}/orders", data=f"order {key}".encode(), headers={"Idempotency-Key": key})
            with urllib.request.urlopen(request, timeout=20) as answer:
                answers.append((answer.status, json.load(answer)))
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=LIMIT)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert answers == [(201, {"order": 1}), (201, {"order": 2}), (200, {"order": 1})]
    assert (process.returncode, err) == (0, "")
    assert out.endswith("3 orders persisted\n")
    assert server.payloads("ORDERS") == [b"order a", b"order b"]


@pytest.mark.parametrize("readme", [PACKAGE / "README.md", PACKAGE.parents[1] / "README.md"], ids=["of the package", "of the project"])
def test_the_first_block_of_the_readme(server: Server, readme: Path, tmp_path: Path) -> None:
    block = re.search(r"^```python\n(.*?)^```", readme.read_text(), re.M | re.S)
    assert block is not None
    program = block[1]
    assert program.count("\n") <= 15
    assert "nats://127.0.0.1:4222" in program
    file = tmp_path / "first"
    file.write_text(program.replace("nats://127.0.0.1:4222", server.url))
    done = subprocess.run([*PYTHON, file], capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout == "<ackbus.Ack ORDERS:2> 3\n"
    assert [(message.topic, message.payload) for message in server.stored("ORDERS")] == [
        ("orders.created", b'{"id": 1}'),
        ("orders.created", b'{"id": 2}'),
        ("orders.paid", b'{"id": 1}'),
    ]

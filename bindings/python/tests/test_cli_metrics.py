"""``ackbus pub --metrics``."""

from __future__ import annotations

import re
import signal
import socket
import urllib.request
from pathlib import Path

import pytest
from commands import ended, feed, line, run, started
from conftest import Server, wait_for
from prometheus_client.openmetrics.parser import text_string_to_metric_families

CREATE = ("--stream", "S", "--create")


def samples(url: str) -> dict[str, float]:
    """Those without a label but the publisher's."""
    with urllib.request.urlopen(url, timeout=20) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))  # type: ignore[no-untyped-call]
    return {sample.name: sample.value for family in families for sample in family.samples if sample.labels == {"publisher": "lines"}}


@pytest.mark.parametrize("address", ["127.0.0.1:0", ":0"])
def test_the_metrics_of_a_run(server: Server, address: str) -> None:
    with started("pub", "a.b", "--server", server.url, *CREATE, "--metrics", address, "-o", "name=lines") as process:
        told = re.fullmatch(r"metrics: (http://127\.0\.0\.1:(\d+)/metrics)\n", line(process.stderr))
        assert told is not None
        feed(process, b"1\n2\n3\n")
        wait_for("three messages", lambda: samples(told[1])["ackbus_published_messages_total"] == 3)
        assert samples(told[1])["ackbus_connected"] == 1
        process.send_signal(signal.SIGINT)
        assert ended(process)[0] == 130
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", int(told[2])), 5)


def test_an_address_that_is_taken(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_text("1\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        answer = run("pub", "a.b", file, "--server", server.url, *CREATE, "--metrics", address)
    assert (answer.code, answer.out, answer.err) == (2, "", f"ackbus pub: --metrics {address}: Address already in use\n")
    assert server.count("S") == 0, "nothing was published"


def test_an_address_that_is_not_ours(server: Server) -> None:
    answer = run("pub", "a.b", "--server", server.url, "--metrics", "192.0.2.1:0")
    assert (answer.code, answer.err) == (2, "ackbus pub: --metrics 192.0.2.1:0: Cannot assign requested address\n")


@pytest.mark.parametrize("address", ["", "9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:-1", "::1:9464", "http://127.0.0.1:9464"])
def test_what_can_be_no_address(address: str) -> None:
    answer = run("pub", "a.b", "--metrics", address)
    assert answer.code == 2
    assert answer.err.endswith(
        f"argument --metrics: {address!r} is not allowed; give ADDRESS:PORT, such as 127.0.0.1:9464, or :PORT for this machine alone; port 0 is a free one\n"
    )

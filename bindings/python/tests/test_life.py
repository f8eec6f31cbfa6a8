"""The ends that programs come to: exit, fork, collection; and that a million messages leave nothing behind."""

from __future__ import annotations

import gc
import multiprocessing
import resource
import threading
import tracemalloc
import weakref

import programs
import pytest
from conftest import Server, wait_for
from silent import silent_server

import ackbus


def test_exit_without_close_is_clean_and_says_what_was_left() -> None:
    program = """
        import ackbus, sys
        ackbus._exit.WAIT = 0.2
        bus = ackbus.connect(sys.argv[1], retry_on_connect=True, on_error=lambda report: print(report.status.name))
        for _ in range(3):
            bus.publish("a")
    """
    with silent_server() as url:
        code, output, errors = programs.run(program, url)
    assert (code, output) == (0, "CLOSED\n" * 3), errors
    assert "ackbus: 3 messages were not settled when the program ended; call close(), or use the publisher in a with statement" in errors


def test_exit_without_close_waits_for_what_can_be_acknowledged(server: Server) -> None:
    server.add_stream("ORDERS", "orders.>")
    program = """
        import ackbus, sys
        bus = ackbus.connect(sys.argv[1], on_report=lambda report: None)
        for n in range(1000):
            bus.publish("orders.created", b"%d" % n)
    """
    code, output, errors = programs.run(program, server.url)
    assert (code, output) == (0, "") and "not settled" not in errors, errors
    assert server.count("ORDERS") == 1_000


def test_exit_while_daemon_threads_publish_and_handlers_run() -> None:
    program = """
        import ackbus, threading
        bus = ackbus.connect("memory:", on_report=lambda report: None, on_event=print)
        def publish():
            while True:
                bus.publish("a", tag=object())
        for _ in range(4):
            threading.Thread(target=publish, daemon=True).start()
        while bus.stats().published < 1000:
            pass
        print("enough", flush=True)
    """
    for _ in range(3):
        code, output, errors = programs.run(program)
        assert code == 0 and "enough\n" in output, errors
        assert "Fatal" not in errors


def test_a_forked_child_gets_an_error_instead_of_a_hang() -> None:
    program = """
        import ackbus, os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)  # of fork in a process with threads: that is the point
        bus = ackbus.connect("memory:", on_report=lambda report: None)
        bus.publish("a")
        bus.flush()
        child = os.fork()
        if child == 0:
            for call in (lambda: bus.publish("a"), lambda: bus.flush(), lambda: bus.close(), lambda: ackbus.connect("memory:")):
                try:
                    call()
                except ackbus.ForkedError as error:
                    print(error.status.name, "spawn" in str(error), flush=True)
            print(ackbus.forked(), bus.stats().published, bus.info().state.name, flush=True)
            sys.exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), bus.publish("a"), ackbus.forked())
        bus.close()
    """
    code, output, errors = programs.run(program)
    assert (code, output) == (0, "FORKED True\n" * 4 + "True 0 FAILED\n7 2 False\n"), errors


def _publish_in_child(url: str) -> int:
    with ackbus.connect(url) as bus:
        return bus.publish_wait("orders.created", b"child", timeout=20).seq


def test_spawned_processes_publish(server: Server) -> None:
    server.add_stream("ORDERS", "orders.>")
    with ackbus.connect(server.url) as bus:
        assert bus.publish_wait("orders.created", b"parent", timeout=20).seq == 1
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.apply(_publish_in_child, (server.url,)) == 2


def test_one_that_nobody_closed_warns_and_closes_itself(server: Server) -> None:
    server.add_stream("ORDERS", "orders.>")
    bus = ackbus.connect(server.url)
    bus.publish("orders.created", b"1")
    gone = weakref.ref(bus)
    with pytest.warns(ResourceWarning, match="unclosed <ackbus.Publisher CONNECTED"):
        del bus
        gc.collect()
    assert gone() is None
    wait_for("the message", lambda: server.count("ORDERS") == 1)
    wait_for("its end", lambda: not [thread for thread in _native_threads() if thread.startswith("ackbus-io")])


def _native_threads() -> list[str]:
    from pathlib import Path

    names = []
    for task in Path("/proc/self/task").iterdir():
        try:
            names.append((task / "comm").read_text().strip())
        except FileNotFoundError:
            continue
    return names


@pytest.mark.timeout(300)
def test_a_million_messages_leave_nothing_behind() -> None:
    seen = 0

    def count(report: ackbus.Report) -> None:
        nonlocal seen
        seen += 1

    with ackbus.connect("memory:", on_report=count) as bus:

        def publish(messages: int) -> None:
            for n in range(messages):
                bus.publish("a.topic", b"x" * 100, tag=(n,))
            bus.flush(60)

        publish(500_000)  # what window, free slots and allocator keep is there after it
        gc.collect()
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        publish(1_000_000)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        tracemalloc.start()
        publish(1_000)
        gc.collect()
        start = tracemalloc.take_snapshot()
        publish(20_000)
        gc.collect()
        growth = sum(line.size_diff for line in tracemalloc.take_snapshot().compare_to(start, "filename") if "tracemalloc" not in str(line.traceback))
        tracemalloc.stop()
    assert seen == 1_521_000
    # One byte for each message would be a megabyte.
    assert grown < 8 * 1_024, f"{grown} KiB"
    assert growth < 20_000, f"{growth} bytes"


def test_two_publishers_and_threads_do_not_mix() -> None:
    tags: dict[str, list[object]] = {"a": [], "b": []}
    with (
        ackbus.connect("memory:", on_report=lambda report: tags["a"].append(report.tag)) as a,
        ackbus.connect("memory:", on_report=lambda report: tags["b"].append(report.tag)) as b,
    ):
        threads = [
            threading.Thread(target=lambda bus=bus, name=name: [bus.publish(name, tag=(name, n)) for n in range(1_000)]) for name, bus in (("a", a), ("b", b))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert tags == {name: [(name, n) for n in range(1_000)] for name in "ab"}

"""Who waits for room in an event loop: by itself, against a window of the test's."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from ackbus._line import WINDOW, Line, Waiting


class Window:
    """Places for everybody, and a share for each topic that is behind a held stream."""

    def __init__(self) -> None:
        self.line = Line()
        self.places = 0
        self.shares: dict[str, int] = {}
        self.entered: list[str] = []
        self.tries = 0
        self._loop = asyncio.new_event_loop()

    def close(self) -> None:
        self._loop.close()

    def enter(self, waiting: Waiting) -> int | None:
        self.tries += 1
        if waiting.entered.done():
            return None
        held_by = self.held_by(waiting.topic)
        if held_by is not None:
            return held_by
        self.places -= 1
        if waiting.topic in self.shares:
            self.shares[waiting.topic] -= 1
        assert isinstance(waiting.payload, str)
        self.entered.append(waiting.payload)
        waiting.entered.set_result(None)
        return None

    def held_by(self, topic: str) -> int | None:
        if self.shares.get(topic) == 0:
            return hash(topic) | 1
        return None if self.places else WINDOW

    def wait(self, topic: str, name: str) -> Waiting:
        waiting = Waiting(self._loop.create_future(), self._loop.create_future(), topic, name, {})
        self.line.append(waiting, self.held_by(topic) or WINDOW)
        return waiting

    def admit(self, places: int) -> None:
        self.places += places
        self.line.admit(self.enter)


@pytest.fixture
def window() -> Iterator[Window]:
    window = Window()
    yield window
    window.close()


def test_a_share_holds_up_its_own_alone(window: Window) -> None:
    window.shares = {"bad": 0, "worse": 0}
    for topic, name in [("bad", "b1"), ("a", "1"), ("bad", "b2"), ("worse", "w1"), ("c", "2"), ("a", "3")]:
        window.wait(topic, name)
    window.admit(2)
    assert window.entered == ["1", "2"]
    window.shares["bad"] = 2
    window.admit(1)
    assert window.entered == ["1", "2", "b1"], "in the order of their coming"
    window.admit(1)
    window.shares["worse"] = 1
    window.admit(5)
    assert window.entered == ["1", "2", "b1", "b2", "w1", "3"]
    assert (len(window.line), window.line._topics, window.line._queues) == (0, {}, {})


def test_who_comes_later_may_pass_those_of_a_held_stream_only(window: Window) -> None:
    window.shares = {"bad": 0}
    window.wait("bad", "b1")
    assert window.line.lets_pass("good") and not window.line.lets_pass("bad"), "its topic's order stays"
    waiting = window.wait("good", "1")
    assert not window.line.lets_pass("other"), "that one waits for the same"
    window.line.leave(waiting, window.enter)
    assert window.line.lets_pass("other")


def test_one_that_gives_up_holds_up_nobody(window: Window) -> None:
    large = window.wait("a", "large")
    window.wait("b", "small")
    window.places = 1
    window.line.leave(large, window.enter)
    assert window.entered == ["small"]
    window.line.leave(large, window.enter)
    assert len(window.line) == 0


def test_those_that_give_up_leave_nothing_behind(window: Window) -> None:
    head = window.wait("head", "head")
    for n in range(5_000):
        one, other = window.wait(f"t{n % 3}", "one"), window.wait(f"t{n % 3}", "other")
        window.line.leave(one, window.enter)
        window.line.leave(other, window.enter)
        window.line.leave(window.wait(f"own {n}", ""), window.enter)
    assert len(window.line) == 1
    assert len(window.line._topics) == 1
    assert sum(map(len, window.line._queues.values())) <= 40, "and what is gone is not kept"
    window.line.leave(head, window.enter)
    assert (len(window.line), window.line._topics, window.line._queues) == (0, {}, {})


@pytest.mark.parametrize("topics", [1, 10, 1_000])
def test_nobody_is_tried_in_vain_again_and_again(window: Window, topics: int) -> None:
    window.shares = {"bad": 0, "worse": 0}
    for n in range(1_000):
        window.wait(f"t{n % topics}", str(n))
        window.wait("bad" if n % 2 else "worse", "")
    for _ in range(1_000):
        window.admit(1)
    assert window.entered == [str(n) for n in range(1_000)]
    assert window.tries <= 5_000


def test_at_the_end_everybody_hears(window: Window) -> None:
    waiting = [window.wait(topic, topic) for topic in ("a", "b", "a")]
    window.places = 9
    window.line.end(window.enter)
    assert all(one.entered.done() for one in waiting) and len(window.line) == 0

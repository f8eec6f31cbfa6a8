"""Who waits for room in an event loop."""

from __future__ import annotations

import asyncio
import heapq
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from ._native import Ack
from ._options import MessageOptions, Payload

#: What everybody waits for: the window. Other numbers are shares of held streams that are used up.
WINDOW = 0


@dataclass(slots=True, eq=False)
class Waiting:
    """A message that waits for room."""

    entered: asyncio.Future[None]
    future: asyncio.Future[Ack]
    topic: str
    payload: Payload
    more: MessageOptions
    #: Its place in the order of coming, as long as it waits; else 0.
    number: int = 0


#: Tries for one that waits. ``None``: it waits no longer; else what it waits for.
Enter = Callable[[Waiting], int | None]


@dataclass(slots=True, eq=False)
class _Topic:
    """Those of one topic, in the order of their coming, and what the first of them waits for."""

    queue: int
    first: Waiting
    waiting: OrderedDict[int, Waiting] = field(default_factory=OrderedDict)


class Line:
    """Within a topic the first to come is the first to go, and so it is among those who wait for the window. Who waits for a share holds up nobody else.

    However many wait, little is tried in vain: one for each share and one for the window, whenever the core tells of room.
    """

    def __init__(self) -> None:
        self._topics: dict[str, _Topic] = {}
        #: By what they wait for: the numbers of the topics' first, the earliest on top. Some are of those that are gone.
        self._queues: dict[int, list[tuple[int, str]]] = {}
        self._coming = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def lets_pass(self, topic: str) -> bool:
        """Whether a message that comes now may try: nobody waits who goes before it."""
        return topic not in self._topics and self._first_of(WINDOW) is None

    def append(self, waiting: Waiting, held_by: int) -> None:
        """This one waits from now on; ``held_by`` is what it waits for if nobody of its topic is there."""
        self._coming += 1
        waiting.number = self._coming
        self._count += 1
        topic = self._topics.get(waiting.topic)
        if topic is None:
            topic = self._topics[waiting.topic] = _Topic(held_by, waiting)
            self._push(held_by, waiting)
        topic.waiting[waiting.number] = waiting

    def leave(self, waiting: Waiting, enter: Enter) -> None:
        """This one gives up, if it has not gone already. Those behind it may go now: they may need fewer bytes."""
        if waiting.number == 0:
            return
        topic = self._topics[waiting.topic]
        if self._first_of(topic.queue) is waiting:
            self._pop(waiting)
            self.admit(enter)
            return
        del topic.waiting[waiting.number]
        waiting.number = 0
        self._count -= 1
        if not topic.waiting:
            del self._topics[waiting.topic]
        elif topic.first is waiting:
            topic.first = next(iter(topic.waiting.values()))
            self._push(topic.queue, topic.first)

    def admit(self, enter: Enter) -> None:
        """Lets in who may go now."""
        refused: set[int] = set()
        while (first := self._first(refused)) is not None:
            held_by = enter(first)
            if held_by is None:
                self._pop(first)
                continue
            topic = self._topics[first.topic]
            if topic.queue != held_by:
                topic.queue = held_by
                self._push(held_by, first)
            if held_by == WINDOW:
                return
            refused.add(held_by)

    def end(self, enter: Enter) -> None:
        """Everybody tries for the last time: there is no room any more, and the core says why."""
        for topic in self._topics.values():
            for waiting in topic.waiting.values():
                enter(waiting)
                waiting.number = 0
        self._topics.clear()
        self._queues.clear()
        self._count = 0

    def _first(self, refused: set[int]) -> Waiting | None:
        if len(self._queues) == 1 and WINDOW in self._queues:
            return self._first_of(WINDOW)
        firsts = (self._first_of(queue) for queue in list(self._queues) if queue not in refused)
        return min((first for first in firsts if first is not None), key=lambda first: first.number, default=None)

    def _first_of(self, queue: int) -> Waiting | None:
        numbers = self._queues.get(queue)
        while numbers:
            number, name = numbers[0]
            topic = self._topics.get(name)
            if topic is not None and topic.first.number == number and topic.queue == queue:
                return topic.first
            heapq.heappop(numbers)
        self._queues.pop(queue, None)
        return None

    def _push(self, queue: int, first: Waiting) -> None:
        numbers = self._queues.setdefault(queue, [])
        if len(numbers) > 2 * len(self._topics) + 16:
            # Most of them are gone.
            numbers[:] = [(topic.first.number, topic.first.topic) for topic in self._topics.values() if topic.queue == queue]
            heapq.heapify(numbers)
            return
        heapq.heappush(numbers, (first.number, first.topic))

    def _pop(self, first: Waiting) -> None:
        """Takes out the first of its queue, whose number is on top."""
        topic = self._topics[first.topic]
        waiting, numbers = topic.waiting, self._queues[topic.queue]
        del waiting[first.number]
        first.number = 0
        self._count -= 1
        if waiting:
            topic.first = following = next(iter(waiting.values()))
            heapq.heapreplace(numbers, (following.number, following.topic))
        else:
            heapq.heappop(numbers)
            del self._topics[first.topic]

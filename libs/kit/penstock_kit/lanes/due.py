"""Records of retry topics that are not due yet, in memory, by broker time. Pure: no timers."""

from __future__ import annotations

from collections.abc import Callable, Container, Hashable, Iterable
from heapq import heapify, heappop, heappush
from itertools import count

from penstock_kit.lanes.broker_clock import BrokerClock
from penstock_kit.lanes.keys import Entry

__all__ = ["DueRecords"]


class DueRecords:
    """One heap per timeline: which of two timelines is due first changes with what is learnt."""

    def __init__(self, broker_clock: BrokerClock) -> None:
        self._broker_clock = broker_clock
        self._heaps: dict[Hashable, list[tuple[float, int, Entry]]] = {}
        self._order = count()

    def __len__(self) -> int:
        return sum(len(heap) for heap in self._heaps.values())

    @property
    def timelines(self) -> list[Hashable]:
        """Those on which something waits."""
        return list(self._heaps)

    def add(self, entry: Entry, timeline: Hashable, due_ms: float) -> None:
        """Keep a record until that time of its broker is certainly over."""
        heappush(self._heaps.setdefault(timeline, []), (due_ms, next(self._order), entry))

    def next_at(self) -> float:
        """When to look again (monotonic); infinite if nothing waits, or no time is known."""
        return min(
            (self._broker_clock.reaches(line, heap[0][0]) for line, heap in self._heaps.items()),
            default=float("inf"),
        )

    def take_due(self, now: float) -> list[Entry]:
        """Take out what is due, oldest first on each timeline."""
        due: list[Entry] = []
        for timeline, heap in list(self._heaps.items()):
            while heap and self._broker_clock.reaches(timeline, heap[0][0]) <= now:
                due.append(heappop(heap)[2])
            if not heap:
                del self._heaps[timeline]
        return due

    def drop_lost(self) -> None:
        """Forget what is not ours any more; the next owner reads it again."""
        self._keep(lambda entry: entry.queue.partition.is_ours)

    @property
    def waiting(self) -> list[Entry]:
        """What is not due yet."""
        return [entry for heap in self._heaps.values() for _, _, entry in heap]

    def withdraw(self, chosen: Container[Entry]) -> list[Entry]:
        """Take out those of them that are not due yet."""
        return self._keep(lambda entry: entry not in chosen)

    def _keep(self, stays: Callable[[Entry], bool]) -> list[Entry]:
        gone: list[Entry] = []
        for timeline, heap in list(self._heaps.items()):
            leaving = [item for item in heap if not stays(item[2])]
            if not leaving:
                continue
            gone += _entries(leaving)
            left = {item[1] for item in leaving}
            heap[:] = [item for item in heap if item[1] not in left]
            heapify(heap)
            if not heap:
                del self._heaps[timeline]
        return gone


def _entries(items: Iterable[tuple[float, int, Entry]]) -> list[Entry]:
    return [entry for _, _, entry in items]

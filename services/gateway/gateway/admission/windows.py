"""How many passed in the last window, in this process: the same arithmetic as `lua/admit.lua`."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque

from gateway.admission.store import EXACT_UP_TO, SLOTS

__all__ = ["ExactWindow", "SlotWindow", "Window", "make_window"]


class ExactWindow:
    """A log of instants: in no window of the length are there more than the limit."""

    def __init__(self, limit: int, window_ms: int) -> None:
        self._limit = limit
        self._window_ms = window_ms
        self._taken: dict[str, int] = {}

    def look(self, now_ms: int) -> tuple[int, int]:
        """Places used, and ms until one more is free."""
        taken = self._taken
        for job in list(taken):
            if taken[job] > now_ms - self._window_ms:
                break
            del taken[job]
        if not taken:
            return 0, 0
        instants = list(taken.values())
        leaving = instants[max(0, len(instants) - self._limit)]
        return len(instants), leaving + self._window_ms - now_ms

    def take(self, job: str, now_ms: int) -> None:
        """One more."""
        self._taken.pop(job, None)
        self._taken[job] = now_ms

    def give_back(self, job: str, at_ms: int) -> None:
        """One less."""
        del at_ms
        self._taken.pop(job, None)

    @property
    def longest_ms(self) -> int:
        """When a place that is taken now is free again."""
        return self._window_ms


class SlotWindow:
    """Counts per slot: never more than the limit in a window, free again at most a slot late."""

    def __init__(self, limit: int, window_ms: int) -> None:
        self._limit = limit
        self._window_ms = window_ms
        self._width_ms = -(-window_ms // SLOTS)
        self._slots: deque[list[int]] = deque()

    def look(self, now_ms: int) -> tuple[int, int]:
        """See `ExactWindow.look`."""
        while self._slots and (self._leaves(self._slots[0]) <= now_ms or self._slots[0][1] <= 0):
            self._slots.popleft()
        used = left = sum(max(0, count) for _, count in self._slots)
        for slot in self._slots:
            left -= max(0, slot[1])
            if left < self._limit:
                return used, self._leaves(slot) - now_ms
        return used, 0

    def take(self, job: str, now_ms: int) -> None:
        """See `ExactWindow.take`."""
        del job
        number = now_ms // self._width_ms
        if self._slots and self._slots[-1][0] == number:
            self._slots[-1][1] += 1
        else:
            self._slots.append([number, 1])

    def give_back(self, job: str, at_ms: int) -> None:
        """See `ExactWindow.give_back`."""
        del job
        number = at_ms // self._width_ms
        at = bisect_right(self._slots, number, key=lambda slot: slot[0]) - 1
        if at >= 0 and self._slots[at][0] == number:
            self._slots[at][1] -= 1

    @property
    def longest_ms(self) -> int:
        """See `ExactWindow.longest_ms`."""
        return self._window_ms + self._width_ms

    def _leaves(self, slot: list[int]) -> int:
        return (slot[0] + 1) * self._width_ms + self._window_ms


Window = ExactWindow | SlotWindow


def make_window(limit: int, window_ms: int) -> Window:
    """The kind that fits the limit."""
    return (ExactWindow if limit <= EXACT_UP_TO else SlotWindow)(limit, window_ms)

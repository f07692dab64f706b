"""One timer for all streams: thousands of tokens per second would else cost a timer each."""

from __future__ import annotations

import asyncio
import heapq
from typing import Protocol

__all__ = ["Paced", "Pacer"]

_GRAIN_S = 0.001
"""Steps that fall due within one grain share a wake-up; small against 10 ms between tokens."""


class Paced(Protocol):
    """Something that takes steps in time."""

    def step(self, now: float) -> float | None:
        """Do what is due; the loop time of the next step, or None when it is over."""
        ...


class Pacer:
    """Calls `step` of everything that is due, in order of time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._heap: list[tuple[float, int, Paced]] = []
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")

    def add(self, paced: Paced, at: float) -> None:
        """Step `paced` for the first time at loop time `at`."""
        self._push(paced, at)
        self._arm()

    def _push(self, paced: Paced, at: float) -> None:
        self._count += 1
        heapq.heappush(self._heap, (at, self._count, paced))

    def _arm(self) -> None:
        if not self._heap or self._heap[0][0] >= self._timer_at:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._heap[0][0]
        self._timer = self._loop.call_at(self._timer_at, self._tick)

    def _tick(self) -> None:
        self._timer, self._timer_at = None, float("inf")
        now = self._loop.time()
        while self._heap and self._heap[0][0] <= now + _GRAIN_S:
            _, _, paced = heapq.heappop(self._heap)
            following = paced.step(now)
            if following is not None:
                self._push(paced, following)
        self._arm()

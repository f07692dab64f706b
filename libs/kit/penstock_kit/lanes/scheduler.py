"""Which key runs next: high, default and low by weight, oldest first, and nobody starves."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from penstock_contracts.requests import Priority

from penstock_kit.lanes.keys import KeyQueue, KeyState

__all__ = ["LEVELS", "Scheduler", "level_of"]

LEVELS: Final = (Priority.HIGH, Priority.DEFAULT, Priority.LOW)


def level_of(topic: str) -> int:
    """The level of a topic by its suffix: 0 `.high`, 2 `.low`, else 1."""
    if topic.endswith(".high"):
        return 0
    return 2 if topic.endswith(".low") else 1


class Scheduler:
    """Keys that are ready, by level. Not a queue of records: each key is here at most once."""

    def __init__(self, *, weights: tuple[int, int, int], aging: timedelta) -> None:
        self._ready: tuple[deque[KeyQueue], ...] = tuple(deque() for _ in LEVELS)
        self._turns = _interleaved(weights)
        self._turn = 0
        self._aging_s = aging.total_seconds()

    def offer(self, queue: KeyQueue, now: float) -> None:
        """The key has a record to run; its turn comes after those that are ready already."""
        queue.state = KeyState.READY
        queue.since = now
        self._ready[queue.partition.level].append(queue)

    def next(self, now: float) -> KeyQueue | None:
        """The key whose turn it is; its queue may be empty by now."""
        high, default, low = self._ready
        if not high and not low:
            return default.popleft() if default else None
        aged = self._aged(now)
        if aged is not None:
            return aged.popleft()
        while True:
            level = self._turns[self._turn]
            self._turn = (self._turn + 1) % len(self._turns)
            if self._ready[level]:
                return self._ready[level].popleft()

    def _aged(self, now: float) -> deque[KeyQueue] | None:
        """The level whose first key has waited longest, if that is too long."""
        level = min((ready for ready in self._ready if ready), key=lambda ready: ready[0].since)
        return level if now - level[0].since > self._aging_s else None


def _interleaved(weights: Sequence[int]) -> tuple[int, ...]:
    """One round of turns, spread evenly: weights 6, 3, 1 give 0 1 0 0 1 0 2 0 1 0 or alike."""
    credit = [0] * len(weights)
    turns = []
    for _ in range(sum(weights)):
        credit = [have + weight for have, weight in zip(credit, weights, strict=True)]
        level = credit.index(max(credit))
        credit[level] -= sum(weights)
        turns.append(level)
    return tuple(turns)

"""Which key runs next: high, default and low by weight, then tenants in turn; nobody starves.

A round has a turn for every weight and one more: for the level whose next key has waited longest,
if that is longer than `aging`. So age gives a share, and never takes what the weights promise.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from penstock_contracts.requests import Priority

from penstock_kit.lanes.keys import KeyQueue, KeyState
from penstock_kit.lanes.tenants import Ring, Share, Shares

__all__ = ["LEVELS", "LOWEST", "Scheduler", "level_of"]

LEVELS: Final = (Priority.HIGH, Priority.DEFAULT, Priority.LOW)
LOWEST: Final = len(LEVELS) - 1
_AGED: Final = len(LEVELS)
"""In a round: the turn of who has waited too long, whatever its level."""


def level_of(topic: str) -> int:
    """The level of a topic by its suffix: 0 `.high`, 2 `.low`, else 1."""
    if topic.endswith(".high"):
        return 0
    return 2 if topic.endswith(".low") else 1


class Scheduler:
    """Keys that are ready. Not a queue of records: each key is here at most once."""

    def __init__(
        self, *, weights: tuple[int, int, int], aging: timedelta, tenant_cap: int | None = None
    ) -> None:
        self.shares = Shares(tenant_cap)
        self._rings = tuple(Ring(self.shares) for _ in LEVELS)
        self._turns = (*_interleaved(weights), _AGED)
        self._turn = self._turn_before = 0
        self._aging_s = aging.total_seconds()

    def offer(self, queue: KeyQueue, now: float) -> None:
        """The key has a record to run; its turn comes after its tenant's that are ready already.

        The first record tells the tenant and the level.
        """
        queue.state = KeyState.READY
        queue.since = now
        if queue.entries:
            first = queue.entries[0]
            queue.share = first.share
            queue.level = first.level
        turn = queue.share.turns[queue.level]
        if not turn.is_listed and turn in queue.share.waiting:
            turn.keys.append(queue)
        else:
            self._rings[queue.level].add(turn, queue)

    def next(self, now: float) -> KeyQueue | None:
        """The key whose turn it is; its queue may be empty by now."""
        self._turn_before = self._turn
        high, default, low = self._rings
        if not high and not low:
            return default.pop() if default else None
        while any(self._rings):
            queue = self._ring_in_turn(now).pop()
            if queue is not None:
                return queue
            # All tenants of that level are at their cap: it is empty now, the turn not used up.
            self._turn = self._turn_before
        return None

    def move(self, queue: KeyQueue) -> None:
        """The key that `next` gave has another level now; its turn is not used up."""
        self._turn = self._turn_before
        self.offer(queue, queue.since)

    def started(self, share: Share) -> None:
        """A handler for the tenant begins."""
        share.in_flight += 1

    def ended(self, share: Share, seconds: float) -> None:
        """A handler for the tenant ended after `seconds`; what its cap held back is ready again."""
        share.in_flight -= 1
        self.shares.learn(share, seconds)
        if share.waiting:
            waiting, share.waiting = share.waiting, []
            for turn in waiting:
                if turn.keys:
                    self._rings[share.turns.index(turn)].enlist(turn)

    def take_demoted(self) -> list[KeyQueue]:
        """Take out keys that wait with the low ones though their topic is not low."""
        return [
            queue
            for share in self.shares.all()
            for queue in self._rings[LOWEST].take(
                share.turns[LOWEST], lambda queue: queue.home != LOWEST
            )
        ]

    def _ring_in_turn(self, now: float) -> Ring:
        while True:
            level = self._turns[self._turn]
            self._turn = (self._turn + 1) % len(self._turns)
            ring = self._aged(now) if level == _AGED else self._rings[level]
            if ring:
                return ring

    def _aged(self, now: float) -> Ring | None:
        """The level whose next key has waited longest, if that is too long."""
        ring = min((ring for ring in self._rings if ring), key=lambda ring: ring.since)
        return ring if now - ring.since > self._aging_s else None


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

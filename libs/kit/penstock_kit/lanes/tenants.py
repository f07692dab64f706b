"""Whose keys run next among the tenants of one level: deficit round robin over expected seconds."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from penstock_kit.lanes.keys import KeyQueue

__all__ = ["Ring", "Share", "Shares", "Turn"]

_LEVELS: Final = 3
_NEWEST: Final = 0.2
"""Weight of the last record in a tenant's mean: about ten records make a new habit known."""

_WIDEST: Final = 8.0
"""A record costs between 1/8 and 8 mean records.

Without that bound one tenant with very short records would run thousands of them per round, and
one with very long ones would need thousands of rounds for its next.
"""

_MOST_KNOWN: Final = 10_000
"""Tenants remembered; beyond that idle ones are forgotten, so that made-up names cost nothing."""


class Turn:
    """Ready keys of one tenant on one level, and what it may still spend in this round."""

    __slots__ = ("deficit", "is_listed", "keys", "share")

    def __init__(self, share: Share) -> None:
        self.share = share
        self.keys: deque[KeyQueue] = deque()
        self.deficit = 0.0
        self.is_listed = False


class Share:
    """One tenant in this process.

    Attributes:
        in_flight: its records with a handler at work.
        service_s: mean seconds of its handlers; -1 until one has ended.
        waiting: turns that rest because the tenant is at its cap.
    """

    __slots__ = ("in_flight", "name", "service_s", "turns", "waiting")

    def __init__(self, name: str | None) -> None:
        self.name = name
        self.in_flight = 0
        self.service_s = -1.0
        self.turns = tuple(Turn(self) for _ in range(_LEVELS))
        self.waiting: list[Turn] = []

    @property
    def is_idle(self) -> bool:
        """Whether nothing of it runs or is ready; records behind a running one make it busy."""
        return not self.in_flight and not any(turn.keys for turn in self.turns)


class Shares:
    """All tenants of this process, what their records cost, and who is at the cap."""

    def __init__(self, cap: int | None) -> None:
        self._cap = cap
        self._known: dict[str | None, Share] = {}
        self._mean_s = -1.0
        self.nobody = self.of(None)

    def of(self, tenant: str | None) -> Share:
        """The tenant's share."""
        share = self._known.get(tenant)
        if share is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known = {n: s for n, s in self._known.items() if n is None or not s.is_idle}
            share = self._known[tenant] = Share(tenant)
        return share

    def all(self) -> list[Share]:
        """Every tenant that is known."""
        return list(self._known.values())

    def is_capped(self, share: Share) -> bool:
        """Whether the tenant may start nothing now."""
        return self._cap is not None and share.in_flight >= self._cap

    def cost(self, share: Share) -> float:
        """What a record of the tenant costs, in mean records of everybody."""
        if share.service_s < 0 or self._mean_s <= 0:
            return 1.0
        return min(max(share.service_s / self._mean_s, 1 / _WIDEST), _WIDEST)

    def learn(self, share: Share, seconds: float) -> None:
        """A handler of the tenant took this long."""
        share.service_s = _moved(share.service_s, seconds)
        self._mean_s = _moved(self._mean_s, seconds)


class Ring:
    """Ready keys of one level. A tenant alone pays nothing; several take turns by cost."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._turns: deque[Turn] = deque()

    def __bool__(self) -> bool:
        return bool(self._turns)

    @property
    def since(self) -> float:
        """When the key whose tenant is next became ready; the ring must not be empty."""
        return self._turns[0].keys[0].since

    def add(self, turn: Turn, queue: KeyQueue) -> None:
        """The key is ready, behind those of its tenant."""
        turn.keys.append(queue)
        if not turn.is_listed:
            self.enlist(turn)

    def enlist(self, turn: Turn) -> None:
        """The tenant takes part again, behind the others, with nothing saved up."""
        turn.is_listed = True
        turn.deficit = 0.0
        self._turns.append(turn)

    def take(self, turn: Turn, match: Callable[[KeyQueue], bool]) -> list[KeyQueue]:
        """Take keys of a tenant out."""
        taken = [queue for queue in turn.keys if match(queue)]
        if taken:
            turn.keys = deque(queue for queue in turn.keys if not match(queue))
            if turn.is_listed and not turn.keys:
                turn.is_listed = False
                self._turns.remove(turn)
        return taken

    def pop(self) -> KeyQueue | None:
        """The key that runs now; None if all tenants are at their cap."""
        turns = self._turns
        while turns:
            turn = turns[0]
            share = turn.share
            if self._shares.is_capped(share):
                turns.popleft()
                turn.is_listed = False
                share.waiting.append(turn)
            elif len(turns) == 1 or self._pays(turn):
                queue = turn.keys.popleft()
                if not turn.keys:
                    turns.popleft()
                    turn.is_listed = False
                return queue
        return None

    def _pays(self, turn: Turn) -> bool:
        cost = self._shares.cost(turn.share)
        if turn.deficit >= cost:
            turn.deficit -= cost
            return True
        turn.deficit += 1.0
        self._turns.rotate(-1)
        return False


def _moved(mean: float, newest: float) -> float:
    return newest if mean < 0 else mean + _NEWEST * (newest - mean)

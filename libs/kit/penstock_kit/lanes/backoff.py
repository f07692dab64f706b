"""How long to wait after a failure: one rule for lanes and services."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

__all__ = ["LONGEST_ASKED", "Backoff"]

LONGEST_ASKED: Final = timedelta(hours=1)
"""A dependency that asks for more gets this much: nobody may park a job until its record has left
the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """Pauses that grow, with jitter, so that what failed together does not come back together.

    Attributes:
        base: pause after the first failure, on average.
        factor: by how much each pause grows.
        cap: longest pause of our own choice.
        jitter: least and most that chance makes of a pause; the cap still holds.
    """

    base: timedelta = timedelta(seconds=5)
    factor: float = 2.0
    cap: timedelta = timedelta(seconds=300)
    jitter: tuple[float, float] = (0.5, 1.5)

    def pause(
        self, failures: int, *, random: Callable[[], float], asked_s: float | None = None
    ) -> timedelta:
        """The pause after so many failures, from 1.

        Args:
            failures: the present one included.
            random: gives 0 to 1.
            asked_s: what the dependency wants (`Retry-After`): a floor, up to `LONGEST_ASKED`.
        """
        cap_s = self.cap.total_seconds()
        try:
            grown_s = min(self.base.total_seconds() * self.factor ** (failures - 1), cap_s)
        except OverflowError:
            grown_s = cap_s
        least, most = self.jitter
        own_s = min(grown_s * (least + (most - least) * random()), cap_s)
        return timedelta(seconds=max(own_s, _floor_s(asked_s)))


def _floor_s(asked_s: float | None) -> float:
    if asked_s is None or not asked_s > 0:  # also what is no number
        return 0.0
    return min(asked_s, LONGEST_ASKED.total_seconds())

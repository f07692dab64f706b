"""When a delivery that failed is tried again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

__all__ = ["Schedule"]

_JITTER = 0.1
"""At most so much of a pause is added: what failed together does not come back together."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Pauses between tries, and how long a receiver's own wish may be."""

    pauses: Sequence[timedelta]
    longest_asked: timedelta

    def pause(
        self, failures: int, *, chance: float, asked_s: float | None = None
    ) -> timedelta | None:
        """The pause after so many failures (from 1); None: it has been tried often enough.

        Never below the schedule's own, nor below what the receiver asked for. `chance`: 0 to 1.
        """
        if failures > len(self.pauses):
            return None
        own = self.pauses[failures - 1] * (1 + _JITTER * chance)
        if asked_s is None or not asked_s > 0:
            return own
        return max(own, min(timedelta(seconds=min(asked_s, 1e6)), self.longest_asked))

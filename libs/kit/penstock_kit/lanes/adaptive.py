"""How many calls at once a dependency bears, learnt from its answers: AIMD on latency and refusals.

Source: additive increase, multiplicative decrease as TCP does it (RFC 5681), with the latency
gradient of Netflix's concurrency-limits (Gradient2).
"""

from __future__ import annotations

import math
import statistics
from typing import Final

__all__ = ["AdaptiveLimit"]

_USUAL_WEIGHT: Final = 0.1
"""Of one round in the usual latency: some ten rounds make a new usual."""

_TOLERANCE: Final = 2.0
"""The median of a round may be so many times the usual before that counts as a queue over there.

A median, because a few very slow answers are the nature of such calls and no sign of load.
"""

_REFUSED_FACTOR: Final = 0.7
_SLOWEST_FACTOR: Final = 0.5
_MIN_ROUND: Final = 5
"""Answers per round at least, so that one slow answer is no verdict."""


class AdaptiveLimit:
    """A number between `floor` and `cap`. Pure: told of answers, asked for `limit`.

    It begins at `cap`, so nothing is slower where nobody ever refuses. A round is about as many
    answers as may be in flight; per round the limit grows by its square root if it was used up,
    shrinks if answers took more than twice the usual time, and shrinks once if any was refused.
    """

    def __init__(self, *, cap: int, floor: int = 1) -> None:
        assert 1 <= floor <= cap, "the caller checks its settings"
        self._cap = cap
        self._floor = floor
        self._limit = float(cap)
        self._usual_s = -1.0
        self._round: list[float] = []
        self._busiest = self._immune = 0

    @property
    def limit(self) -> int:
        """Calls at once, now."""
        return int(self._limit)

    def succeeded(self, latency_s: float, *, in_flight: int) -> None:
        """An answer came after `latency_s`; `in_flight` counts it still."""
        self._immune = max(0, self._immune - 1)
        self._round.append(latency_s)
        self._busiest = max(self._busiest, in_flight)
        if len(self._round) >= max(self.limit, _MIN_ROUND):
            self._end_round()

    def refused(self, *, in_flight: int) -> None:
        """The dependency said that it is too much: 429, 503, or what it calls overload.

        Calls that were in flight when the limit was cut are refused as well: they count once.
        """
        if self._immune:
            self._immune -= 1
            return
        self._immune = max(0, in_flight - 1)
        self._set(self._limit * _REFUSED_FACTOR)
        self._begin_round()

    def _end_round(self) -> None:
        median_s = statistics.median(self._round)
        if self._usual_s < 0:
            self._usual_s = median_s
        if median_s > _TOLERANCE * self._usual_s:
            gradient = _TOLERANCE * self._usual_s / median_s
            self._set(self._limit * max(gradient, _SLOWEST_FACTOR))
        elif self._busiest >= self.limit:
            self._set(self._limit + math.sqrt(self._limit))
        self._usual_s += _USUAL_WEIGHT * (median_s - self._usual_s)
        self._begin_round()

    def _begin_round(self) -> None:
        self._round = []
        self._busiest = 0

    def _set(self, limit: float) -> None:
        self._limit = min(max(limit, float(self._floor)), float(self._cap))

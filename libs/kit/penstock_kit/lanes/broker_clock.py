"""What time it is for the brokers, at least: known from their own timestamps, never from our clock.

A timestamp that a broker put on a record was its time when it appended; we learn of it later. So
broker time now is at least that timestamp plus what our monotonic clock has measured since. The
best of several samples is kept. Our wall clock plays no part: it may be hours wrong.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Final

__all__ = ["BrokerClock"]

_RATE: Final = 1 - 5e-4
"""Broker time per monotonic time, at least: NTP slews a clock by up to 500 ppm. So an old sample
counts less and less."""

_PERIOD_S: Final = 60.0
"""Samples count for one to two of these: a broker whose clock was set back is believed soon."""


@dataclass(slots=True)
class _Bound:
    since: float
    best: float
    before: float = float("-inf")
    fresh_at: float = float("-inf")


class BrokerClock:
    """A lower bound of broker time for each timeline.

    A timeline is what shares one clock: a partition, as each may be led by another broker. All
    times of ours are monotonic seconds.
    """

    def __init__(self) -> None:
        self._bounds: dict[Hashable, _Bound] = {}

    def saw(
        self, timeline: Hashable, timestamp_ms: float, *, at: float, is_ack: bool = False
    ) -> None:
        """Take a sample: the broker's timestamp of a record that we knew of at `at`.

        `is_ack`: the record was written just before; other records may have been in the log long.
        """
        offset_ms = timestamp_ms - at * 1000 * _RATE
        bound = self._bounds.get(timeline)
        if bound is None:
            bound = self._bounds[timeline] = _Bound(at, offset_ms)
        elif at - bound.since > _PERIOD_S:
            bound.before, bound.best, bound.since = bound.best, offset_ms, at
        elif offset_ms > bound.best:
            bound.best = offset_ms
        if is_ack:
            bound.fresh_at = at

    def reaches(self, timeline: Hashable, due_ms: float) -> float:
        """When that broker time is certainly over; infinite while nothing is known."""
        bound = self._bounds.get(timeline)
        if bound is None:
            return float("inf")
        # A broker's timestamp is cut to the millisecond: the true moment may be one later.
        return (due_ms + 1 - max(bound.best, bound.before)) / (1000 * _RATE)

    def is_fresh(self, timeline: Hashable, now: float) -> bool:
        """Whether an acknowledgement has told us the time lately."""
        bound = self._bounds.get(timeline)
        return bound is not None and now - bound.fresh_at <= _PERIOD_S

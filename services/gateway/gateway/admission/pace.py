"""How fast worker groups work: mean service time, parallelism, jobs ended per second. Observed."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from penstock_kit.clock import Clock

__all__ = ["GroupPace", "Pace"]

_WEIGHT = 0.05
"""Of the newest service time in the mean: about the last forty count."""
_LEVEL_S = 1.0
_PEAK_S = 30.0
"""Parallelism is the highest mean of running jobs over a second, of the last 30 to 60 seconds.

A mean, since starts may be seen before the ends that made room for them: a count at one moment can
be far above what workers run at once, and waits estimated from it far too short.
"""
_DRAIN_S = (3, 10)
_MAX_RUNNING = 50_000


@dataclass(frozen=True, slots=True)
class GroupPace:
    """What one group does at the moment; None is unknown.

    Until a job has ended, `service_s` is a lower bound: how long the first one has been running.
    `drain_per_s` counts jobs that ended in the last seconds: the group's capacity only while jobs
    wait.
    """

    running: int = 0
    service_s: float | None = None
    parallelism: float | None = None
    drain_per_s: float | None = None


class _Level:
    """How many run at once: now, and at most over the last while."""

    def __init__(self, now: float) -> None:
        self.running = 0
        self._seconds = 0.0  # of all jobs together, since the present mean was begun
        self._counted_at = self._since = self._peak_since = self._idle_since = now
        self._peak = self._peak_before = 0.0
        self._has_mean = False  # of the present stretch of work

    def change(self, by: int, now: float) -> None:
        """A job begins or ends."""
        self._count(now)
        if self.running == 0 and now - self._idle_since >= _LEVEL_S:
            # A mean with idle time in it would be far below what the workers can do.
            self._seconds, self._since, self._has_mean = 0.0, now, False
        self.running += by
        if self.running == 0:
            self._idle_since = now

    def peak(self, now: float) -> float:
        """The highest mean of late; at least one, and what runs now before there is a mean."""
        self._count(now)
        least = 1 if self._has_mean else max(1, self.running)
        return max(float(least), self._peak, self._peak_before)

    def _count(self, now: float) -> None:
        self._seconds += self.running * (now - self._counted_at)
        self._counted_at = now
        if now - self._since < _LEVEL_S:
            return
        mean = self._seconds / (now - self._since)
        self._seconds, self._since, self._has_mean = 0.0, now, True
        if now - self._peak_since >= _PEAK_S:
            is_recent = now - self._peak_since < 2 * _PEAK_S
            self._peak_before = self._peak if is_recent else mean
            self._peak, self._peak_since = mean, now
        self._peak = max(self._peak, mean)


@dataclass(slots=True)
class _Group:
    began: float
    level: _Level
    service_s: float | None = None
    first_end: float | None = None
    ended: deque[tuple[int, int]] = field(default_factory=deque)


class Pace:
    """Fed by the tail with starts and ends of attempts. No I/O."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._groups: dict[str, _Group] = {}
        self._running: OrderedDict[str, tuple[str, float]] = OrderedDict()

    def started(self, job: str, group: str) -> None:
        """An attempt began; an earlier one of the job that never ended is over with this."""
        now = self._clock.monotonic()
        self._drop(job, now)
        state = self._groups.get(group)
        if state is None:
            state = self._groups[group] = _Group(now, _Level(now))
        if state.service_s is None and state.level.running == 0:
            state.began = now
        self._running[job] = (group, now)
        state.level.change(+1, now)
        if len(self._running) > _MAX_RUNNING:
            self._drop(next(iter(self._running)), now)

    def ended(self, job: str) -> None:
        """The running attempt ended, however."""
        now = self._clock.monotonic()
        found = self._drop(job, now)
        if found is None:
            return
        group, since = found
        state = self._groups[group]
        took = now - since
        old = state.service_s
        state.service_s = took if old is None else old + _WEIGHT * (took - old)
        if state.first_end is None:
            state.first_end = now
        second = int(now)
        count = state.ended.pop()[1] + 1 if state.ended and state.ended[-1][0] == second else 1
        state.ended.append((second, count))
        while state.ended[0][0] <= now - 2 * _DRAIN_S[-1]:
            state.ended.popleft()

    def of(self, group: str) -> GroupPace:
        """The present pace of a group."""
        state = self._groups.get(group)
        if state is None:
            return GroupPace()
        now = self._clock.monotonic()
        return GroupPace(
            running=state.level.running,
            service_s=now - state.began if state.service_s is None else state.service_s,
            parallelism=state.level.peak(now),
            drain_per_s=_drain(state, now),
        )

    def _drop(self, job: str, now: float) -> tuple[str, float] | None:
        found = self._running.pop(job, None)
        if found is not None:
            self._groups[found[0]].level.change(-1, now)
        return found


def _drain(state: _Group, now: float) -> float | None:
    """Ends per second over whole seconds; None before three of them have been seen.

    The slower of the last three and the last ten seconds: a group that slows down is believed at
    once, one that speeds up after a while.
    """
    last = int(now)
    rates = []
    for window_s in _DRAIN_S:
        seen_s = window_s if state.first_end is None else min(window_s, last - int(state.first_end))
        if state.first_end is None or seen_s < _DRAIN_S[0]:
            continue
        ended = sum(count for second, count in state.ended if last - seen_s <= second < last)
        rates.append(ended / seen_s)
    return min(rates, default=None)

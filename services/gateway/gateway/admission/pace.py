"""How fast worker groups work: mean service time, parallelism, jobs ended per second. Observed."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field

from penstock_kit.clock import Clock

__all__ = ["GroupPace", "Pace"]

_WEIGHT = 0.05
"""Of the newest service time in the mean: about the last forty count."""
_PEAK_S = 30.0
"""Parallelism is the most jobs seen running at once in the last 30 to 60 seconds."""
_DRAIN_S = (3, 10)
_MAX_RUNNING = 50_000


@dataclass(frozen=True, slots=True)
class GroupPace:
    """What one group does at the moment; None is unknown.

    `drain_per_s` counts jobs that ended in the last seconds: the group's capacity only while jobs
    wait.
    """

    running: int = 0
    service_s: float | None = None
    parallelism: int | None = None
    drain_per_s: float | None = None


@dataclass(slots=True)
class _Group:
    running: int = 0
    service_s: float | None = None
    peak: int = 0
    peak_before: int = 0
    peak_since: float = 0.0
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
        self._drop(job)
        now = self._clock.monotonic()
        state = self._groups.setdefault(group, _Group(peak_since=now))
        self._running[job] = (group, now)
        state.running += 1
        self._turn(state, now)
        state.peak = max(state.peak, state.running)
        if len(self._running) > _MAX_RUNNING:
            self._drop(next(iter(self._running)))

    def ended(self, job: str) -> None:
        """The running attempt ended, however."""
        found = self._drop(job)
        if found is None:
            return
        group, since = found
        state, now = self._groups[group], self._clock.monotonic()
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
        self._turn(state, now)
        return GroupPace(
            running=state.running,
            service_s=state.service_s,
            parallelism=max(state.peak, state.peak_before) or None,
            drain_per_s=_drain(state, now),
        )

    def _drop(self, job: str) -> tuple[str, float] | None:
        found = self._running.pop(job, None)
        if found is not None:
            self._groups[found[0]].running -= 1
        return found

    def _turn(self, state: _Group, now: float) -> None:
        if now - state.peak_since < _PEAK_S:
            return
        is_recent = now - state.peak_since < 2 * _PEAK_S
        state.peak_before = state.peak if is_recent else state.running
        state.peak, state.peak_since = state.running, now


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

"""Where a job stands in line, and when it may start: counted and measured, never guessed.

Each gateway follows the events topic, so it sees every `queued`, `started` and terminal event of
all gateways.

- position: jobs of the same task and priority that were seen queued and not yet started, plus one.
- estimated start: position x (waiting time per place), an average over jobs that started lately.
- estimated completion: start + an average of recent running times.

A gateway that has just started cannot know who queued before it came. So all figures of a line are
null until it has seen one job of that line being queued and then started: lines move in order,
hence earlier ones are gone. Jobs that other services wrote straight into Kafka have no `queued`
event and are not counted while they wait.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from penstock_kit.clock import Clock

__all__ = ["Line", "QueueFigures", "QueueLines"]

Line = tuple[str, str]
"""Task and priority: jobs of one line start in order."""

_MAX_WAITING = 100_000
"""Jobs followed per line; beyond, the line's figures are null until it is shorter."""
_MAX_SCAN = 5_000
"""Places counted from each end for one question; jobs in between have a null position."""
_MAX_RUNNING = 50_000
_WEIGHT = 0.2
"""Of the newest observation in an average: about the last ten count."""


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """What an answer may say about waiting; None is unknown."""

    position: int | None = None
    start_s: float | None = None
    completion: datetime | None = None


@dataclass(slots=True)
class _LineState:
    waiting: OrderedDict[str, tuple[int, float]] = field(default_factory=OrderedDict)
    is_proven: bool = False
    is_overfull: bool = False
    wait_per_place_s: float | None = None
    run_s: float | None = None


class QueueLines:
    """Counts the lines of all tasks. Fed by the gateway's own accepts and by the tail; no I/O."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lines: dict[Line, _LineState] = {}
        self._line_of: dict[str, Line] = {}
        self._running: OrderedDict[str, tuple[Line, float]] = OrderedDict()

    def queued(self, job: str, *, task: str, priority: str) -> None:
        """A job was accepted; said twice it counts once."""
        if job in self._line_of or job in self._running:
            return
        state = self._lines.setdefault((task, priority), _LineState())
        if len(state.waiting) >= _MAX_WAITING:
            state.is_overfull = True
            return
        state.waiting[job] = (len(state.waiting) + 1, self._clock.monotonic())
        self._line_of[job] = (task, priority)

    def started(self, job: str) -> None:
        """A worker took the job."""
        line = self._line_of.pop(job, None)
        if line is None:
            return
        state, now = self._lines[line], self._clock.monotonic()
        place, since = state.waiting.pop(job)
        state.is_proven = True
        state.wait_per_place_s = _averaged(state.wait_per_place_s, (now - since) / place)
        if not state.waiting:
            state.is_overfull = False
        self._running[job] = (line, now)
        if len(self._running) > _MAX_RUNNING:
            self._running.popitem(last=False)

    def ended(self, job: str, *, completed: bool) -> None:
        """The job is over; only completed ones tell how long running takes."""
        line = self._line_of.pop(job, None)
        if line is not None:
            self._lines[line].waiting.pop(job, None)
        run = self._running.pop(job, None)
        if run is not None and completed:
            state = self._lines[run[0]]
            state.run_s = _averaged(state.run_s, self._clock.monotonic() - run[1])

    def figures(self, job: str) -> QueueFigures | None:
        """The figures of a job that waits; None if it is not known to wait."""
        line = self._line_of.get(job)
        if line is None:
            return None
        state = self._lines[line]
        if not state.is_proven or state.is_overfull:
            return QueueFigures()
        position = _place(state.waiting, job)
        if position is None or state.wait_per_place_s is None:
            return QueueFigures(position=position)
        start_s = position * state.wait_per_place_s
        completion = (
            None
            if state.run_s is None
            else self._clock.now() + timedelta(seconds=start_s + state.run_s)
        )
        return QueueFigures(position, round(start_s, 3), completion)

    def lengths(self) -> dict[Line, int]:
        """Jobs waiting by line, for metrics."""
        return {line: len(state.waiting) for line, state in self._lines.items()}


def _averaged(old: float | None, new: float) -> float:
    return new if old is None else old + _WEIGHT * (new - old)


def _place(waiting: OrderedDict[str, tuple[int, float]], job: str) -> int | None:
    # From both ends: whoever asks has mostly just come, among some others, or is soon to start.
    for step, (early, late) in enumerate(zip(waiting, reversed(waiting), strict=True), start=1):
        if early == job:
            return step
        if late == job:
            return len(waiting) - step + 1
        if step >= _MAX_SCAN:
            return None
    return None

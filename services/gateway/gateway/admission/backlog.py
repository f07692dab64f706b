"""How much work is ahead of a new job, and how long it will have to wait for a worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

from penstock_contracts.requests import Priority
from penstock_contracts.topics import RETRY_DELAYS_S, request_topic, retry_topic
from penstock_kit.clock import Clock
from penstock_kit.kafka.lag import GroupLag
from penstock_kit.tasks import TaskCatalog

from gateway.admission.crowd import Crowd
from gateway.admission.metrics import AdmissionMetrics
from gateway.admission.pace import GroupPace, Pace

__all__ = ["SHARED_TOPICS", "Backlog", "LaneLag", "Taken", "estimate_wait_s", "lag_topics"]

LANE_WEIGHTS: Final[Mapping[Priority, int]] = {
    Priority.HIGH: 6,
    Priority.DEFAULT: 3,
    Priority.LOW: 1,
}
"""How workers share their time between priorities that have work."""
_FRESH_S: Final = 15.0
"""An older answer of the broker says nothing any more; then what the tail saw is counted."""
_SATURATED_S: Final = 3.0
"""Jobs must have waited for so long before the drain rate counts as the group's capacity."""
SHARED_TOPICS: Final = tuple(retry_topic(delay).name for delay in RETRY_DELAYS_S)
"""Every group reads all retries, and skips those of others."""

LaneLag = Mapping[Priority, int]


def lag_topics(tasks: TaskCatalog) -> dict[str, tuple[str, ...]]:
    """What to ask the broker: every worker group with its request topics and the retry topics."""
    groups: dict[str, dict[str, None]] = {}
    for task in tasks.names:
        topics = groups.setdefault(tasks.group(task), {})
        for priority in Priority:
            topics[request_topic(tasks.base_topic(task), priority)] = None
    return {group: (*topics, *SHARED_TOPICS) for group, topics in groups.items()}


def estimate_wait_s(
    priority: Priority, lags: LaneLag, pace: GroupPace, *, is_saturated: bool
) -> float | None:
    """Seconds until a worker takes a job that comes now; None while the pace is not known.

    Lag x mean service time / parallelism, for the part of the lag that is ahead: of what runs
    nothing, of the own priority all, of others by the workers' weights, together at most all of
    it. Where jobs have been waiting for a while, the observed drain counts if it is slower.
    """
    total = sum(lags.values())
    waiting = max(0, total - pace.running)
    if waiting == 0:
        return 0.0
    if pace.service_s is None or pace.parallelism is None:
        return None
    own = lags.get(priority, 0) * waiting / total
    active = sum(
        weight for lane, weight in LANE_WEIGHTS.items() if lane is priority or lags.get(lane, 0)
    )
    ahead = min(float(waiting), own * active / LANE_WEIGHTS[priority])
    per_job = pace.service_s / pace.parallelism
    if is_saturated and pace.drain_per_s:
        per_job = max(per_job, 1 / pace.drain_per_s)
    return ahead * per_job


@dataclass(frozen=True, slots=True)
class Taken:
    """A job that this gateway let in; `at`: monotonic seconds."""

    group: str
    lane: Priority
    at: float


@dataclass(slots=True)
class _GroupState:
    lags: dict[Priority, int]
    waiting_since: float | None = None


class Backlog:
    """The newest figures of all groups; fed by `LagPoller` and by this gateway's own admissions."""

    def __init__(
        self,
        tasks: TaskCatalog,
        *,
        gateways: int,
        crowd: Crowd,
        pace: Pace,
        metrics: AdmissionMetrics,
        clock: Clock,
    ) -> None:
        self._tasks = tasks
        self._gateways = gateways
        self._crowd = crowd
        self._pace = pace
        self._metrics = metrics
        self._clock = clock
        self._groups: dict[str, _GroupState] = {}
        self._lane_of = {
            request_topic(tasks.base_topic(task), priority): priority
            for task in tasks.names
            for priority in Priority
        }
        self._told_at: float | None = None
        self._total = 0
        self._since: dict[tuple[str, Priority], list[float]] = {}
        self._held: Counter[tuple[str, Priority]] = Counter()

    def see(self, lag: GroupLag) -> None:
        """Take the broker's answer in."""
        now = self._clock.monotonic()
        retries: dict[str, int] = {}
        self._total = 0
        for group, topics in lag.records.items():
            lags = dict.fromkeys(Priority, 0)
            for topic, records in topics.items():
                lane = self._lane_of.get(topic)
                if lane is None:
                    # Whose they are is not known: the group that waits longest has most of all
                    # groups' records behind it.
                    retries[topic] = max(retries.get(topic, 0), records)
                else:
                    lags[lane] += records
            self._note(group, lags, now)
            self._total += sum(lags.values())
        self._total += sum(retries.values())
        self._told_at = now
        for taken in self._since.values():
            taken[:] = [at for at in taken if at >= lag.asked_at]
        self._show()

    def failed(self) -> None:
        """The broker did not answer; the figures age."""
        self._metrics.lag_failures.inc()

    @contextmanager
    def holding(self, task: str, priority: Priority) -> Iterator[None]:
        """Count a job that is being decided on, so that no other one gets the same place."""
        lane = (self._tasks.group(task), priority)
        self._held[lane] += 1
        try:
            yield
        finally:
            self._held[lane] -= 1

    def took(self, task: str, priority: Priority) -> Taken:
        """This gateway admits a job, which the next answer will contain."""
        job = Taken(self._tasks.group(task), priority, self._clock.monotonic())
        taken = self._since.setdefault((job.group, job.lane), [])
        if self._is_fresh():
            taken.append(job.at)
        else:
            taken.clear()
        return job

    def gave_back(self, job: Taken) -> None:
        """The job was not written; no answer will contain it."""
        with suppress(ValueError):  # an answer came meanwhile, and it is not counted any more
            self._since.get((job.group, job.lane), []).remove(job.at)

    @property
    def total(self) -> int:
        """Unfinished jobs of all tenants, with those that are being decided on."""
        held = self._held.total()
        if not self._is_fresh():
            return self._crowd.total + held
        return self._total + self._gateways * (sum(map(len, self._since.values())) + held)

    def wait_s(self, task: str, priority: Priority) -> float | None:
        """Estimated wait of a job that comes now; None while it is not known."""
        group = self._tasks.group(task)
        state = self._groups.get(group)
        if state is None or not self._is_fresh():
            return None
        lags = {
            lane: lag + self._gateways * self._unseen(group, lane)
            for lane, lag in state.lags.items()
        }
        since = state.waiting_since
        is_saturated = since is not None and self._clock.monotonic() - since >= _SATURATED_S
        return estimate_wait_s(priority, lags, self._pace.of(group), is_saturated=is_saturated)

    def _unseen(self, group: str, lane: Priority) -> int:
        """Own jobs that the newest answer did not contain."""
        return len(self._since.get((group, lane), ())) + self._held[group, lane]

    def _note(self, group: str, lags: dict[Priority, int], now: float) -> None:
        state = self._groups.setdefault(group, _GroupState(lags))
        state.lags = lags
        if sum(lags.values()) <= self._pace.of(group).running:
            state.waiting_since = None
        elif state.waiting_since is None:
            state.waiting_since = now

    def _is_fresh(self) -> bool:
        return self._told_at is not None and self._clock.monotonic() - self._told_at <= _FRESH_S

    def _show(self) -> None:
        self._metrics.backlog.labels("all").set(self.total)
        for group, state in self._groups.items():
            self._metrics.backlog.labels(group).set(sum(state.lags.values()))
        for task in self._tasks.names:
            for priority in Priority:
                wait = self.wait_s(task, priority)
                if wait is not None:
                    group = self._tasks.group(task)
                    self._metrics.wait.labels(group, priority.value).set(wait)

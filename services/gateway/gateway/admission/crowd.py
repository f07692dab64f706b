"""Who has unfinished jobs, as far as this gateway has seen: its own accepts and the tail."""

from __future__ import annotations

from collections import Counter, OrderedDict

from penstock_kit.clock import Clock

__all__ = ["Crowd"]

_MAX_JOBS = 200_000
"""About 40 MB when full; the total bound of the backlog keeps it below by default."""
_MAX_AGE_S = 6 * 3600.0
"""A job that is neither over nor heard of for so long is not counted: dead letters of unknown
senders have no event."""


class Crowd:
    """Counts unfinished jobs by tenant. Implements `UnfinishedJobs`; bounded, no I/O."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._jobs: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._counts: Counter[str] = Counter()

    def opened(self, job: str, tenant: str) -> None:
        """A job was accepted or started; said twice it counts once."""
        if job in self._jobs:
            return
        now = self._clock.monotonic()
        self._jobs[job] = (tenant, now)
        self._counts[tenant] += 1
        oldest = next(iter(self._jobs))
        if len(self._jobs) > _MAX_JOBS or now - self._jobs[oldest][1] > _MAX_AGE_S:
            self.closed(oldest)

    def closed(self, job: str) -> None:
        """The job is over."""
        found = self._jobs.pop(job, None)
        if found is None:
            return
        tenant = found[0]
        self._counts[tenant] -= 1
        if self._counts[tenant] <= 0:
            del self._counts[tenant]

    def count(self, tenant: str) -> int:
        """See `UnfinishedJobs.count`."""
        return self._counts.get(tenant, 0)

    def knows(self, job: str) -> bool:
        """See `UnfinishedJobs.knows`."""
        return job in self._jobs

    @property
    def total(self) -> int:
        """Unfinished jobs of all tenants."""
        return len(self._jobs)

    def others(self, tenant: str) -> int:
        """Unfinished jobs of all other tenants."""
        return len(self._jobs) - self.count(tenant)

"""Jobs seen lately, here or on the events topic: what is known before the recorder folds it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime

__all__ = ["RecentJob", "RecentJobs"]

_CAPACITY = 20_000
"""About 8 MB when full; the recorder folds within seconds, so minutes of full load fit."""
_MAX_ENDED = 4_096
"""Ends of some seconds at full load: the recorder needs a fraction of one."""


@dataclass(frozen=True, slots=True)
class RecentJob:
    """Whose job it is, and what was asked."""

    tenant: str
    user: str | None
    task: str
    created_at: datetime
    model: str | None = None
    priority: str = "default"
    is_demoted: bool = False


class RecentJobs:
    """A bounded map of job ids; the oldest entry makes room for the newest."""

    def __init__(self, *, capacity: int = _CAPACITY) -> None:
        self._jobs: OrderedDict[str, RecentJob] = OrderedDict()
        self._capacity = capacity
        self._ended: OrderedDict[str, None] = OrderedDict()

    def add(self, job_id: str, job: RecentJob) -> None:
        """Remember a job; the first word about a job stays."""
        if job_id in self._jobs:
            return
        self._jobs[job_id] = job
        if len(self._jobs) > self._capacity:
            self._jobs.popitem(last=False)

    def get(self, job_id: str) -> RecentJob | None:
        """What is remembered of a job, if anything."""
        return self._jobs.get(job_id)

    def note_end(self, job_id: str) -> None:
        """An end of the job is in the log."""
        self._ended[job_id] = None
        if len(self._ended) > _MAX_ENDED:
            self._ended.popitem(last=False)

    def has_ended(self, job_id: str) -> bool:
        """Whether an end was seen lately; whoever followed the job has seen it, too."""
        return job_id in self._ended

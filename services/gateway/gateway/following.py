"""What the gateway learns from every job event: lines move, and whose job is whose."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

import orjson
from penstock_contracts.events import TERMINAL
from penstock_kit.clock import Clock
from penstock_kit.tasks import TaskCatalog

from gateway.admission.crowd import Crowd
from gateway.admission.pace import Pace
from gateway.queueing import QueueLines
from gateway.recent import RecentJob, RecentJobs

__all__ = ["EventWatcher", "WatchedEvent"]


class WatchedEvent(Protocol):
    """A job event as the tail hands it on."""

    @property
    def job(self) -> str:
        """Job id."""
        ...

    @property
    def type(self) -> str:
        """Event type."""
        ...

    @property
    def tenant(self) -> str:
        """Owner's tenant."""
        ...

    @property
    def user(self) -> str | None:
        """Owner inside the tenant."""
        ...

    @property
    def value(self) -> bytes:
        """The event's JSON."""
        ...


class EventWatcher:
    """Sees every event of every tenant; keeps figures and owners, never content.

    Events of a job may come again when the tail is rebuilt; every figure counts them once.
    """

    def __init__(
        self,
        *,
        lines: QueueLines,
        recent: RecentJobs,
        crowd: Crowd,
        pace: Pace,
        tasks: TaskCatalog,
        clock: Clock,
    ) -> None:
        self._lines = lines
        self._recent = recent
        self._crowd = crowd
        self._pace = pace
        self._tasks = tasks
        self._clock = clock

    def see(self, event: WatchedEvent) -> None:
        """Take one event in; deltas, most of the traffic, cost a comparison."""
        kind = event.type
        if kind == "delta":
            return
        if kind == "started":
            self._started(event)
        elif kind == "queued":
            self._queued(event)
        elif kind == "retrying":
            self._pace.ended(event.job)
        elif kind in TERMINAL:
            self._lines.ended(event.job, completed=kind == "completed")
            self._pace.ended(event.job)
            self._crowd.closed(event.job)
            self._recent.note_end(event.job)

    def _started(self, event: WatchedEvent) -> None:
        self._lines.started(event.job)
        self._crowd.opened(event.job, event.tenant)
        known = self._recent.get(event.job)
        task = known.task if known is not None else _task_of(event.value)
        if task is not None and self._tasks.get(task) is not None:
            self._pace.started(event.job, self._tasks.group(task))

    def _queued(self, event: WatchedEvent) -> None:
        if self._recent.get(event.job) is not None:
            return  # accepted here, and noted then
        try:
            body = orjson.loads(event.value)
            task, priority = str(body["task"]), str(body.get("priority", "default"))
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        self._lines.queued(event.job, task=task, priority=priority)
        self._crowd.opened(event.job, event.tenant)
        self._recent.add(
            event.job,
            RecentJob(
                event.tenant,
                event.user,
                task,
                _instant(body.get("at")) or self._clock.now(),
                body.get("model"),
                priority,
                body.get("demoted") is True,
            ),
        )


def _instant(text: object) -> datetime | None:
    """When the job was accepted, as its gateway says; None: it does not say so."""
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return None if at.tzinfo is None else at


def _task_of(value: bytes) -> str | None:
    try:
        return str(orjson.loads(value)["task"])
    except (ValueError, KeyError, TypeError):
        return None

"""What the gateway learns from every job event: lines move, and whose job is whose."""

from __future__ import annotations

from typing import Protocol

import orjson
from penstock_contracts.events import TERMINAL
from penstock_kit.clock import Clock

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
    """Sees every event of every tenant; keeps figures and owners, never content."""

    def __init__(self, *, lines: QueueLines, recent: RecentJobs, clock: Clock) -> None:
        self._lines = lines
        self._recent = recent
        self._clock = clock

    def see(self, event: WatchedEvent) -> None:
        """Take one event in; deltas, most of the traffic, cost a comparison."""
        kind = event.type
        if kind == "started":
            self._lines.started(event.job)
        elif kind == "queued":
            self._queued(event)
        elif kind in TERMINAL:
            self._lines.ended(event.job, completed=kind == "completed")

    def _queued(self, event: WatchedEvent) -> None:
        try:
            body = orjson.loads(event.value)
            task, priority = str(body["task"]), str(body.get("priority", "default"))
        except (ValueError, KeyError, TypeError, AttributeError):
            return
        self._lines.queued(event.job, task=task, priority=priority)
        self._recent.add(
            event.job,
            RecentJob(
                event.tenant, event.user, task, self._clock.now(), body.get("model"), priority
            ),
        )

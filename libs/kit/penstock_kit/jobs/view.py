"""The job table as others read it; the recorder is its only writer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from penstock_contracts.events import JobStatus, Position
from penstock_contracts.state import JobState
from penstock_contracts.surface import KeptRequest

from penstock_kit.errors import Busy
from penstock_kit.tenancy import TenantScope

__all__ = ["JobPage", "JobTable", "StoredEvent", "TableAway"]


class TableAway(Busy):
    """Redis does not answer. Jobs go on; only looking at them has to wait."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """A job event as kept for replay: its place, its type and its JSON as it was in the log.

    Attributes:
        first: set where older deltas were merged into one: the first place that it covers
            (`position` is the last). A reader that already has a place from `first` on must not
            apply it to what it has: it takes a snapshot.
    """

    position: Position
    type: str
    value: bytes
    first: Position | None = None


@dataclass(frozen=True, slots=True)
class JobPage:
    """One page of a listing, newest first; `next_cursor` is None on the last page."""

    jobs: list[JobState]
    next_cursor: str | None


class JobTable(Protocol):
    """Reads of the job table. What is outside of the scope does not exist."""

    async def get(self, scope: TenantScope, job_id: str) -> JobState | None:
        """The job, or None if it is unknown (yet) or outside the scope.

        Raises:
            TableAway: Redis does not answer in time.
        """
        ...

    async def page(
        self,
        scope: TenantScope,
        *,
        status: JobStatus | None = None,
        task: str | None = None,
        user: str | None = None,
        after: str | None = None,
        limit: int = 20,
    ) -> JobPage:
        """A page of jobs; `after` is the `next_cursor` of the page before.

        Raises:
            TableAway: Redis does not answer in time.
            ValueError: `after` is no cursor of ours.
        """
        ...

    async def events(
        self, scope: TenantScope, job_id: str, *, after: Position | None = None
    ) -> list[StoredEvent]:
        """The kept events after a position, in order; none of a job that was deleted.

        The oldest may have been folded into one merged event, or dropped.

        Raises:
            TableAway: Redis does not answer in time.
        """
        ...

    async def request(self, scope: TenantScope, job_id: str) -> KeptRequest | None:
        """What is kept of the job's request.

        None if nothing is: its surface did not ask for it, the job was deleted, or it is unknown
        (yet) or outside the scope.

        Raises:
            TableAway: Redis does not answer in time.
        """
        ...

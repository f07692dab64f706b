"""What is kept of a job, as values that can be joined in any order.

A job's records come from several topics and processes, again and in any interleaving. So each part
of its state is a facet with its own order, and joining takes the winner of each facet. `join` is
commutative, associative and
idempotent: whatever the way, the result is the same. `lua/fold.lua` is the same join inside Redis.

    meta      what was asked: the request knows best, then the queued event, then started events
    progress  where it stands: the highest (attempt, seq) of queued, started and retrying wins
    starts    where in the log which attempt was started: what is needed for the fence
    endings   all terminal events; the first in the log that no later attempt's start stands before
              is how the job ended (`jobs/fence.py`), the others are superseded and still booked
    started   when it was first started: the earliest instant
    crashes   how many attempts took their worker down: the highest count that a start tells
    top       the highest (attempt, seq) of any event
    deleted   when its owner had its content removed: the earliest instant
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, NamedTuple

import orjson
from penstock_contracts.events import JobStatus, Position
from penstock_contracts.state import JobState

from penstock_kit.jobs.fence import (
    Ending,
    Start,
    ending_that_counts,
    join_endings,
    join_starts,
    superseded,
)

__all__ = [
    "Ending",
    "Facets",
    "Meta",
    "MetaRank",
    "Progress",
    "Start",
    "join",
    "state_of",
    "status_of",
]


_NOWHERE = Position(0, 0)


class MetaRank:
    """How well a source knows what was asked; higher wins."""

    STARTED = 1
    QUEUED = 2
    REQUEST = 3


class Meta(NamedTuple):
    """What was asked. Among equals the earlier creation wins, then the tie.

    `body` is JSON of JobState members; `user` is in it too, and stands here because an index is
    kept by it.
    """

    rank: int
    created_ms: int
    user: str | None
    body: bytes

    @property
    def tie(self) -> int:
        """Decides between equals, the same everywhere; Lua compares bytes by locale."""
        return zlib.crc32(self.body)


class Progress(NamedTuple):
    """Where the job stood at a position; `body` is JSON of model, provider and retried error.

    `until_ms`: when the call has ended at the latest (0: unknown); while the next attempt is waited
    for, the pause before it.
    """

    position: Position
    status: JobStatus
    body: bytes
    until_ms: int = 0

    @property
    def tie(self) -> int:
        """As in `Meta`."""
        return zlib.crc32(self.body)


@dataclass(frozen=True, slots=True)
class Facets:
    """All that is known of one job; a facet that nothing is known of is None."""

    meta: Meta | None = None
    progress: Progress | None = None
    starts: tuple[Start, ...] = ()
    endings: tuple[Ending, ...] = ()
    started_ms: int | None = None
    top: Position = _NOWHERE
    has_output: bool = False
    deleted_ms: int | None = None
    crashes: int = 0

    @property
    def is_output_alone(self) -> bool:
        """Whether this is what a piece of output tells, as most events of the log are."""
        return (
            self.meta is None
            and self.progress is None
            and not self.starts
            and not self.endings
            and self.started_ms is None
            and self.deleted_ms is None
        )

    @property
    def ending(self) -> Ending | None:
        """How the job ended; None while it has not."""
        return ending_that_counts(self.endings, self.starts)


def join(left: Facets, right: Facets) -> Facets:
    """The state of a job of which both are known."""
    if right.is_output_alone:
        return Facets(
            left.meta,
            left.progress,
            left.starts,
            left.endings,
            left.started_ms,
            max(left.top, right.top),
            left.has_output or right.has_output,
            left.deleted_ms,
            left.crashes,
        )
    starts = join_starts(left.starts, right.starts)
    return Facets(
        meta=_winner(left.meta, right.meta, _meta_order),
        progress=_winner(left.progress, right.progress, _progress_order),
        starts=starts,
        endings=join_endings(left.endings, right.endings, starts),
        started_ms=_earliest(left.started_ms, right.started_ms),
        top=max(left.top, right.top),
        has_output=left.has_output or right.has_output,
        deleted_ms=_earliest(left.deleted_ms, right.deleted_ms),
        crashes=max(left.crashes, right.crashes),
    )


def status_of(facets: Facets) -> JobStatus | None:
    """The status that others see; None while nothing but pieces of output are known."""
    ending = facets.ending
    if ending is not None:
        return ending.status
    if facets.progress is not None:
        return facets.progress.status
    return JobStatus.QUEUED if facets.meta is not None else None


def state_of(tenant: str, job: str, facets: Facets, *, with_output: bool) -> JobState | None:
    """The job as others see it, or None while nothing but pieces of output are known."""
    status = status_of(facets)
    if status is None:
        return None
    members: dict[str, Any] = {}
    for body in (facets.meta, facets.progress):
        if body is not None:
            members |= orjson.loads(body.body)
    top, ending = facets.top, facets.ending
    if ending is not None:
        members.pop("error", None)  # of an earlier attempt
        members |= orjson.loads(ending.body)
        top = ending.position
        if facets.deleted_ms is not None:
            members.pop("output_ref", None)
        elif with_output and status is JobStatus.COMPLETED:
            members["output"] = orjson.loads(ending.event or b"{}").get("output")
    if facets.started_ms is not None:
        members["started_at"] = instant(facets.started_ms)
    return JobState.model_validate(
        {
            **members,
            "job": job,
            "tenant": tenant,
            "status": status,
            "attempt": top.attempt,
            "seq": top.seq,
            "superseded": superseded(facets.endings, ending),
        }
    )


def instant(at_ms: int) -> datetime:
    """The instant of so many milliseconds since 1970."""
    return datetime.fromtimestamp(at_ms / 1000, tz=timezone.utc)


def milliseconds(at: datetime) -> int:
    """The inverse of `instant`; parts of a millisecond are dropped, as on the wire."""
    return int(at.timestamp()) * 1000 + at.microsecond // 1000


def _earliest(left: int | None, right: int | None) -> int | None:
    return min((at for at in (left, right) if at is not None), default=None)


def _winner(left: Any, right: Any, order: Any) -> Any:
    if left is None or right is None:
        return left if right is None else right
    return max(left, right, key=order)


def _meta_order(meta: Meta) -> tuple[int, int, int]:
    return (meta.rank, -meta.created_ms, -meta.tie)


def _progress_order(progress: Progress) -> tuple[Position, int]:
    return (progress.position, -progress.tie)

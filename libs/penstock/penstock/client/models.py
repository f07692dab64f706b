"""What the client hands out."""

from __future__ import annotations

from datetime import datetime

from penstock_contracts.events import JobEvent, JobStatus
from penstock_contracts.models import Fact
from penstock_contracts.parts import JobError, Output, Usage
from penstock_contracts.requests import Priority
from penstock_contracts.snapshot import Snapshot
from penstock_contracts.state import Superseded
from pydantic import Field

__all__ = ["Job", "JobPage", "Links", "QueuePlace", "StreamEvent"]

StreamEvent = JobEvent | Snapshot
"""One step of a job's stream; a snapshot stands for everything up to its position."""


class QueuePlace(Fact):
    """Where a waiting job stands; None where nobody knows."""

    position: int | None = None
    estimated_start_s: float | None = None
    estimated_completion: datetime | None = None


class Links(Fact):
    """Addresses of one job."""

    self: str | None = None
    result: str | None = None
    events: str | None = None
    cancel: str | None = None
    socket: str | None = None


class Job(Fact):
    """A job as the gateway shows it."""

    id: str
    status: JobStatus
    task: str | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    deadline: datetime | None = None
    ends_by: datetime | None = None
    model: str | None = None
    provider: str | None = None
    priority: Priority | None = None
    conversation: str | None = None
    user: str | None = None
    metadata: dict[str, str] = Field(default_factory=dict)
    attempt: int | None = None
    usage: Usage | None = None
    superseded: Superseded | None = None
    error: JobError | None = None
    output: Output | None = None
    queue: QueuePlace | None = None
    links: Links = Links()


class JobPage(Fact):
    """One page of jobs, newest first; `next_cursor` is `after` of the next page."""

    data: list[Job]
    has_more: bool = False
    next_cursor: str | None = None

"""What happens to a job: the body of `ai.jobs.events.v1`.

All events of a job lie in one partition (key = job id) and are ordered by `(attempt, seq)`. `seq`
starts at 1 in every attempt and has no gaps; attempt 0 holds what happens before a worker takes the
job. Terminal events are `completed`, `failed`, `cancelled`, `expired` and `unknown_outcome`;
readers take the first one that counts: one of attempt a does not if a later attempt was `started`
before it in the log, for then its worker had been given up. So a reader drops whatever belongs to
an earlier attempt than the one it has seen begin.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import Field, TypeAdapter, model_validator

from penstock_contracts.models import Fact, Identifier, Name, Timestamp
from penstock_contracts.parts import BlobRef, Delta, JobError, Output, Usage
from penstock_contracts.requests import Metadata, Priority

__all__ = [
    "EVENT_MODELS",
    "TERMINAL",
    "Cancelled",
    "Completed",
    "Deleted",
    "DeltaEvent",
    "Expired",
    "Failed",
    "JobEvent",
    "JobEventAdapter",
    "JobStatus",
    "Position",
    "Queued",
    "Reset",
    "Retrying",
    "Started",
    "UnknownOutcome",
]


_MAX_POSITION_CHARS = 32
"""Two numbers of any sensible size; keeps a hostile position from becoming a huge integer."""


class JobStatus(StrEnum):
    """Where a job stands; the graph is drawn in docs/task-lifecycle.md."""

    QUEUED = "queued"
    RUNNING = "running"
    RETRYING = "retrying"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    UNKNOWN_OUTCOME = "unknown_outcome"

    @property
    def is_terminal(self) -> bool:
        """Whether the job can no longer change."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.RETRYING)


class Position(NamedTuple):
    """A place in a job's stream; written `attempt-seq` in SSE ids and query parameters."""

    attempt: int
    seq: int

    def __str__(self) -> str:
        return f"{self.attempt}-{self.seq}"

    @classmethod
    def parse(cls, text: str) -> Position:
        """The inverse of `str()`.

        Raises:
            ValueError: not of the form `attempt-seq` with two numbers.
        """
        attempt, dash, seq = text.partition("-")
        if not (
            dash and attempt.isascii() and seq.isascii() and attempt.isdigit() and seq.isdigit()
        ):
            raise ValueError(
                f"{text[:40]!r} is no position; expected attempt-seq, for example 1-17"
            )
        if len(text) > _MAX_POSITION_CHARS:
            raise ValueError(f"a position has at most {_MAX_POSITION_CHARS} characters")
        return cls(int(attempt), int(seq))


class _Event(Fact):
    job: str = Field(description="Job id.")
    attempt: int = Field(ge=0)
    seq: int = Field(ge=1)
    at: Timestamp

    @property
    def position(self) -> Position:
        """Where this event stands in the job's stream."""
        return Position(self.attempt, self.seq)


class Queued(_Event):
    """The gateway accepted the job."""

    type: Literal["queued"] = "queued"
    task: Name
    model: str | None = None
    user: Identifier | None = None
    priority: Priority = Priority.DEFAULT
    conversation: Identifier | None = None
    deadline: Timestamp | None = None
    ends_by: Timestamp | None = None
    demoted: bool | None = Field(
        default=None,
        description="True where the gateway moved the job to the low lane, because its tenant"
        " crowds others out; absent otherwise.",
    )
    metadata: Metadata = Field(default_factory=dict)


class Started(_Event):
    """A worker took the job and is about to call; acknowledged by the broker before the call."""

    type: Literal["started"] = "started"
    task: Name
    model: str | None = None
    provider: str | None = None
    worker: str
    until: Timestamp | None = Field(
        default=None, description="When this attempt's call has ended at the latest."
    )
    crashes: int | None = Field(
        default=None,
        ge=1,
        description="Earlier attempts that took their worker down, where there are any.",
    )


class DeltaEvent(_Event):
    """Pieces of output since the last delta, coalesced."""

    type: Literal["delta"] = "delta"
    deltas: list[Delta] = Field(min_length=1)
    pieces: list[int] | None = Field(
        default=None,
        description="Only where events were merged for replay, never in the log: for each of"
        " `deltas`, how many pieces with content it stands for.",
    )


class Reset(_Event):
    """Output of earlier attempts is void: drop it, this attempt begins anew."""

    type: Literal["reset"] = "reset"
    reason: Literal["retry", "fallback", "repair", "redelivery"]


class Retrying(_Event):
    """The attempt failed; another follows after a pause."""

    type: Literal["retrying"] = "retrying"
    error: JobError
    delay_s: float = Field(ge=0)
    next_attempt: int = Field(ge=1)


class Completed(_Event):
    """The job is done; its output is in the same record, or behind a claim check."""

    type: Literal["completed"] = "completed"
    output: Output | None = None
    output_ref: BlobRef | None = None
    model: str | None = None
    provider: str | None = None
    usage: Usage = Usage()

    @model_validator(mode="after")
    def _has_its_output(self) -> Self:
        if (self.output is None) == (self.output_ref is None):
            raise ValueError("completed needs exactly one of output and output_ref")
        return self


class Failed(_Event):
    """The job will not succeed: a permanent error, or all attempts are used up."""

    type: Literal["failed"] = "failed"
    error: JobError
    usage: Usage = Usage()


class Cancelled(_Event):
    """Somebody who may do so called the job back; tokens used until then are booked."""

    type: Literal["cancelled"] = "cancelled"
    by: str | None = Field(
        default=None,
        description="User or service that asked; `rule:<name>` for a rule of the operator,"
        " `cancel_after` where the job was not over by its `ends_by`.",
    )
    was_running: bool = False
    usage: Usage = Usage()


class Expired(_Event):
    """The deadline passed before the job was started; nothing was charged."""

    type: Literal["expired"] = "expired"
    deadline: Timestamp = Field(description="The earlier one of `deadline` and `ends_by`.")


class UnknownOutcome(_Event):
    """A worker died in the middle of a call of a job that may be charged at most once."""

    type: Literal["unknown_outcome"] = "unknown_outcome"
    error: JobError
    usage: Usage = Usage()


class Deleted(Fact):
    """Its owner wants a job's content gone: no part of the stream, it has no place in it.

    The recorder forgets request, output and kept events for good; that there was a job stays.
    """

    type: Literal["deleted"] = "deleted"
    job: str = Field(description="Job id.")
    at: Timestamp
    by: str | None = Field(default=None, description="User or service that asked.")


JobEvent = Annotated[
    Queued
    | Started
    | DeltaEvent
    | Reset
    | Retrying
    | Completed
    | Failed
    | Cancelled
    | Expired
    | UnknownOutcome,
    Field(discriminator="type"),
]
JobEventAdapter: TypeAdapter[JobEvent] = TypeAdapter(JobEvent)

EVENT_MODELS: dict[str, type[_Event]] = {
    "queued": Queued,
    "started": Started,
    "delta": DeltaEvent,
    "reset": Reset,
    "retrying": Retrying,
    "completed": Completed,
    "failed": Failed,
    "cancelled": Cancelled,
    "expired": Expired,
    "unknown_outcome": UnknownOutcome,
}
"""Model by the `type` member, which is also the last but one word of `ce_type`."""

TERMINAL: frozenset[str] = frozenset(
    {"completed", "failed", "cancelled", "expired", "unknown_outcome"}
)
"""Event types that end a job."""

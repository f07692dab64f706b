"""What callers send and get: the models behind validation and the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from penstock_contracts.events import JobStatus
from penstock_contracts.models import Identifier, Name, Order, Timestamp
from penstock_contracts.parts import JobError, Output, Usage
from penstock_contracts.requests import (
    Charge,
    ChatInput,
    EmbedInput,
    GenerateInput,
    IngestInput,
    Metadata,
    Params,
    Priority,
    SearchInput,
)
from penstock_contracts.state import Superseded
from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "MAX_DEADLINE_S",
    "JobBody",
    "JobLinks",
    "JobListBody",
    "ProblemBody",
    "ProblemError",
    "QueueBody",
    "SubmitBody",
    "SubmitDocument",
    "TicketBody",
]

MAX_DEADLINE_S = 7 * 24 * 60 * 60
"""Seconds: request topics keep records for seven days, a later deadline could never be met."""

_Deadline = Annotated[
    float,
    Field(
        gt=0,
        le=MAX_DEADLINE_S,
        strict=True,
        description="Seconds from now; a job that has not started by then expires, free of charge.",
    ),
]


class SubmitBody(Order):
    """The body of `POST /v1/jobs` as it is validated first; `input` follows by the task's kind."""

    task: Name
    input: Any
    model: str | None = Field(default=None, min_length=1, max_length=128)
    params: Params | None = None
    priority: Priority = Priority.DEFAULT
    conversation: Identifier | None = None
    deadline_s: _Deadline | None = None
    charge: Charge = Charge.AT_LEAST_ONCE
    metadata: Metadata | None = None


class SubmitDocument(SubmitBody):
    """A job to run. `input` is an object by the kind of the task.

    A plain string is shorthand: one user message for chat, the prompt for generate, one text for
    embed.
    """

    model_config = ConfigDict(title="SubmitJob")

    input: ChatInput | GenerateInput | EmbedInput | IngestInput | SearchInput | str


class QueueBody(BaseModel):
    """Where a waiting job stands. Figures that are not known are null, never guessed."""

    position: int | None = Field(
        ge=1, description="Place among the waiting jobs of the task, 1 = next."
    )
    estimated_start_s: float | None = Field(
        ge=0, description="Seconds until a worker takes the job, from the present pace."
    )
    estimated_completion: Timestamp | None = Field(
        description="When the job should be over, from recent running times."
    )


class JobLinks(BaseModel):
    """Where to go from here."""

    self: str
    result: str
    events: str
    cancel: str
    socket: str | None = Field(description="WebSocket of the notifier; null if not configured.")


class JobBody(BaseModel):
    """A job. Members that do not apply (yet) are absent."""

    id: str
    status: JobStatus
    task: Name | None = None
    created_at: Timestamp | None = None
    started_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    deadline: Timestamp | None = None
    ends_by: Timestamp | None = None
    model: str | None = None
    provider: str | None = None
    priority: Priority | None = None
    conversation: Identifier | None = None
    demoted: bool | None = Field(
        default=None,
        description="True where the job went to the low lane, because its tenant crowds others"
        " out; absent otherwise.",
    )
    user: Identifier | None = None
    metadata: Metadata | None = None
    attempt: int | None = Field(default=None, ge=0)
    usage: Usage | None = None
    superseded: Superseded | None = Field(
        default=None,
        description="Attempts that ended after a later one had begun: their results are void, their"
        " usage is to be added to `usage`. Rare; absent otherwise.",
    )
    error: JobError | None = None
    output: Output | None = Field(
        default=None, description="The result, unless it is large: then only `links.result` has it."
    )
    queue: QueueBody | None = None
    links: JobLinks


class JobListBody(BaseModel):
    """One page of jobs, newest first."""

    data: list[JobBody]
    has_more: bool
    next_cursor: str | None = Field(
        description="`after` of the next page; null on the last. `Link` has the whole address."
    )


class TicketBody(BaseModel):
    """A ticket that opens one socket, once."""

    ticket: str
    expires_in: int = Field(description="Seconds.")
    url: str | None = Field(description="Address with the ticket in it; null if not configured.")


class ProblemError(BaseModel):
    """The error in the shape that OpenAI clients read."""

    message: str
    type: str
    param: str | None
    code: str | None


class ProblemBody(BaseModel):
    """An error by RFC 9457; docs/errors.md lists every code."""

    model_config = ConfigDict(title="Problem", extra="allow")

    type: str
    title: str
    status: int
    detail: str
    instance: str
    error: ProblemError
    job: str | None = Field(
        default=None, description="Id of the job that may exist (code acceptance_unknown)."
    )
    status_of_job: Literal["queued", "running", "retrying"] | None = Field(
        default=None, description="Where the job stands (code not_completed)."
    )

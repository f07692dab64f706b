"""What is known of a job: the body of `ai.jobs.state.v1`, one record per change of status."""

from __future__ import annotations

from pydantic import Field

from penstock_contracts.events import JobStatus
from penstock_contracts.models import Fact, Identifier, Name, Timestamp
from penstock_contracts.parts import BlobRef, JobError, Output, Usage
from penstock_contracts.requests import Metadata, Priority

__all__ = ["JobState", "Superseded"]


class Superseded(Fact):
    """Terminal events of attempts that somebody else had begun anew: void, but paid for."""

    count: int = Field(ge=1, description="Attempts that ended after a later one had started.")
    usage: Usage = Field(description="What they used, beside `usage` of the job.")


class JobState(Fact):
    """The fold of a job's request and events; the first terminal event that counts stays.

    One counts unless a later attempt was started before it in the log.
    """

    job: str
    tenant: Identifier
    user: Identifier | None = None
    task: Name | None = None
    status: JobStatus
    attempt: int = Field(default=0, ge=0)
    seq: int = Field(default=0, ge=0)
    model: str | None = None
    provider: str | None = None
    priority: Priority = Priority.DEFAULT
    conversation: Identifier | None = None
    demoted: bool | None = Field(
        default=None,
        description="True where the gateway moved the job to the low lane, because its tenant"
        " crowds others out; absent otherwise.",
    )
    metadata: Metadata = Field(default_factory=dict)
    created_at: Timestamp | None = None
    started_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    deadline: Timestamp | None = None
    ends_by: Timestamp | None = None
    usage: Usage = Usage()
    error: JobError | None = None
    output: Output | None = None
    output_ref: BlobRef | None = None
    superseded: Superseded | None = None

"""Batches: one request, what is known of it since, and what happens to its lines.

            ┌──► failed (the input file cannot be used: `errors` says where and why)
            │         ▲ (the input file has gone in the middle: finished lines are kept)
 validating ┼──► in_progress ──► finalizing ──► completed
            │         ├────────► finalizing ──► expired (not all lines ended in time)
            └─────────┴► cancelling ──────────► cancelled (finished lines are kept)

`ai.batches.requests.v1` carries `BatchRequest`, `ai.batches.v1` (compacted) the newest `BatchState`
and `ai.batches.events.v1` every `BatchEvent`; the key is the batch id in all three.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from penstock_contracts.models import Fact, Identifier, Order, Timestamp
from penstock_contracts.requests import Metadata

__all__ = [
    "BATCH_ENDPOINTS",
    "BatchChanged",
    "BatchCounts",
    "BatchEvent",
    "BatchEventAdapter",
    "BatchLineEnded",
    "BatchProblem",
    "BatchRequest",
    "BatchState",
    "BatchStatus",
    "BatchUsage",
]

BATCH_ENDPOINTS = (
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/completions",
)
"""Where the lines of a batch may go; all lines of one go to the same."""

_BatchId = Annotated[str, Field(pattern=r"^batch_[0-9a-f]{42}$")]
_FileId = Annotated[str, Field(pattern=r"^file-[0-9a-f]{42}$")]


class BatchStatus(StrEnum):
    """Where a batch stands, in OpenAI's words."""

    VALIDATING = "validating"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    FINALIZING = "finalizing"
    COMPLETED = "completed"
    EXPIRED = "expired"
    CANCELLING = "cancelling"
    CANCELLED = "cancelled"

    @property
    def is_terminal(self) -> bool:
        """Whether the batch can no longer change."""
        return self in (
            BatchStatus.FAILED,
            BatchStatus.COMPLETED,
            BatchStatus.EXPIRED,
            BatchStatus.CANCELLED,
        )


class BatchRequest(Order):
    """A batch to run. Tenant, user and creation time travel in the envelope as well."""

    id: _BatchId
    tenant: Identifier
    user: Identifier
    input_file_id: _FileId
    endpoint: Literal["/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/completions"]
    completion_window: str = "24h"
    metadata: Metadata | None = None
    output_expires_after_s: int | None = Field(default=None, ge=3600, le=2_592_000)
    fingerprint: str | None = Field(
        default=None, description="Of the request's body, where it came with an Idempotency-Key."
    )
    created_at: Timestamp
    expires_at: Timestamp = Field(description="Lines that have not ended by then never will.")


class BatchProblem(Fact):
    """Why an input file cannot be used; `line` counts from 1."""

    code: str
    message: str
    line: int | None = Field(default=None, ge=1)
    param: str | None = None


class BatchCounts(Fact):
    """Lines in all, and how many have ended how."""

    total: int = Field(default=0, ge=0)
    completed: int = Field(default=0, ge=0)
    failed: int = Field(default=0, ge=0)


class BatchUsage(Fact):
    """Tokens of all lines that have ended, as far as providers told."""

    input_tokens: int = Field(default=0, ge=0)
    output_tokens: int = Field(default=0, ge=0)
    cached_tokens: int = Field(default=0, ge=0)
    reasoning_tokens: int = Field(default=0, ge=0)


class BatchState(Fact):
    """All that is known of a batch. A higher `version` is newer; terminal states never change."""

    request: BatchRequest
    version: int = Field(ge=1, description="1 is the request itself.")
    status: BatchStatus
    counts: BatchCounts = BatchCounts()
    usage: BatchUsage = BatchUsage()
    model: str | None = Field(default=None, description="The model that all lines name.")
    errors: list[BatchProblem] = Field(default_factory=list, max_length=128)
    output_file_id: _FileId | None = None
    error_file_id: _FileId | None = None
    in_progress_at: Timestamp | None = None
    finalizing_at: Timestamp | None = None
    completed_at: Timestamp | None = None
    failed_at: Timestamp | None = None
    expired_at: Timestamp | None = None
    cancelling_at: Timestamp | None = None
    cancelled_at: Timestamp | None = None


class _BatchEvent(Fact):
    batch: _BatchId
    sequence_number: int = Field(ge=0, description="Counts the events of the batch, without gaps.")
    at: Timestamp
    counts: BatchCounts


class BatchChanged(_BatchEvent):
    """The batch has entered a state."""

    type: Literal[
        "batch.in_progress",
        "batch.finalizing",
        "batch.completed",
        "batch.failed",
        "batch.expired",
        "batch.cancelling",
        "batch.cancelled",
    ]
    output_file_id: _FileId | None = None
    error_file_id: _FileId | None = None


class BatchLineEnded(_BatchEvent):
    """A line has ended; its whole answer is behind `job` at once, and in a file at the end."""

    type: Literal["batch.line.completed", "batch.line.failed"]
    line: int = Field(ge=1)
    custom_id: str
    job: str | None = Field(
        default=None, description="The line's job; null if it never became one."
    )
    status_code: int | None = Field(default=None, description="As the live endpoint would answer.")
    code: str | None = Field(default=None, description="What went wrong, for failed lines.")


BatchEvent = Annotated[BatchChanged | BatchLineEnded, Field(discriminator="type")]
BatchEventAdapter: TypeAdapter[BatchEvent] = TypeAdapter(BatchEvent)

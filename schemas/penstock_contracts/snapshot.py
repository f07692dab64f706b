"""What a late joiner gets instead of the events it missed; on sockets and SSE, never in a topic."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from penstock_contracts.events import JobStatus, Position
from penstock_contracts.models import Fact, Timestamp
from penstock_contracts.parts import BlobRef, Delta, JobError, Output, Usage

__all__ = ["Snapshot"]


class Snapshot(Fact):
    """All output of the current attempt up to `(attempt, seq)`; events after that place follow."""

    type: Literal["snapshot"] = "snapshot"
    job: str
    status: JobStatus
    attempt: int = Field(ge=0)
    seq: int = Field(ge=0)
    deltas: list[Delta] = Field(
        default_factory=list, description="Merged output so far of this attempt."
    )
    pieces: list[int] = Field(
        default_factory=list,
        description="For each of `deltas`, how many pieces with content were merged into it.",
    )
    had_reset: bool = Field(
        default=False, description="True where this attempt made void what an earlier one had sent."
    )
    output: Output | None = Field(default=None, description="The result, once completed.")
    output_ref: BlobRef | None = None
    error: JobError | None = None
    usage: Usage | None = None
    model: str | None = Field(default=None, description="Which model answered, once completed.")
    provider: str | None = Field(default=None, description="Who called it, once completed.")
    at: Timestamp | None = Field(default=None, description="When the job ended.")

    @property
    def position(self) -> Position:
        """The last place that the snapshot covers."""
        return Position(self.attempt, self.seq)

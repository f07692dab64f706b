"""What operators and users tell running workers: the body of `ai.control.v1` (compacted).

Keys: `cancel:<job>` for a cancel, `rule:<name>` for a rule. A tombstone takes the record back.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, JsonValue, TypeAdapter

from penstock_contracts.models import Fact, Identifier, Name, Timestamp

__all__ = ["CancelJob", "ControlAdapter", "ControlRecord", "ControlRule", "Selector", "control_key"]


class CancelJob(Fact):
    """Stop this job: free while queued, tokens used are booked while running."""

    type: Literal["cancel"] = "cancel"
    job: str
    tenant: Identifier
    by: str | None = None
    at: Timestamp


class Selector(Fact):
    """Which jobs a rule is about; every member that is set must match."""

    tenant: Identifier | None = None
    task: Name | None = None
    model: str | None = None
    argument: dict[str, JsonValue] = Field(
        default_factory=dict, description="Dotted path into the input and the value it must have."
    )


class ControlRule(Fact):
    """Pause, demote, drop or limit what a selector names, until `expires_at` or a tombstone."""

    type: Literal["rule"] = "rule"
    name: Name
    action: Literal["pause", "demote", "drop", "limit"]
    selector: Selector
    limit: int | None = Field(
        default=None, ge=0, description="In flight per process; only with action limit."
    )
    by: str | None = None
    at: Timestamp
    expires_at: Timestamp | None = None


ControlRecord = Annotated[CancelJob | ControlRule, Field(discriminator="type")]
ControlAdapter: TypeAdapter[ControlRecord] = TypeAdapter(ControlRecord)


def control_key(record: CancelJob | ControlRule) -> str:
    """The record key under which the topic keeps the newest word."""
    return f"cancel:{record.job}" if isinstance(record, CancelJob) else f"rule:{record.name}"

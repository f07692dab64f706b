"""What was said: the body of `ai.conversations.v1` (compacted, key = `<tenant>/<conversation>`)."""

from __future__ import annotations

from pydantic import Field

from penstock_contracts.models import Fact, Identifier, Timestamp
from penstock_contracts.requests import ChatMessage, Metadata

__all__ = ["ConversationState"]


class ConversationState(Fact):
    """The last messages of a conversation after a finished turn or change, oldest first."""

    tenant: Identifier
    conversation: Identifier
    turn: int = Field(
        ge=1, description="Number of turns and changes; the higher one is the newer record."
    )
    job: str = Field(description="The job whose turn or change this record closes.")
    messages: list[ChatMessage]
    items: list[str] = Field(
        default_factory=list,
        description="What names each of `messages` (see item ids); empty in records of old.",
    )
    user: Identifier | None = Field(
        default=None, description="Who began the conversation; null: nobody inside the tenant."
    )
    created_at: Timestamp | None = Field(
        default=None, description="When the job was asked for that began the conversation."
    )
    metadata: Metadata = Field(default_factory=dict)
    is_deleted: bool = Field(
        default=False, description="It was deleted: nothing of it is left, nothing can be added."
    )
    at: Timestamp

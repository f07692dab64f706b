"""What was said: the body of `ai.conversations.v1` (compacted, key = `<tenant>/<conversation>`)."""

from __future__ import annotations

from pydantic import Field

from penstock_contracts.models import Fact, Identifier, Timestamp
from penstock_contracts.requests import ChatMessage

__all__ = ["ConversationState"]


class ConversationState(Fact):
    """The last messages of a conversation after a finished turn, oldest first."""

    tenant: Identifier
    conversation: Identifier
    turn: int = Field(
        ge=1, description="Number of finished turns; the higher one is the newer record."
    )
    job: str = Field(description="The job whose turn this record closes.")
    messages: list[ChatMessage]
    at: Timestamp

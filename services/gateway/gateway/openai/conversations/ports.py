"""What others need of conversations, and what conversations need of others.

A turn of a conversation is a job whose `JobRequest.conversation` is the conversation's id, with the
messages of this turn alone as its input: llm-worker puts what was said before in front, and appends
the turn when it is complete. The record's key is the conversation, so turns and changes run one
after another. They do so within one topic: such a job has the default priority.
"""

from __future__ import annotations

from typing import Protocol

from penstock_contracts.conversations import ConversationState
from penstock_kit.auth.principal import Principal
from penstock_kit.jobs.view import TableAway
from penstock_kit.tenancy import TenantScope

__all__ = ["ConversationGate", "ConversationView", "ViewIncomplete"]


class ViewIncomplete(TableAway):
    """Redis came up empty; the view is whole again once a worker has read the topic back."""


class ConversationGate(Protocol):
    """Lets a turn into a conversation."""

    async def enter(self, principal: Principal, conversation: str) -> str:
        """What to put into the job's `conversation`.

        Raises:
            ApiError: conversation_not_found, if the id was never issued to this tenant, belongs to
                another user, or the conversation was deleted.
        """
        ...


class ConversationView(Protocol):
    """Conversations as Redis shows them; llm-worker writes them."""

    async def find(self, scope: TenantScope, conversation: str) -> ConversationState | None:
        """The newest state; None if nothing was ever written.

        Raises:
            ViewIncomplete: Redis lost its content and nobody has read it back yet.
            TableAway: Redis does not answer.
        """
        ...

"""Conversations as Redis shows them: llm-worker writes, gateways read."""

from __future__ import annotations

from penstock_contracts.conversations import ConversationState
from penstock_kit.redis_client import RedisClient, redis_errors
from penstock_kit.tenancy import CONVERSATIONS_COMPLETE, TenantScope

from gateway.openai.conversations.ports import ViewIncomplete

__all__ = ["RedisConversations"]


class RedisConversations:
    """Implements `ConversationView`: one round trip per look."""

    def __init__(self, redis: RedisClient) -> None:
        self._redis = redis

    async def find(self, scope: TenantScope, conversation: str) -> ConversationState | None:
        """The newest state; see the port."""
        key = scope.conversation_key(conversation)
        with redis_errors("reading a conversation"):
            raw, is_complete = await self._redis.mget(key, CONVERSATIONS_COMPLETE)
        if raw is not None:
            return ConversationState.model_validate_json(raw)
        if is_complete is None:
            raise ViewIncomplete("conversations have not been read back since Redis came up empty")
        return None

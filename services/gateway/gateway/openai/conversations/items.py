"""The items of a conversation, as OpenAI shows them."""

from __future__ import annotations

from typing import Any

from penstock_contracts.conversations import ConversationState

from gateway.errors import ApiError
from gateway.openai.responses.input_items import items_of

__all__ = ["conversation_items", "item_named"]


def conversation_items(state: ConversationState | None) -> list[dict[str, Any]]:
    """All of them, oldest first; messages without a name, of records of old, are left out."""
    if state is None:
        return []
    items: list[dict[str, Any]] = []
    for name, message in zip(state.items, state.messages, strict=False):
        items += items_of(name, message.model_dump(exclude_none=True))
    return items


def item_named(state: ConversationState | None, item_id: str) -> dict[str, Any]:
    """One of them.

    Raises:
        ApiError: item_not_found.
    """
    for item in conversation_items(state):
        if item["id"] == item_id:
            return item
    message = f"Item with id '{item_id[:64]}' not found in the conversation."
    raise ApiError("item_not_found", message, param="item_id")

"""Bodies of `/v1/conversations`: what comes in, what goes out."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from gateway.openai.chat.body import Metadata
from gateway.openai.responses.items import Input
from gateway.openai.strict import Body, refused_value

__all__ = [
    "ConversationBody",
    "ConversationDocument",
    "DeletedConversationDocument",
    "ItemDocument",
    "ItemsBody",
    "MetadataBody",
]

_MOST_ITEMS = 20
_UNKEPT = {
    "item_reference": "send the item itself",
    "reasoning": "no provider takes earlier reasoning; leave it out",
}


def _is_kept(items: Any) -> Any:
    if isinstance(items, str):
        raise ValueError("expected an array of items")  # noqa: TRY004 - the way to refuse a body
    for item in items if isinstance(items, list) else ():
        kind = item.get("type") if isinstance(item, dict) else None
        if kind is None and isinstance(item, dict) and "id" in item and "role" not in item:
            kind = "item_reference"  # as OpenAI reads an item that has nothing but an id
        if isinstance(kind, str) and kind in _UNKEPT:
            raise refused_value(f"an item of type '{kind}'", _UNKEPT[kind])
    return items


_Items = Annotated[Input, BeforeValidator(_is_kept), Field(min_length=1, max_length=_MOST_ITEMS)]


class ConversationBody(Body):
    """A conversation to begin."""

    items: _Items | None = None
    metadata: Metadata | None = None


class MetadataBody(Body):
    """Metadata that takes the place of what there was."""

    metadata: Metadata | None


class ItemsBody(Body):
    """Items to add, at most 20 at a time."""

    items: _Items


class ConversationDocument(BaseModel):
    """A conversation."""

    model_config = ConfigDict(title="Conversation")

    id: str
    object: Literal["conversation"]
    created_at: int
    metadata: dict[str, str]


class ItemDocument(BaseModel):
    """An item; the members beside these depend on its type."""

    model_config = ConfigDict(title="ConversationItem", extra="allow")

    id: str
    type: Literal["message", "function_call", "function_call_output"]
    status: str


class DeletedConversationDocument(BaseModel):
    """A conversation of which nothing is left."""

    model_config = ConfigDict(title="DeletedConversation")

    id: str
    object: Literal["conversation.deleted"]
    deleted: Literal[True]

"""`/v1/conversations` as a table."""

from __future__ import annotations

from typing import Final

from gateway.openai.conversations.models import (
    ConversationBody,
    ConversationDocument,
    DeletedConversationDocument,
    ItemDocument,
    ItemsBody,
    MetadataBody,
)
from gateway.openai.responses.documents import InputItemsDocument
from gateway.openai.route_parts import CREATED_HEADERS, ENDED_ERRORS
from gateway.openai.strict import BODY_ERRORS
from gateway.route_specs import (
    ALWAYS,
    AUTH_ERRORS,
    IDEMPOTENCY_KEY,
    SUBMIT_ERRORS,
    Good,
    RouteSpec,
    query,
)

__all__ = ["CONVERSATIONS_SURFACE"]

_ID: Final = {
    "name": "conversation_id",
    "in": "path",
    "required": True,
    "description": "Id of the conversation.",
    "schema": {"type": "string", "pattern": "^conv_[0-9a-f]{42}$"},
}
_ITEM: Final = {
    "name": "item_id",
    "in": "path",
    "required": True,
    "description": "Id of an item.",
    "schema": {"type": "string", "pattern": "^(msg|fc|fco)_[0-9a-f]{36,38}$"},
}
_CHANGE_ERRORS: Final = (
    *SUBMIT_ERRORS,
    *ENDED_ERRORS,
    "conversation_not_found",
    "conversation_locked",
)
_LOOK_ERRORS: Final = tuple(dict.fromkeys((*AUTH_ERRORS, *_CHANGE_ERRORS, *ALWAYS)))
"""A look may have to wait until a worker has read the conversations back."""
_SHOWN: Final = Good(200, "The conversation.", ConversationDocument, headers=CREATED_HEADERS)
_QUERY_ERRORS: Final = ("unknown_parameter", "invalid_value", "unsupported_value")


CONVERSATIONS_SURFACE: Final = (
    RouteSpec(
        method="POST",
        path="/v1/conversations",
        handler="create_conversation",
        summary="Begin a conversation",
        about="Without items and metadata nothing is written: the id alone is an empty one.",
        body=ConversationBody,
        parameters=(IDEMPOTENCY_KEY,),
        good=(_SHOWN,),
        errors=(*_CHANGE_ERRORS, *BODY_ERRORS),
    ),
    RouteSpec(
        method="GET",
        path="/v1/conversations/{conversation_id}",
        handler="get_conversation",
        summary="Get a conversation",
        about="Its metadata, and when it began.",
        parameters=(_ID,),
        good=(Good(200, "The conversation.", ConversationDocument),),
        errors=_LOOK_ERRORS,
    ),
    RouteSpec(
        method="POST",
        path="/v1/conversations/{conversation_id}",
        handler="update_conversation",
        summary="Change the metadata of a conversation",
        about="What is sent takes the place of all that there was.",
        parameters=(_ID, IDEMPOTENCY_KEY),
        body=MetadataBody,
        good=(_SHOWN,),
        errors=(*_CHANGE_ERRORS, *BODY_ERRORS),
    ),
    RouteSpec(
        method="DELETE",
        path="/v1/conversations/{conversation_id}",
        handler="delete_conversation",
        summary="Delete a conversation",
        about="With all its items, for good; a turn that comes later fails.",
        parameters=(_ID,),
        good=(Good(200, "It is gone.", DeletedConversationDocument, headers=CREATED_HEADERS),),
        errors=_CHANGE_ERRORS,
    ),
    RouteSpec(
        method="GET",
        path="/v1/conversations/{conversation_id}/items",
        handler="list_conversation_items",
        summary="List the items of a conversation",
        about="What was said in turns and what was added; the oldest are left out beyond a limit.",
        parameters=(
            _ID,
            query("after", "Id of the last item of the page before.", {"type": "string"}),
            query(
                "limit",
                "Items per page.",
                {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
            ),
            query("order", "`desc` is newest first.", {"type": "string", "enum": ["asc", "desc"]}),
        ),
        good=(Good(200, "A page of items.", InputItemsDocument),),
        errors=(*_LOOK_ERRORS, *_QUERY_ERRORS),
    ),
    RouteSpec(
        method="POST",
        path="/v1/conversations/{conversation_id}/items",
        handler="create_conversation_items",
        summary="Add items to a conversation",
        about="They come after the turns that were asked for before, and before those after.",
        parameters=(_ID, IDEMPOTENCY_KEY),
        body=ItemsBody,
        good=(Good(200, "The items, with ids.", InputItemsDocument, headers=CREATED_HEADERS),),
        errors=(*_CHANGE_ERRORS, *BODY_ERRORS),
    ),
    RouteSpec(
        method="GET",
        path="/v1/conversations/{conversation_id}/items/{item_id}",
        handler="get_conversation_item",
        summary="Get an item of a conversation",
        about="A message, a function call or its output.",
        parameters=(_ID, _ITEM),
        good=(Good(200, "The item.", ItemDocument),),
        errors=(*_LOOK_ERRORS, "item_not_found"),
    ),
    RouteSpec(
        method="DELETE",
        path="/v1/conversations/{conversation_id}/items/{item_id}",
        handler="delete_conversation_item",
        summary="Remove an item from a conversation",
        about="The model does not see it any more.",
        parameters=(_ID, _ITEM),
        good=(_SHOWN,),
        errors=(*_CHANGE_ERRORS, "item_not_found"),
    ),
)

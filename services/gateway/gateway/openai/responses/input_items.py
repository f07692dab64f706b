"""What a response was asked with: its turn's messages as items, page by page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from penstock_contracts.item_ids import (
    call_item_id,
    item_place,
    message_item_id,
    output_item_id,
)
from starlette.datastructures import QueryParams

from gateway.errors import ApiError
from gateway.openai.responses.parameters import check_include

__all__ = ["ItemQuery", "input_items", "item_page", "item_query", "items_of"]

_LIMIT: Final = re.compile(r"^[1-9][0-9]{0,2}$")
_MAX_PAGE: Final = 100
_ORDERS: Final = ("asc", "desc")
_KNOWN: Final = frozenset({"after", "limit", "order", "include", "include[]"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ItemQuery:
    """Which items are asked for."""

    after: str | None = None
    limit: int = 20
    is_ascending: bool = False


def item_query(params: QueryParams) -> ItemQuery:
    """Read the query strictly.

    Raises:
        ApiError: unknown_parameter, invalid_value, unsupported_value.
    """
    for name in params:
        if name not in _KNOWN:
            text = f"Unknown parameter: '{name[:64]}'."
            raise ApiError("unknown_parameter", text, param=name[:64])
    check_include(params)
    limit, order = params.get("limit", "20"), params.get("order", "desc")
    if _LIMIT.match(limit) is None or int(limit) > _MAX_PAGE:
        text = f"Invalid 'limit': expected an integer from 1 to {_MAX_PAGE}."
        raise ApiError("invalid_value", text, param="limit")
    if order not in _ORDERS:
        text = "Invalid 'order': supported values are: 'asc', and 'desc'."
        raise ApiError("invalid_value", text, param="order")
    return ItemQuery(after=params.get("after"), limit=int(limit), is_ascending=order == "asc")


def input_items(job: str, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Messages of a turn as items, in their order."""
    items: list[dict[str, Any]] = []
    for place, message in enumerate(messages):
        items += items_of(item_place(job, place), message)
    return items


def item_page(items: Sequence[dict[str, Any]], query: ItemQuery) -> dict[str, Any]:
    """A page of items.

    Raises:
        ApiError: invalid_value, if `after` is none of them.
    """
    ordered = list(items) if query.is_ascending else list(reversed(items))
    if query.after is not None:
        places = [place for place, item in enumerate(ordered) if item["id"] == query.after]
        if not places:
            text = "Invalid 'after': no input item of this response has this id."
            raise ApiError("invalid_value", text, param="after")
        ordered = ordered[places[0] + 1 :]
    page = ordered[: query.limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(ordered) > len(page),
    }


def items_of(place: str, message: Mapping[str, Any]) -> list[dict[str, Any]]:
    """A message as items; `place` is of `item_place`."""
    role, content = message["role"], message.get("content")
    if role == "tool":
        output = {"type": "function_call_output", "status": "completed"}
        text = content if isinstance(content, str) else _parts(content, is_output=False)
        told = {"call_id": message["tool_call_id"], "output": text}
        return [{"id": output_item_id(place), **output, **told}]
    items: list[dict[str, Any]] = []
    if content is not None:
        parts = _parts(content, is_output=role == "assistant")
        said = {"type": "message", "status": "completed", "role": role, "content": parts}
        items.append({"id": message_item_id(place), **said})
    for number, call in enumerate(message.get("tool_calls") or ()):
        called = {"type": "function_call", "status": "completed", "call_id": call["id"]}
        items.append({"id": call_item_id(place, number), **called, **call["function"]})
    return items


def _parts(content: Any, *, is_output: bool) -> list[dict[str, Any]]:
    texts = [content] if isinstance(content, str) else [part["text"] for part in content]
    if is_output:
        blank: dict[str, Any] = {"annotations": [], "logprobs": []}
        return [{"type": "output_text", "text": text, **blank} for text in texts]
    return [{"type": "input_text", "text": text} for text in texts]

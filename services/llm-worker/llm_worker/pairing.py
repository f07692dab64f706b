"""Calls of tools and their results side by side, as providers want them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Any

__all__ = ["paired"]

Message = dict[str, Any]


def paired(messages: Iterable[Message]) -> list[Message]:
    """The messages with each result directly behind the message that called its tool.

    What the assistant said between a call and its result, and its further calls there, join the
    first call's message: nobody had seen a result yet. All else stays in the order given. Strict
    providers refuse any other order, which callers may send: items of the Responses API are free in
    theirs.
    """
    groups: list[list[Message]] = []
    callers: dict[str, list[Message]] = {}
    for message in messages:
        group = callers.get(message.get("tool_call_id") or "")
        if group is not None:
            group.append(message)
            continue
        if groups and _is_open(groups[-1]) and message["role"] == "assistant":
            groups[-1][0] = _joined(groups[-1][0], message)
        else:
            groups.append([message])
        # A later call takes over an id that is used again.
        callers |= {call["id"]: groups[-1] for call in message.get("tool_calls") or ()}
    return list(chain.from_iterable(groups))


def _is_open(group: list[Message]) -> bool:
    """Whether it calls tools of which no result was seen."""
    return len(group) == 1 and bool(group[0].get("tool_calls"))


def _joined(left: Message, right: Message) -> Message:
    said = [content for content in (left.get("content"), right.get("content")) if content]
    calls = [*left["tool_calls"], *(right.get("tool_calls") or ())]
    message = {**left, "tool_calls": calls}
    if said:
        message["content"] = said[0] if len(said) == 1 else [*_parts(said[0]), *_parts(said[1])]
    return message


def _parts(content: Any) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content

"""A `chat.completion` in one piece, as some servers answer although a stream was asked for."""

from __future__ import annotations

from typing import Any

import orjson

__all__ = ["as_chunk"]


def as_chunk(body: bytes) -> bytes:
    """The same as one `chat.completion.chunk`: messages become deltas, tool calls get their index.

    What is no `chat.completion` is given back as it is: the reader of chunks says what is wrong.
    """
    try:
        whole = orjson.loads(body)
        choices = [_chunk_choice(choice) for choice in whole.get("choices") or ()]
    except (orjson.JSONDecodeError, AttributeError, TypeError):
        return body
    return orjson.dumps({**whole, "choices": choices})


def _chunk_choice(choice: dict[str, Any]) -> dict[str, Any]:
    message = choice.get("message") or {}
    calls = [{**call, "index": place} for place, call in enumerate(message.get("tool_calls") or ())]
    return {**choice, "delta": {**message, "tool_calls": calls}}

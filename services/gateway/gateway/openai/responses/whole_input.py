"""What the whole input of a response has to be, with all that it goes on from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from gateway.errors import ApiError

__all__ = ["check_calls", "check_count", "check_json"]

_MAX_MESSAGES: Final = 2048
"""As of `ChatInput`."""

Messages = Sequence[dict[str, Any]]


def check_count(turn: Messages, history: Messages) -> None:
    """Not too much is said.

    Raises:
        ApiError: array_above_max_length.
    """
    if len(turn) + len(history) > _MAX_MESSAGES:
        message = (
            f"Invalid 'input': too long. Expected at most {_MAX_MESSAGES} messages with all that "
            f"was said before, but got {len(turn) + len(history)} instead."
        )
        raise ApiError("array_above_max_length", message, param="input")


def check_calls(messages: Messages) -> None:
    """Each result belongs to a call before it, and each call has its result.

    Raises:
        ApiError: invalid_combination.
    """
    answered: dict[str, bool] = {}
    for message in messages:
        if message["role"] == "tool":
            call = message["tool_call_id"]
            if call not in answered:
                told = f"No tool call found for function call output with call_id {call[:64]}."
                raise ApiError("invalid_combination", told, param="input")
            answered[call] = True
        for called in message.get("tool_calls") or ():
            answered.setdefault(called["id"], False)
    open_call = next((call for call, is_answered in answered.items() if not is_answered), None)
    if open_call is not None:
        told = f"No tool output found for function call {open_call[:64]}."
        raise ApiError("invalid_combination", told, param="input")


def check_json(messages: Messages) -> None:
    """Some message names the format; models write spaces for ever if none does.

    Raises:
        ApiError: invalid_combination.
    """
    if not any("json" in text.lower() for message in messages for text in _texts(message)):
        told = (
            "Response input messages must contain the word 'json' in some form to use "
            "'text.format' of type 'json_object'."
        )
        raise ApiError("invalid_combination", told, param="input")


def _texts(message: dict[str, Any]) -> Iterator[str]:
    content = message.get("content") or ""
    if isinstance(content, str):
        yield content
    else:
        yield from (part["text"] for part in content)

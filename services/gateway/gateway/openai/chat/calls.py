"""Calls of tools and their results belong together: what models need, and OpenAI requires."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.openai.chat.messages import Message
from gateway.openai.strict import complaint

__all__ = ["check_calls"]


def check_calls(messages: Sequence[Message]) -> None:
    """Each message of a tool answers a call of the assistant message before it, and each is.

    Raises:
        PydanticCustomError: for validators of the body that `messages` belongs to.
    """
    called: dict[str, bool] = {}
    """Ids of the calls under way, and whether they are answered."""
    for place, message in enumerate(messages):
        if message.role == "tool":
            _answer(called, message, place)
            continue
        _require_answers(called, f"messages.[{place}].role")
        called = {call.id: False for call in message.tool_calls or ()}
    _require_answers(called, "messages")


def _answer(called: dict[str, bool], message: Message, place: int) -> None:
    if not called:
        text = (
            "Invalid parameter: messages with role 'tool' must be a response to a preceeding "
            "message with 'tool_calls'."
        )
        raise complaint("invalid_combination", text, at=f"messages.[{place}].role")
    assert message.tool_call_id is not None, "the message's own model requires it"
    if message.tool_call_id not in called:
        text = (
            f"Invalid parameter: 'tool_call_id' of '{message.tool_call_id[:64]}' not found in "
            "'tool_calls' of previous message."
        )
        raise complaint("invalid_combination", text, at=f"messages.[{place}].tool_call_id")
    called[message.tool_call_id] = True


def _require_answers(called: dict[str, bool], at: str) -> None:
    missing = [call[:64] for call, is_answered in called.items() if not is_answered]
    if missing:
        text = (
            "An assistant message with 'tool_calls' must be followed by tool messages responding "
            "to each 'tool_call_id'. The following tool_call_ids did not have response messages: "
            + ", ".join(missing)
        )
        raise complaint("invalid_combination", text, at=at)

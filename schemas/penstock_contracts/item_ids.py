"""Ids of what was said: made from the job of a turn and the place in it, never stored apart.

    msg_<32 hex of the job's UUID><4 hex of the place>          a message
    fc_<32 hex><4 hex of the place><2 hex of the call>          a tool call inside of it
    fco_<32 hex><4 hex of the place>                            the output of a tool

Places of a turn's own messages count from 0; the model's answer to them is at `ANSWER`. So the
output items of a response and the items of its conversation carry the same ids, whoever makes them.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = [
    "ANSWER",
    "CONVERSATION_PREFIX",
    "call_item_id",
    "item_of",
    "item_place",
    "message_item_id",
    "output_item_id",
]

ANSWER: Final = 0x8000
"""Place of the answer of a turn: no turn has so many messages."""

CONVERSATION_PREFIX: Final = "conv_"
"""Of conversations that the OpenAI API keeps; others are named by their callers."""

_UUID: Final = slice(4, 36)
_FORM: Final = re.compile(r"(msg|fc|fco)_([0-9a-f]{36})([0-9a-f]{2})?")


def item_place(job: str, place: int) -> str:
    """What names a message in the log: the job's UUID and the place, 36 hex digits."""
    return f"{job[_UUID]}{place:04x}"


def message_item_id(item: str) -> str:
    """The id of a message; `item` is of `item_place`."""
    return f"msg_{item}"


def call_item_id(item: str, call: int) -> str:
    """The id of the call-th tool call (from 0) inside a message."""
    return f"fc_{item}{call:02x}"


def output_item_id(item: str) -> str:
    """The id of a tool's output."""
    return f"fco_{item}"


def item_of(item_id: str) -> tuple[str, int | None] | None:
    """The item that an id names, and the tool call inside it; None if it is no such id."""
    found = _FORM.fullmatch(item_id)
    if found is None:
        return None
    if found[1] == "fc":
        return (found[2], int(found[3], 16)) if found[3] else None
    return (found[2], None) if not found[3] else None

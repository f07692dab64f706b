"""Names for rules that were put without one."""

from __future__ import annotations

import hashlib
from typing import Final

import orjson
from penstock_contracts.control import Selector

__all__ = ["rule_name"]

_ALLOWED: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789_.-")
_MAX_CHARS: Final = 64
"""What a `Name` may have."""
_MARK_CHARS: Final = 8
"""32 bits: of a thousand rules in force two would be named alike once in ten thousand times."""


def rule_name(action: str, selector: Selector) -> str:
    """A name that says what the rule is about: the same words put again replace it, others never.

    `pause-task-chat` for a selector of one member whose value a name can hold as it is. Every
    other name ends with a hash of the selector, as it can be read in several ways.
    """
    members = [
        (member, value)
        for member, value in (
            ("tenant", selector.tenant),
            ("task", selector.task),
            ("model", selector.model),
        )
        if value is not None
    ]
    arguments = [
        ("argument", f"{path}-{value}") for path, value in sorted(selector.argument.items())
    ]
    spelt = "-".join([action, *(word for pair in members + arguments for word in pair)])
    cleaned = "".join(char if char in _ALLOWED else "-" for char in spelt.lower())
    is_plain = len(members) <= 1 and not arguments
    if is_plain and cleaned == spelt and len(spelt) <= _MAX_CHARS:
        return spelt
    return f"{cleaned[: _MAX_CHARS - _MARK_CHARS - 1]}-{_mark(selector)}"


def _mark(selector: Selector) -> str:
    told = orjson.dumps(selector.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(told).hexdigest()[:_MARK_CHARS]

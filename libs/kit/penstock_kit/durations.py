"""Durations as people write them in variables, files and headers."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

__all__ = ["Seconds", "read_duration"]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?", re.ASCII)
_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


def read_duration(text: str) -> timedelta | None:
    """Seconds as a number, or `500ms`, `30s`, `5m`, `2h`, `7d`; None: nothing of that."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        return None
    try:
        return float(found.group(1)) * _UNITS[found.group(2) or "s"]
    except OverflowError:  # longer than any duration can be
        return None


def _duration(value: Any) -> Any:
    found = read_duration(value) if isinstance(value, str) else None
    return value if found is None else found


Seconds = Annotated[timedelta, BeforeValidator(_duration), Field(gt=timedelta(0))]
"""A duration above zero: seconds as a number, or `500ms`, `30s`, `5m`, `2h`, `7d`, or ISO 8601."""

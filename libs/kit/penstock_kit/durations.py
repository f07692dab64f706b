"""Durations as people write them in variables and files."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

__all__ = ["Seconds"]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?", re.ASCII)
_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


def _duration(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    found = _DURATION.fullmatch(value.strip())
    if found is None:
        return value
    return float(found.group(1)) * _UNITS[found.group(2) or "s"]


Seconds = Annotated[timedelta, BeforeValidator(_duration), Field(gt=timedelta(0))]
"""A duration above zero: seconds as a number, or `500ms`, `30s`, `5m`, `2h`, `7d`, or ISO 8601."""

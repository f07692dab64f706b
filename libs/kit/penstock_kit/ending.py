"""Ending tasks for sure."""

from __future__ import annotations

import asyncio
from typing import Any

__all__ = ["end_tasks"]

_AGAIN_S = 1.0
"""Longer than any task needs to clean up after itself; short beside every drain deadline."""


async def end_tasks(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and return when all of them are over; their results are not looked at.

    A task that goes on is cancelled again: in Python 3.11 `asyncio.wait_for`, through which
    redis-py writes, swallows a cancel that arrives as its inner call is done, and a loop would go
    on for ever (python/cpython#86296; 3.12 has mended it).
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=_AGAIN_S)

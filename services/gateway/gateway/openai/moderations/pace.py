"""How a long search stays polite: others get their turn after every stretch of work."""

from __future__ import annotations

import asyncio
from typing import Final

__all__ = ["WINDOW", "Pace"]

WINDOW: Final = 16_384
"""Characters that one expression searches in one go: about a millisecond."""
_LEAST: Final = 256
"""What a search costs at least, in characters: many tiny texts are work too."""


class Pace:
    """Counts the work of one request, over all its texts; they may be many and short."""

    __slots__ = ("_done",)

    def __init__(self) -> None:
        self._done = 0

    async def did(self, chars: int) -> None:
        """So many characters were searched once; returns at once, or after everybody's turn."""
        self._done += max(chars, _LEAST)
        if self._done >= WINDOW:
            self._done = 0
            await asyncio.sleep(0)

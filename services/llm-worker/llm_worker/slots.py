"""Places for calls of one provider: as many as it bears, first come, first served."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from penstock_kit.lanes.adaptive import AdaptiveLimit

__all__ = ["Slots"]


class Slots:
    """Like a semaphore whose size moves below a hard cap, with what its holders report.

    Attributes:
        in_use: calls that hold a place; may exceed the limit for a while after that has shrunk.
    """

    def __init__(self, cap: int) -> None:
        self._limit = AdaptiveLimit(cap=cap)
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.in_use = 0

    @property
    def limit(self) -> int:
        """Places, now."""
        return self._limit.limit

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a place and hold it."""
        await self._take()
        try:
            yield
        finally:
            self.in_use -= 1
            self._wake()

    def answered(self, latency_s: float) -> None:
        """A call got its first output after `latency_s`."""
        self._limit.succeeded(latency_s, in_flight=self.in_use)
        self._wake()

    def refused(self) -> None:
        """The provider said that it is too much."""
        self._limit.refused(in_flight=self.in_use)

    async def _take(self) -> None:
        if not self._waiting and self.in_use < self.limit:
            self.in_use += 1
            return
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():  # granted in the same moment
                self.in_use -= 1
                self._wake()
            else:
                self._waiting.remove(place)
            raise

    def _wake(self) -> None:
        while self._waiting and self.in_use < self.limit:
            place = self._waiting.popleft()
            if not place.done():
                self.in_use += 1
                place.set_result(None)

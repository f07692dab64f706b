"""Between a fast tail and a slow reader: a bounded box that never makes the tail wait."""

from __future__ import annotations

import asyncio
from collections import deque

from gateway.ports import StreamEvent

__all__ = ["Closing", "Mailbox"]


class Closing(Exception):
    """The stream is to end before its job; `reason` is `overflow`, `drain` or `revoked`."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Mailbox:
    """Holds events for one reader. Full means closed: the reader resumes where it is."""

    __slots__ = ("_bytes", "_closing", "_events", "_max_bytes", "_max_events", "_waiter")

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        self._events: deque[StreamEvent] = deque()
        self._bytes = 0
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._closing: str | None = None
        self._waiter: asyncio.Future[None] | None = None

    def put(self, event: StreamEvent) -> None:
        """Take an event, at once; too many close the box. A single large event always fits."""
        if self._closing is not None:
            return
        size = len(event.value)
        if self._events and (
            len(self._events) >= self._max_events or self._bytes + size > self._max_bytes
        ):
            self.close("overflow")
            return
        self._events.append(event)
        self._bytes += size
        self._wake()

    def close(self, reason: str) -> None:
        """End the stream; the first reason stays. What waits in the box is not delivered."""
        if self._closing is None:
            self._closing = reason
            self._events.clear()
            self._wake()

    async def take(self, timeout_s: float) -> list[StreamEvent]:
        """All waiting events, or none after the time-out. One reader only.

        Raises:
            Closing: the box was closed.
        """
        if not self._events and self._closing is None:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(timeout_s):
                    await self._waiter
            except TimeoutError:
                pass
            finally:
                self._waiter = None
        if self._closing is not None:
            raise Closing(self._closing)
        events = list(self._events)
        self._events.clear()
        self._bytes = 0
        return events

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

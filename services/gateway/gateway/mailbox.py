"""Between a fast tail and a slow reader: a bounded box that never makes the tail wait."""

from __future__ import annotations

import asyncio
from collections import deque

from gateway.ports import StreamEvent

__all__ = ["Closing", "Mailbox"]


class Closing(Exception):
    """The stream is to end before its job.

    Attributes:
        reason: `overflow`, `drain`, or the code of the error that ended the caller's credential.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Mailbox:
    """Holds events for one reader. Full means closed: the reader resumes where it is."""

    __slots__ = (
        "_bytes",
        "_closing",
        "_events",
        "_max_bytes",
        "_max_events",
        "_silent_at",
        "_timer",
        "_waiter",
    )

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        self._events: deque[StreamEvent] = deque()
        self._bytes = 0
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._closing: str | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._silent_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

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
            await self._wait(timeout_s)
        if self._closing is not None:
            raise Closing(self._closing)
        events = list(self._events)
        self._events.clear()
        self._bytes = 0
        return events

    def discard(self) -> None:
        """Nobody takes any more: forget the time-out that may be running; works twice."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def _wait(self, timeout_s: float) -> None:
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        self._silent_at = loop.time() + timeout_s
        # One timer runs on through many waits: setting one per event would cost half of a relay.
        if self._timer is None or self._timer.when() > self._silent_at:
            self.discard()
            self._timer = loop.call_at(self._silent_at, self._tick)
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _tick(self) -> None:
        self._timer = None
        if self._waiter is None:
            return
        loop = asyncio.get_running_loop()
        if loop.time() < self._silent_at:
            self._timer = loop.call_at(self._silent_at, self._tick)
        else:
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
